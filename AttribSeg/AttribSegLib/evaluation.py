"""Evaluation of a classifier and of the score maps read from it, on plain arrays (METHODS 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .evaluation_case import EvaluatedCase, MapScore, score_case
from .metrics.image import Estimate, image_metrics
from .metrics.voxel import RankedScores
from .thresholds import Threshold

__all__ = [
    "ALL_CASES",
    "PATHOLOGICAL",
    "VOXEL_METRICS",
    "Curves",
    "EvaluatedCase",
    "Evaluation",
    "MapResult",
    "MapScore",
    "Population",
    "Summary",
    "evaluate",
]

PATHOLOGICAL = "pathological cases with a mask"
ALL_CASES = "all cases (healthy masks empty)"

#: Metrics summarised over cases, in the order of the tables.
VOXEL_METRICS = (
    "dice",
    "oracle_dice",
    "auroc",
    "auroc10",
    "auprc",
    "hausdorff_mm",
    "hausdorff95_mm",
    "segmented_ml",
    "lesion_ml",
)
_NAN = float("nan")
_CURVE_POINTS = 400


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation over the ``n`` cases where a value is finite."""

    mean: float
    sd: float
    n: int
    undefined: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary:
        """Summarise; infinite and NaN values are counted as undefined."""
        every = np.array(list(values), dtype=np.float64)
        finite = every[np.isfinite(every)]
        return cls(
            mean=float(finite.mean()) if finite.size else _NAN,
            sd=float(finite.std(ddof=1)) if finite.size > 1 else _NAN,
            n=int(finite.size),
            undefined=int(every.size - finite.size),
        )


