"""The attribution-constrained classifier (thesis ch. 5; IEEE TMI 42(11):3336-3347, 2023)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from ..attribution import EXPLANATIONS, LOSS_ATTRIBUTIONS, explain, require_available
from ..attribution.expected_gradients import expected_gradients
from ..attribution.gradient import score_and_gradient
from ..attribution.integrated_expected_gradients import ZERO_PROBABILITY
from ..constraints import (
    ALPHA_SCALES,
    CONSTRAINTS,
    UNSUP_AT_ZERO,
    ross,
    scale_attribution,
    sup,
    total_variation,
    unsup,
)
from ..errors import InputError
from ..networks import NETWORKS, build_network, is_known
from ..networks.batch_statistics import running_statistics_kept, uses_batch_statistics
from . import Batch, BatchLoss, register
from .classification import classification_loss
from .options import TrainingOptions, lower_precision

_REGIONS = ("image", "brain")


@register
@dataclass(frozen=True)
class AttributionRecipe(TrainingOptions):
    r"""Classifier whose attributions are constrained.

    .. math:: L = L_C + \alpha_A L_A

    with :math:`L_C` the binary cross-entropy of the image class and :math:`L_A` the constraint
    (thesis ch. 5, eq. 5.7).

    Parameters
    ----------
    network : str
        See :mod:`AttribSegLib.networks`.
    constraint : {"unsup", "sup", "unsup_tv", "erion", "ross", "none"}
        "unsup" and "ross" look at healthy images (with scaled maps "ross" is a mean over voxels
        instead of the published sum); "sup" at these and at pathological images whose
        lesions are drawn; "unsup_tv" is "unsup" with the total variation of the same maps;
        "erion" is the total variation of the maps of all images, whatever their label.
    attribution : {"gradient", "integrated_gradients", "expected_gradients", \
                   "integrated_expected_gradients"}
        What L_A is computed on, always local. The last three are stochastic: at every step one
        reference (zero, a training image, or either) and one place on the way from it.
    zero_probability : float
        Probability of the zero reference in "integrated_expected_gradients".
    tv_weight : float
        Weight of the total variation in "unsup_tv".
    masks : int or None
        "sup" uses the lesion masks of at most so many patients; of all that have one when None.
    masked_share : float
        Share of the pathological images of every batch whose masks "sup" uses, at least: a few
        corrected cases are then seen in every step [ours]. 0 takes cases as they come.
    balanced : bool
        "sup" weighs lesions and the rest of a masked image alike; see :func:`.sup` [ours].
    explanation : str
        How maps are read from the trained network; see :func:`AttribSegLib.attribution.explain`.
    alpha : float
        Weight of the constraint.
    alpha_delay, alpha_warmup : float
        Shares of all steps: how long alpha stays 0, and over how long it then rises linearly.
        Where lesions are small, the classes must be told apart a little before the constraint
        has anything to work on. Epochs before alpha has its full value are not candidates for
        the weights that are kept.
    alpha_scale : {"voxels", "rms", "raw"}
        See :func:`.scale_attribution`.
    constraint_region : {"image", "brain"}
        Voxels over which L_A is averaged.
    width, filters, strides, norm, activation
        See :class:`.PatchGAN`; other networks take width, norm and activation.

    The parameters of the training are those of :class:`.TrainingOptions`.

    Raises
    ------
    InputError
        Names the parameter and what was expected.
    """

    name: ClassVar[str] = "attribution"

    network: str = "patchgan"
    constraint: str = "unsup"
    attribution: str = "gradient"
    zero_probability: float = ZERO_PROBABILITY
    tv_weight: float = 1.0
    masks: int | None = None
    masked_share: float = 0.0
    balanced: bool = False
    explanation: str = "gradient"
    alpha: float = 0.05
    alpha_delay: float = 0.0
    alpha_warmup: float = 0.5
    alpha_scale: str = "voxels"
    constraint_region: str = "image"
    filters: tuple[int, ...] = (64, 128, 256, 512)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    norm: str = "instance"
    activation: str = "leaky_relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole_numbers("filters", "strides")
        if not is_known(self.network):
            raise InputError(
                f"network {self.network!r}: one of {', '.join(NETWORKS)}, or a registered one, was "
                "expected"
            )
        self._require_choice("constraint", CONSTRAINTS)
        self._require_choice("attribution", LOSS_ATTRIBUTIONS)
        self._require_choice("explanation", EXPLANATIONS)
        self._require_choice("alpha_scale", ALPHA_SCALES)
        self._require_choice("constraint_region", _REGIONS)
        self._require_number("alpha", "tv_weight", least=0)
        if self.masks is not None:
            self._require_number("masks", least=1)
            self._require_whole("masks")
        if not isinstance(self.balanced, bool):
            raise InputError(f"balanced {self.balanced!r}: true or false was expected")
        for name in ("alpha_delay", "alpha_warmup", "zero_probability", "masked_share"):
            self._require_number(name)
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)}: a share of 0 to 1 was expected")
        if self.alpha_delay + self.alpha_warmup > 1:
            raise InputError("alpha_delay and alpha_warmup: their sum must not exceed 1")

    @property
    def first_epoch(self) -> int:
        """First epoch at whose end alpha has reached its value."""
        return max(1, math.ceil((self.alpha_delay + self.alpha_warmup) * self.epochs))

    @property
    def needs_references(self) -> bool:
        """Whether batches shall hold training images drawn at random."""
        drawn = self.attribution in ("expected_gradients", "integrated_expected_gradients")
        return drawn and self.constraint != "none"

    @property
    def masked_patients(self) -> int | None:
        """Number of patients whose lesion masks are used in training; None for all."""
        return self.masks if self.constraint == "sup" else 0

    @property
    def least_masked(self) -> float:
        """Share of the pathological images of every batch that have such a mask, at least."""
        return self.masked_share if self.constraint == "sup" else 0.0

    def alpha_at(self, progress: float) -> float:
        """Weight of the constraint at a share of all steps."""
        if self.constraint == "none" or progress < self.alpha_delay:
            return 0.0
        if self.alpha_warmup == 0:
            return self.alpha
        return self.alpha * min(1.0, (progress - self.alpha_delay) / self.alpha_warmup)

    def build(
        self, *, in_channels: int, dimensions: int, size: tuple[int, ...] | None = None
    ) -> nn.Module:
        """Untrained network; warns where batch statistics and the constraint meet."""
        require_available(self.explanation)
        options: dict[str, Any] = {}
        if self.network == "patchgan":
            options = {"filters": self.filters, "strides": self.strides}
        network = build_network(
            self.network,
            dimensions=dimensions,
            in_channels=in_channels,
            width=self.width,
            norm=self.norm,
            activation=self.activation,
            **options,
        )
        if self.constraint != "none" and uses_batch_statistics(network):
            warnings.warn(
                "batch norm mixes images: a healthy image's attribution then depends on its "
                "neighbours in the batch; instance norm does not",
                stacklevel=2,
            )
        return network

    def batch_loss(
        self, network: nn.Module, batch: Batch, *, mixed_precision: bool = False
    ) -> BatchLoss:
        """Loss of a batch (thesis ch. 5, eq. 5.7 and 5.8).

        Only the images that the constraint looks at carry the graph of their attributions; the
        others go through the network apart. Batch statistics do not allow that: with batch norm
        the whole batch is one forward pass, and points on the way from a reference, which are not
        images of the data, do not move its running averages.

        Parameters
        ----------
        network : Module
        batch : Batch
        mixed_precision : bool
            bfloat16 autocast, except where attributions are differentiated.
        """
        images = torch.cat([batch.healthy, batch.pathological])
        labels = torch.zeros(len(images), device=images.device)
        labels[len(batch.healthy) :] = 1.0
        alpha = self.alpha_at(batch.progress)
        chosen = self._constrained(batch)
        if alpha > 0 and chosen.any():
            logits, maps = self._logits_and_maps(network, images, chosen, batch, mixed_precision)
        else:
            with lower_precision(images, mixed_precision):
                logits, maps = network(images), None
        classification, terms = classification_loss(logits, labels)
        if maps is None:
            return BatchLoss(classification, {**terms, "loss": terms["classification"]})
        scaled = scale_attribution(maps, self.alpha_scale)
        penalty = self._penalty(scaled, chosen, batch)
        total = classification + alpha * penalty
        # Raw maps are around 1e-6: in float32 L_A is log 2 to all its digits. Summed in double,
        # the distance from there still shows whether the constraint moves.
        double = scaled.detach().double()
        terms["constraint"] = float(self._penalty(double, chosen, batch))
        if self.constraint in ("unsup", "sup"):
            terms["constraint_gain"] = terms["constraint"] - UNSUP_AT_ZERO
        terms["mean_attribution"] = float(double.mean())
        terms["loss"] = float(total.detach().double())
        return BatchLoss(total, terms)

    def _constrained(self, batch: Batch) -> torch.Tensor:
        """Which images of the batch, healthy ones first, the constraint looks at; shape (B,)."""
        healthy = torch.ones(len(batch.healthy), dtype=torch.bool, device=batch.healthy.device)
        if self.constraint == "erion":
            others = torch.ones_like(batch.has_mask)
        elif self.constraint == "sup":
            others = batch.has_mask
        else:
            others = torch.zeros_like(batch.has_mask)
        return torch.cat([healthy, others])

    def _logits_and_maps(
        self,
        network: nn.Module,
        images: torch.Tensor,
        chosen: torch.Tensor,
        batch: Batch,
        mixed_precision: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of all images, and differentiable maps of the chosen ones."""
        if self.attribution != "gradient":
            with lower_precision(images, mixed_precision):
                logits = network(images)
            references = batch.references if self.needs_references else torch.zeros_like(images)
            assert references is not None  # the trainer asked `needs_references`
            probability = {"expected_gradients": 0.0, "integrated_gradients": 1.0}
            with running_statistics_kept(network):
                maps = expected_gradients(
                    network,
                    images[chosen],
                    references=references,
                    samples=1,
                    zero_probability=probability.get(self.attribution, self.zero_probability),
                    local=True,
                    seed=batch.seed,
                    common_draws=False,
                    differentiable=True,
                )
            return logits, maps
        if uses_batch_statistics(network):
            logits, maps = score_and_gradient(network, images, differentiable=True)
            return logits, maps[chosen]
        constrained, maps = score_and_gradient(network, images[chosen], differentiable=True)
        logits = images.new_zeros(len(images)).index_put((chosen,), constrained)
        if not chosen.all():
            with lower_precision(images, mixed_precision):
                rest = network(images[~chosen])
            logits = logits.index_put((~chosen,), rest.to(logits.dtype))
        return logits, maps

    def _penalty(self, maps: torch.Tensor, chosen: torch.Tensor, batch: Batch) -> torch.Tensor:
        """L_A of the scaled maps of the chosen images."""
        brain = None
        if self.constraint_region == "brain":
            brain = torch.cat([batch.healthy_brain, batch.pathological_brain])[chosen]
        if self.constraint == "sup":
            nothing = torch.zeros_like(batch.healthy_brain)
            lesions = torch.cat([nothing, batch.lesions])[chosen]
            return sup(maps, lesions, brain, balanced=self.balanced)
        if self.constraint == "erion":
            return total_variation(maps, brain)
        if self.constraint == "ross":
            value = ross(maps, brain)
            # Scaled maps are of order one on any grid: their sum of squares is not, the mean is.
            return value if self.alpha_scale == "raw" else value / maps[0].numel()
        value = unsup(maps, brain)
        if self.constraint == "unsup_tv":
            value = value + self.tv_weight * total_variation(maps, brain)
        return value

    def calibrate(self, network: nn.Module, scores: Sequence[float], labels: Sequence[int]) -> None:
        """Nothing: the logits of a classifier are trained to change sign between the classes."""

    def explain(self, network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and maps, on the scale of the constraint.

        Parameters
        ----------
        network : Module
        x : Tensor of shape (B, C, I, J[, K])

        Returns
        -------
        logits : Tensor of shape (B,)
        maps : Tensor of shape (B, C, I, J[, K]), or (B, 1, I, J[, K]) for GradCAM
        """
        logits, maps = explain(self.explanation, network, x)
        return logits, scale_attribution(maps, "voxels")
