"""Modules whose forward cannot be traced, and is known to be monotone if their children are.

Shape checks before the real work are the usual reason.
"""

from __future__ import annotations

from typing import TypeVar

from AttribSegLib.networks.classifier import Classifier
from AttribSegLib.networks.patchgan import PatchGAN
from torch import nn

_M = TypeVar("_M", bound=type[nn.Module])

_KNOWN: set[type[nn.Module]] = {PatchGAN, Classifier}


def monotone_forward(kind: _M) -> _M:
    """Class decorator: this class' own forward is monotone if the modules it calls are.

    Its author has checked that between its children it only does what :mod:`.functions` admits.
    The children are converted and checked as ever. Subclasses are not covered.
    """
    _KNOWN.add(kind)
    return kind


def has_known_forward(module: nn.Module) -> bool:
    """Whether the class of a module, that very one, was registered, or it is a plain sequence."""
    kind = type(module)
    plain = kind.forward is nn.Sequential.forward
    if plain and getattr(kind, "__iter__", None) is nn.Sequential.__iter__:
        return True
    return kind in _KNOWN
