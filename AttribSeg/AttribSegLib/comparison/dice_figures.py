"""Dice of a comparison against how much of the brain is selected (thesis figs 5.3 and 5.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .results import Comparison, RunResult, ScoredMap
from .style import (
    CHANCE,
    Picture,
    entry_legend,
    hide_rest,
    legend_height,
    line_styles,
    new_figure,
    plain_axes,
    save,
    shown,
)
from .summaries import SEVERAL_MAPS, Pick, map_names, picker, primary_map, rules_of
from .voxel_tables import RULE_NAMES

#: Share of the brain at which the curves begin.
_LEAST_SELECTED = 1e-4
_CURVE_POINTS = 300
#: x and y of the line of each entry.
Lines = Mapping[str, tuple[NDArray[Any], NDArray[Any]]]


def draw_dice(comparison: Comparison, path: Path) -> Picture:
    """Dice of every entry against the share of the brain selected (thesis figs 5.3, 5.5).

    One panel for the raw maps and one for each rule of post-processing.
    """
    panels = {"Raw maps": _dice_lines(comparison, comparison.entries, primary_map)}
    for rule in rules_of(comparison):
        lines = _dice_lines(comparison, comparison.entries, _processed(rule))
        panels[f"Post-processed, {RULE_NAMES.get(rule, rule)}"] = lines
    _draw_dice_panels(comparison, panels, path)
    legend = (
        "Dice over the voxels of all cases with a mask against how much of the brain lies above "
        "the threshold; mean over seeds. The height of a curve at its best is the oracle Dice, an "
        "upper bound. Dotted: the share that is lesion."
    )
    return Picture("Dice against threshold", legend, path)


def draw_dice_by_map(comparison: Comparison, path: Path) -> Picture:
    """The same for each inference attribution of the classifiers (thesis fig. 5.5)."""
    classifiers = [run.entry for run in comparison.runs if run.kind in SEVERAL_MAPS]
    plain = [run.entry for run in comparison.runs if run.kind == "intensity"]
    panels = {}
    for name in map_names(comparison, kinds=SEVERAL_MAPS):
        lines = _dice_lines(comparison, list(dict.fromkeys(classifiers)), picker(name))
        panels[name] = {**_dice_lines(comparison, plain[:1], primary_map), **lines}
    _draw_dice_panels(comparison, panels, path)
    legend = "As above, raw maps, one panel per attribution read at inference; mean over seeds."
    return Picture("Dice against threshold, by attribution", legend, path)


def _processed(rule: str) -> Pick:
    """Chooses a run's primary map post-processed by a rule, or else its first map by that rule."""

    def pick(run: RunResult) -> ScoredMap | None:
        others = (each for each in run.maps if each.rule == rule)
        return primary_map(run, rule) or next(others, None)

    return pick


def _dice_lines(
    comparison: Comparison,
    entries: Sequence[str],
    pick: Pick,
) -> Lines:
    """Curve of each entry, averaged over its seeds on common shares."""
    grid = np.geomspace(_LEAST_SELECTED, 1.0, _CURVE_POINTS)
    lines = {}
    for entry in entries:
        found = []
        for run in comparison.runs_of(entry):
            chosen = pick(run)
            curve = {} if chosen is None else chosen.curve
            selected, dice = (np.asarray(curve.get(k, []), float) for k in ("selected", "dice"))
            usable = (selected > 0) & np.isfinite(dice)
            if usable.any():
                x, y = np.log(selected[usable]), dice[usable]
                found.append(np.interp(np.log(grid), x, y, left=np.nan, right=np.nan))
        if found:
            values = np.array(found)
            # Only where every seed has a value: no step where a seed begins.
            mean = values.mean(axis=0)
            if np.isfinite(mean).any():
                lines[entry] = (grid, mean)
    return lines


def _draw_dice_panels(comparison: Comparison, panels: Mapping[str, Lines], path: Path) -> None:
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    names = [e for e in comparison.entries if any(e in lines for lines in panels.values())]
    figure = new_figure(max(4.6 * columns, 7.0), 3.7 * rows + legend_height(len(names)))
    styles = line_styles(comparison)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    top = max(
        (np.nanmax(y, initial=0) for ls in panels.values() for _, y in ls.values()), default=0
    )
    begins = [x[np.isfinite(y)][0] for ls in panels.values() for x, y in ls.values()]
    # The nearest power of ten below where the first curve begins.
    left = 10 ** math.floor(math.log10(min(begins, default=_LEAST_SELECTED)))
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        plain_axes(axis)
        axis.set_title(shown(title), fontsize=11)
        for entry, (x, y) in lines.items():
            axis.plot(x, y, **styles[entry])
        axis.axvline(comparison.prevalence, color=CHANCE, linestyle=":", linewidth=1.3)
        axis.set(xscale="log", xlim=(left, 1), ylim=(0, min(1.0, 1.1 * top) or 1.0))
        axis.set_xlabel("Share of brain voxels above the threshold")
        axis.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axis.minorticks_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("Dice, pooled")
    hide_rest(axes, len(panels))
    entry_legend(figure, {name: styles[name] for name in names})
    save(figure, path)
