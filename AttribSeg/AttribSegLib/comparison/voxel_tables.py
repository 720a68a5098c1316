"""Tables of voxel metrics: raw maps, the same pooled, and post-processed maps (thesis ch. 5)."""

from __future__ import annotations

import math

from ..evaluation import Summary
from .results import Comparison, RunResult
from .summaries import Pick, over_cases, over_seeds, picker, pooled, primary_map, spread, words_of
from .table import Table

#: How Dice is named, by how its threshold was chosen.
DICE_NAMES = {
    "dice": "Dice (label-only threshold)",
    "tuned_dice": "Dice (mask-tuned on validation)",
    "oracle_dice": "Oracle Dice (upper bound)",
}
RULE_NAMES = {"labels": "chosen by labels alone", "masks": "mask-tuned on validation"}
_HAUSDORFF = "hausdorff95_mm"
_CASE_NAMES = {
    "auprc": "AUPRC",
    **DICE_NAMES,
    "auroc": "AUROC",
    "auroc10": "AUROC10",
    _HAUSDORFF: "Hausdorff 95 % (mm)",
}
_ALL_CASES = ("auprc", "auroc", "auroc10")
_DICE_LEGEND = (
    "The label-only threshold was chosen without a mask; mask-tuned Dice takes its threshold from "
    "validation images with masks, which a person with labels alone does not have. Oracle Dice is "
    "the best over all thresholds, chosen with the very masks it is measured on: an upper bound, "
    "not a result."
)
_RULE_LEGENDS = {
    "labels": "The post-processing was chosen by image labels alone",
    "masks": "The post-processing was chosen with validation masks (mask-tuned)",
}


def main_table(comparison: Comparison) -> Table:
    """Raw maps, one row per entry with the map that stands for it.

    Per-case values are averaged over seeds first; mean and sample SD are over cases. The pooled
    AUPRC has its SD over seeds.
    """
    rows = []
    for entry in _with_a_map(comparison):
        name = words_of(run.primary for run in comparison.runs_of(entry))
        rows.append([entry, name, *_cells(comparison, entry, primary_map)])
    return Table("Raw maps", ["Entry", "Map", *_head(comparison)], rows, _legend(comparison))


def processed_table(comparison: Comparison, rule: str) -> Table:
    """Maps post-processed by one rule, the plain intensity alike.

    Parameters
    ----------
    comparison : Comparison
    rule : {"labels", "masks"}
        What the post-processing was chosen by.
    """
    rows = []
    for entry in comparison.entries:
        runs = comparison.runs_of(entry)
        for name in dict.fromkeys(m.name for run in runs for m in run.maps if m.rule == rule):
            pick = picker(name, rule)
            chosen = [found for run in runs if (found := pick(run)) is not None]
            words = words_of(each.processing for each in chosen)
            if len(chosen) < len(runs):
                words += f" ({len(chosen)} of {len(runs)} seeds have this map)"
            rows.append([entry, name, words, *_cells(comparison, entry, pick)])
    legend = (
        f"{_RULE_LEGENDS.get(rule, f'The post-processing was chosen by {rule}')}, for the plain "
        "intensity as for every map: some steps lend a map part of its strength. Columns and "
        "thresholds as for the raw maps."
    )
    head = ["Entry", "Map", "Post-processing", *_head(comparison)]
    title = f"Post-processed maps, {RULE_NAMES.get(rule, rule)}"
    return Table(title, head, rows, legend)


def pooled_table(comparison: Comparison) -> Table:
    """Raw maps over all voxels at once: of masked cases, and with healthy cases as empty masks."""
    names = {name: _CASE_NAMES[name] for name in ("auprc", *DICE_NAMES, "auroc", "auroc10")}
    rows = []
    for entry in _with_a_map(comparison):
        cells = [spread(pooled(comparison, entry, name, primary_map)) for name in names]
        cells += [spread(_with_healthy(comparison, entry, name)) for name in _ALL_CASES]
        rows.append([entry, *cells])
    legend = (
        "The voxels of all cases with a mask as one set; the last columns add the healthy cases, "
        "with empty masks, which lowers the chance level of AUPRC. Mean +- SD over seeds. "
    )
    head = ["Entry", *names.values(), *(f"{_CASE_NAMES[n]}, healthy too" for n in _ALL_CASES)]
    return Table("Raw maps, pooled over voxels", head, rows, legend + _DICE_LEGEND)


def _with_a_map(comparison: Comparison) -> list[str]:
    """Entries of which some run has its primary map."""
    return [
        entry
        for entry in comparison.entries
        if any(primary_map(run) is not None for run in comparison.runs_of(entry))
    ]


def _case_metrics(comparison: Comparison) -> list[str]:
    """Metrics of the main table; nothing in mm on grids of unknown spacing."""
    return [name for name in _CASE_NAMES if not (comparison.nominal and name == _HAUSDORFF)]


def _head(comparison: Comparison) -> list[str]:
    names = [_CASE_NAMES[name] for name in _case_metrics(comparison)]
    return ["Seeds", names[0], "AUPRC, pooled", *names[1:]]


def _cells(comparison: Comparison, entry: str, pick: Pick) -> list[str]:
    """Cells in the order of the head; the number of cases is told where some are undefined."""
    cells = [
        spread(over_cases(comparison, entry, name, pick), of="cases")
        for name in _case_metrics(comparison)
    ]
    seeds = sum(pick(run) is not None for run in comparison.runs_of(entry))
    return [str(seeds), cells[0], spread(pooled(comparison, entry, "auprc", pick)), *cells[1:]]


def _legend(comparison: Comparison) -> str:
    hausdorff = "" if comparison.nominal else " Hausdorff leaves out cases with nothing segmented."
    return (
        f"{comparison.counts.get('masked', 0)} pathological cases with a mask; mean +- SD over "
        "cases, each case averaged over seeds first. Pooled AUPRC: over the voxels of all these "
        f"cases, +- SD over seeds. {_DICE_LEGEND} At chance, AUPRC pooled over voxels is the "
        f"lesion prevalence, {comparison.prevalence:.3%}, and AUROC10 is 0.05.{hausdorff}"
    )


def _with_healthy(comparison: Comparison, entry: str, metric: str) -> Summary:
    """A metric pooled over all cases, healthy ones with empty masks, over seeds."""

    def value(run: RunResult) -> float:
        found = primary_map(run)
        return math.nan if found is None else found.all_cases.get(metric, math.nan)

    return over_seeds(comparison, entry, value)
