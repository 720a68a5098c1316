"""The modules of a network one by one, each with its name, and those somebody vouches for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from AttribSegLib.errors import InputError
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from .leaves import Kind, kind_of

#: What a user may vouch for: a module's dotted name, a class, or the name of a class.
Vouched = str | type[nn.Module]


@dataclass(frozen=True)
class Site:
    """A module in a network.

    Parameters
    ----------
    name : str
        Dotted, "" for the network itself; the first, where it is used at several places.
    module : Module
    kind : Kind
    vouched : bool
        Whether the user vouches for the module itself; its children are looked at as ever.
    """

    name: str
    module: nn.Module
    kind: Kind
    vouched: bool

    @property
    def class_name(self) -> str:
        """Name of the module's class."""
        return class_name(self.module)

    def __str__(self) -> str:
        return f"{self.name or 'the network'} ({self.class_name})"


def class_name(module: nn.Module) -> str:
    """Name of a module's class, before parametrizations made a subclass of it."""
    return type_before_parametrizations(module).__name__


def sites(network: nn.Module, allow: Sequence[Vouched] = ()) -> list[Site]:
    """All modules, each once, parents before children.

    Parts of a layer (its parametrizations), of a norm and of a split activation are not modules
    of the network, and no forward may call them.

    Parameters
    ----------
    network : Module
    allow : sequence of str or class
        Modules to vouch for.

    Raises
    ------
    InputError
        If ``allow`` is a bare string, or an entry of it fits no module.
    """
    if isinstance(allow, str):
        raise InputError(f"allow {allow!r}: a list of names or classes was expected")
    found: list[Site] = []
    used: set[Vouched] = set()
    _collect("", network, found, set(), allow, used)
    for entry in allow:
        if entry not in used:
            name = entry if isinstance(entry, str) else entry.__name__
            raise InputError(f"allow {name!r}: no such module; a dotted name or class was expected")
    return found


def _collect(
    name: str,
    module: nn.Module,
    found: list[Site],
    known: set[int],
    allow: Iterable[Vouched],
    used: set[Vouched],
) -> None:
    if id(module) in known:
        return
    known.add(id(module))
    fitting = [entry for entry in allow if _fits(entry, name, module)]
    used.update(fitting)
    kind = kind_of(module)
    found.append(Site(name, module, kind, bool(fitting)))
    if kind in (Kind.SPLIT, Kind.LAYER, Kind.NORM):
        return
    for child_name, child in module.named_children():
        _collect(f"{name}.{child_name}" if name else child_name, child, found, known, allow, used)


def _fits(entry: Vouched, name: str, module: nn.Module) -> bool:
    if isinstance(entry, str):
        return entry in (name, class_name(module)) and entry != ""
    return isinstance(module, entry)
