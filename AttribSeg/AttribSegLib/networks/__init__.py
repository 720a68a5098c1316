"""Classifiers, by name: what a recipe's ``network`` may be.

A bundle names its network from this register, never by an import path. A user's own module enters
it with :func:`register_network`, or, so that the command line finds it, through an entry point of
an installed package::

    [project.entry-points."attribseg.networks"]
    my_network = "my_package:MyNetwork"
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from torch import nn

#: Group of entry points in which installed packages offer networks.
ENTRY_POINTS = "attribseg.networks"

#: Name -> callable(dimensions=, in_channels=, width=, norm=, activation=) -> Module.
_REGISTER: dict[str, Callable[..., Any]] = {}

_RESNETS = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "resnet152": 152}
_DENSENETS = ("densenet121",)

#: Networks that are always there.
NETWORKS = ("patchgan", *_RESNETS, *_DENSENETS)


def register_network(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Class decorator: offer a network under a name.

    Parameters
    ----------
    name : str
        The callable below it is called with the keywords ``dimensions`` (2 or 3),
        ``in_channels``, ``width``, ``norm`` and ``activation``, and returns a module that maps
        (B, C, I, J[, K]) to logits (B,) or (B, 1).

    Raises
    ------
    InputError
        If the name is taken by one of the networks that are always there.
    """
    if name in NETWORKS:
        raise InputError(f"network {name!r} is there already; give yours another name")

    def enter(factory: Callable[..., Any]) -> Callable[..., Any]:
        _REGISTER[name] = factory
        return factory

    return enter


def is_known(name: Any) -> bool:
    """Whether a name stands for a network."""
    return isinstance(name, str) and (name in NETWORKS or _registered(name) is not None)


def build_network(
    name: str,
    *,
    dimensions: int,
    in_channels: int,
    width: float = 1.0,
    norm: str = "instance",
    activation: str = "leaky_relu",
    **patchgan_options: Any,
) -> nn.Module:
    """An untrained classifier by name.

    Parameters
    ----------
    name : str
        One of :data:`NETWORKS`, or a registered one.
    dimensions : {2, 3}
    in_channels : int
    width : float
        Factor on the number of filters.
    norm, activation : str
        See :class:`.PatchGAN`.
    **patchgan_options
        Its filters and strides.

    Returns
    -------
    Module
        Maps (B, C, I, J[, K]) to logits (B,).

    Raises
    ------
    InputError
        If the name is unknown, or the network refuses an option.
    """
    shared: dict[str, Any] = {
        "dimensions": dimensions,
        "in_channels": in_channels,
        "width": width,
        "norm": norm,
        "activation": activation,
    }
    if name == "patchgan":
        from .patchgan import PatchGAN

        return PatchGAN(**shared, **patchgan_options)
    from .classifier import Classifier, densenet, resnet

    if name in _RESNETS:
        return resnet(_RESNETS[name], **shared)
    if name in _DENSENETS:
        return densenet(**shared)
    factory = _registered(name)
    if factory is None:
        known = ", ".join((*NETWORKS, *sorted(_REGISTER)))
        raise InputError(f"network {name!r}: one of {known}, or a registered one, was expected")
    try:
        module = factory(**shared)
    except TypeError as error:
        raise InputError(f"network {name!r} could not be made ({error})") from error
    return Classifier(module, dimensions=dimensions, in_channels=in_channels)


def _registered(name: str) -> Callable[..., Any] | None:
    """A registered network, or one that an installed package offers under this name."""
    if name not in _REGISTER:
        from importlib.metadata import entry_points

        for point in entry_points(group=ENTRY_POINTS, name=name):
            try:
                _REGISTER[name] = point.load()
            except (ImportError, AttributeError) as error:
                raise InputError(
                    f"network {name!r}: {point.value}, which a package offers under this name, "
                    f"cannot be loaded ({error})"
                ) from error
    return _REGISTER.get(name)
