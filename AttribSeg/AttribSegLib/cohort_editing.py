"""Cohorts made and changed case by case, as a panel or a console does it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from .case_matching import grids_of_cases, shared_grid, turned
from .case_placement import case_images, choose_split, placed, require_grid
from .cohort_state import CohortRow, cohort_rows, row_of_case
from .cohort_table import REQUIRED, Table, parse_rows
from .editable_table import EditableTable
from .errors import InputError
from .files import write_text
from .image import Image

__all__ = ["CohortRow", "add_case", "cohort_rows", "create_cohort", "remove_case"]


def create_cohort(path: str | Path, channels: Sequence[str]) -> None:
    """Write a cohort table without a case yet.

    Parameters
    ----------
    path : path
    channels : sequence of str
        Such as ``["FLAIR", "T1"]``.

    Raises
    ------
    InputError
        If there is a file already, or a name is not that of a channel.
    OutputError
        If it cannot be written.
    """
    if Path(path).exists():
        raise InputError(f"{path}: exists already; choose another name, or open it as it is")
    columns = [*REQUIRED, *channels]
    _, faults = parse_rows(Table(columns, []), Path())
    header = [text for row, text in faults if row == 1]
    if header:
        raise InputError(f"channels {', '.join(channels) or '(none)'}: {header[0]}")
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(columns)
    write_text(path, stream.getvalue())


def add_case(
    path: str | Path,
    *,
    case: str,
    patient: str,
    label: int,
    channels: Mapping[str, Image],
    brain: Image | None = None,
    lesions: Image | None = None,
    split: str | None = None,
) -> CohortRow:
    """Add a case: its images are written beside the table, then its row.

    Parameters
    ----------
    path : path
        The cohort table.
    case, patient : str
        The name of the case is new in the table.
    label : int
        0 healthy, 1 pathological.
    channels : mapping of channel name to Image
        The channels of the table, on one grid. Their axes are turned to those of the other cases
        where the voxels are the same.
    brain, lesions : Image, optional
        Masks on that grid.
    split : {"train", "validation", "test"}, optional
        Otherwise that of the patient's other cases, or "train"; none where the table has none.

    Raises
    ------
    InputError
        Names what does not fit the table, and what to do.
    OutputError
        If something cannot be written; the table is then as it was.
    """
    table = EditableTable(path)
    unknown = [name for name in channels if name not in table.channels]
    if unknown:
        raise InputError(
            f"channel {unknown[0]}: {path} has {', '.join(table.channels)}; give these"
        )
    if label not in (0, 1):
        raise InputError(f"label {label!r}: expected 0 (healthy) or 1 (pathological)")
    grids = grids_of_cases(table)
    like = shared_grid(grids)
    if like is not None:
        channels = {name: turned(image, like) for name, image in channels.items()}
        brain = None if brain is None else turned(brain, like)
        lesions = None if lesions is None else turned(lesions, like)
    images = case_images(table, case, label, channels, brain, lesions)
    require_grid(table, case, next(iter(images.values())).geometry, grids)
    cells = {"split": choose_split(table, patient, split)}
    with placed(table, case, patient, label, images, cells):
        table.write()
    return row_of_case(path, case)


def remove_case(path: str | Path, case: str) -> None:
    """Take the row of a case out of a table; its images stay where they are.

    Raises
    ------
    InputError
        If there is no such case.
    OutputError
        If the table cannot be written.
    """
    table = EditableTable(path)
    index = table.find(case)
    if index is None:
        raise InputError(f"{path}: there is no case {case!r}")
    table.remove(index)
    table.write()
