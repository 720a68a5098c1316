"""The rows of a cohort table as a panel shows them: what each is, and whether it can be used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from .cohort import Case
from .cohort_table import check_table, open_table, parse_rows, where
from .cohort_validation import describe_grid
from .errors import CohortError, InputError
from .image import Geometry
from .image_io import read_geometry

#: Record of a correction, beside the lesion mask that it made.
CORRECTION = "correction.json"

_Headers = dict[tuple[Path, bool], Geometry | InputError]

READY, CORRECTED, MISSING, FAULTY = "ready", "corrected", "missing file", "faulty"


@dataclass(frozen=True)
class CohortRow:
    """A row of a cohort table and whether it can be used.

    Parameters
    ----------
    case, patient : str
    label : int
        0 healthy, 1 pathological, -1 where the table does not say.
    split : str
        Empty where the table does not say.
    channels : dict of str to Path
    brain, lesions : Path or None
    state : {"ready", "corrected", "missing file", "faulty"}
        "corrected": its lesion mask is a person's correction.
    message : str
        What is wrong with it, in one line; empty when nothing is.
    """

    case: str
    patient: str
    label: int
    split: str
    channels: dict[str, Path] = field(hash=False)
    brain: Path | None = None
    lesions: Path | None = None
    state: str = READY
    message: str = ""


def cohort_rows(path: str | Path, *, check_images: bool = True) -> list[CohortRow]:
    """Every row of a cohort table, faulty ones too.

    Parameters
    ----------
    path : path
    check_images : bool
        Read the headers of the images (milliseconds each, once as long as they do not change),
        and see whether those of a case fit together. Otherwise it only matters that they exist.

    Raises
    ------
    InputError
        If there is no such table, or it is none.
    CohortError
        If its header is faulty.
    """
    path = Path(path)
    rows, faults = parse_rows(open_table(path), path.absolute().parent)
    header = [text for row, text in faults if row == 1]
    if header:
        raise CohortError(str(path), header)
    cases = [Case(**row) for row in rows]
    first: dict[int, str] = {}
    for row, text in [*faults, *check_table(cases, both_classes=False)]:
        first.setdefault(row, text)
    headers = image_headers(cases) if check_images else {}
    return [_row_of(case, first.get(case.row, ""), headers) for case in cases]


def row_of_case(path: str | Path, case: str) -> CohortRow:
    """The row of a case, with its state.

    Raises
    ------
    InputError
        If there is no such case.
    """
    for row in cohort_rows(path, check_images=False):
        if row.case == case:
            return row
    raise InputError(f"{path}: there is no case {case!r}")


def _row_of(case: Case, fault: str, headers: _Headers) -> CohortRow:
    state, message = _state_of(case, fault, headers)
    return CohortRow(
        case.case,
        case.patient,
        case.label,
        case.split,
        case.channels,
        case.brain,
        case.lesions,
        state,
        message,
    )


def _state_of(case: Case, fault: str, headers: _Headers) -> tuple[str, str]:
    """State and message of a row."""
    if fault:
        return FAULTY, fault
    label = where(case.row, case.case)
    missing = [f"{name} {path}" for name, path in _files_of(case) if not path.exists()]
    if missing:
        return MISSING, f"{label}: no such file: {', '.join(missing)}"
    first: tuple[str, Geometry] | None = None
    for name, path in _files_of(case):
        grid = headers.get((path, case.nominal_spacing))
        if grid is None:
            continue
        if isinstance(grid, InputError):
            return FAULTY, f"{label}: {name} {grid}"
        first = first or (name, grid)
        if not grid.same_grid(first[1]):
            return FAULTY, (
                f"{label}: {name} {path}: another grid ({describe_grid(grid)}) than {first[0]} "
                f"({describe_grid(first[1])}); resample one onto the other"
            )
    corrected = case.lesions is not None and (case.lesions.parent / CORRECTION).is_file()
    return (CORRECTED if corrected else READY), ""


def _files_of(case: Case) -> list[tuple[str, Path]]:
    """Column and path of every file of a case."""
    masks = {"brain": case.brain, "lesions": case.lesions}
    return [*case.channels.items(), *((n, path) for n, path in masks.items() if path is not None)]


def image_headers(cases: Sequence[Case]) -> _Headers:
    """Geometry of every file that is there, or what is wrong with it; slices share theirs.

    Files are told by their path and whether their spacing is nominal; one that does not change is
    read once.
    """
    keys = {(path, case.nominal_spacing) for case in cases for _, path in _files_of(case)}
    # A folder is a DICOM series, which takes long to read.
    files = [(path, nominal) for path, nominal in keys if path.is_file()]
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return dict(zip(files, pool.map(lambda key: _header(*key), files), strict=True))


def _header(path: Path, nominal: bool) -> Geometry | InputError:
    try:
        stamp = path.stat()
        return _read_header(path, nominal, stamp.st_size, stamp.st_mtime_ns)
    except InputError as error:
        return error
    except OSError as error:
        return InputError(f"{path}: cannot be read ({error.strerror or error})")


@lru_cache(maxsize=4096)
def _read_header(path: Path, nominal: bool, size: int, time: int) -> Geometry:
    """Geometry of a file of this size and time of change."""
    return read_geometry(path, nominal=nominal)
