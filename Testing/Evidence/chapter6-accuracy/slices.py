"""Healthy and pathological FLAIR slices of the shared cohort, as images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from AttribSegLib.cases import common_grid, load_cases
from AttribSegLib.cohort import read_cohort
from labelled_images import Images, standardised_parts

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Slices:
    """Slices by part; no patient is in two of them.

    Parameters
    ----------
    train, validation, test : Images
    patients : dict of str to ndarray
        Part -> patient of every slice.
    plain : dict of str to ndarray of shape (N, 2)
        Part -> two numbers of every slice: the 99th percentile of FLAIR in the brain, and the
        brain's area in pixels.
    """

    train: Images
    validation: Images
    test: Images
    patients: dict[str, np.ndarray]
    plain: dict[str, np.ndarray]


def read_slices(table: Path, *, coarser: int = 1) -> Slices:
    """Read a cohort of slices, standardised over the brain of each patient's volume.

    Parameters
    ----------
    table : Path
        Of the cohort.
    coarser : int
        Pixels that are averaged along each axis.
    """
    cohort = read_cohort(table)
    cases = load_cases([case for part in PARTS for case in cohort.in_split(part)])
    common_grid(cases)
    plain = np.array([[np.percentile(c.array[0][c.brain], 99), c.brain.sum()] for c in cases])
    split = np.array([case.case.split for case in cases])
    chosen = [np.flatnonzero(split == part) for part in PARTS]
    x = np.stack([case.array[0, :, :, 0] for case in cases])
    y = np.array([case.case.label for case in cases])
    owners = np.array([case.case.patient for case in cases])
    train, validation, test = (part.pooled(coarser) for part in standardised_parts(x, y, chosen))
    return Slices(
        train,
        validation,
        test,
        patients={part: owners[index] for part, index in zip(PARTS, chosen, strict=True)},
        plain={part: plain[index] for part, index in zip(PARTS, chosen, strict=True)},
    )


def threshold_accuracy(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray
) -> float:
    """Test accuracy of a threshold on one number, put where it is best on what is trained on.

    Either side of the threshold may be the pathological one.
    """
    found = [
        (float(np.mean((sign * train > sign * level) == labels)), level, sign)
        for sign in (1, -1)
        for level in np.unique(train)
    ]
    _, level, sign = max(found)
    return float(np.mean((sign * test > sign * level) == truth))
