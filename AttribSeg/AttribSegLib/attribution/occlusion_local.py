"""Occlusion of convolutional networks, computing again only what a patch changes.

A patch changes few voxels, and through a convolution few of its outputs. Every layer's input for
the whole image is computed once; for a patch, only the changed region is followed from layer to
layer, with as much of the unchanged surroundings as the next convolution looks at. So that patches
of one shape go through together, all their regions are as large as the largest; near a border they
then reach a little further inwards than needed. This is exact, not an approximation, as long as no
layer mixes distant voxels: instance, group and layer norm do.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..networks.patchgan import PatchGAN, SmoothLeakyReLU

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_MAX_POOLS = (nn.MaxPool2d, nn.MaxPool3d)
_AVERAGE_POOLS = (nn.AvgPool2d, nn.AvgPool3d)
_GLOBAL_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
#: Layers that see every voxel by itself (in evaluation mode).
_VOXELWISE = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.Softplus,
    nn.Tanh,
    nn.Sigmoid,
    nn.GELU,
    nn.SiLU,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    SmoothLeakyReLU,
)


@dataclass(frozen=True)
class _Layer:
    """A layer that looks at windows of its input; voxel-wise ones follow it."""

    module: nn.Module
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    border: float
    after: tuple[nn.Module, ...]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Without padding: x has its surroundings already."""
        module: Any = self.module
        if isinstance(module, _CONVOLUTIONS):
            function = nn.functional.conv2d if x.ndim == 4 else nn.functional.conv3d
            y = function(
                x, module.weight, module.bias, self.stride, 0, self.dilation, module.groups
            )
        elif isinstance(module, _MAX_POOLS):
            pool = nn.functional.max_pool2d if x.ndim == 4 else nn.functional.max_pool3d
            y = pool(x, self.kernel, self.stride, 0, self.dilation)
        else:
            average = nn.functional.avg_pool2d if x.ndim == 4 else nn.functional.avg_pool3d
            y = average(x, self.kernel, self.stride)
        for each in self.after:
            y = each(y)
        return y

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """Input with its border."""
        widths = [p for p in reversed(self.padding) for _ in (0, 1)]
        return nn.functional.pad(x, widths, value=self.border)


