"""`Cohort`: the table of cases, one row per image, split by patient.

A CSV with columns ``case``, ``patient``, ``label`` (0 healthy, 1 pathological), one column per
channel (``FLAIR``, ``T1``, ...) and, where they are known, ``split``, ``brain``, ``lesions``,
``slice`` and ``nominal_spacing``. Paths are relative to the CSV.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cohort_table import LABELS, SPLITS, Fault, check_table, open_table, parse_rows
from .cohort_validation import check_case_images
from .errors import CohortError, InputError
from .files import write_text

__all__ = [
    "LABELS",
    "SPLITS",
    "Case",
    "Cohort",
    "assign_splits",
    "make_cohort",
    "read_cohort",
    "write_cohort",
]


@dataclass(frozen=True)
class Case:
    """One image with its image-level label.

    Parameters
    ----------
    case : str
        Name, unique in the cohort; results of the case are filed under it.
    patient : str
        Cases of one patient always share a split.
    label : int
        0 healthy, 1 pathological.
    split : str
        "train", "validation" or "test".
    channels : dict of str to Path
        Absolute path per channel, in the order of the columns.
    brain, lesions : Path, optional
        Masks on the grid of the channels.
    slice : int, optional
        The case is this axial slice of the volume, counted from 0 at the lowest (most inferior)
        one, whatever the order in the file.
    nominal_spacing : bool
        The voxel size is unknown; nothing in mm or mL may be derived from it.
    row : int
        Line in the CSV (the header is line 1), 0 when the case comes from elsewhere.
    """

    case: str
    patient: str
    label: int
    split: str
    channels: dict[str, Path] = field(hash=False)
    brain: Path | None = None
    lesions: Path | None = None
    slice: int | None = None
    nominal_spacing: bool = False
    row: int = 0


@dataclass(frozen=True)
class Cohort:
    """The cases of a study and the channels each of them has."""

    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    source: str

    @property
    def nominal_spacing(self) -> bool:
        """Whether the voxel size of any case is unknown."""
        return any(case.nominal_spacing for case in self.cases)

    def in_split(self, name: str) -> list[Case]:
        """Cases of a split, in the order of the table.

        Raises
        ------
        InputError
            If there is no such split.
        """
        if name not in SPLITS:
            raise InputError(f"split {name!r}: expected one of {', '.join(SPLITS)}")
        return [case for case in self.cases if case.split == name]

    def select(self, predicate: Callable[[Case], bool]) -> Cohort:
        """The cohort of the cases for which ``predicate(case)`` is true."""
        kept = tuple(case for case in self.cases if predicate(case))
        return Cohort(kept, self.channels, self.source)

    def summary(self) -> dict[str, Any]:
        """Counts of cases and patients, in plain form for JSON."""
        splits = {}
        for name in SPLITS:
            cases = self.in_split(name)
            splits[name] = {
                "healthy": sum(case.label == 0 for case in cases),
                "pathological": sum(case.label == 1 for case in cases),
                "patients": len({case.patient for case in cases}),
            }
        return {
            "source": self.source,
            "cases": len(self.cases),
            "patients": len({case.patient for case in self.cases}),
            "channels": list(self.channels),
            "splits": splits,
            "with_lesions": sum(case.lesions is not None for case in self.cases),
            "with_brain": sum(case.brain is not None for case in self.cases),
            "slices": sum(case.slice is not None for case in self.cases),
            "nominal_spacing": self.nominal_spacing,
        }


def read_cohort(
    path: str | Path,
    *,
    seed: int = 0,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    check_images: bool = True,
    both_classes: bool = True,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Cohort:
    """Read a cohort table and check all of it before anything runs.

    Parameters
    ----------
    path : path
        CSV separated by commas, semicolons or tabs, in UTF-8.
    seed, fractions
        How patients are split when the table does not say (see :func:`assign_splits`).
    check_images : bool
        Read every file of the table, each once: it exists, is whole, is 3D, has a geometry, is
        not constant, and fits the other files of its case. When false the paths are taken as
        they are.
    both_classes : bool
        A table of one class is a fault; not so where nothing is learned from it.
    on_event : callable, optional
        Receives ``{"event": "check", "done": k, "total": n}`` after every file that was read.

    Raises
    ------
    InputError
        If there is no such file or it is not a text table.
    CohortError
        Lists every fault of the table and of its images at once. A table without any training
        case is no fault (it can be evaluated on).
    """
    path = Path(path)
    table = open_table(path)
    rows, faults = parse_rows(table, path.absolute().parent)
    cases = [Case(**row) for row in rows]
    return make_cohort(
        cases,
        source=str(path),
        seed=seed,
        fractions=fractions,
        check_images=check_images,
        both_classes=both_classes,
        faults=faults,
        on_event=on_event,
    )


def make_cohort(
    cases: Sequence[Case],
    *,
    source: str,
    seed: int = 0,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    check_images: bool = True,
    both_classes: bool = True,
    faults: Sequence[Fault] = (),
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Cohort:
    """Check cases, split them when none has a split yet, and make a cohort of them.

    Parameters
    ----------
    cases : sequence of Case
        All with the same channels.
    source : str
        Where they come from, for messages.
    seed, fractions, check_images, both_classes, on_event
        See :func:`read_cohort`.
    faults : sequence of (int, str)
        Faults found before, with their rows; they are reported with the others.

    Raises
    ------
    CohortError
        Lists every fault at once.
    """
    cases = list(cases)
    found = [*faults, *check_table(cases, both_classes=both_classes)]
    if not cases and not found:
        found.append((0, "there is no case"))
    if check_images:
        found += check_case_images(cases, on_event=on_event)
    if found:
        # Faults of the whole table carry row 0 and are told after those of single rows.
        ordered = sorted(found, key=lambda fault: (fault[0] == 0, fault[0]))
        raise CohortError(source, [text for _, text in ordered])
    if not any(case.split for case in cases):
        cases = assign_splits(cases, seed=seed, fractions=fractions)
    return Cohort(tuple(cases), tuple(cases[0].channels), source)


def assign_splits(
    cases: Iterable[Case], *, seed: int = 0, fractions: Sequence[float] = (0.6, 0.2, 0.2)
) -> list[Case]:
    """Split cases by patient, at random, in the same proportions among each kind of patient.

    Patients are healthy, pathological or (when their cases differ) both. The result depends on
    the names of the patients, their labels and the seed, never on the order of the cases. Every
    split gets both classes when there are enough patients of each; with fewer, training is
    served first, then validation.

    Parameters
    ----------
    fractions : sequence of three floats
        Shares of patients for training, validation and test; they sum to one.

    Raises
    ------
    InputError
        If the fractions are not such shares.
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(f"split fractions {tuple(fractions)}: three shares that sum to 1")
    if shares[0] == 0:
        raise InputError(f"split fractions {tuple(fractions)}: training needs a share above 0")
    cases = list(cases)
    labels: dict[str, set[int]] = {}
    for case in cases:
        labels.setdefault(case.patient, set()).add(case.label)
    rng = np.random.default_rng(seed)
    split_of: dict[str, str] = {}
    found: list[set[int]] = [set() for _ in SPLITS]
    # Patients with both labels come last: they complete the splits that still lack a class.
    for kind in ({0}, {1}, {0, 1}):
        patients = sorted(patient for patient, has in labels.items() if has == kind)
        by_need = sorted(range(len(SPLITS)), key=lambda i: (-len(kind - found[i]), i))
        counts = _shares_of(len(patients), shares, by_need)
        indices = np.repeat(np.arange(len(SPLITS)), counts)
        for position, index in zip(rng.permutation(len(patients)), indices, strict=True):
            split_of[patients[position]] = SPLITS[index]
            found[index] |= kind
    return [replace(case, split=split_of[case.patient]) for case in cases]


