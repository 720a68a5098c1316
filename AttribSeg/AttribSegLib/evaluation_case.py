"""One case evaluated: what a model said of it against what is known, map by map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .image import Geometry
from .map_processing import MapProcessing
from .metrics.voxel import RankedScores, dice, surface_distances
from .thresholds import Threshold

_NAN = float("nan")


@dataclass(frozen=True)
class EvaluatedCase:
    """What a model said of an image, and what is known of it.

    Parameters
    ----------
    case, patient : str
        Names; the cases of a patient are resampled together.
    label : int
        0 healthy, 1 pathological.
    probability, logit : float
        Of class 1. The case is called pathological when its logit is positive.
    maps : dict of str to ndarray of shape (I, J, K)
        Score maps by name; a higher score argues for lesion.
    brain : ndarray of bool, shape (I, J, K)
        Where voxels count.
    lesions : ndarray of bool, shape (I, J, K), or None
        Lesion mask if there is one. A healthy case's is empty by definition.
    geometry : Geometry
        With a nominal spacing, nothing in mm or mL is computed.
    processing : mapping of str to MapProcessing
        Of maps that were post-processed: what is still to be done to their segmentations.

    Raises
    ------
    InputError
        If shapes differ, the brain is empty, a map is not finite in the brain, or a healthy case
        has lesions.
    """

    case: str
    patient: str
    label: int
    probability: float
    logit: float
    maps: dict[str, NDArray[Any]]
    brain: NDArray[np.bool_]
    lesions: NDArray[np.bool_] | None
    geometry: Geometry
    processing: Mapping[str, MapProcessing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        grids = {**self.maps, "brain mask": self.brain}
        if self.lesions is not None:
            grids["lesion mask"] = self.lesions
        for name, array in grids.items():
            if array.shape != self.geometry.size:
                raise InputError(
                    f"case {self.case}: {name} of shape {array.shape} does not fit the grid "
                    f"{self.geometry.size}"
                )
        object.__setattr__(self, "brain", self.brain.astype(bool, copy=False))
        if self.label not in (0, 1):
            raise InputError(f"case {self.case}: label {self.label}; 0 or 1 was expected")
        if not np.isfinite(self.logit):
            raise InputError(f"case {self.case}: logit {self.logit}; a finite number was expected")
        if not self.brain.any():
            raise InputError(f"case {self.case}: the brain mask is empty")
        for name, array in self.maps.items():
            if not np.isfinite(array[self.brain]).all():
                raise InputError(f"case {self.case}: {name} holds NaN or infinite values")
        if self.lesions is not None:
            object.__setattr__(self, "lesions", self.lesions.astype(bool, copy=False))
            if self.label == 0 and self.lesions.any():
                raise InputError(f"case {self.case}: labelled healthy, but its mask has lesions")


@dataclass(frozen=True)
class MapScore:
    """One case and one map; NaN where a value is not defined or not known.

    Voxels are counted inside the brain. ``dice`` to ``false_positive_fraction``, the segmented
    volume and the distances are those of the stored threshold; ``oracle_dice`` is the best over
    all thresholds of this very case.
    """

    case: str
    patient: str
    label: int
    probability: float
    logit: float
    map: str
    has_mask: bool
    brain_voxels: int
    lesion_voxels: int
    lesion_voxels_outside_brain: int
    threshold: float = _NAN
    dice: float = _NAN
    segmented_voxels: int | None = None
    true_positives: int | None = None
    false_positive_fraction: float = _NAN
    oracle_dice: float = _NAN
    oracle_threshold: float = _NAN
    auroc: float = _NAN
    auroc10: float = _NAN
    auprc: float = _NAN
    lesion_ml: float = _NAN
    segmented_ml: float = _NAN
    false_positive_ml: float = _NAN
    hausdorff_mm: float = _NAN
    hausdorff95_mm: float = _NAN

    @property
    def healthy(self) -> bool:
        """Whether the case is of class 0."""
        return self.label == 0


def score_case(
    case: EvaluatedCase, name: str, threshold: Threshold | None
) -> tuple[MapScore, NDArray[Any], NDArray[np.bool_]]:
    """One case and map: its row, the scores and the lesions inside the brain, flat."""
    known = case.label == 0 or case.lesions is not None
    lesions = np.zeros(case.geometry.size, bool) if case.lesions is None else case.lesions
    values, truth = case.maps[name][case.brain], lesions[case.brain]
    found: dict[str, Any] = {}
    volume = _NAN if case.geometry.nominal else case.geometry.voxel_volume_ml
    if known:
        found["lesion_ml"] = int(truth.sum()) * volume
    if truth.any():
        ranked = RankedScores.of(values, truth)
        found["oracle_dice"], found["oracle_threshold"] = ranked.oracle_dice()
        found["auroc"], found["auroc10"] = ranked.auroc(), ranked.auroc(0.1)
        found["auprc"] = ranked.auprc()
    if threshold is not None:
        mask = threshold.mask(values)
        if name in case.processing:
            whole = np.zeros_like(case.brain)
            whole[case.brain] = mask
            mask = case.processing[name].mask(whole, case.geometry)[case.brain]
        count = int(mask.sum())
        found.update(threshold=threshold.value, segmented_voxels=count)
        found["segmented_ml"] = count * volume
        if known:
            found["dice"] = dice(mask, truth)
            found["true_positives"] = int((mask & truth).sum())
        if case.label == 0:
            found["false_positive_fraction"] = count / mask.size
            found["false_positive_ml"] = count * volume
        if truth.any() and not case.geometry.nominal:
            found["hausdorff_mm"], found["hausdorff95_mm"] = _hausdorff(case, lesions, mask)
    row = MapScore(
        case=case.case,
        patient=case.patient,
        label=case.label,
        probability=case.probability,
        logit=case.logit,
        map=name,
        has_mask=case.lesions is not None,
        brain_voxels=int(values.size),
        lesion_voxels=int(truth.sum()),
        lesion_voxels_outside_brain=int(lesions.sum() - truth.sum()),
        **found,
    )
    return row, values, truth


def _hausdorff(
    case: EvaluatedCase, lesions: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> tuple[float, float]:
    """Maximum and 95th percentile Hausdorff distance inside the brain; infinite if unsegmented."""
    if not inside.any():
        return float("inf"), float("inf")
    mask = np.zeros_like(case.brain)
    mask[case.brain] = inside
    sides = surface_distances(mask, lesions & case.brain, case.geometry.spacing)
    return (
        max(float(side.max()) for side in sides),
        max(float(np.percentile(side, 95)) for side in sides),
    )
