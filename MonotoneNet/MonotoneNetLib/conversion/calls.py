"""A call in the graph of a forward: what is called, and what it is called with."""

from __future__ import annotations

import builtins
import operator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch


class Seen(Enum):
    """What a node of the graph gives."""

    VALUE = "activation"  # increasing in the input, zero where the input is
    SIZE = "size"  # numbers >= 0 that depend on shapes only
    PLAIN = "number"  # other things that do not depend on values
    ZERO = "zeros"  # a constant: an extreme with it is bounded
    DTYPE = "type of an activation"  # a floating one, which `view` may not take
    EXTREME = "extreme and its index"  # what max(axis) gives
    INDEX = "index of an extreme"  # of no use here, but usually given a name
    TENSOR = "parameter"  # a parameter or buffer used outside a layer


class NotAdmissibleError(Exception):
    """A call that may not be increasing, and why."""


@dataclass(frozen=True)
class Call:
    """A call, each of its arguments a plain value or, where it is a node, a `Seen`.

    `training` says in which mode the forward was traced.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    training: bool = False

    def get(self, position: int, keyword: str, default: Any = None) -> Any:
        """Argument by position or keyword."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(keyword, default)

    @property
    def data(self) -> Any:
        """The first argument."""
        if self.args:
            return self.args[0]
        return self.kwargs.get("tensors" if "tensors" in self.kwargs else "input")


def contains(argument: Any, *kinds: Seen) -> bool:
    """Whether an argument is, or holds, something of these kinds."""
    if isinstance(argument, list | tuple):
        return any(contains(each, *kinds) for each in argument)
    if isinstance(argument, dict):
        return any(contains(each, *kinds) for each in argument.values())
    if isinstance(argument, slice):
        return contains((argument.start, argument.stop, argument.step), *kinds)
    return isinstance(argument, Seen) and argument in kinds


#: What depends on values or may have any sign.
TENSORS = (Seen.VALUE, Seen.ZERO, Seen.EXTREME, Seen.INDEX, Seen.TENSOR)


def name_of(target: Any) -> str | None:
    """Name of a function of PyTorch or Python, in-place forms by that of the others."""
    if isinstance(target, str):
        return _out_of_place(target)
    name = getattr(target, "__name__", "")
    places: tuple[Any, ...] = (torch, torch.nn.functional, torch._C._nn, operator, builtins)
    if name.startswith("adaptive_max_pool"):
        places = (torch.nn.functional,)  # the others of this name return indices too
    if any(getattr(place, name, None) is target for place in places):
        return _out_of_place(name)
    return None


def _out_of_place(name: str) -> str:
    return name.removesuffix("_") if not name.endswith("__") else name
