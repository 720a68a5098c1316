"""The attribution-constrained classifier (thesis ch. 5; IEEE TMI 42(11):3336-3347, 2023)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from ..attribution.gradient import score_and_gradient
from ..constraints import ALPHA_SCALES, CONSTRAINTS, UNSUP_AT_ZERO, scale_attribution, unsup
from ..errors import InputError
from ..networks.patchgan import PatchGAN
from ..training.augmentation import AugmentationOptions
from . import BatchLoss, register

_REGIONS = ("image", "brain")
_NUMBERS = (
    "alpha",
    "width",
    "learning_rate",
    "weight_decay",
    "average",
    "batch_size",
    "epochs",
    "patience",
    "background",
)


@register
@dataclass(frozen=True)
class AttributionRecipe:
    r"""PatchGAN classifier whose gradient is constrained on healthy images.

    .. math:: L = L_C + \alpha_A L_A

    with :math:`L_C` the binary cross-entropy of the image class and :math:`L_A` the constraint
    (thesis ch. 5, eq. 5.7).

    Parameters
    ----------
    constraint : {"unsup", "none"}
    alpha : float
        Weight of the constraint.
    alpha_delay, alpha_warmup : float
        Shares of all steps: how long alpha stays 0, and over how long it then rises linearly.
        Where lesions are small, the classes must be told apart a little before the constraint
        has anything to work on. Epochs before alpha has its full value are not candidates for
        the weights that are kept.
    alpha_scale : {"voxels", "raw"}
        See :func:`.scale_attribution`.
    constraint_region : {"image", "brain"}
        Voxels over which L_A is averaged.
    width, filters, strides, norm, activation
        See :class:`.PatchGAN`.
    optimiser : {"adam", "adamw", "adadelta", "sgd"}
    learning_rate, weight_decay : float
    schedule : {"constant", "cosine"}
        Learning rate over the epochs.
    average : float
        Decay per step of the exponential moving average of the weights, which is what is
        validated and kept; 0 keeps the last weights.
    batch_size : int
        Images per step, half healthy and half pathological.
    epochs : int
    patience : int
        Stop after this many epochs whose validation classification is worse than the best; 0 never
        stops.
    background, clip : float
        Value outside the brain, and limit of intensities, after standardisation; a clip of 0
        stands for none. About -3 is where the signal of a standardised brain is zero.
    augmentation : AugmentationOptions

    Raises
    ------
    InputError
        Names the parameter and what was expected.
    """

    name: ClassVar[str] = "attribution"

    constraint: str = "unsup"
    alpha: float = 0.05
    alpha_delay: float = 0.0
    alpha_warmup: float = 0.5
    alpha_scale: str = "voxels"
    constraint_region: str = "image"
    width: float = 0.25
    filters: tuple[int, ...] = (64, 128, 256, 512)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    norm: str = "instance"
    activation: str = "leaky_relu"
    optimiser: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "cosine"
    average: float = 0.95
    batch_size: int = 8
    epochs: int = 20
    patience: int = 0
    background: float = -3.0
    clip: float = 3.0
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)

    def __post_init__(self) -> None:
        for name in ("filters", "strides"):
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, tuple(int(n) for n in value))
            except (TypeError, ValueError) as error:
                raise InputError(f"{name} {value!r}: whole numbers were expected") from error
        if not isinstance(self.augmentation, AugmentationOptions):
            raise InputError(f"augmentation {self.augmentation!r}: its options were expected")
        choices = {
            "constraint": CONSTRAINTS,
            "alpha_scale": ALPHA_SCALES,
            "constraint_region": _REGIONS,
            "optimiser": ("adam", "adamw", "adadelta", "sgd"),
            "schedule": ("constant", "cosine"),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise InputError(f"{name} {value!r}: one of {', '.join(allowed)} was expected")
        for name in _NUMBERS:
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise InputError(f"{name} {value!r}: a finite number was expected")
        for name in ("alpha", "weight_decay", "patience"):
            value = getattr(self, name)
            if value < 0:
                raise InputError(f"{name} {value}: a number of at least 0 was expected")
        for name in ("learning_rate", "width", "epochs"):
            value = getattr(self, name)
            if value <= 0:
                raise InputError(f"{name} {value}: a positive number was expected")
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if value != int(value):
                raise InputError(f"{name} {value}: a whole number was expected")
            object.__setattr__(self, name, int(value))
        for name in ("alpha_delay", "alpha_warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)}: a share of 0 to 1 was expected")
        if self.alpha_delay + self.alpha_warmup > 1:
            raise InputError("alpha_delay and alpha_warmup: their sum must not exceed 1")
        if not self.clip > 0:
            object.__setattr__(self, "clip", 0.0)
        if not 0 <= self.average < 1:
            raise InputError(f"average {self.average}: a decay from 0 to below 1 was expected")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> AttributionRecipe:
        """From plain values, as JSON holds them."""
        entries = dict(content)
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(entries) - known)
        if unknown:
            raise InputError(
                f"recipe parameter {unknown[0]!r} is unknown; known are {', '.join(sorted(known))}"
            )
        options = entries.get("augmentation")
        if isinstance(options, Mapping):
            try:
                entries["augmentation"] = AugmentationOptions(**options)
            except TypeError as error:
                raise InputError(f"augmentation of the recipe: {error}") from error
        return cls(**entries)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the recipe's name."""
        return {"recipe": self.name, **asdict(self)}

    @property
    def first_epoch(self) -> int:
        """First epoch at whose end alpha has reached its value."""
        return max(1, math.ceil((self.alpha_delay + self.alpha_warmup) * self.epochs))

    def alpha_at(self, progress: float) -> float:
        """Weight of the constraint at a share of all steps."""
        if self.constraint == "none" or progress < self.alpha_delay:
            return 0.0
        if self.alpha_warmup == 0:
            return self.alpha
        return self.alpha * min(1.0, (progress - self.alpha_delay) / self.alpha_warmup)

    def build(self, *, in_channels: int, dimensions: int) -> nn.Module:
        """Untrained PatchGAN; warns where batch statistics and the constraint meet."""
        if self.norm == "batch" and self.constraint != "none":
            warnings.warn(
                "batch norm mixes images: a healthy image's attribution then depends on its "
                "neighbours in the batch; instance norm does not",
                stacklevel=2,
            )
        return PatchGAN(
            dimensions=dimensions,
            in_channels=in_channels,
            width=self.width,
            filters=self.filters,
            strides=self.strides,
            norm=self.norm,
            activation=self.activation,
        )

    def batch_loss(
        self,
        network: nn.Module,
        healthy: torch.Tensor,
        pathological: torch.Tensor,
        *,
        healthy_brain: torch.Tensor,
        progress: float = 1.0,
        mixed_precision: bool = False,
    ) -> BatchLoss:
        """Loss of a batch (thesis ch. 5, eq. 5.7).

        The healthy and the pathological half go through the network apart, and only the healthy
        one carries the graph of its attributions. Batch statistics do not allow that: with batch
        norm the whole batch is one forward pass, and the healthy images' rows are constrained.

        Parameters
        ----------
        network : Module
        healthy, pathological : Tensors of shape (B, C, I, J[, K])
        healthy_brain : Tensor of shape (B, 1, I, J[, K]), bool
        progress : float
            Share of all steps done, for the rise of alpha.
        mixed_precision : bool
            bfloat16 autocast, except where attributions are differentiated.
        """
        kind = healthy.device.type
        lower = torch.autocast(kind, torch.bfloat16) if mixed_precision else nullcontext()
        alpha = self.alpha_at(progress)
        constrained = alpha > 0
        attribution = None
        if constrained and self.norm == "batch":
            both = torch.cat([healthy, pathological])
            logits, attribution = score_and_gradient(network, both, differentiable=True)
            healthy_logits, pathological_logits = logits.split([len(healthy), len(pathological)])
            attribution = attribution[: len(healthy)]
        elif constrained:
            healthy_logits, attribution = score_and_gradient(network, healthy, differentiable=True)
            with lower:
                pathological_logits = network(pathological)
        else:
            with lower:
                logits = network(torch.cat([healthy, pathological]))
            healthy_logits, pathological_logits = logits.split([len(healthy), len(pathological)])
        count = len(healthy) + len(pathological)
        classification = (
            functional.softplus(healthy_logits.float()).sum()
            + functional.softplus(-pathological_logits.float()).sum()
        ) / count
        terms = {
            "classification": float(classification.detach().double()),
            "tpr": float((pathological_logits.detach() > 0).double().mean()),
            "tnr": float((healthy_logits.detach() <= 0).double().mean()),
        }
        if attribution is None:
            return BatchLoss(classification, {**terms, "loss": terms["classification"]})
        scaled = scale_attribution(attribution, self.alpha_scale)
        region = healthy_brain if self.constraint_region == "brain" else None
        penalty = unsup(scaled, region)
        total = classification + alpha * penalty
        # Raw maps are around 1e-6: in float32 L_A is log 2 to all its digits. Summed in double,
        # the distance from there still shows whether the constraint moves.
        exact = unsup(scaled.detach().double(), region)
        terms["constraint"] = float(exact)
        terms["constraint_gain"] = float(exact) - UNSUP_AT_ZERO
        terms["mean_attribution"] = float(scaled.detach().double().mean())
        terms["loss"] = float(total.detach().double())
        return BatchLoss(total, terms)

    def explain(self, network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and gradient maps, summed over channels, on the scale of the constraint.

        Parameters
        ----------
        network : Module
        x : Tensor of shape (B, C, I, J[, K])

        Returns
        -------
        logits : Tensor of shape (B,)
        maps : Tensor of shape (B, 1, I, J[, K])
        """
        logits, maps = score_and_gradient(network, x)
        return logits, scale_attribution(maps, "voxels").sum(dim=1, keepdim=True)
