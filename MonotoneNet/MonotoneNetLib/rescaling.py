"""Dividing what linear layers put out, by dividing their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from AttribSegLib.errors import InputError
from torch.nn.utils import parametrize

from .noise_pass import Layer, free_weight, is_transposed, parametrization
from .positivity import Positivity

#: Share of the largest weight by which a parametrised one may miss what it was set to.
_ROUNDING = 1e-4


def ties(layers: Mapping[str, Layer], *, per_channel: bool) -> dict[int, tuple[str, ...]]:
    """Names of the layers that have the same weight, by the identity of what is stored.

    Raises
    ------
    InputError
        If one divisor cannot serve them all.
    """
    groups: dict[int, list[str]] = {}
    biases: dict[int, str] = {}
    for name, layer in layers.items():
        group = groups.setdefault(id(free_weight(name, layer)), [])
        group.append(name)
        first = layers[group[0]]
        if per_channel and _channels_of_weight(first) != _channels_of_weight(layer):
            raise InputError(
                f"layers {group[0]!r} and {name!r} have the same weight with its channels on "
                "other axes: a divisor per channel cannot serve both; use per='layer'"
            )
        if layer.bias is not None:
            owner = biases.setdefault(id(layer.bias), name)
            if owner not in group:
                raise InputError(
                    f"layers {owner!r} and {name!r} have the same bias but not the same weight: "
                    "rescaling one would change the other; give each a bias of its own"
                )
    return {key: tuple(names) for key, names in groups.items()}


def divide_(features: torch.Tensor, divisor: torch.Tensor, axis: int | None) -> None:
    """Divide features by one number, or by one for each position along an axis, in place."""
    if axis is None:
        features.div_(float(divisor))
    else:
        shape = [1] * features.ndim
        shape[axis] = -1
        features.div_(divisor.to(features).view(shape))


def require_followed(layers: Mapping[str, Layer], divisors: Mapping[str, torch.Tensor]) -> None:
    """Refuse parametrised weights that would not become what is assigned to them.

    Raises
    ------
    InputError
        Names the layer and its parametrization.
    """
    for name, divisor in divisors.items():
        layer = layers[name]
        for tensor_name in ("weight", "bias"):
            if not parametrize.is_parametrized(layer, tensor_name):
                continue
            chain = list(parametrization(layer, tensor_name))
            # Ours invert themselves by construction; looking would cost as much as dividing.
            if all(isinstance(each, Positivity) for each in chain):
                continue
            if not _follows(chain, _divided(layer, tensor_name, divisor)):
                kinds = ", ".join(type(each).__name__ for each in chain)
                raise InputError(
                    f"layer {name!r}: its {tensor_name} is parametrised by {kinds} and cannot be "
                    "set to a multiple of itself; remove that parametrization first"
                )


@torch.no_grad()
def divide_parameters_(layers: Mapping[str, Layer], divisors: Mapping[str, torch.Tensor]) -> None:
    """Divide weights and biases in place, those that layers have in common once."""
    done: set[int] = set()
    for name, divisor in divisors.items():
        layer = layers[name]
        key = id(free_weight(name, layer))
        if key not in done:
            divide_parameter_(layer, "weight", divisor)
        if layer.bias is not None and id(layer.bias) not in done:
            done.add(id(layer.bias))
            divide_parameter_(layer, "bias", divisor)
        done.add(key)


@torch.no_grad()
def divide_parameter_(layer: Layer, name: str, divisor: torch.Tensor) -> None:
    """Divide the weight or the bias of a layer by one number, or by one for each output channel."""
    if parametrize.is_parametrized(layer, name):
        setattr(layer, name, _divided(layer, name, divisor))
    else:
        getattr(layer, name).copy_(_divided(layer, name, divisor))


def _divided(layer: Layer, name: str, divisor: torch.Tensor) -> torch.Tensor:
    """Weight or bias over the divisor of every output channel."""
    value = getattr(layer, name)
    shaped = divisor.to(value)
    if shaped.ndim == 0 or name == "bias":
        return value / shaped
    if not is_transposed(layer):
        return value / shaped.view(-1, *[1] * (value.ndim - 1))
    # (in, out / groups, ...): the inputs of a group come one group after the other.
    grouped = value.unflatten(0, (_groups(layer), -1))
    shaped = shaped.view(_groups(layer), 1, -1, *[1] * (value.ndim - 2))
    return (grouped / shaped).flatten(0, 1)


def _channels_of_weight(layer: Layer) -> tuple[bool, int]:
    return (True, _groups(layer)) if is_transposed(layer) else (False, 1)


def _groups(layer: Layer) -> int:
    return int(getattr(layer, "groups", 1))


def _follows(chain: list[Any], target: torch.Tensor) -> bool:
    """Whether a parametrization gives what it is asked for, without changing it."""
    if not all(hasattr(each, "right_inverse") for each in chain):
        return False
    with torch.no_grad():
        try:
            stored = target
            for each in reversed(chain):
                stored = each.right_inverse(stored)
            found = chain[0](*stored) if isinstance(stored, tuple) else chain[0](stored)
            for each in chain[1:]:
                found = each(found)
        except (RuntimeError, ValueError, NotImplementedError):
            return False
    return bool((found - target).abs().max() <= _ROUNDING * target.abs().max())
