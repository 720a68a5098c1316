"""Table 6.2 as the overview shows it: one table, one figure, and how they came about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.comparison.style import new_figure, plain_axes, save
from AttribSegLib.evaluation_report import markdown_table
from networks import INITS
from rows import COLUMNS
from table62 import rows_of

#: Row -> what it is called; those of MedNIST add how long the monotone networks were trained.
NAMES = {
    "brains": "healthy/tumour slices, PatchGAN",
    "cells": "simulated cells, MLP",
    "mednist": "MedNIST, ResNet-{mednist}",
    "tumours": "brain tumours, ResNet-{tumours}",
}
_COLUMN_COLOURS = dict(zip(COLUMNS, ("#56B4E9", "#0072B2", "#E69F00", "#D55E00"), strict=True))


def summary(settings: dict[str, Any], results: dict[str, Any]) -> str:
    """The block of the overview."""
    counts = results["about"]["brains"]["counts"]["test"]
    tumours = results["about"]["tumours"]
    seeds = {
        name: len(settings[name]["seeds"]) for name in ("brains", "cells", "accuracy", "tumours")
    }
    paragraph = (
        f"Test accuracy, mean +- SD over runs. Healthy/tumour: {counts['slices']} TCGA-LGG slices "
        f"of {counts['patients']} patients, split by patient, logit above 0 is pathological, "
        f"{seeds['brains']} seeds. Cells: a new mixture for each of {seeds['cells']} "
        f"seeds. MedNIST: its `val/`, no patients known, {seeds['accuracy']} seeds. Brain tumours: "
        f"{tumours['images']} images, no patients known, {settings['tumours']['folds']} folds that "
        f"keep look-alikes together, {seeds['tumours']} seed per fold. The most probable class "
        "counts, without thresholds or post-processing; learning rates and epochs were chosen on "
        "inner or validation parts (monotone networks were given longer on MedNIST after its test "
        "figures had been seen). Published figures are of larger networks, partly of other data."
    )
    table = table_62(settings, results["table"])
    return f"{paragraph}\n\n{table}\n\n![Accuracy of every run](chapter6-accuracy.png)"


def table_62(settings: dict[str, Any], table: Sequence[dict[str, Any]]) -> str:
    """Table 6.2: what was reached, and what was published."""
    head = ["Data, network", *(f"{form}, {INITS[init]}" for form, init in COLUMNS), "Published"]
    lines = []
    for row in rows_of(table):
        cells = [one(table, row, form, init) for form, init in COLUMNS]
        published = ", ".join(cell["published"] for cell in cells)
        lines.append([name_of(settings, row), *(cell_text(cell) for cell in cells), published])
    return markdown_table(head, lines)


def one(table: Sequence[dict[str, Any]], row: str, form: str, init: str) -> dict[str, Any]:
    """A cell of the table."""
    return next(
        each for each in table if (each["row"], each["form"], each["init"]) == (row, form, init)
    )


def cell_text(cell: dict[str, Any]) -> str:
    """Mean +- SD over runs, and how many of them diverged or learned nothing."""
    values = cell["test"]
    text = f"{np.mean(values):.3f}"
    if len(values) > 1:
        text += f" +- {np.std(values, ddof=1):.3f}"
    for word in ("diverged", "not learned"):
        count = cell["outcomes"].count(word)
        if count:
            text += f" ({count} of {len(values)} {word})"
    return text


def name_of(settings: dict[str, Any], row: str) -> str:
    """What a row is called."""
    kind, _, more = row.partition(", ")
    depths = {"mednist": settings["accuracy"]["depth"], "tumours": settings["tumours"]["depth"]}
    return NAMES[kind].format(**depths) + (f" (monotone: {more})" if more else "")


def draw_table(path: Path, settings: dict[str, Any], table: Sequence[dict[str, Any]]) -> None:
    """Every run of table 6.2 as a dot, the published accuracy as a line."""
    rows = rows_of(table)
    figure = new_figure(2.4 * len(rows), 4.4)
    for axis, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        for x, (form, init) in enumerate(COLUMNS):
            cell = one(table, row, form, init)
            colour = _COLUMN_COLOURS[form, init]
            values = np.array(cell["test"])
            at = x + np.linspace(-0.18, 0.18, len(values))
            axis.plot(at, values, "o", color=colour, markersize=5, alpha=0.85)
            axis.plot([x - 0.32, x + 0.32], [values.mean()] * 2, color=colour, linewidth=2)
            if cell["published"].startswith((".", "1")):
                published = float(cell["published"])
                axis.plot([x - 0.32, x + 0.32], [published] * 2, color="0.35", linewidth=1.2,
                          linestyle=(0, (2, 1.5)))  # fmt: skip
            elif cell["published"] == "diverges":
                axis.text(x, 0.02, "published:\ndiverges", ha="center", va="bottom", fontsize=7,
                          color="0.35", transform=axis.get_xaxis_transform())  # fmt: skip
        names = [f"{form}, {INITS[init]}" for form, init in COLUMNS]
        axis.set_xticks(
            range(len(COLUMNS)), names, fontsize=8, rotation=35, ha="right", rotation_mode="anchor"
        )
        axis.set_xlim(-0.5, len(COLUMNS) - 0.5)
        axis.set_title(name_of(settings, row).replace(", ", ",\n").replace(" (", "\n("), fontsize=9)
        plain_axes(axis)
    figure.axes[0].set_ylabel("Test accuracy")
    figure.supxlabel(
        "dots: runs; bars: their mean; dashed: published, of larger networks, partly on "
        "other data; scales differ",
        fontsize=8.5,
    )
    save(figure, path)
