"""PatchGAN: a small convolutional classifier whose logit is the mean of patch logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from ..errors import InputError
from .input_check import require_input, require_kind
from .twice import Conv2d, Conv3d, InstanceNorm

_ACTIVATIONS = ("leaky_relu", "relu", "elu", "softplus")
_NORMS = ("instance", "group", "layer", "batch", "none")


class PatchGAN(nn.Module):
    r"""PatchGAN classifier in 2D or 3D (thesis ch. 5; Isola et al., CVPR 2017).

    Convolutions of kernel 4 and padding 1, each but the last followed by a rectifier and then a
    normalisation (none after the first), the last one down to one channel. The output is a map
    of patch logits and the image's logit is their mean,

    .. math:: F(x) = \frac{1}{P} \sum_{p=1}^{P} z_p(x).

    Parameters
    ----------
    dimensions : {2, 3}
        Spatial dimensions of the input.
    in_channels : int
        Channels of the input (FLAIR, T1, ...).
    width : float
        Factor on the number of filters; 1 is the published network.
    filters : sequence of int
        Filters of all convolutions but the last, at width 1.
    strides : sequence of int
        One stride per entry of ``filters``; (2, 2, 2, 2) has a receptive field of 94, Isola's
        (2, 2, 2, 1) of 70.
    norm : {"instance", "group", "layer", "batch", "none"}
        Normalisation. Batch statistics tie a healthy image's gradient to its neighbours in the
        batch, hence instance norm as the default. Instance norm is left out before the last
        convolution: it makes every feature's spatial mean zero, and with it F, the mean of the
        patch logits, a constant but for what leaks in at the borders. Layer norm normalises
        over channels and voxels together.
    activation : {"leaky_relu", "relu", "elu", "softplus"}
        Rectifier; LeakyReLU has slope 0.2. "softplus" is its smooth counterpart
        0.2 x + 0.8 softplus(4 x) / 4, whose gradient is continuous in the input.

    Raises
    ------
    InputError
        If a parameter is not one of the above.

    References
    ----------
    .. [1] P. Isola et al., "Image-to-image translation with conditional adversarial networks",
       CVPR 2017.
    """

    def __init__(
        self,
        *,
        dimensions: int = 3,
        in_channels: int = 1,
        width: float = 1.0,
        filters: Sequence[int] = (64, 128, 256, 512),
        strides: Sequence[int] = (2, 2, 2, 2),
        norm: str = "instance",
        activation: str = "leaky_relu",
    ) -> None:
        super().__init__()
        require_kind(dimensions, in_channels)
        if norm not in _NORMS:
            raise InputError(f"norm {norm!r}: one of {', '.join(_NORMS)} was expected")
        if activation not in _ACTIVATIONS:
            raise InputError(f"activation {activation!r}: one of {', '.join(_ACTIVATIONS)}")
        if len(strides) != len(filters) or any(s not in (1, 2) for s in strides):
            raise InputError(f"strides {tuple(strides)}: {len(filters)} numbers, each 1 or 2")
        if not (math.isfinite(width) and width > 0):
            raise InputError(f"width {width}: a positive number was expected")
        widths = [max(1, round(count * width)) for count in filters]
        self.dimensions = dimensions
        self.in_channels = in_channels
        self.strides = tuple(int(s) for s in strides)
        self.norm = norm
        convolution = Conv2d if dimensions == 2 else Conv3d
        layers: list[nn.Module] = []
        for depth, (before, after) in enumerate(pairwise([in_channels, *widths])):
            layers.append(convolution(before, after, 4, stride=self.strides[depth], padding=1))
            layers.append(_activation(activation))
            last = depth == len(widths) - 1
            if depth > 0 and not (last and norm == "instance"):
                layers.append(_normalisation(norm, dimensions, after))
        layers.append(convolution(widths[-1], 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)

    @property
    def receptive_field(self) -> int:
        """Voxels along one axis that one patch logit sees.

        >>> PatchGAN(dimensions=2, width=0.1, strides=(2, 2, 2, 1)).receptive_field
        70
        """
        field, jump = 1, 1
        for stride in (*self.strides, 1):
            field += 3 * jump
            jump *= stride
        return field

    @property
    def minimum_size(self) -> int:
        """Smallest input, in voxels along any axis, that gives a patch logit."""
        size = 2
        for stride in reversed(self.strides):
            size = (size - 1) * stride + 2 if stride == 2 else size + 1
        return size

    def patch_logits(self, x: torch.Tensor) -> torch.Tensor:
        """Map of patch logits.

        Parameters
        ----------
        x : Tensor of shape (B, C, I, J[, K])

        Returns
        -------
        Tensor of shape (B, 1, i, j[, k])
        """
        require_input(
            x,
            dimensions=self.dimensions,
            in_channels=self.in_channels,
            minimum_size=self.minimum_size,
        )
        return self.layers(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logit F(x) of every image, shape (B,)."""
        return self.patch_logits(x).flatten(1).mean(1)


class SmoothLeakyReLU(nn.Module):
    """LeakyReLU(0.2) with its kink smoothed: 0.2 x + 0.8 softplus_4(x)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it voxel by voxel."""
        return 0.2 * x + 0.8 * nn.functional.softplus(x, beta=4.0)


def _activation(name: str) -> nn.Module:
    if name == "relu":
        return nn.ReLU()
    if name == "elu":
        return nn.ELU()
    if name == "softplus":
        return SmoothLeakyReLU()
    return nn.LeakyReLU(0.2)


def _normalisation(name: str, dimensions: int, channels: int) -> nn.Module:
    if name == "instance":
        return InstanceNorm()
    if name == "group":
        groups = max(g for g in (1, 2, 4, 8) if channels % g == 0)
        return nn.GroupNorm(groups, channels)
    if name == "layer":
        return nn.GroupNorm(1, channels)
    if name == "batch":
        return (nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d)(channels)
    return nn.Identity()
