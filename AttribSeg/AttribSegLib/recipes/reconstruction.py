"""What the recipes that reconstruct healthy images share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import nn

from ..errors import InputError
from ..networks.reconstruction import ReconstructionNetwork
from . import Batch
from .calibration import CalibratedScore
from .options import TrainingOptions


def draws(batch: Batch) -> torch.Generator:
    """Source of all that the loss of a batch draws: of the batch's seed, on the CPU.

    A resumed training, or one on another device, draws the same.
    """
    return torch.Generator().manual_seed(batch.seed)


def draw_normal(source: torch.Generator, like: torch.Tensor, *shape: int) -> torch.Tensor:
    """Standard normal numbers of a shape, on the device of ``like``."""
    return torch.randn(*shape, generator=source).to(like.device)


@dataclass(frozen=True)
class ReconstructionOptions(CalibratedScore, TrainingOptions):
    """What recipes share that score images by how badly they are reconstructed.

    They use the healthy half of each batch only; the labels of validation images place the
    threshold between the classes, and nothing else.

    Parameters
    ----------
    filters, strides : sequences of int
        Filters, at width 1, and stride of every convolution from the image to the coarsest grid.
    latent : int
        Length of the latent vector.

    Raises
    ------
    InputError
        Names the parameter and what was expected.
    """

    selection: ClassVar[str] = "reconstruction"
    map_name: ClassVar[str] = "residual"
    #: What :meth:`build` makes.
    network_class: ClassVar[type[ReconstructionNetwork]]

    filters: Sequence[int] = (32, 64, 128, 128, 256)
    strides: Sequence[int] = (2, 2, 2, 2, 2)
    latent: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole_numbers("filters", "strides")
        if not self.filters or min(self.filters) < 1:
            raise InputError(f"filters {self.filters}: positive numbers were expected")
        if len(self.strides) != len(self.filters) or min(self.strides) < 1:
            raise InputError(f"strides {self.strides}: {len(self.filters)} positive numbers")
        self._require_number("latent", least=1)
        self._require_whole("latent")

    @property
    def network_options(self) -> dict[str, Any]:
        """Parameters of the network beyond those that all share."""
        return {}

    @property
    def scaled_filters(self) -> tuple[int, ...]:
        """Filters at this width."""
        return tuple(max(1, round(count * self.width)) for count in self.filters)

    def build(
        self, *, in_channels: int, dimensions: int, size: tuple[int, ...] | None = None
    ) -> nn.Module:
        """Untrained network for images of one size, which its latent vector cannot do without."""
        if size is None:
            raise InputError(f"size None: recipe {self.name} needs the voxels along every axis")
        return self.network_class(
            dimensions=dimensions,
            in_channels=in_channels,
            size=size,
            channels=self.scaled_filters,
            strides=self.strides,
            latent=self.latent,
            background=self.background,
            **self.network_options,
        )

    @torch.no_grad()
    def explain(self, network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (B,) and the absolute residuals |x - x_hat|, of the shape of x."""
        return network(x), cast(ReconstructionNetwork, network).residual(x)
