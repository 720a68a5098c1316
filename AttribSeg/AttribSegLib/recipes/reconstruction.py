"""What the recipes that reconstruct healthy images share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import nn

from ..errors import InputError
from ..metrics.image import class_weighted_accuracy
from ..networks.reconstruction import ReconstructionNetwork
from . import Batch
from .options import TrainingOptions


def best_offset(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Score with the best class-weighted accuracy, where higher ones mean pathological.

    Candidates are the midpoints between neighbouring scores; among equally good ones the middle
    of the widest gap, which a new image is least likely to fall on the wrong side of. Where no
    midpoint does better than chance, the highest score: then no image is called pathological.

    Parameters
    ----------
    scores, labels : sequences of the same length
        Anomaly scores, and 0 (healthy) or 1 (pathological).

    Raises
    ------
    InputError
        If scores are missing or not finite, or one of the classes is.

    Examples
    --------
    >>> best_offset([0.1, 0.2, 0.6, 0.4], [0, 0, 1, 1])
    0.30000000000000004
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.shape != truth.shape or set(truth.tolist()) != {0, 1}:
        raise InputError("calibration: scores of healthy and pathological images were expected")
    if not np.isfinite(values).all():
        raise InputError("calibration: a score is not finite; the training has diverged")
    distinct = np.unique(values)
    best, offset = (0.5, 0.0), float(distinct[-1])
    for low, high in pairwise(distinct.tolist()):
        middle = (low + high) / 2
        quality = (class_weighted_accuracy(truth, values > middle), high - low)
        if quality > best:
            best, offset = quality, middle
    return offset


def draws(batch: Batch) -> torch.Generator:
    """Source of all that the loss of a batch draws: of the batch's seed, on the CPU.

    A resumed training, or one on another device, draws the same.
    """
    return torch.Generator().manual_seed(batch.seed)


def draw_normal(source: torch.Generator, like: torch.Tensor, *shape: int) -> torch.Tensor:
    """Standard normal numbers of a shape, on the device of ``like``."""
    return torch.randn(*shape, generator=source).to(like.device)


@dataclass(frozen=True)
class ReconstructionOptions(TrainingOptions):
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

    def calibrate(self, network: nn.Module, scores: Sequence[float], labels: Sequence[int]) -> None:
        """Let scores above 0 mean pathological: see :func:`best_offset`.

        Parameters
        ----------
        network : Module
            Its buffer ``offset`` is moved.
        scores, labels : sequences
            Scores of validation images, as this network gives them, and 0 or 1.
        """
        cast(ReconstructionNetwork, network).offset += best_offset(scores, labels)

    @torch.no_grad()
    def explain(self, network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (B,) and the absolute residuals |x - x_hat|, of the shape of x."""
        return network(x), cast(ReconstructionNetwork, network).residual(x)
