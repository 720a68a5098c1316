"""The comparison in one table and one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.evaluation_report import markdown_table
from AttribSegLib.files import atomic_path
from comparing import (
    entries_of,
    image_values,
    population_line,
    rows_of,
    values_of,
)
from study import Study


def summary(study: Study, comparison: dict[str, Any]) -> str:
    """Population, the main table, the figure."""
    columns = {
        "AUPRC, raw": lambda e: values_of(comparison, e, "auprc"),
        "Dice, label-only threshold": lambda e: values_of(comparison, e, "dice"),
        "Dice, mask-tuned on validation": lambda e: values_of(comparison, e, "tuned_dice"),
        "AUPRC, post-processed by labels": lambda e: values_of(
            comparison, e, "auprc", rule="labels"
        ),
        "Image AUROC": lambda e: image_values(comparison, e, "auroc"),
    }
    table = markdown_table(["Entry", *columns], rows_of(comparison, columns))
    return f"""{population_line(study, comparison)} Pooled over the voxels of masked cases,
mean +- SD over seeds. Each entry's main map (the attribution under constraint; the gradient without
one). The label-only threshold leaves false positives on 0.5 % of the brain of healthy validation
slices; the post-processing (times input, smoothing) was chosen by labels alone, for every map and
for FLAIR.

{table}

![AUPRC of every entry](short.png)"""


def draw_short(comparison: dict[str, Any], path: Path) -> None:
    """Pooled AUPRC of every entry, raw and post-processed, every seed as a point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = entries_of(comparison)
    flair = {
        rule: values_of(comparison, entries[0], "auprc", rule=rule) for rule in ("none", "labels")
    }
    order = sorted(
        entries[1:], key=lambda entry: -float(np.mean(values_of(comparison, entry, "auprc")))
    )
    figure = Figure(figsize=(8.2, 5.2), layout="constrained")
    axis = figure.subplots()
    styles = {
        "none": ("raw", "#D55E00", -0.19),
        "labels": ("post-processed by labels", "#0072B2", 0.19),
    }
    for rule, (label, colour, shift) in styles.items():
        values = [values_of(comparison, entry, "auprc", rule=rule) for entry in order]
        places = np.arange(len(order)) + shift
        axis.barh(places, [np.mean(v) for v in values], 0.36, color=colour, alpha=0.55, label=label)
        for place, found in zip(places, values, strict=True):
            axis.plot(found, [place] * len(found), "o", color=colour, ms=3)
        axis.axvline(flair[rule][0], color=colour, ls="--", lw=1.2)
    axis.axvline(comparison["prevalence"], color="k", ls=":", lw=1)
    axis.set_yticks(range(len(order)), order)
    axis.invert_yaxis()
    axis.set_xlabel("AUPRC, pooled (broken lines: plain FLAIR intensity; dotted: chance)")
    axis.grid(axis="x", alpha=0.3)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
