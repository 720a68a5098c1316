"""Base of networks that are trained to reconstruct healthy images."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ..errors import InputError
from .input_check import require_kind


class ReconstructionNetwork(nn.Module, ABC):
    r"""Base of networks that reconstruct an image and score the residual.

    Images hold one constant outside the brain; the brain is where any channel differs from it.
    (Brain voxels clipped to this very value in all channels count as outside.) Residuals are zero
    outside and means are over the brain, so that neither the share of background nor the
    outline, which is known, counts.

    Parameters
    ----------
    dimensions : {2, 3}
    in_channels : int
    size : sequence of int
        Voxels along every axis. Fixed, because the latent is a vector.
    channels, strides : sequences of int
        Filters and stride of every convolution from the image down to the coarsest grid; mirrored
        on the way back. Images are padded with background to a multiple of the strides' product,
        and cropped back: only then do the transposed convolutions give the grid that the
        convolutions started from.
    latent : int
        Length of the latent vector.
    background : float

    Raises
    ------
    InputError
        If a parameter is not one of the above.
    """

    offset: torch.Tensor

    def __init__(
        self,
        *,
        dimensions: int,
        in_channels: int,
        size: Sequence[int],
        channels: Sequence[int] = (32, 64, 128, 128, 256),
        strides: Sequence[int] = (2, 2, 2, 2, 2),
        latent: int = 64,
        background: float = 0.0,
    ) -> None:
        super().__init__()
        require_kind(dimensions, in_channels)
        if len(size) != dimensions or min(size) < 1:
            raise InputError(f"size {tuple(size)}: {dimensions} positive numbers were expected")
        if not strides or min(strides) < 1:
            raise InputError(f"strides {tuple(strides)}: positive numbers were expected")
        if len(channels) != len(strides) or min(channels) < 1:
            raise InputError(
                f"channels {tuple(channels)}: {len(strides)} positive numbers, one for each stride"
            )
        if latent < 1:
            raise InputError(f"latent {latent}: at least 1 was expected")
        if not math.isfinite(background):
            raise InputError(f"background {background}: a finite number was expected")
        self.dimensions, self.in_channels = dimensions, in_channels
        self.size = tuple(int(n) for n in size)
        self.channels, self.strides = tuple(channels), tuple(strides)
        self.latent = latent
        self.background = float(background)
        stride = math.prod(strides)
        self.padded_size = tuple(-(-n // stride) * stride for n in self.size)
        self.coarse_size = tuple(n // stride for n in self.padded_size)
        self.register_buffer("offset", torch.zeros(()))

    def brain(self, x: torch.Tensor) -> torch.Tensor:
        """Brain mask of images (B, C, I, J[, K]): bool of shape (B, 1, I, J[, K])."""
        return (x != self.background).any(1, keepdim=True)

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        """Images on the padded grid, shifted so that the background is the 0 of zero padding.

        Raises
        ------
        InputError
            If the images are not of the network's channels and size.
        """
        if x.shape[1:] != (self.in_channels, *self.size):
            raise InputError(
                f"input of shape {tuple(x.shape)}: (B, {self.in_channels}, "
                f"{', '.join(map(str, self.size))}) was expected"
            )
        widths = [
            width
            for wanted, present in zip(self.padded_size[::-1], self.size[::-1], strict=True)
            for width in (0, wanted - present)
        ]
        return functional.pad(x - self.background, widths)

    def crop(self, padded: torch.Tensor) -> torch.Tensor:
        """What lies on the padded grid, back on the images' own."""
        inside = tuple(slice(n) for n in self.size)
        return padded[(slice(None), slice(None), *inside)]

    def unpad(self, padded: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`pad`."""
        return self.crop(padded) + self.background

    @abstractmethod
    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruction of images (B, C, I, J[, K]); meaningful within the brain only."""

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        """Absolute residual |x - x_hat|, of the shape of x, zero outside the brain."""
        return (x - self.reconstruct(x)).abs() * self.brain(x)

    def error(self, x: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
        """Mean squared residual over brain and channels, shape (B,), in float32."""
        brain = self.brain(x)
        squared = (x.float() - reconstruction.float()).square() * brain
        values = brain.flatten(1).sum(1).clamp(min=1) * self.in_channels
        return squared.flatten(1).sum(1) / values

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Anomaly score of shape (B,): mean squared residual over the brain less the offset."""
        return self.error(x, self.reconstruct(x)) - self.offset
