"""Figures of a comparison (thesis figs 5.2 to 5.7 and 5.9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .bar_figure import draw_auprc
from .dice_figures import draw_dice, draw_dice_by_map
from .panel import draw_examples
from .results import Comparison, ScoredMap, SweepPoint
from .style import (
    Picture,
    entry_legend,
    hide_rest,
    new_figure,
    plain_axes,
    save,
    series_style,
    shown,
)
from .summaries import SEVERAL_MAPS, is_scored, map_names, primary_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HISTOGRAM_COLOURS = {"healthy": "#0072B2", "rest": "#E69F00", "lesion": "#CC3311"}
_HISTOGRAM_NAMES = {
    "healthy": "healthy cases",
    "rest": "pathological cases, outside lesions",
    "lesion": "lesions",
}
_SWEEP_NAMES = {
    "true_positive_rate": "TPR",
    "true_negative_rate": "TNR",
    "auprc": "AUPRC",
    "dice": "Dice (label-only threshold)",
}


def draw_figures(comparison: Comparison, folder: Path) -> dict[str, Picture]:
    """Draw every figure that a comparison has data for, as PNG files in a folder.

    Returns
    -------
    dict of str to Picture
        Among the keys ``dice``, ``examples``, ``auprc``, ``dice_by_map``, ``histograms``,
        ``sweep``.

    Raises
    ------
    OutputError
        If a picture cannot be written.
    """
    pictures = {}
    if is_scored(comparison):
        pictures["dice"] = draw_dice(comparison, folder / "dice.png")
        if comparison.examples:
            pictures["examples"] = draw_examples(comparison, folder / "examples.png")
        if map_names(comparison, kinds=SEVERAL_MAPS):
            pictures["auprc"] = draw_auprc(comparison, folder / "auprc.png")
            pictures["dice_by_map"] = draw_dice_by_map(comparison, folder / "dice_by_map.png")
    if any(found.histogram for run in comparison.runs if (found := primary_map(run))):
        pictures["histograms"] = draw_histograms(comparison, folder / "histograms.png")
    if comparison.sweep:
        pictures["sweep"] = draw_sweep(comparison.sweep, folder / "sweep.png")
    return pictures


def draw_histograms(comparison: Comparison, path: Path) -> Picture:
    """Attributions of healthy cases, lesions and the rest (thesis fig. 5.9), log density."""
    found = {}
    for entry in comparison.entries:
        maps = (primary_map(run) for run in comparison.runs_of(entry))
        first = next((each for each in maps if each is not None and each.histogram), None)
        if first is not None:
            found[entry] = first
    columns = min(4, len(found))
    rows = math.ceil(len(found) / columns)
    figure = new_figure(max(7.0, 3.2 * columns), 2.6 * rows + 0.5)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, (entry, each) in zip(axes.flat, found.items(), strict=False):
        plain_axes(axis)
        _draw_histogram(axis, each)
        axis.set_title(shown(entry, 30), fontsize=10)
    for axis in axes[:, 0]:
        axis.set_ylabel("Density")
    hide_rest(axes, len(found))
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=9.5)
    save(figure, path)
    legend = (
        "Values of the raw maps of the main table over brain voxels, first seed, each curve of "
        "area one on a logarithmic axis. Vertical line: label-only threshold."
    )
    return Picture("Distribution of attributions", legend, path)


def _draw_histogram(axis: Axes, each: ScoredMap) -> None:
    edges = np.asarray(each.histogram["edges"], dtype=float)
    # Units of a map are arbitrary and tiny: a power of ten in the label instead of in the ticks.
    largest = float(np.abs(edges).max())
    power = math.floor(math.log10(largest)) if largest > 0 else 0
    scale = 10.0**power if abs(power) > 1 else 1.0
    for name, colour in _HISTOGRAM_COLOURS.items():
        density = np.asarray(each.histogram.get(name, []), dtype=float) * scale
        if density.size == edges.size - 1:
            shape = np.where(density > 0, density, np.nan)
            axis.stairs(shape, edges / scale, color=colour, lw=1.6, label=_HISTOGRAM_NAMES[name])
    if math.isfinite(each.threshold):
        line: dict[str, Any] = {"color": "0.2", "linestyle": "--", "linewidth": 1.2}
        axis.axvline(each.threshold / scale, **line, label="label-only threshold")
    unit = "" if scale == 1 else rf" ($\times 10^{{{power}}}$)"
    axis.set_yscale("log")
    axis.set_xlabel(shown(each.name) + unit, fontsize=9)
    axis.minorticks_off()


def draw_sweep(sweep: Sequence[SweepPoint], path: Path) -> Picture:
    """Metrics against the weight of the constraint, a line per resolution (thesis fig. 5.2)."""
    resolutions = list(dict.fromkeys(point.resolution for point in sweep))
    figure = new_figure(13.0, 3.9)
    axes = figure.subplots(1, len(_SWEEP_NAMES))
    positive = [point.alpha for point in sweep if point.alpha > 0]
    zero = len(positive) < len(sweep)
    for axis, (name, title) in zip(axes, _SWEEP_NAMES.items(), strict=True):
        plain_axes(axis)
        for index, resolution in enumerate(resolutions):
            points = [p for p in sweep if p.resolution == resolution]
            alphas = sorted({p.alpha for p in points})
            means = [np.mean([getattr(p, name) for p in points if p.alpha == a]) for a in alphas]
            style = series_style(index)
            axis.plot(alphas, means, marker="o", markersize=5, **style)
            values = [getattr(p, name) for p in points]
            each: dict[str, Any] = {"color": style["color"], "markersize": 3, "alpha": 0.55}
            axis.plot([p.alpha for p in points], values, "x", **each)
        if zero and positive:
            axis.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
        elif positive:
            axis.set_xscale("log")
        axis.set(title=title, xlabel="Weight of the constraint, alpha", ylim=(-0.02, 1.02))
        axis.title.set_fontsize(11)
    entry_legend(figure, {name: series_style(i) for i, name in enumerate(resolutions)})
    save(figure, path)
    legend = "Mean over seeds (points joined by lines) and each seed (crosses), by resolution."
    return Picture("Metrics against the weight of the constraint", legend, path)