@dataclass(frozen=True)
class _Region:
    """What patches of one shape change at one layer, along one axis.

    Parameters
    ----------
    write : tuple of int
        First output of every patch.
    count : int
        Outputs of each.
    read : tuple of int
        First input (in padded voxels) that these outputs look at.
    length : int
        Inputs that they look at.
    """

    write: tuple[int, ...]
    count: int
    read: tuple[int, ...]
    length: int

    @classmethod
    def after(
        cls, before: tuple[tuple[int, int], ...], layer: _Layer, axis: int, size: int
    ) -> _Region:
        """The outputs, of ``size`` there are, that look at intervals [start, stop) of the input."""
        stride, padding = layer.stride[axis], layer.padding[axis]
        reach = layer.dilation[axis] * (layer.kernel[axis] - 1)
        first = [max(0, -(-(start + padding - reach) // stride)) for start, _ in before]
        last = [min(size - 1, (stop - 1 + padding) // stride) for _, stop in before]
        # Where no output looks at what changed, one that stays as it is does no harm.
        count = max(1, *(b - a + 1 for a, b in zip(first, last, strict=True)))
        write = tuple(min(a, size - count) for a in first)
        read = tuple(a * stride for a in write)
        return cls(write, count, read, (count - 1) * stride + reach + 1)

    @property
    def intervals(self) -> tuple[tuple[int, int], ...]:
        """Outputs of every patch, [start, stop)."""
        return tuple((a, a + self.count) for a in self.write)


@dataclass(frozen=True)
class LocalNetwork:
    """A network as a chain of local layers, a mean over voxels, and a head on the means.

    Parameters
    ----------
    before : tuple of Module
        Voxel-wise layers in front of the first layer.
    layers : tuple of _Layer
    head : Module
        Maps means (B, C) to logits (B,) or (B, 1).
    """

    before: tuple[nn.Module, ...]
    layers: tuple[_Layer, ...]
    head: nn.Module

    @classmethod
    def of(cls, network: nn.Module) -> LocalNetwork | None:
        """The chain of a network; None where it is not one, or mixes distant voxels."""
        if network.training or any(_hooked(module) for module in network.modules()):
            return None
        head: nn.Module = nn.Identity()
        if type(network) is PatchGAN:
            modules = list(network.layers)
        elif type(network) is nn.Sequential:
            modules = list(_flat(network))
            ends = [i for i, module in enumerate(modules) if isinstance(module, _GLOBAL_POOLS)]
            if len(ends) != 1 or not _is_global(modules[ends[0]]):
                return None
            rest = modules[ends[0] + 1 :]
            # Means come as (B, C): what flattens them has nothing left to do.
            if not all(isinstance(m, (nn.Flatten, nn.Linear, *_VOXELWISE)) for m in rest):
                return None
            head = nn.Sequential(*[m for m in rest if not isinstance(m, nn.Flatten)])
            modules = modules[: ends[0]]
        else:
            return None
        return cls._chain(modules, head)

    @classmethod
    def _chain(cls, modules: list[nn.Module], head: nn.Module) -> LocalNetwork | None:
        before: list[nn.Module] = []
        layers: list[list[Any]] = []
        for module in modules:
            if isinstance(module, _VOXELWISE):
                (layers[-1][1] if layers else before).append(module)
                continue
            found = _windows_of(module)
            if found is None:
                return None
            layers.append([found, []])
        if not layers:
            return None
        chain = tuple(_Layer(**{**vars(layer), "after": tuple(after)}) for layer, after in layers)
        return cls(tuple(before), chain, head)

    def changes(
        self,
        image: torch.Tensor,
        windows: Sequence[tuple[slice, ...]],
        contents: Sequence[torch.Tensor],
        *,
        memory: int,
    ) -> list[float]:
        """F(x) - F(x with a patch replaced), for every patch.

        Parameters
        ----------
        image : Tensor of shape (C, I, J[, K])
        windows : sequence of tuples of slice
            Where the patches lie.
        contents : sequence of Tensor
            What replaces them, each (C, i, j[, k]).
        memory : int
            Bytes that patches computed at once may take.
        """
        x = image[None]
        for module in self.before:
            x = module(x)
        axes = range(image.ndim - 1)
        inputs, sizes = [], [tuple(x.shape[2:])]
        for layer in self.layers:
            inputs.append(layer.padded(x)[0])
            x = layer(inputs[-1][None])
            sizes.append(tuple(x.shape[2:]))
        output = x[0]
        means = output.flatten(1).mean(1)
        whole = float(self._logits(means[None]))
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, content in enumerate(contents):
            groups[tuple(content.shape)].append(number)
        changes = [0.0] * len(windows)
        for members in groups.values():
            regions = self._regions([windows[n] for n in members], sizes)
            widest = max(
                len(x) * math.prod(region.length for region in level)
                for x, level in zip(inputs, regions, strict=True)
            )
            at_once = max(1, memory // (4 * widest * image.element_size()))
            for start in range(0, len(members), at_once):
                part = slice(start, start + at_once)
                block = torch.stack([contents[n] for n in members[part]])
                place = [[windows[n][axis].start for n in members[part]] for axis in axes]
                found = self._follow(block, place, part, regions, inputs, output, means)
                for number, logit in zip(members[part], found, strict=True):
                    changes[number] = whole - logit
        return changes

    def _regions(
        self, windows: list[tuple[slice, ...]], sizes: list[tuple[int, ...]]
    ) -> list[list[_Region]]:
        """What patches of one shape change, layer by layer and axis by axis."""
        levels: list[list[_Region]] = []
        changed = [
            tuple((window[axis].start, window[axis].stop) for window in windows)
            for axis in range(len(sizes[0]))
        ]
        for layer, size in zip(self.layers, sizes[1:], strict=True):
            level = [
                _Region.after(intervals, layer, axis, size[axis])
                for axis, intervals in enumerate(changed)
            ]
            levels.append(level)
            changed = [region.intervals for region in level]
        return levels

    def _follow(
        self,
        block: torch.Tensor,
        place: list[list[int]],
        part: slice,
        regions: list[list[_Region]],
        inputs: list[torch.Tensor],
        output: torch.Tensor,
        means: torch.Tensor,
    ) -> list[float]:
        """Logits of patches of one shape; ``place`` is where their blocks begin, axis by axis."""
        for module in self.before:
            block = module(block)
        for layer, level, x in zip(self.layers, regions, inputs, strict=True):
            reads = [list(region.read[part]) for region in level]
            region = _gather(x, reads, [each.length for each in level])
            inside = [
                [p + layer.padding[axis] - r for p, r in zip(place[axis], reads[axis], strict=True)]
                for axis in range(len(level))
            ]
            _paste(region, block, inside)
            block = layer(region)
            place = [list(each.write[part]) for each in level]
        before = _gather(output, place, [each.count for each in regions[-1]])
        moved = (block.double() - before.double()).flatten(2).sum(2) / output[0].numel()
        return self._logits((means.double() + moved).to(means.dtype)).double().tolist()

    def _logits(self, means: torch.Tensor) -> torch.Tensor:
        return self.head(means).reshape(len(means))


def _gather(x: torch.Tensor, starts: list[list[int]], lengths: list[int]) -> torch.Tensor:
    """Regions of one size from x (C, I, J[, K]), as (B, C, i, j[, k])."""
    # Copying slice by slice is several times faster than indexing with tensors.
    regions = x.new_empty(len(starts[0]), len(x), *lengths)
    for region, *start in zip(regions, *starts, strict=True):
        window = [slice(a, a + n) for a, n in zip(start, lengths, strict=True)]
        region.copy_(x[(slice(None), *window)])
    return regions


def _paste(regions: torch.Tensor, blocks: torch.Tensor, starts: list[list[int]]) -> None:
    """Write blocks (B, C, ...) into regions (B, C, ...); what lies outside is left out."""
    for region, block, *start in zip(regions, blocks, *starts, strict=True):
        target, source = [], []
        for a, size, length in zip(start, block.shape[1:], region.shape[1:], strict=True):
            low, high = max(0, a), min(length, a + size)
            target.append(slice(low, max(low, high)))
            source.append(slice(low - a, max(low, high) - a))
        region[(slice(None), *target)] = block[(slice(None), *source)]


def _windows_of(module: nn.Module) -> _Layer | None:
    """A convolution or pooling; None for anything else."""
    each: Any = module
    axes = 3 if isinstance(module, (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d)) else 2

    def per_axis(value: Any) -> tuple[int, ...]:
        return (value,) * axes if isinstance(value, int) else tuple(value)

    if isinstance(module, _CONVOLUTIONS):
        if each.padding_mode != "zeros" or isinstance(each.padding, str):
            return None
        dilation, border = per_axis(each.dilation), 0.0
    elif isinstance(module, _MAX_POOLS):
        dilation, border = per_axis(each.dilation), -float("inf")
    elif isinstance(module, _AVERAGE_POOLS):
        padded = any(per_axis(each.padding))
        if (padded and not each.count_include_pad) or each.divisor_override:
            return None
        dilation, border = (1,) * axes, 0.0
    else:
        return None
    if getattr(each, "ceil_mode", False):
        return None
    return _Layer(
        module,
        per_axis(each.kernel_size),
        per_axis(each.stride),
        per_axis(each.padding),
        dilation,
        border,
        (),
    )


def _flat(module: nn.Module) -> itertools.chain[nn.Module]:
    """Modules of nested sequences, in order."""
    return itertools.chain.from_iterable(
        _flat(child) if type(child) is nn.Sequential else [child] for child in module.children()
    )


def _is_global(module: nn.Module) -> bool:
    size: Any = module.output_size
    return set(size if isinstance(size, tuple) else (size,)) == {1}


def _hooked(module: nn.Module) -> bool:
    """Somebody watches or changes what passes through."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
