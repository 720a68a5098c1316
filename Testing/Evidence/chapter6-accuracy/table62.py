"""Table 6.2: what was reached in its columns, and differences between them, run by run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cells
import numpy as np
import tumours
from brain_tumours import BrainTumours
from rows import COLUMNS, chosen
from slices import Slices

#: Name of a row -> the published accuracies, in the order of the columns.
PUBLISHED = {
    "brains": ("1.00", "1.00", ".98", "1.00"),
    "cells": ("-", "-", ".83", ".92"),
    "mednist": ("1.00", "1.00", "diverges", ".98"),
    "tumours": (".72", ".73", "diverges", ".71"),
}
#: Differences that are asked for: of the first column minus the second.
COMPARED = (
    (("monotone", "ours"), ("standard", "ours")),
    (("monotone", "ours"), ("monotone", "kaiming")),
    (("standard", "ours"), ("standard", "kaiming")),
)
REPLICATES = 2000


def columns(
    settings: dict[str, Any], found: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Rows of the table: what it is about and, by column, the accuracy of every run."""
    rows = []
    for row, runs in _rows(settings, found).items():
        published = PUBLISHED[row.partition(",")[0]]
        for (form, init), printed in zip(COLUMNS, published, strict=True):
            members = runs[form, init]
            rows.append(
                {
                    "row": row,
                    "form": form,
                    "init": init,
                    "published": printed,
                    "test": [each["test"] for each in members],
                    "balanced": [each.get("balanced") for each in members],
                    "auroc": [each.get("auroc") for each in members],
                    "outcomes": [each["outcome"] for each in members],
                    "first_loss": members[0]["losses"][0],
                }
            )
    return rows


def _rows(
    settings: dict[str, Any], found: dict[str, list[dict[str, Any]]]
) -> dict[str, dict[tuple[str, str], list[dict[str, Any]]]]:
    """Row -> column -> runs, in the same order of seeds and folds in all columns."""
    final = cells.finals(found["cells"], settings["cells"])
    rows = {
        name: {(f, i): chosen(runs, form=f, init=i) for f, i in COLUMNS}
        for name, runs in (("brains", found["brains"]), ("cells", final))
    }
    epochs = settings["accuracy"]["epochs"]
    for count in epochs["monotone"]:
        more = "" if len(epochs["monotone"]) == 1 else f", {count} epochs"
        rows[f"mednist{more}"] = {
            (form, init): chosen(
                found["accuracy"],
                form="batch" if form == "standard" else form,
                init=init,
                epochs=count if form == "monotone" else epochs["batch"][-1],
            )
            for form, init in COLUMNS
        }
    rows["tumours"] = {(f, i): chosen(found["tumours"], form=f, init=i) for f, i in COLUMNS}
    return rows


def pairs(
    settings: dict[str, Any],
    found: dict[str, list[dict[str, Any]]],
    images: BrainTumours,
    slices: Slices,
) -> list[dict[str, Any]]:
    """Differences of accuracy between columns, with two intervals each.

    "Over runs": Student's, over seeds or folds. "Over groups": bootstrap of the differences per
    image, averaged over seeds, in which a patient's images (or images that look alike) are drawn
    together; where it was not stored which image was right, there is none.
    """
    rows = []
    folds = settings["tumours"]["folds"]
    for row, runs in _rows(settings, found).items():
        for first, second in COMPARED:
            gaps = np.array(
                [a["test"] - b["test"] for a, b in zip(runs[first], runs[second], strict=True)]
            )
            # Folds share most of what they train on (Nadeau and Bengio 2003).
            shared = 1 / (folds - 1) if row == "tumours" else 0.0
            over_groups = None
            if row == "brains":
                gap = [_right(runs[column]) for column in (first, second)]
                over_groups = interval_over_groups(gap[0] - gap[1], slices.patients["test"])
            elif row == "tumours":
                gap = [
                    tumours.rightness(runs[column], settings["tumours"], images)
                    for column in (first, second)
                ]
                over_groups = interval_over_groups(gap[0] - gap[1], images.groups)
            rows.append(
                {
                    "row": row,
                    "first": list(first),
                    "second": list(second),
                    "runs": len(gaps),
                    "mean": float(gaps.mean()),
                    "over_runs": interval_over_runs(gaps, shared=shared),
                    "over_groups": over_groups,
                }
            )
    return rows


def _right(runs: Sequence[dict[str, Any]]) -> np.ndarray:
    return np.mean([[int(each) for each in run["right"]] for run in runs], axis=0)


def interval_over_runs(gaps: np.ndarray, *, shared: float = 0.0) -> list[float] | None:
    """95 % interval of a mean, by Student's distribution.

    Parameters
    ----------
    gaps : ndarray of shape (N,)
    shared : float
        Added to 1 / N, for runs that are not independent: of folds the ratio of tested to trained.

    Returns
    -------
    list of two floats, or None for a single run.
    """
    from scipy.stats import t

    if len(gaps) < 2:
        return None
    width = t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) * math.sqrt(1 / len(gaps) + shared)
    return [float(gaps.mean() - width), float(gaps.mean() + width)]


def interval_over_groups(gaps: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> list[float]:
    """95 % percentile bootstrap interval of a mean over images, whole groups drawn together."""
    _, owner = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(owner, gaps), np.bincount(owner)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(sums), (REPLICATES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [float(limit) for limit in np.quantile(means, [0.025, 0.975])]


def diverged(row: dict[str, Any]) -> int:
    """How many of a cell's runs diverged."""
    return sum(outcome == "diverged" for outcome in row["outcomes"])


def rows_of(table: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the rows, in order."""
    return list(dict.fromkeys(each["row"] for each in table))