def _shares_of(count: int, shares: NDArray[np.float64], by_need: Sequence[int]) -> list[int]:
    """Whole numbers that sum to ``count``: one for each share above 0, then in proportion."""
    numbers = [0] * len(shares)
    for index in [i for i in by_need if shares[i] > 0][:count]:
        numbers[index] = 1
    while sum(numbers) < count:
        # Rounded, or shares such as 0.6 and 0.2 would break ties by their last binary digit.
        numbers[int(np.argmax(np.round(shares * count - numbers, 9)))] += 1
    return numbers


def write_cohort(cohort: Cohort, path: str | Path) -> None:
    """Write a cohort as a CSV, with paths relative to it; columns that nobody fills are left out.

    Raises
    ------
    OutputError
        If the file cannot be written; nothing is left behind.
    """
    folder = Path(path).absolute().parent
    columns: dict[str, list[str]] = {
        "case": [case.case for case in cohort.cases],
        "patient": [case.patient for case in cohort.cases],
        "label": [str(case.label) for case in cohort.cases],
        "split": [case.split for case in cohort.cases],
    }
    for name in cohort.channels:
        columns[name] = [_relative(case.channels[name], folder) for case in cohort.cases]
    columns["brain"] = [_relative(case.brain, folder) for case in cohort.cases]
    columns["lesions"] = [_relative(case.lesions, folder) for case in cohort.cases]
    columns["slice"] = ["" if case.slice is None else str(case.slice) for case in cohort.cases]
    columns["nominal_spacing"] = [
        str(int(case.nominal_spacing)) if cohort.nominal_spacing else "" for case in cohort.cases
    ]
    needed = ("case", "patient", "label")
    columns = {name: cells for name, cells in columns.items() if name in needed or any(cells)}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_text(path, stream.getvalue())


def _relative(path: Path | None, folder: Path) -> str:
    if path is None:
        return ""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows: no relative path exists
        return path.as_posix()
