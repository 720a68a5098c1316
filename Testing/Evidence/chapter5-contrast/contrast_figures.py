"""Pictures of the study: what N4 does to images, and the recipes' figures on both cohorts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.cohort import read_cohort
from AttribSegLib.files import atomic_path
from AttribSegLib.image_io import read_image
from comparing import entries_of, values_of

_VERSIONS = ("as simulated", "after N4")
_COLOURS = ("#0072B2", "#D55E00")
_SHOWN = 3


def draw_order(found: dict[str, dict[str, Any]], path: Path) -> None:
    """AUPRC and Dice of every recipe, a row each: from one cohort to the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = entries_of(found["before"])
    height = 1.6 + 0.3 * len(entries)
    figure = Figure(figsize=(9.6, height), layout="constrained", dpi=110, facecolor="white")
    names = {"auprc": "AUPRC, pooled", "tuned_dice": "Dice, mask-tuned on validation"}
    for axis, (metric, label) in zip(
        figure.subplots(1, 2, sharey=True), names.items(), strict=True
    ):
        for row, entry in enumerate(entries):
            ends = [values_of(content, entry, metric) for content in found.values()]
            means = [float(np.mean(values)) for values in ends]
            axis.plot(means, [row, row], color="0.75", linewidth=2, zorder=1)
            for values, mean, colour, version in zip(ends, means, _COLOURS, _VERSIONS, strict=True):
                axis.plot(mean, row, "o", color=colour, label=None if row else version)
                if len(values) > 1:
                    axis.plot(values, [row] * len(values), ".", color=colour, markersize=4)
        if metric == "auprc":
            level = float(np.mean([content["prevalence"] for content in found.values()]))
            axis.axvline(level, color="0.6", linestyle=":", label="chance")
        axis.set_yticks(range(len(entries)), entries)
        axis.set(xlim=(0, None), xlabel=label, ylim=(len(entries) - 0.5, -0.5))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.92", axis="x")
        axis.set_axisbelow(True)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def draw_examples(volumes: dict[str, Path], path: Path) -> None:
    """The slice with most lesion of some test patients, on one grey scale, before and after."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cohorts = [
        read_cohort(table, check_images=False).in_split("test") for table in volumes.values()
    ]
    pairs = [pair for pair in zip(*cohorts, strict=True) if pair[0].label == 1][:_SHOWN]
    figure = Figure(figsize=(3 * _SHOWN, 6.6), layout="constrained", dpi=110, facecolor="white")
    axes = figure.subplots(2, _SHOWN)
    for column, pair in enumerate(pairs):
        assert pair[0].lesions is not None  # pathological simulated cases have one
        lesions = read_image(pair[0].lesions).array != 0
        k = int(lesions.sum(axis=(0, 1)).argmax())
        shown = [read_image(case.channels["FLAIR"]).array[:, :, k] for case in pair]
        top = float(np.percentile(shown[0][shown[0] > 0], 99.5))
        for row, (image, name) in enumerate(zip(shown, ("as simulated", "after N4"), strict=True)):
            axis = axes[row, column]
            axis.imshow(image.T[::-1], cmap="gray", vmin=0, vmax=top)
            axis.contour(lesions[:, :, k].T[::-1], [0.5], colors="#3fe0a5", linewidths=0.8)
            axis.set_title(f"{pair[0].case}, {name}", fontsize=9)
            axis.set_axis_off()
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
