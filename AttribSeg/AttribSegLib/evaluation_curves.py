"""The curves of an evaluation as a table, for other programs to draw."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from .evaluation import Evaluation, Population

#: Points of a curve at most.
POINTS = 200

#: What stands in the column "population" for the classes of whole images.
IMAGES = "images"

_COLUMNS = ("curve", "population", "map", "x", "y", "threshold")


def curves_table(evaluation: Evaluation) -> str:
    """The curves of an evaluation as CSV, a row per point, :data:`POINTS` of a curve at most.

    Columns
    -------
    curve
        "roc" (x false, y true positive rate), "precision-recall" (x recall, y precision), and
        "dice" (x share of the brain that is segmented, y Dice).
    population
        "images", or the cases whose voxels were pooled.
    map
        Of voxels; empty for images.
    x, y
    threshold
        The map's voxels above it give the point; empty for images and at the ends of a ROC.

    Returns
    -------
    str
        Curves that are undefined, such as the ROC of one class, are left out.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    false_rate, true_rate = evaluation.image_roc
    if not math.isnan(false_rate[0]):
        kept = _kept(len(false_rate))
        for x, y in zip(false_rate[kept], true_rate[kept], strict=True):
            writer.writerow(["roc", IMAGES, "", float(x), float(y), ""])
    for population in evaluation.populations.values():
        writer.writerows(_rows(population))
    return buffer.getvalue()


def _rows(population: Population) -> Iterator[list[str | float]]:
    """Rows of all maps on one population."""
    for name, result in population.maps.items():
        curves = result.curves
        # Two ends are added to the ROC.
        kept = _kept(len(curves.recall), POINTS - 2)
        recall, precision = curves.recall[kept], curves.precision[kept]
        selected, dice = curves.selected[kept], curves.dice[kept]
        # What is selected and is no lesion, as a share of what is no lesion.
        share = population.prevalence
        false_rate = recall * np.nan  # every voxel a lesion: no ROC
        if share < 1:
            false_rate = np.clip((selected - recall * share) / (1 - share), 0.0, 1.0)
        threshold: list[str | float] = [float(each) for each in curves.threshold[kept]]
        drawn: dict[str, tuple[Iterable[float], Iterable[float], list[str | float]]] = {
            "roc": ([0.0, *false_rate, 1.0], [0.0, *recall, 1.0], ["", *threshold, ""]),
            "precision-recall": (recall, precision, threshold),
            "dice": (selected, dice, threshold),
        }
        for curve, (x, y, cuts) in drawn.items():
            for point in zip(x, y, cuts, strict=True):
                if not math.isnan(point[0]):
                    position = [float(each) for each in point[:2]]
                    yield [curve, population.name, name, *position, point[2]]


def _kept(count: int, most: int = POINTS) -> NDArray[np.intp]:
    """Indices of at most so many of the points, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))
