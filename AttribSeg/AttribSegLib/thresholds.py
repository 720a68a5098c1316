"""Choosing the threshold that turns a score map into a mask: ``map > threshold``.

The thesis takes the operating point of the precision-recall curve on validation images that have
lesion masks (ch. 5). Where only image-level labels exist, healthy validation images still tell how
much a threshold lets through wrongly: every voxel above it is a false positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError
from .metrics.voxel import RankedScores

FALSE_POSITIVE_VOLUME = "healthy-false-positive-volume"
FALSE_POSITIVE_FRACTION = "healthy-false-positive-fraction"
PRECISION_RECALL = "precision-recall"
USER = "user"
RULES = (FALSE_POSITIVE_VOLUME, FALSE_POSITIVE_FRACTION, PRECISION_RECALL, USER)

#: Sums of voxel volumes are compared with this relative tolerance: ten voxels of 0.1 mL are 1 mL.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Threshold:
    """A threshold and how it was chosen.

    Parameters
    ----------
    value : float
        A voxel is segmented when its score is strictly above.
    rule : str
        One of :data:`RULES`.
    detail : dict
        What was asked for and what was reached, for the record.
    population : str
        The images it was chosen on, in words.

    Raises
    ------
    InputError
        If the rule is unknown or the value is not finite.
    """

    value: float
    rule: str
    detail: dict[str, Any] = field(default_factory=dict)
    population: str = ""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InputError(f"threshold rule {self.rule!r}: one of {', '.join(RULES)}")
        if not np.isfinite(self.value):
            raise InputError(f"threshold {self.value}: a finite number was expected")

    @property
    def uses_masks(self) -> bool:
        """Whether lesion masks, not labels alone, were needed to choose it."""
        return self.rule == PRECISION_RECALL

    def mask(self, score_map: ArrayLike) -> NDArray[np.bool_]:
        """Voxels above the threshold, compared without rounding it to the map's precision."""
        # Double precision by signature: NumPy 1 and 2 differ in how they promote a scalar.
        return np.greater(np.asarray(score_map), self.value, signature="dd->?")

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {
            "value": float(self.value),
            "rule": self.rule,
            "detail": dict(self.detail),
            "population": self.population,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Threshold:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        InputError
            If a field is missing or has the wrong kind.
        """
        try:
            return cls(
                value=float(content["value"]),
                rule=str(content["rule"]),
                detail=dict(content.get("detail", {})),
                population=str(content.get("population", "")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"threshold {content!r}: 'value' (a number) and 'rule' were expected"
            ) from error


def false_positive_volume_threshold(
    healthy_maps: Sequence[ArrayLike],
    brains: Sequence[ArrayLike] | None = None,
    *,
    volume_ml: float,
    voxel_volume_ml: float | Sequence[float],
    population: str = "healthy validation images",
) -> Threshold:
    """Smallest threshold whose mean false-positive volume on healthy images is as allowed.

    The mean is the arithmetic mean over cases of the volume inside the brain with
    ``map > threshold``. It is a step function of the threshold that falls at scores only, so the
    smallest admissible threshold is an order statistic of all healthy scores, found exactly.

    Parameters
    ----------
    healthy_maps : sequence of array
        Score map of each healthy validation image.
    brains : sequence of array of bool, optional
        Brain mask of each; None if the maps hold brain voxels only.
    volume_ml : float
        Allowed mean false-positive volume, in mL per case.
    voxel_volume_ml : float or sequence of float
        Volume of a voxel, in mL, common or for each case.
    population : str
        The images, in words.

    Returns
    -------
    Threshold
        Its detail holds the allowed and reached mean volume, the largest of a single case, and
        the number of cases.

    Raises
    ------
    InputError
        If there is no healthy image, or the allowed volume is negative or reaches the mean brain
        volume (any threshold would do).

    Examples
    --------
    Two cases, voxels of 1 mL, half a false-positive mL per case: one voxel in all may pass.

    >>> maps = [[0.1, 0.9, 0.2], [0.3, 0.5, 0.4]]
    >>> false_positive_volume_threshold(maps, volume_ml=0.5, voxel_volume_ml=1.0).value
    0.5
    """
    values = _inside(healthy_maps, brains)
    volumes = np.broadcast_to(np.asarray(voxel_volume_ml, dtype=np.float64), len(values))
    if not (np.isfinite(volumes) & (volumes > 0)).all():
        raise InputError(f"voxel volume {voxel_volume_ml} mL: positive numbers were expected")
    value, reached = _order_statistic(values, volumes, volume_ml, "mL per case")
    detail = {
        "allowed_ml": float(volume_ml),
        "reached_ml": float(reached.mean()),
        "largest_case_ml": float(reached.max()),
        "statistic": "mean over cases",
        "cases": len(values),
    }
    return Threshold(value, FALSE_POSITIVE_VOLUME, detail, population)


def false_positive_fraction_threshold(
    healthy_maps: Sequence[ArrayLike],
    brains: Sequence[ArrayLike] | None = None,
    *,
    fraction: float,
    population: str = "healthy validation images",
) -> Threshold:
    """Like :func:`false_positive_volume_threshold`, as a fraction of each case's brain voxels.

    For grids whose spacing is nominal, where no volume in mL is known.

    Parameters
    ----------
    healthy_maps, brains, population
        As there.
    fraction : float
        Allowed mean fraction of brain voxels above the threshold, in [0, 1).

    Examples
    --------
    A quarter of four voxels may pass:

    >>> false_positive_fraction_threshold([[0.1, 0.9, 0.2, 0.3]], fraction=0.25).value
    0.3
    """
    values = _inside(healthy_maps, brains)
    shares = np.array([1.0 / each.size for each in values])
    value, reached = _order_statistic(values, shares, fraction, "of the brain")
    detail = {
        "allowed_fraction": float(fraction),
        "reached_fraction": float(reached.mean()),
        "largest_case_fraction": float(reached.max()),
        "statistic": "mean over cases",
        "cases": len(values),
    }
    return Threshold(value, FALSE_POSITIVE_FRACTION, detail, population)


def precision_recall_threshold(
    maps: Sequence[ArrayLike],
    masks: Sequence[ArrayLike],
    brains: Sequence[ArrayLike] | None = None,
    *,
    population: str = "validation images with lesion masks",
) -> Threshold:
    """Operating point of the precision-recall curve: highest pooled F1, which is pooled Dice.

    It needs lesion masks (thesis ch. 5), so results obtained with it are named mask-tuned.

    Parameters
    ----------
    maps : sequence of array
        Score map of each validation image.
    masks : sequence of array of bool
        Lesion mask of each.
    brains : sequence of array of bool, optional
        Brain mask of each; voxels outside are not counted.
    population : str
        The images, in words.

    Raises
    ------
    InputError
        If there is no mask, or all are empty.

    Examples
    --------
    >>> precision_recall_threshold([[0.1, 0.4, 0.6, 0.9]], [[0, 0, 1, 1]]).value
    0.4
    """
    if len(masks) == 0 or len(maps) != len(masks):
        raise InputError(
            f"{len(maps)} maps and {len(masks)} lesion masks: the precision-recall rule needs a "
            "mask for each map; without masks use a healthy-false-positive rule"
        )
    scores, truth = _inside(maps, brains), _inside(masks, brains)
    for number, (each, mask) in enumerate(zip(scores, truth, strict=True)):
        if each.shape != mask.shape:
            raise InputError(f"map {number} has {each.size} voxels, its mask {mask.size}")
    chosen = [mask.astype(bool) for mask in truth]
    lesion = np.concatenate([each[mask] for each, mask in zip(scores, chosen, strict=True)])
    if lesion.size == 0:
        raise InputError(
            "all lesion masks are empty inside the brain: the precision-recall rule needs lesions; "
            "use a healthy-false-positive rule"
        )
    rest = np.concatenate([each[~mask] for each, mask in zip(scores, chosen, strict=True)])
    ranked = RankedScores.from_classes(lesion, rest)
    best = int(np.argmax(ranked.dice))
    detail = {
        "pooled_dice": float(ranked.dice[best]),
        "precision": float(ranked.precision[best]),
        "recall": float(ranked.recall[best]),
        "statistic": "pooled over voxels",
        "cases": len(scores),
    }
    return Threshold(float(ranked.cuts[best]), PRECISION_RECALL, detail, population)


def _inside(arrays: Sequence[ArrayLike], brains: Sequence[ArrayLike] | None) -> list[NDArray[Any]]:
    """Brain voxels of each array, flat."""
    if len(arrays) == 0:
        raise InputError(
            "there are no healthy validation images to choose a threshold on; add healthy cases "
            "to the validation fold or give the threshold yourself"
        )
    values = [np.asarray(each) for each in arrays]
    if brains is None:
        flat = [each.ravel() for each in values]
    else:
        masks = [np.asarray(brain, dtype=bool) for brain in brains]
        if [each.shape for each in values] != [mask.shape for mask in masks]:
            raise InputError("a brain mask on the same grid was expected for every map")
        flat = [each[mask] for each, mask in zip(values, masks, strict=True)]
    for number, each in enumerate(flat):
        if each.size == 0:
            raise InputError(f"map {number} has no brain voxel; check its brain mask")
        if not np.isfinite(each).all():
            raise InputError(f"map {number} holds NaN or infinite values in the brain")
    return flat


def _order_statistic(
    values: list[NDArray[Any]], weights: NDArray[np.float64], allowed: float, unit: str
) -> tuple[float, NDArray[np.float64]]:
    """Smallest score whose mean weight above is at most ``allowed``, and the weight per case."""
    whole = float(np.mean([w * each.size for w, each in zip(weights, values, strict=True)]))
    if not 0 <= allowed < whole * (1 - _TOLERANCE):
        raise InputError(
            f"allowed false positives {allowed} {unit}: at least 0 and less than the whole brain "
            f"({whole:.4g}) was expected"
        )
    pooled = np.concatenate(values)
    order = np.argsort(pooled, kind="stable")[::-1]
    falling = pooled[order]
    passed = np.cumsum(np.repeat(weights, [each.size for each in values])[order])
    # At a run of equal scores, what lies strictly above is what had passed before the run.
    first = np.flatnonzero(np.concatenate([[True], falling[1:] != falling[:-1]]))
    above = np.where(first > 0, passed[first - 1], 0.0) / len(values)
    last = np.searchsorted(above, allowed * (1 + _TOLERANCE), side="right") - 1
    value = falling[first[last]]
    reached = [w * np.count_nonzero(each > value) for w, each in zip(weights, values, strict=True)]
    return float(value), np.array(reached, dtype=np.float64)
