"""A pass of noise through a network: its linear layers as they are reached, and their spread.

What initialisation, LSUV and the report by depth have in common.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from AttribSegLib.errors import InputError
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

Layer = nn.Linear | _ConvNd
#: Called with a layer's name, the layer, its input and its output.
Watcher = Callable[[str, Layer, torch.Tensor, torch.Tensor], None]

#: Sums in single precision go over no more values than this before they are added in double.
_RUN = 65536
#: Below this share of the mean square, the difference of mean square and squared mean loses digits.
_CANCELLED = 0.01


def linear_layers(module: nn.Module) -> dict[str, Layer]:
    """Every Linear, Conv1d to 3d and transposed convolution, by name, each once."""
    return {
        name or type(module).__name__: layer
        for name, layer in module.named_modules()
        if isinstance(layer, (nn.Linear, _ConvNd))
    }


def is_transposed(layer: Layer) -> bool:
    """Whether a layer's weight has its input channels first."""
    return isinstance(layer, _ConvTransposeNd)


def parametrization(layer: nn.Module, name: str) -> nn.ModuleList:
    """The maps, first to last, that make a parametrised tensor of a layer."""
    lists: Any = layer.parametrizations
    return lists[name]


def free_weight(name: str, layer: Layer) -> nn.Parameter:
    """What is stored and trained: the weight, or the V behind a parametrised one.

    Raises
    ------
    InputError
        If the weight is computed by a hook of the layer, as old-style weight norm and pruning do:
        a value written into it would be lost.
    """
    if parametrize.is_parametrized(layer, "weight"):
        return next(parametrization(layer, "weight").parameters(recurse=False))
    if not isinstance(layer.weight, nn.Parameter):
        raise InputError(
            f"layer {name!r}: its weight is computed by a hook (weight norm or pruning of the old "
            "style); a parameter or a torch parametrization was expected"
        )
    return layer.weight


def channel_axis(layer: Layer, features: torch.Tensor) -> int:
    """Axis of the output that counts channels; inputs need not have a batch axis."""
    return features.ndim - 1 - (0 if isinstance(layer, nn.Linear) else len(layer.kernel_size))


@contextmanager
def noise_pass(module: nn.Module, watch: Watcher) -> Iterator[None]:
    """Within this context forward passes are those of noise, and every layer's are watched.

    Normalisation layers normalise by the batch, as in training, but their running averages do not
    move; everything else is in evaluation mode, so that dropout is off. All is as before
    afterwards, also after an error.

    Parameters
    ----------
    module : Module
    watch : callable
        Called at every call of a layer of :func:`linear_layers`, before hooks that the user put
        there; it may change the output in place.
    """
    modes = [(each, each.training) for each in module.modules()]
    norms = [each for each, _ in modes if isinstance(each, _NormBase)]
    kept = [(norm, name, value) for norm in norms for name, value in norm._buffers.items()]
    hooks = []

    def hook_of(name: str) -> Callable[..., None]:
        def hook(
            layer: Layer, args: tuple[Any, ...], named: dict[str, Any], output: torch.Tensor
        ) -> None:
            watch(name, layer, next(chain(args, named.values())), output)

        return hook

    try:
        for each, _ in modes:
            each.training = isinstance(each, _NormBase)
        for norm, name, value in kept:
            norm._buffers[name] = None if value is None else value.clone()
        for name, layer in linear_layers(module).items():
            hooks.append(layer.register_forward_hook(hook_of(name), prepend=True, with_kwargs=True))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for norm, name, value in kept:
            norm._buffers[name] = value
        for each, mode in modes:
            each.training = mode


def spread(
    features: torch.Tensor, axis: int | None = None, *, centred: bool = True
) -> torch.Tensor:
    """Standard deviation of features, or their root mean square, in double precision.

    PyTorch's own variance of a whole tensor is not vectorised on processors. Here means and
    squares are summed in runs, and the difference is taken only where it keeps its digits.

    Parameters
    ----------
    features : Tensor
    axis : int, optional
        One number for each position along it instead of one for all.
    centred : bool
        Standard deviation, with Bessel's correction as in ``Tensor.std``; else root mean square.

    Returns
    -------
    Tensor of shape () or (K,), on the processor
        NaN where there are too few values.
    """
    x = features.detach()
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    sums, squares, count = _whole(x) if axis is None else _along(x, axis)
    mean_square = squares / count
    if not centred:
        return mean_square.sqrt()
    if count < 2:
        return torch.full_like(mean_square, math.nan)
    variance = mean_square - (sums / count) ** 2
    if bool((variance <= _CANCELLED * mean_square).any()):
        rest = [d for d in range(x.ndim) if axis is None or d != axis]
        return torch.var(x, dim=rest).cpu().double().sqrt()
    return (variance * (count / (count - 1))).sqrt()


def _whole(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Sum, sum of squares and number of all values."""
    flat = x.reshape(-1)
    end = flat.numel() // _RUN * _RUN
    sums = squares = torch.zeros((), dtype=torch.float64)
    for part in (flat[:end].view(-1, _RUN), flat[end:].view(1, -1)):
        sums = sums + part.sum(1).cpu().double().sum()
        norms = torch.linalg.vector_norm(part, dim=1).cpu().double()
        squares = squares + norms.square().sum()
    return sums, squares, flat.numel()


def _along(x: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Sums, sums of squares and number of the values at each position along an axis."""
    before, channels = x.shape[:axis].numel(), x.shape[axis]
    block = x.reshape(before, channels, -1)
    if block.shape[2] > 1:
        sums, norms = block.sum(2), torch.linalg.vector_norm(block, dim=2)
    else:
        sums, norms = block[:, :, 0], block[:, :, 0]
    squares = norms.cpu().double().square().sum(0)
    return sums.cpu().double().sum(0), squares, before * block.shape[2]
