"""Encoders: from an image to interpretable features on the same grid.

They are ordinary networks, with weights of both signs: nothing about them is monotone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.twice import Conv2d, Conv3d, InstanceNorm
from torch import nn

_SLOPE = 0.2
NORMS = ("all", "inner", "none")


class ConvolutionalEncoder(nn.Sequential):
    """A few convolutions that keep the grid (thesis ch. 6).

    Each is followed by instance normalisation without parameters and LeakyReLU. There are no
    biases, which is the same as biases that are zero and frozen.

    Parameters
    ----------
    dimensions : {2, 3}
    in_channels, features : int
        Channels of the image and of the features.
    kernels : sequence of int
        Odd; one convolution each.
    norm : {"all", "inner", "none"}
        Instance normalisation after all convolutions (the published encoder), after all but the
        last, or after none. The last one makes every feature's mean over the image zero: a healthy
        image can then not have negative features only.

    Raises
    ------
    InputError
        If a parameter is not one of the above.
    """

    def __init__(
        self,
        *,
        dimensions: int,
        in_channels: int,
        features: int = 8,
        kernels: Sequence[int] = (7, 3),
        norm: str = "all",
    ) -> None:
        require_options(dimensions, features, norm)
        if not kernels or any(k < 1 or k % 2 == 0 for k in kernels):
            raise InputError(f"kernels {tuple(kernels)}: odd sizes, which keep the grid, expected")
        layers: list[nn.Module] = []
        widths = [in_channels, *[features] * len(kernels)]
        for depth, (before, after) in enumerate(pairwise(widths)):
            normed = norm == "all" or (norm == "inner" and depth < len(kernels) - 1)
            layers += convolution(dimensions, before, after, kernels[depth], normed)
        super().__init__(*layers)


class UNetEncoder(nn.Module):
    """A small U-Net that keeps the grid and sees far.

    Every level halves the grid by average pooling and doubles the channels; on the way up the
    nearest voxels are repeated and the features of the level are concatenated.

    Parameters
    ----------
    dimensions, in_channels, features, norm
        See :class:`ConvolutionalEncoder`; the last convolution is that of the finest level.
    kernels : sequence of int
        Sizes at every level, finest first; their number is that of the levels.

    Raises
    ------
    InputError
        If a parameter is not one of the above.
    """

    def __init__(
        self,
        *,
        dimensions: int,
        in_channels: int,
        features: int = 8,
        kernels: Sequence[int] = (7, 3, 3),
        norm: str = "all",
    ) -> None:
        super().__init__()
        require_options(dimensions, features, norm)
        if len(kernels) < 2 or any(k < 1 or k % 2 == 0 for k in kernels):
            raise InputError(f"kernels {tuple(kernels)}: an odd size for each of 2 or more levels")
        inner = norm != "none"
        widths = [features * 2**level for level in range(len(kernels))]
        down = []
        for kernel, (before, after) in zip(kernels, pairwise([in_channels, *widths]), strict=True):
            down.append(nn.Sequential(*convolution(dimensions, before, after, kernel, inner)))
        self.down = nn.ModuleList(down)
        up = []
        for level in reversed(range(len(kernels) - 1)):
            joined = widths[level] + widths[level + 1]
            normed = inner and (norm == "all" or level > 0)
            up.append(nn.Sequential(*convolution(dimensions, joined, widths[level], 3, normed)))
        self.up = nn.ModuleList(up)
        self._pool = nn.functional.avg_pool2d if dimensions == 2 else nn.functional.avg_pool3d

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (B, F, I, J[, K]) of images (B, C, I, J[, K]).

        Raises
        ------
        InputError
            If the image is too small to be halved as often as there are levels.
        """
        if min(x.shape[2:]) < 2 ** (len(self.down) - 1):
            raise InputError(
                f"input of {tuple(x.shape[2:])} voxels: at least {2 ** (len(self.down) - 1)} along "
                "every axis are needed"
            )
        levels = [self.down[0](x)]
        for block in list(self.down)[1:]:
            # Odd sizes keep their last voxel.
            levels.append(block(self._pool(levels[-1], 2, ceil_mode=True)))
        result = levels.pop()
        for block in self.up:
            finer = levels.pop()
            grown = nn.functional.interpolate(result, scale_factor=2, mode="nearest")
            window: tuple[Any, ...] = (..., *(slice(n) for n in finer.shape[2:]))
            result = block(torch.cat([finer, grown[window]], dim=1))
        return result


#: Name -> class, for recipes.
ENCODERS: dict[str, type[nn.Module]] = {
    "convolutions": ConvolutionalEncoder,
    "unet": UNetEncoder,
}


def convolution(
    dimensions: int, before: int, after: int, kernel: int, normed: bool
) -> list[nn.Module]:
    """Convolution without bias that keeps the grid, normalisation if wanted, and LeakyReLU."""
    make: Any = Conv2d if dimensions == 2 else Conv3d
    layers: list[nn.Module] = [make(before, after, kernel, padding=kernel // 2, bias=False)]
    if normed:
        layers.append(InstanceNorm())
    return [*layers, nn.LeakyReLU(_SLOPE)]


def require_options(dimensions: int, features: int, norm: str) -> None:
    """Refuse what no encoder can be.

    Raises
    ------
    InputError
        Names the value.
    """
    if dimensions not in (2, 3):
        raise InputError(f"dimensions {dimensions}: 2 or 3 was expected")
    if features < 1:
        raise InputError(f"features {features}: at least 1 was expected")
    if norm not in NORMS:
        raise InputError(f"norm of the encoder {norm!r}: one of {', '.join(NORMS)} was expected")
