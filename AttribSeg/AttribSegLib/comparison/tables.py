"""All tables of a comparison, in the order of the report; raw maps before processed ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..evaluation import Summary
from .attribution_tables import auprc_table, correlation_table
from .paired_tests import permutation_table
from .results import Comparison, RunResult, SweepPoint
from .summaries import ABSENT, is_scored, over_seeds, rules_of, spread
from .table import Table
from .voxel_tables import DICE_NAMES, main_table, pooled_table, processed_table

__all__ = [
    "Table",
    "auprc_table",
    "budget_table",
    "comparison_tables",
    "correlation_table",
    "image_table",
    "main_table",
    "permutation_table",
    "pooled_table",
    "processed_table",
    "sweep_table",
]

_IMAGE_NAMES = {
    "auroc": "AUROC",
    "true_positive_rate": "TPR",
    "true_negative_rate": "TNR",
    "class_weighted_accuracy": "Class-weighted accuracy",
}
_SWEEP_NAMES = {
    "true_positive_rate": "TPR",
    "true_negative_rate": "TNR",
    "auroc": "AUROC of images",
    "auprc": "AUPRC",
    **{name: DICE_NAMES[name] for name in ("dice", "tuned_dice")},
}
_BUDGET_NAMES = {
    "minutes": "Minutes",
    "epochs": "Epochs",
    "best_epoch": "Best epoch",
    "width": "Width",
    "weights": "Weights",
}


def comparison_tables(comparison: Comparison) -> dict[str, Table]:
    """All tables that a comparison has data for, in the order of the report.

    Returns
    -------
    dict of str to Table
        Among the keys ``main``, ``tests``, ``pooled``, ``images``, ``auprc``, ``correlations``,
        ``processed_labels``, ``processed_masks``, ``sweep`` and ``budget``. Those of voxels are
        absent when no test case has a mask, the others when there is nothing to put in them.
    """
    tables: dict[str, Table | None] = {}
    scored = is_scored(comparison)
    if scored:
        tables["main"] = main_table(comparison)
        tables["tests"] = permutation_table(comparison)
        tables["pooled"] = pooled_table(comparison)
    tables["images"] = image_table(comparison)
    if scored:
        tables["auprc"] = auprc_table(comparison)
    tables["correlations"] = correlation_table(comparison)
    if scored:
        for rule in rules_of(comparison):
            tables[f"processed_{rule}"] = processed_table(comparison, rule)
    tables["sweep"] = sweep_table(comparison.sweep)
    tables["budget"] = budget_table(comparison)
    return {key: table for key, table in tables.items() if table is not None and table.rows}


def image_table(comparison: Comparison) -> Table:
    """Classification of images, mean +- SD over seeds; the plain intensity classifies nothing."""
    rows = []
    for entry in comparison.entries:
        cells = [spread(over_seeds(comparison, entry, _image(name))) for name in _IMAGE_NAMES]
        rows.append([entry, str(len(comparison.runs_of(entry))), *cells])
    counts = comparison.counts
    legend = (
        f"{counts.get('pathological', 0)} pathological and {counts.get('healthy', 0)} healthy "
        f"cases of the {comparison.split} part; mean +- SD over seeds."
    )
    head = ["Entry", "Seeds", *_IMAGE_NAMES.values()]
    return Table("Classification of images", head, rows, legend)


def sweep_table(sweep: Sequence[SweepPoint]) -> Table:
    """Metrics against the weight of the constraint at each resolution (thesis fig. 5.2)."""
    rows = []
    for resolution in dict.fromkeys(point.resolution for point in sweep):
        for alpha in sorted({p.alpha for p in sweep if p.resolution == resolution}):
            points = [p for p in sweep if (p.resolution, p.alpha) == (resolution, alpha)]
            found = (Summary.of(getattr(point, name) for point in points) for name in _SWEEP_NAMES)
            rows.append([resolution, f"{alpha:g}", str(len(points)), *map(spread, found)])
    head = ["Resolution", "Alpha", "Seeds", *_SWEEP_NAMES.values()]
    legend = (
        "Mean +- SD over seeds. With too large a weight the classification breaks down, which TPR "
        "and TNR tell."
    )
    return Table("Weight of the constraint", head, rows, legend)


def budget_table(comparison: Comparison) -> Table:
    """What each trained entry was given and used, mean over seeds."""
    rows = []
    for entry in comparison.entries:
        runs = comparison.runs_of(entry)
        if runs[0].kind != "intensity":
            what = [runs[0].kind, runs[0].constraint or ABSENT, runs[0].attribution or ABSENT]
            cells = [_figure(over_seeds(comparison, entry, _budget(n)).mean) for n in _BUDGET_NAMES]
            rows.append([entry, *what, str(len(runs)), *cells])
    head = ["Entry", "Kind", "Constraint", "Attribution", "Seeds", *_BUDGET_NAMES.values()]
    return Table("Budget", head, rows, "Mean over seeds. Weights: number of parameters.")


def _image(name: str) -> Callable[[RunResult], float]:
    return lambda run: run.image.get(name, math.nan)


def _budget(name: str) -> Callable[[RunResult], float]:
    return lambda run: run.budget.get(name, math.nan)


def _figure(value: float) -> str:
    """A count in full, a measure with three digits."""
    if math.isnan(value):
        return ABSENT
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
