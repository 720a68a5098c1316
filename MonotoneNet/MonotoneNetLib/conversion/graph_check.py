"""Whether the forward of one module is increasing, given that the modules it calls are."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from ..activations import activation_fault
from .calls import TENSORS, Call, NotAdmissibleError, Seen, contains, name_of
from .functional_forms import NORMS, activation_module
from .functions import judge
from .leaves import Kind, kind_of

#: What modules take and give.
_ACTIVE = (Seen.VALUE, Seen.ZERO)


@dataclass(frozen=True)
class Functional:
    """A functional call that a monotone network has as a module, or not at all.

    Parameters
    ----------
    node : Node
    name : str
        Of the function.
    activation : Module or None
        What it computes; None for a norm.
    """

    node: fx.Node
    name: str
    activation: nn.Module | None


@dataclass(frozen=True)
class Findings:
    """What is wrong with a graph, and what must be rewritten in it."""

    faults: tuple[str, ...]
    functional: tuple[Functional, ...]


@dataclass(frozen=True)
class Around:
    """What must be known to judge a forward.

    Parameters
    ----------
    owner : Module
        Whose forward it is.
    parts : mapping from int to bool
        By ``id``, the modules that are judged by themselves, and whether somebody vouches for
        them: then they may be called with anything. No others may be called.
    training : bool
        In which mode the forward was traced.
    """

    owner: nn.Module
    parts: Mapping[int, bool]
    training: bool


def check_graph(graph: fx.Graph, around: Around) -> Findings:
    """Follow the activations through a graph.

    Parameters
    ----------
    graph : Graph
        Of the owner's own forward, see :func:`.trace`.
    around : Around

    Returns
    -------
    Findings
        Without faults, every node is a composition of increasing functions with f(0) = 0, once
        the functional activations and norms have become split or removed.
    """
    seen: dict[fx.Node, Any] = {}
    faults: list[str] = []
    functional: list[Functional] = []
    for node in graph.nodes:
        try:
            seen[node], found = _judge(node, seen, around)
        except NotAdmissibleError as error:
            faults.append(f"{_called(node)}: {error}")
            seen[node] = Seen.VALUE  # so that one fault is told once
            continue
        if found is not None:
            functional.append(found)
        if _in_place_and_seen_again(node, around.owner, found):
            faults.append(
                f"{_called(node)}: in place, and its input is used again; use the out-of-place form"
            )
    return Findings(tuple(faults), tuple(functional))


def _judge(
    node: fx.Node, seen: dict[fx.Node, Any], around: Around
) -> tuple[Any, Functional | None]:
    args = fx.node.map_arg(node.args, lambda each: seen[each])
    kwargs = fx.node.map_arg(node.kwargs, lambda each: seen[each])
    if node.op == "placeholder":
        return Seen.VALUE, None
    if node.op == "get_attr":
        return Seen.TENSOR, None
    if node.op == "output":
        _all_values(args[0], "it returns something that is no activation")
        return Seen.VALUE, None
    if node.op == "call_module":
        child = around.owner.get_submodule(str(node.target))
        vouched = around.parts.get(id(child))
        if vouched is None:
            raise NotAdmissibleError("a part of a layer or activation, not to be called by itself")
        if not vouched:
            _check_arguments(child, args, kwargs)
        return Seen.VALUE, None
    name = name_of(node.target)
    if name is None:
        raise NotAdmissibleError("not a function of PyTorch that is known here")
    call = Call(name, tuple(args), dict(kwargs), around.training)
    activation = activation_module(call)
    if activation is not None or name in NORMS:
        if call.data not in _ACTIVE:
            raise NotAdmissibleError("of something that is no activation")
        fault = activation_fault(activation) if activation is not None else None
        if fault:
            raise NotAdmissibleError(fault)
        return Seen.VALUE, Functional(node, name, activation)
    return judge(call), None


def _check_arguments(child: nn.Module, args: Any, kwargs: Any) -> None:
    """A container gets all it needs and no options; other modules one activation."""
    given = (*args, *kwargs.values())
    if kind_of(child) is not Kind.CONTAINER:
        if not given or given[0] not in _ACTIVE or contains(given[1:], *TENSORS):
            raise NotAdmissibleError("a module called with something else than one activation")
        return
    _all_values(given, "a module called with something that is no activation")
    needed = [
        each.name
        for each in inspect.signature(type(child).forward).parameters.values()
        if each.default is each.empty
    ][1:]
    if len(given) != len(needed) or not set(kwargs) <= set(needed):
        raise NotAdmissibleError("a module called with options other than its defaults")


def _all_values(argument: Any, otherwise: str) -> None:
    if isinstance(argument, dict):
        argument = list(argument.values())
    if isinstance(argument, list | tuple):
        for each in argument:
            _all_values(each, otherwise)
    elif argument not in _ACTIVE:
        raise NotAdmissibleError(otherwise)


def _in_place_and_seen_again(node: fx.Node, owner: nn.Module, found: Functional | None) -> bool:
    """Whether an activation in place is read through its input's name, too.

    Split activations work out of place, and would compute something else there.
    """
    if found is not None and found.activation is not None:
        in_place = str(node.target).endswith("_") or bool(node.kwargs.get("inplace"))
        in_place = in_place or getattr(node.target, "__name__", "").endswith("_")
    elif node.op == "call_module":
        child: Any = owner.get_submodule(str(node.target))
        in_place = kind_of(child) is Kind.ACTIVATION and bool(getattr(child, "inplace", False))
    else:
        return False
    if not in_place or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    later = set(_after(node))
    return not node.users or any(user in later for user in node.args[0].users)


def _after(node: fx.Node) -> Iterator[fx.Node]:
    following = node.next
    while following.op != "root":
        yield following
        following = following.next


def _called(node: fx.Node) -> str:
    """The call as it is told to the user."""
    if node.op == "call_module":
        return f"calls {node.target}"
    if node.op == "output":
        return "its output"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")
    return f"calls {name}"
