"""What a comparison finds, as plain data that can be stored and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Metrics kept for every case, in the order of the tables. "tuned_dice" is at the threshold that
#: was tuned on validation masks, "dice" at the label-only one.
CASE_METRICS = ("dice", "tuned_dice", "oracle_dice", "auprc", "auroc", "auroc10", "hausdorff95_mm")
POOLED_METRICS = ("dice", "tuned_dice", "oracle_dice", "auprc", "auroc", "auroc10")
#: What the post-processing of a map was chosen by; raw maps come first everywhere.
RAW_RULE = "none"


@dataclass(frozen=True)
class ScoredMap:
    """One kind of map of one trained model, scored on the test cases with a mask.

    Parameters
    ----------
    name : str
        Inference attribution ("gradient", ...), "residual" and the like of a baseline, or the
        plain intensity.
    rule : str
        What its post-processing was chosen by: "none" (raw), "labels" or "masks".
    processing : str
        The post-processing in words; "raw".
    per_case : dict of str to list of float
        One value per case of :attr:`RunResult.cases`, for each of :data:`CASE_METRICS`; NaN where
        undefined.
    pooled : dict of str to float
        Over all voxels of these cases, for each of :data:`POOLED_METRICS`.
    all_cases : dict of str to float
        AUPRC, AUROC and AUROC10 pooled over all cases, healthy ones with empty masks.
    threshold, tuned_threshold : float
        Label-only, and tuned on validation masks; NaN where there is none.
    curve : dict of str to list of float
        "selected" (share of brain voxels above the threshold), "dice": pooled, falling threshold.
    histogram : dict of str to list of float
        "edges" (n + 1), and n densities each for "healthy" (brain voxels of healthy cases),
        "lesion" and "rest" (brain voxels of pathological cases).
    """

    name: str
    rule: str
    processing: str
    per_case: dict[str, list[float]]
    pooled: dict[str, float]
    all_cases: dict[str, float] = field(default_factory=dict)
    threshold: float = float("nan")
    tuned_threshold: float = float("nan")
    curve: dict[str, list[float]] = field(default_factory=dict)
    histogram: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResult:
    """One recipe trained with one seed, or the plain intensity (``kind`` "intensity").

    Parameters
    ----------
    entry : str
        Name of the recipe in the comparison.
    seed : int
    kind : {"classifier", "counterfactual", "baseline", "intensity"}
    constraint, attribution : str
        Of a classifier: the constraint and the attribution it is put on; else empty.
    primary : str
        Name of the map that stands for the entry in the main table.
    budget : dict
        "minutes", "epochs", "best_epoch", "width", "weights" (number of parameters).
    image : dict of str to float
        "auroc", "true_positive_rate", "true_negative_rate", "class_weighted_accuracy"; empty for
        the plain intensity.
    cases, patients : list of str
        The test cases with a mask, in the order of the per-case values.
    maps : list of ScoredMap
        Raw ones first.
    correlations : dict of str to dict of str to float
        Pearson correlation over the brain between the raw maps of two inference attributions,
        mean over the test cases.
    completeness : dict of str to float
        Of integrated gradients: "median_gap", "within_1_percent" (share of cases),
        "median_evaluations", "most_evaluations".
    notes : list of str
        What was left out, and why.
    """

    entry: str
    seed: int
    kind: str
    constraint: str
    attribution: str
    primary: str
    budget: dict[str, float]
    image: dict[str, float]
    cases: list[str]
    patients: list[str]
    maps: list[ScoredMap]
    correlations: dict[str, dict[str, float]] = field(default_factory=dict)
    completeness: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def map(self, name: str, rule: str = RAW_RULE) -> ScoredMap | None:
        """A map by name and post-processing rule."""
        return next((each for each in self.maps if (each.name, each.rule) == (name, rule)), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunResult:
        """Inverse of :meth:`to_dict`."""
        known = {item.name for item in fields(cls)}
        entries = {name: value for name, value in content.items() if name in known}
        return cls(**{**entries, "maps": [ScoredMap(**each) for each in entries["maps"]]})


@dataclass(frozen=True)
class Example:
    """One test case for the panel of pictures.

    Parameters
    ----------
    case : str
    image, lesions, brain : ndarrays of shape (I, J)
        One axial slice, as in :meth:`.Image.axial_slice`: the first axis towards the patient's
        left, the second towards posterior (LPS).
    maps : dict of str to ndarray of shape (I, J)
        Map of each entry, raw.
    thresholds : dict of str to float
        Label-only threshold of each.
    tuned : dict of str to float
        Mask-tuned threshold of each, where there is one.
    """

    case: str
    image: NDArray[np.float32]
    lesions: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    maps: dict[str, NDArray[np.float32]]
    thresholds: dict[str, float]
    tuned: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SweepPoint:
    """One training of the sweep over alpha, on one resolution."""

    resolution: str
    alpha: float
    seed: int
    true_positive_rate: float
    true_negative_rate: float
    auroc: float
    dice: float
    tuned_dice: float
    auprc: float


@dataclass(frozen=True)
class Comparison:
    """Everything a comparison found.

    Parameters
    ----------
    title, description : str
    split : str
    counts : dict of str to int
        "cases", "healthy", "pathological", "patients", "masked" (pathological with a mask).
    prevalence : float
        Share of lesion voxels in the brains of the masked cases.
    nominal : bool
        The spacing is unknown: nothing in mm is reported.
    runs : list of RunResult
        The plain intensity first.
    reference : str
        Entry that the others are tested against.
    sweep : list of SweepPoint
    examples : list of Example
    notes : list of str
    """

    title: str
    description: str
    split: str
    counts: dict[str, int]
    prevalence: float
    nominal: bool
    runs: list[RunResult]
    reference: str
    sweep: list[SweepPoint] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def entries(self) -> list[str]:
        """Names of the entries, in order."""
        return list(dict.fromkeys(run.entry for run in self.runs))

    def runs_of(self, entry: str) -> list[RunResult]:
        """Runs of an entry, one per seed."""
        return [run for run in self.runs if run.entry == entry]
