"""AUPRC of a comparison as bars (thesis figs 5.4 and 5.6)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .results import Comparison
from .style import CHANCE, COLOURS, INTENSITY, Picture, new_figure, plain_axes, save, shown
from .summaries import SEVERAL_MAPS, Pick, map_names, picker, pooled, primary_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_auprc(comparison: Comparison, path: Path) -> Picture:
    """AUPRC of raw maps by entry and inference attribution (thesis figs 5.4, 5.6)."""
    several = {run.entry for run in comparison.runs if run.kind in SEVERAL_MAPS}
    plain = {run.entry for run in comparison.runs if run.kind == "intensity"}
    entries = [entry for entry in comparison.entries if entry not in plain]
    names = map_names(comparison, kinds=SEVERAL_MAPS)
    figure = new_figure(max(7.5, 1.6 + len(entries) * max(0.7, 0.2 * len(names) + 0.25)), 4.9)
    axis = figure.subplots()
    plain_axes(axis)
    axis.grid(visible=False, axis="x")
    width = 0.82 / len(names)
    for place, entry in enumerate(entries):
        bars: list[tuple[Pick, str, float]] = [
            (picker(n), COLOURS[i % len(COLOURS)], i) for i, n in enumerate(names)
        ]
        if entry not in several:
            bars = [(primary_map, "0.6", (len(names) - 1) / 2)]
        for pick, colour, slot in bars:
            found = pooled(comparison, entry, "auprc", pick)
            x = place + (slot - (len(names) - 1) / 2) * width
            hatch = "///" if colour != "0.6" and slot >= len(COLOURS) else None
            axis.bar(x, found.mean, 0.92 * width, color=colour, hatch=hatch, edgecolor="white")
            picked = [pick(run) for run in comparison.runs_of(entry)]
            seeds = [m.pooled.get("auprc", math.nan) for m in picked if m is not None]
            if len(seeds) > 1:
                axis.plot([x] * len(seeds), seeds, "o", color="0.1", markersize=3, zorder=3)
    for entry in plain:
        level = pooled(comparison, entry, "auprc", primary_map).mean
        axis.axhline(level, color=INTENSITY, linestyle=(0, (3, 1.5)), linewidth=1.6, zorder=2.5)
    axis.axhline(comparison.prevalence, color=CHANCE, linestyle=":", linewidth=1.6, zorder=2.5)
    slanted = len(entries) > 4
    labels = [shown(entry, 24 if slanted else 16) for entry in entries]
    axis.set_xticks(range(len(entries)), labels, fontsize=9)
    if slanted:
        axis.tick_params(axis="x", rotation=35)
        for label in axis.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axis.set(ylabel="AUPRC, pooled", xlim=(-0.6, len(entries) - 0.4))
    _bar_legend(figure, names, baselines=len(entries) > len(several), plain=sorted(plain))
    save(figure, path)
    legend = (
        "Raw maps, pooled over the voxels of the cases with a mask: mean over seeds, and each "
        "seed as a point. Broken line: the plain intensity; dotted: the lesion prevalence (chance)."
    )
    return Picture("AUPRC by constraint and inference attribution", legend, path)


def _bar_legend(figure: Figure, names: list[str], *, baselines: bool, plain: list[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    count = len(COLOURS)
    handles: list[Any] = [
        Patch(
            facecolor=COLOURS[i % count],
            edgecolor="white",
            label=shown(name),
            hatch="///" if i >= count else None,
        )
        for i, name in enumerate(names)
    ]
    if baselines:
        handles.append(Patch(facecolor="0.6", label="baseline, its own map"))
    dashes = (0, (3, 1.5))
    handles += [Line2D([], [], color=INTENSITY, ls=dashes, label=shown(name)) for name in plain]
    handles.append(Line2D([], [], color=CHANCE, ls=":", label="chance"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