@dataclass(frozen=True)
class Curves:
    """Precision-recall and Dice curves pooled over a population, thinned for drawing.

    ``selected`` is the share of brain voxels above the threshold: the one abscissa on which maps
    of different units compare; ``threshold`` is the one in the map's own units. ``operating``
    holds the first four at the stored threshold.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    selected: NDArray[np.float64]
    dice: NDArray[np.float64]
    threshold: NDArray[np.float64]
    operating: dict[str, float] | None


@dataclass(frozen=True)
class MapResult:
    """One map on one population: summaries over cases, figures pooled over voxels, curves."""

    per_case: dict[str, Summary]
    pooled: dict[str, float]
    curves: Curves = field(repr=False)


@dataclass(frozen=True)
class Population:
    """The cases that voxel metrics were computed on; prevalence is lesion / brain voxels."""

    name: str
    cases: int
    patients: int
    voxels: int
    prevalence: float
    maps: dict[str, MapResult]


@dataclass(frozen=True)
class Evaluation:
    """Everything :func:`evaluate` found."""

    split: str
    counts: dict[str, int]
    image: dict[str, Estimate]
    image_roc: tuple[NDArray[np.float64], NDArray[np.float64]]
    rows: list[MapScore]
    populations: dict[str, Population]
    healthy: dict[str, dict[str, Summary]]
    thresholds: dict[str, Threshold]
    nominal: bool
    notes: list[str]


def evaluate(
    cases: Iterable[EvaluatedCase],
    *,
    thresholds: dict[str, Threshold],
    split: str = "test",
    seed: int = 0,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Evaluation:
    """Image and voxel metrics of a set of cases.

    Cases are taken one at a time; only their scores inside the brain are kept, in float32.

    Parameters
    ----------
    cases : iterable of EvaluatedCase
        All with the same maps.
    thresholds : dict of str to Threshold
        Stored threshold of each map; a map without one has threshold-free metrics only.
    split : str
        Which part of the cohort this is, for the report.
    seed : int
        Seed of the bootstrap.
    on_event : callable, optional
        Called with ``{"event": "case", "case": name, "done": count}`` after each case.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If there are no cases, a name occurs twice, or maps differ between cases.

    Notes
    -----
    Voxel metrics are reported apart for two populations. On pathological cases with a mask, per
    case and pooled. On all cases, healthy ones counting as empty masks, pooled, and the Dice per
    case: 1 on a healthy case where nothing is segmented, else 0; threshold-free metrics and the
    oracle of a case without lesions say nothing.
    """
    labels: list[int] = []
    logits: list[float] = []
    patients: list[str] = []
    seen: set[str] = set()
    rows: list[MapScore] = []
    pools: dict[str, _Pool] = {}
    nominal = False
    for case in cases:
        if case.case in seen:
            raise InputError(f"case {case.case} occurs twice; every case needs its own name")
        if seen and set(case.maps) != set(pools):
            raise InputError(
                f"case {case.case} has the maps {sorted(case.maps)}; {sorted(pools)} was expected, "
                "as in the first case"
            )
        seen.add(case.case)
        labels.append(case.label)
        logits.append(case.logit)
        patients.append(case.patient)
        nominal |= case.geometry.nominal
        for name in case.maps:
            row, values, lesion = score_case(case, name, thresholds.get(name))
            rows.append(row)
            pools.setdefault(name, _Pool()).add(row, values, lesion)
        if on_event is not None:
            on_event({"event": "case", "case": case.case, "done": len(seen)})
    if not seen:
        raise InputError(f"no case to evaluate in the {split} split")
    ranked = RankedScores.of(logits, np.array(labels, dtype=bool))
    populations = _populations(rows, pools, thresholds)
    return Evaluation(
        split=split,
        counts={
            "cases": len(labels),
            "healthy": labels.count(0),
            "pathological": labels.count(1),
            "patients": len(set(patients)),
        },
        image=image_metrics(labels, logits, patients, seed=seed),
        image_roc=ranked.roc(),
        rows=rows,
        populations=populations,
        healthy=_healthy(rows, thresholds, nominal),
        thresholds={name: thresholds[name] for name in pools if name in thresholds},
        nominal=nominal,
        notes=_notes(rows, labels, populations, thresholds, nominal),
    )


class _Pool:
    """Scores of one map gathered over cases, kept apart by what they can be pooled into."""

    def __init__(self) -> None:
        self.lesion: list[NDArray[np.float32]] = []
        self.background: list[NDArray[np.float32]] = []
        self.healthy: list[NDArray[np.float32]] = []

    def add(self, row: MapScore, values: NDArray[Any], lesion: NDArray[np.bool_]) -> None:
        scores = values.astype(np.float32, copy=False)
        if row.healthy:
            self.healthy.append(scores)
        elif _counted(row):
            self.lesion.append(scores[lesion])
            self.background.append(scores[~lesion])

    def ranked(self, *, with_healthy: bool) -> RankedScores:
        rest = self.background + (self.healthy if with_healthy else [])
        return RankedScores.from_classes(np.concatenate(self.lesion), np.concatenate(rest))


def _counted(row: MapScore) -> bool:
    """Whether a row belongs to the pathological cases with a mask."""
    return not row.healthy and row.has_mask and row.lesion_voxels > 0


def _populations(
    rows: list[MapScore], pools: dict[str, _Pool], thresholds: dict[str, Threshold]
) -> dict[str, Population]:
    """Per-case and pooled voxel metrics of both populations; empty if no case has a mask."""
    result: dict[str, Population] = {}
    if not any(_counted(row) for row in rows):
        return result
    members = {
        PATHOLOGICAL: [row for row in rows if _counted(row)],
        ALL_CASES: [row for row in rows if row.healthy or _counted(row)],
    }
    for population, chosen in members.items():
        everyone = population == ALL_CASES
        maps = {}
        for name, pool in pools.items():
            own = [row for row in chosen if row.map == name]
            metrics = ("dice",) if everyone else VOXEL_METRICS
            ranked = pool.ranked(with_healthy=everyone)
            best, cut = ranked.oracle_dice()
            pooled = {
                "dice": _NAN,
                "oracle_dice": best,
                "oracle_threshold": cut,
                "auroc": ranked.auroc(),
                "auroc10": ranked.auroc(0.1),
                "auprc": ranked.auprc(),
            }
            operating = None
            if name in thresholds:
                operating = _operating_point(own)
                pooled["dice"] = operating["dice"]
            maps[name] = MapResult(
                per_case={key: Summary.of(getattr(row, key) for row in own) for key in metrics},
                pooled=pooled,
                curves=_curves(ranked, operating),
            )
        first = [row for row in chosen if row.map == chosen[0].map]
        voxels = sum(row.brain_voxels for row in first)
        result[population] = Population(
            name=population,
            cases=len(first),
            patients=len({row.patient for row in first}),
            voxels=voxels,
            prevalence=sum(row.lesion_voxels for row in first) / voxels,
            maps=maps,
        )
    return result


def _operating_point(rows: list[MapScore]) -> dict[str, float]:
    """Recall, precision, selected share and Dice at the stored threshold, pooled over cases."""
    hits = sum(row.true_positives or 0 for row in rows)
    selected = sum(row.segmented_voxels or 0 for row in rows)
    lesion = sum(row.lesion_voxels for row in rows)
    brain = sum(row.brain_voxels for row in rows)
    return {
        "recall": hits / lesion,
        "precision": hits / selected if selected else _NAN,
        "selected": selected / brain,
        "dice": 2 * hits / (selected + lesion),
    }


def _curves(ranked: RankedScores, operating: dict[str, float] | None) -> Curves:
    """Points spread evenly over the recall and, for its steep start, over its logarithm."""
    count = ranked.cuts.size
    even = np.linspace(0, count - 1, _CURVE_POINTS)
    steep = np.geomspace(1, count, _CURVE_POINTS) - 1
    keep = np.unique(np.concatenate([even, steep]).round().astype(int))
    selected = ranked.true_positives + ranked.false_positives
    return Curves(
        recall=ranked.recall[keep],
        precision=ranked.precision[keep],
        selected=selected[keep] / (ranked.positives + ranked.negatives),
        dice=ranked.dice[keep],
        threshold=ranked.cuts[keep].astype(np.float64),
        operating=operating,
    )


def _healthy(
    rows: list[MapScore], thresholds: dict[str, Threshold], nominal: bool
) -> dict[str, dict[str, Summary]]:
    """False positives of each thresholded map on healthy cases."""
    result: dict[str, dict[str, Summary]] = {}
    for name in dict.fromkeys(row.map for row in rows if row.map in thresholds):
        own = [row for row in rows if row.map == name and row.healthy]
        if not own:
            continue
        result[name] = {
            "false_positive_fraction": Summary.of(row.false_positive_fraction for row in own),
            "free_of_false_positives": Summary.of(float(row.segmented_voxels == 0) for row in own),
        }
        if not nominal:
            result[name]["false_positive_ml"] = Summary.of(row.false_positive_ml for row in own)
    return result


def _notes(
    rows: list[MapScore],
    labels: list[int],
    populations: dict[str, Population],
    thresholds: dict[str, Threshold],
    nominal: bool,
) -> list[str]:
    """What a reader of the figures must know, in sentences."""
    notes = []
    if len(set(labels)) == 1:
        notes.append("All cases are of one class: accuracy and AUROC of images are undefined.")
    first = [row for row in rows if row.map == rows[0].map] if rows else []
    if not rows:
        notes.append("Voxel metrics were skipped: no score map was given.")
    elif not populations:
        notes.append("Voxel metrics were skipped: no pathological case has a lesion mask.")
    unmasked = sum(not row.healthy and not row.has_mask for row in first)
    empty = sum(not row.healthy and row.has_mask and not row.lesion_voxels for row in first)
    if populations and unmasked:
        notes.append(f"{unmasked} pathological cases have no mask and are left out of both tables.")
    if empty:
        notes.append(
            f"{empty} pathological cases have an empty lesion mask in the brain and are left out."
        )
    outside = sum(row.lesion_voxels_outside_brain for row in first)
    inside = sum(row.lesion_voxels for row in first)
    if outside:
        share = outside / (outside + inside)
        notes.append(f"{share:.2%} of the lesion voxels lie outside the brain and do not count.")
    for name in dict.fromkeys(row.map for row in rows):
        if name not in thresholds:
            notes.append(f"{name}: no stored threshold, so threshold-free metrics only.")
    if nominal and rows:
        notes.append("The voxel spacing is nominal: nothing in mm or mL is reported.")
    return notes
