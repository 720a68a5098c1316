"""U-Net with squeeze-and-excitation: the network of the supervised ceiling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .input_check import require_input, require_kind

_ACTIVATION = ("LeakyReLU", {"negative_slope": 0.1})
_NORM = ("instance", {"affine": True})
#: Channels of a block over those of the bottleneck of its gate.
_SQUEEZE = 2
#: Share of lesion voxels that the untrained network expects everywhere. Started at a half, it
#: would spend its first epochs on learning that most voxels are healthy.
_PRIOR = 0.01


class UNet(nn.Module):
    """U-Net in 2D or 3D whose blocks are gated channel by channel (thesis ch. 5, MSSEG ceiling).

    MONAI's parts: two 3-wide convolutions with instance norm per block, max pooling down,
    transposed convolutions up, and after every block a squeeze-and-excitation gate. Grids of any
    size of at least :attr:`minimum_size` are taken; odd ones are padded on the way up.

    Parameters
    ----------
    dimensions : {2, 3}
    in_channels : int
    width : float
        Factor on the number of filters.
    filters : sequence of int
        Filters of every level from the image down to the coarsest grid, at width 1.
    score_share : float
        Share of an image's voxels, those of the highest logits, whose mean logit is the image's
        score: a maximum that one wrong voxel cannot decide.

    Raises
    ------
    InputError
        If a parameter is not one of the above.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer and T. Brox, "U-Net: convolutional networks for biomedical
       image segmentation", MICCAI 2015.
    .. [2] J. Hu, L. Shen and G. Sun, "Squeeze-and-excitation networks", CVPR 2018.
    """

    offset: torch.Tensor

    def __init__(
        self,
        *,
        dimensions: int,
        in_channels: int,
        width: float = 1.0,
        filters: Sequence[int] = (32, 64, 128, 256, 256),
        score_share: float = 0.001,
    ) -> None:
        super().__init__()
        require_kind(dimensions, in_channels)
        if not (math.isfinite(width) and width > 0):
            raise InputError(f"width {width}: a positive number was expected")
        if len(filters) < 2 or min(filters) < 1:
            raise InputError(f"filters {tuple(filters)}: two or more positive numbers")
        if not 0 < score_share <= 1:
            raise InputError(f"score_share {score_share}: a share above 0, at most 1")
        from monai.networks.nets.basic_unet import Down, TwoConv, UpCat

        self.dimensions, self.in_channels = dimensions, in_channels
        self.score_share = float(score_share)
        # Below two channels there is nothing to squeeze.
        widths = [max(_SQUEEZE, round(count * width)) for count in filters]
        layers: dict[str, Any] = {"act": _ACTIVATION, "norm": _NORM, "bias": True}
        self.first = _gated(
            TwoConv(dimensions, in_channels, widths[0], **layers), dimensions, widths[0]
        )
        self.down = nn.ModuleList(
            _gated(Down(dimensions, before, after, **layers), dimensions, after)
            for before, after in pairwise(widths)
        )
        self.up = nn.ModuleList(
            UpCat(dimensions, below, beside, beside, **layers)
            for beside, below in reversed(list(pairwise(widths)))
        )
        self.up_gates = nn.ModuleList(_gate(dimensions, count) for count in widths[-2::-1])
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.last = convolution(widths[0], 1, 1)
        assert self.last.bias is not None  # asked for by default
        nn.init.constant_(self.last.bias, math.log(_PRIOR / (1 - _PRIOR)))
        #: Score between the classes; see :meth:`.SupervisedRecipe.calibrate`.
        self.register_buffer("offset", torch.zeros(()))

    @property
    def minimum_size(self) -> int:
        """Smallest input along any axis: instance norm needs two voxels on the coarsest grid.

        >>> UNet(dimensions=2, in_channels=1, width=0.1, filters=(32, 64, 64)).minimum_size
        8
        """
        return 2 ** (len(self.down) + 1)

    def voxel_logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logit of "lesion" of every voxel.

        Parameters
        ----------
        x : Tensor of shape (B, C, I, J[, K])

        Returns
        -------
        Tensor of shape (B, 1, I, J[, K])

        Raises
        ------
        InputError
            If the images are of another shape, or too small.
        """
        require_input(
            x,
            dimensions=self.dimensions,
            in_channels=self.in_channels,
            minimum_size=self.minimum_size,
        )
        features = [self.first(x)]
        for down in self.down:
            features.append(down(features[-1]))
        values = features.pop()
        for up, gate in zip(self.up, self.up_gates, strict=True):
            values = gate(up(values, features.pop()))
        return self.last(values)

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Score of images from the logits of their voxels, shape (B,); in float32.

        Parameters
        ----------
        logits : Tensor of shape (B, 1, I, J[, K])
        """
        flat = logits.float().flatten(1)
        count = max(1, round(self.score_share * flat.shape[1]))
        return flat.topk(count, dim=1).values.mean(1) - self.offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score of every image, shape (B,): positive for pathological ones once calibrated."""
        return self.score(self.voxel_logits(x))


def _gate(dimensions: int, channels: int) -> nn.Module:
    """Squeeze-and-excitation: channels weighted by what the whole image holds."""
    from monai.networks.blocks.squeeze_and_excitation import ChannelSELayer

    return ChannelSELayer(dimensions, channels, r=_SQUEEZE)


def _gated(block: nn.Module, dimensions: int, channels: int) -> nn.Sequential:
    """A block of convolutions and its gate."""
    return nn.Sequential(block, _gate(dimensions, channels))
