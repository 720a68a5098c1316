"""Tables of constraint against inference attribution (thesis tables 5.2 and 5.3, fig. 5.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .results import Comparison, RunResult
from .summaries import ABSENT, SEVERAL_MAPS, map_names, over_seeds, picker, pooled, spread
from .table import Table

#: A constraint of this name is none.
_NONE = "none"


def constrained_map(run: RunResult) -> str:
    """Name of the map by the attribution that a classifier was constrained on.

    The map that stands for the run where it has no constraint, or where its attribution exists in
    training only.
    """
    constrained = run.constraint not in ("", _NONE) and run.attribution in run.correlations
    return run.attribution if constrained else run.primary


def correlation_table(comparison: Comparison) -> Table:
    """Pearson correlation of the constrained attribution with others (thesis tables 5.2, 5.3).

    One row per classifier and one column per inference attribution; mean +- SD over seeds. It
    needs no masks.
    """
    columns = list(
        dict.fromkeys(
            name for run in comparison.runs if run.kind == "classifier" for name in run.correlations
        )
    )
    rows = []
    for entry in _entries(comparison, ["classifier"]):
        runs = comparison.runs_of(entry)
        if not any(run.correlations for run in runs):
            continue
        cells = [spread(over_seeds(comparison, entry, _correlation(name))) for name in columns]
        rows.append([entry, *_training(runs[0]), constrained_map(runs[0]), *cells])
    legend = (
        "Pearson correlation over the brain between the raw map by the constrained attribution "
        "(without a constraint: the map of the main table) and each map read at inference; mean "
        "over test cases, then mean +- SD over seeds."
    )
    head = ["Entry", "Constraint", "Attribution", "Correlated map", *columns]
    return Table("Correlation between attributions", head, rows, legend)


def auprc_table(comparison: Comparison) -> Table:
    """Pooled AUPRC of raw maps, one row per entry and one column per map that is read from it."""
    columns = map_names(comparison, kinds=SEVERAL_MAPS)
    rows = []
    for entry in _entries(comparison, SEVERAL_MAPS):
        cells = [spread(pooled(comparison, entry, "auprc", picker(name))) for name in columns]
        rows.append([entry, *_training(comparison.runs_of(entry)[0]), *cells])
    legend = (
        "Raw maps, pooled over the voxels of the cases with a mask; mean +- SD over seeds. The "
        "attribution in the third column is the one under constraint in training. Chance is the "
        f"lesion prevalence, {comparison.prevalence:.3%}."
    )
    head = ["Entry", "Constraint", "Attribution", *columns]
    return Table("AUPRC by constraint and attribution", head, rows, legend)


def _entries(comparison: Comparison, kinds: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(run.entry for run in comparison.runs if run.kind in kinds))


def _training(run: RunResult) -> list[str]:
    """Constraint and its attribution, for the head of a row."""
    free = run.constraint in ("", _NONE)
    return [_NONE if free else run.constraint, ABSENT if free else run.attribution]


def _correlation(name: str) -> Callable[[RunResult], float]:
    return lambda run: run.correlations.get(constrained_map(run), {}).get(name, math.nan)
