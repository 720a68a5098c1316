"""The supervised ceiling: a U-Net that learns the lesion masks themselves (thesis ch. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import nn
from torch.nn import functional

from ..errors import InputError
from ..networks.unet import UNet
from . import Batch, BatchLoss, register
from .calibration import CalibratedScore
from .options import TrainingOptions, lower_precision


def generalised_dice(probability: torch.Tensor, lesions: torch.Tensor) -> torch.Tensor:
    r"""Generalised Dice loss of every image (Sudre et al. 2017).

    .. math:: 1 - 2 \frac{\sum_c w_c \sum_i p_{ci} m_{ci}}{\sum_c w_c \sum_i (p_{ci} + m_{ci})},
              \quad w_c = \Big(\sum_i m_{ci}\Big)^{-2}

    over the classes c, lesion and background: an empty class, whose weight would be infinite,
    takes that of the other. Of an image without lesions it is thus the mean probability of one.

    Parameters
    ----------
    probability : Tensor of shape (B, 1, I, J[, K])
    lesions : Tensor of the same shape, float
        0 or 1.

    Returns
    -------
    Tensor of shape (B,)

    Examples
    --------
    >>> lesions = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
    >>> generalised_dice(torch.full_like(lesions, 0.5), lesions)  # 1 - 2 (.5 + 1.5/9) / (3 + 5/9)
    tensor([0.6250])
    """
    from monai.losses import GeneralizedDiceLoss

    # Smoothed by MONAI's 1e-5, large images of weights 1/voxels^2 would have no loss at all.
    loss = GeneralizedDiceLoss(reduction="none", smooth_nr=0.0, smooth_dr=0.0)
    both = torch.cat([1.0 - probability, probability], 1)
    return loss(both, torch.cat([1.0 - lesions, lesions], 1)).flatten(1).mean(1)


def hausdorff_distance(probability: torch.Tensor, lesions: torch.Tensor) -> torch.Tensor:
    r"""Hausdorff-distance loss of every image (Karimi and Salcudean 2020).

    .. math:: \frac{1}{N} \sum_i (p_i - m_i)^2 \, (d_{p,i}^2 + d_{m,i}^2)

    with d the distance of a voxel to the border of the prediction (above a half) and of the mask,
    0 everywhere where there is none. In units of the image's mean side length instead of voxels,
    so that its weight means the same on any grid [ours].

    Parameters
    ----------
    probability, lesions
        See :func:`generalised_dice`.

    Returns
    -------
    Tensor of shape (B,)
    """
    from monai.losses import HausdorffDTLoss

    loss = HausdorffDTLoss(alpha=2.0, include_background=True, reduction="none")
    side = sum(lesions.shape[2:]) / (lesions.ndim - 2)
    return loss(probability, lesions).flatten(1).mean(1) / side**2


@register
@dataclass(frozen=True)
class SupervisedRecipe(CalibratedScore, TrainingOptions):
    r"""U-Net with squeeze-and-excitation, trained on lesion masks (thesis ch. 5, MSSEG ceiling).

    .. math:: L = L_{CE} + \lambda_D L_{GD} + \lambda_H L_{HD}

    the cross-entropy of every voxel, the generalised Dice and the Hausdorff-distance loss.
    Healthy images have an empty mask. Of the pathological ones only those whose masks may be used
    are learned from; the others say nothing about a voxel, and are left out of the batches. Healthy
    and pathological images each have half of the loss.

    The map is the probability of "lesion": logits, of which nearly all are negative, would turn
    around where post-processing multiplies them by the intensity. The image's score is the mean of
    its highest logits (see :class:`.UNet`), less the value that separates the validation classes
    best, by labels alone.

    Parameters
    ----------
    masks : int or None
        At most so many patients' masks, the same that the constraint "sup" takes with the same
        seed; of all that have one when None.
    dice_weight : float
        lambda_D.
    hausdorff_weight : float
        lambda_H. At 10, a wrong voxel half an image away from all that is right is pushed
        back about as hard as by the cross-entropy [ours: the thesis gives no weights].
    filters, score_share
        See :class:`.UNet`.

    The parameters of the training are those of :class:`.TrainingOptions`.

    Raises
    ------
    InputError
        Names the parameter and what was expected.

    References
    ----------
    .. [1] C. H. Sudre et al., "Generalised Dice overlap as a deep learning loss function for
       highly unbalanced segmentations", DLMIA 2017.
    .. [2] D. Karimi and S. E. Salcudean, "Reducing the Hausdorff distance in medical image
       segmentation with convolutional neural networks", IEEE TMI 39(2):499-513, 2020.
    """

    name: ClassVar[str] = "supervised"
    map_name: ClassVar[str] = "lesion probability"

    masks: int | None = None
    dice_weight: float = 1.0
    hausdorff_weight: float = 10.0
    filters: tuple[int, ...] = (32, 64, 128, 256, 256)
    score_share: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole_numbers("filters")
        if len(self.filters) < 2 or min(self.filters) < 1:
            raise InputError(f"filters {self.filters}: two or more positive numbers were expected")
        if self.masks is not None:
            self._require_number("masks", least=1)
            self._require_whole("masks")
        self._require_number("dice_weight", "hausdorff_weight", least=0)
        self._require_number("score_share", above=0)
        if self.score_share > 1:
            raise InputError(f"score_share {self.score_share}: at most 1 was expected")

    @property
    def masked_patients(self) -> int | None:
        """Number of patients whose lesion masks are used in training; None for all."""
        return self.masks

    @property
    def least_masked(self) -> float:
        """All of the pathological images of a batch have a mask that is used."""
        return 1.0

    def map_channels(self, channels: Sequence[str]) -> tuple[str, ...]:
        """One map for all channels."""
        return (self.map_name,)

    def build(
        self, *, in_channels: int, dimensions: int, size: tuple[int, ...] | None = None
    ) -> nn.Module:
        """Untrained network, for images of any size."""
        return UNet(
            dimensions=dimensions,
            in_channels=in_channels,
            width=self.width,
            filters=self.filters,
            score_share=self.score_share,
        )

    def batch_loss(
        self, network: nn.Module, batch: Batch, *, mixed_precision: bool = False
    ) -> BatchLoss:
        """Loss of the healthy images and of the pathological ones whose masks may be used.

        Its term "classification", as in every recipe with labels, is the cross-entropy; here of
        voxels.
        """
        images = torch.cat([batch.healthy, batch.pathological[batch.has_mask]])
        nothing = torch.zeros_like(batch.healthy_brain)
        lesions = torch.cat([nothing, batch.lesions[batch.has_mask]]).float()
        with lower_precision(images, mixed_precision):
            logits = cast(UNet, network).voxel_logits(images)
        # Sums over voxels need all of float32.
        logits = logits.float()
        probability = logits.sigmoid()
        parts = {
            "classification": functional.binary_cross_entropy_with_logits(
                logits, lesions, reduction="none"
            )
            .flatten(1)
            .mean(1),
            "dice": generalised_dice(probability, lesions),
            "hausdorff": hausdorff_distance(probability, lesions),
        }
        means = {name: _mean_of_kinds(each, len(batch.healthy)) for name, each in parts.items()}
        total = (
            means["classification"]
            + self.dice_weight * means["dice"]
            + self.hausdorff_weight * means["hausdorff"]
        )
        values = {"loss": total, **means}
        return BatchLoss(total, {name: float(each.detach()) for name, each in values.items()})

    @torch.no_grad()
    def explain(self, network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (B,) and the lesion probabilities of all voxels, (B, 1, I, J[, K])."""
        net = cast(UNet, network)
        logits = net.voxel_logits(x)
        return net.score(logits), logits.float().sigmoid()


def _mean_of_kinds(values: torch.Tensor, healthy: int) -> torch.Tensor:
    """Mean of the first so many values and that of the others, averaged where there are both."""
    kinds = [part for part in (values[:healthy], values[healthy:]) if len(part)]
    return torch.stack([part.mean() for part in kinds]).mean()
