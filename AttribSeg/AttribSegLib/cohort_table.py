"""The text of a cohort table: columns, rows and what can be wrong with them.

A fault is ``(row, text)``; row 0 stands for the whole table.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from .cohort import Case

SPLITS = ("train", "validation", "test")
LABELS = ("healthy", "pathological")

REQUIRED = ("case", "patient", "label")
OPTIONAL = ("split", "brain", "lesions", "slice", "nominal_spacing")
_CHANNEL = re.compile(r"[A-Z][A-Za-z0-9]*")
_USUAL_CHANNELS = ("FLAIR", "T1", "T1W", "T1CE", "T2", "T2W", "PD", "DWI", "ADC", "SWI")
_FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
#: Results of a case are files named after it.
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f]')

Fault = tuple[int, str]


@dataclass(frozen=True)
class Table:
    """Cells of a CSV as text."""

    columns: list[str]
    rows: list[tuple[int, list[str]]]


def open_table(path: Path) -> Table:
    """Read a CSV separated by commas, semicolons or tabs; blank lines are skipped.

    Raises
    ------
    InputError
        If the file is missing, is not UTF-8 text or is empty.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder, a cohort table (CSV) was expected")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path of the cohort table") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not a text table; export it as CSV (UTF-8) and give that file"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if "\0" in text:
        raise InputError(f"{path}: not a text table; export it as CSV (UTF-8) and give that file")
    if not text.strip():
        raise InputError(f"{path}: empty; a header and one row per case were expected")
    return table_of(text, path)


def table_of(text: str, path: Path) -> Table:
    """The table that a text holds.

    Parameters
    ----------
    text : str
        Not empty, without a byte order mark.
    path : Path
        Where it comes from, for messages.

    Raises
    ------
    InputError
        If a line is not CSV.
    """
    delimiter = delimiter_of(text)
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
    lines: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                lines.append((reader.line_num, stripped))
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num} is not CSV ({error})") from error
    if not lines:
        raise InputError(f"{path}: empty; a header and one row per case were expected")
    columns, rows = lines[0][1], lines[1:]
    # Spreadsheets add separators at the end of every line.
    while (
        columns
        and not columns[-1]
        and not any(len(c) >= len(columns) and c[len(columns) - 1] for _, c in rows)
    ):
        columns = columns[:-1]
        rows = [(row, cells[: len(columns)]) for row, cells in rows]
    return Table(columns, rows)


def delimiter_of(text: str) -> str:
    """What separates the cells: comma, semicolon or tab, whichever the header has most of."""
    # csv.Sniffer guesses from all the text and may choose a letter; the header decides alone.
    header = text.lstrip().splitlines()[0]
    return max(",;\t", key=header.count)


def parse_rows(table: Table, folder: Path) -> tuple[list[dict[str, Any]], list[Fault]]:
    """Turn the cells into the fields of :class:`.Case`, and list what cannot be.

    Parameters
    ----------
    folder : Path
        Paths of the table are relative to it.

    Returns
    -------
    rows : list of dict
        Fields of every row, also of faulty ones (label -1, no path), so that everything else
        about them can still be checked.
    faults : list of (int, str)
    """
    faults: list[Fault] = [(1, f"row 1 (header): {text}") for text in _header_faults(table.columns)]
    channels = [name for name in table.columns if _is_channel(name)]
    has_split = "split" in table.columns and any(
        dict(zip(table.columns, cells, strict=False)).get("split") for _, cells in table.rows
    )
    if not table.rows:
        faults.append((0, "no row below the header; one per case was expected"))
    result = []
    for row, cells in table.rows:
        values = dict(zip(table.columns, cells, strict=False))
        name = values.get("case", "")

        def fault(text: str, row: int = row, name: str = name) -> None:
            faults.append((row, f"{where(row, name)}: {text}"))

        if len(cells) != len(table.columns):
            fault(f"{len(cells)} values for {len(table.columns)} columns")
        needed = [*REQUIRED, *channels, *(["split"] if has_split else [])]
        for column in needed:
            if column in table.columns and not values.get(column):
                more = " (fill it for every case or for none)" if column == "split" else ""
                fault(f"{column} is empty{more}")
        if _NOT_IN_NAMES.search(name) or name in (".", ".."):
            fault(f"case {name!r} cannot be a file name; use letters, digits, - and _")
        label, split = _whole(values.get("label", "")), values.get("split", "")
        if values.get("label") and label not in (0, 1):
            fault(f"label {values['label']!r}: expected 0 (healthy) or 1 (pathological)")
        if split and split not in SPLITS:
            fault(f"split {split!r}: expected {', '.join(SPLITS)}{_nearest(split, SPLITS)}")
        index = _whole(values.get("slice", ""))
        if values.get("slice") and (index is None or index < 0):
            fault(f"slice {values['slice']!r}: expected a whole number from 0")
            index = None
        flag = values.get("nominal_spacing", "").lower()
        if flag not in _FLAGS:
            fault(f"nominal_spacing {flag!r}: expected 0 or 1")
        result.append(
            {
                "case": name,
                "patient": values.get("patient", ""),
                "label": label if label in (0, 1) else -1,
                "split": split if split in SPLITS else "",
                "channels": {c: _path(values[c], folder) for c in channels if values.get(c)},
                "brain": _path(values["brain"], folder) if values.get("brain") else None,
                "lesions": _path(values["lesions"], folder) if values.get("lesions") else None,
                "slice": index,
                "nominal_spacing": _FLAGS.get(flag, False),
                "row": row,
            }
        )
    return result, faults


def check_table(cases: Sequence[Case], *, both_classes: bool = True) -> list[Fault]:
    """Faults between rows: names, patients, splits, images used twice and, if asked, classes."""
    faults: list[Fault] = []
    first: dict[str, Case] = {}
    split_of: dict[str, Case] = {}
    image_of: dict[tuple[Path, int | None], Case] = {}
    for case in cases:
        label = where(case.row, case.case)
        # Names are compared as the file systems of Windows and macOS compare them.
        other = first.setdefault(case.case.casefold(), case) if case.case else case
        if other is not case:
            faults.append((case.row, f"{label}: case name already used in row {other.row}"))
        if case.patient and case.split:
            other = split_of.setdefault(case.patient, case)
            if other.split != case.split:
                faults.append(
                    (
                        case.row,
                        f"{label}: patient {case.patient} is in {case.split} and, in row "
                        f"{other.row}, in {other.split}; keep a patient in one split",
                    )
                )
        for channel, path in case.channels.items():
            other = image_of.setdefault((path, case.slice), case)
            if other.patient != case.patient:
                faults.append(
                    (
                        case.row,
                        f"{label}: {channel} {path.name} is also the image of patient "
                        f"{other.patient} (row {other.row})",
                    )
                )
    training = [case for case in cases if case.split == "train"]
    for group, place in ((cases, "cohort"), (training, "training split")) if both_classes else ():
        labels = {case.label for case in group}
        if len(labels) == 1 and -1 not in labels:
            faults.append(
                (
                    0,
                    f"the {place} has {LABELS[labels.pop()]} cases only; both classes are needed "
                    "(label 0 and 1)",
                )
            )
            break
    return faults


def where(row: int, case: str) -> str:
    """How a fault names its row; row 0 is a case that comes from no table."""
    if row == 0:
        return f"case {case}"
    return f"row {row} (case {case})" if case else f"row {row}"


def _header_faults(columns: Sequence[str]) -> list[str]:
    faults = [f"column {name} is missing" for name in REQUIRED if name not in columns]
    faults += [
        f"column {n} is given twice"
        for n in sorted({c for c in columns if c and columns.count(c) > 1})
    ]
    known = (*REQUIRED, *OPTIONAL)
    for position, name in enumerate(columns, start=1):
        if not name:
            faults.append(f"column {position} has no name")
        elif name not in known and not _is_channel(name):
            faults.append(
                f"unknown column {name!r}{_nearest(name, (*known, *_USUAL_CHANNELS))}; known "
                f"columns are {', '.join(known)}, and channels with a capital (FLAIR, T1)"
            )
    if not any(_is_channel(name) for name in columns):
        faults.append(
            "no channel; a column such as FLAIR or T1 with the path of the image was expected"
        )
    return faults


def _is_channel(name: str) -> bool:
    """Channels start with a capital; ``Lesion`` or ``LABEL`` are slips, not channels."""
    known = (*REQUIRED, *OPTIONAL)
    slip = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.8)
    return _CHANNEL.fullmatch(name) is not None and not slip


def _nearest(word: str, words: Iterable[str]) -> str:
    """``" (did you mean lesions?)"``, or nothing when no word is near."""
    by_lower = {known.lower(): known for known in words}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[found[0]]}?)" if found else ""


def _whole(text: str) -> int | None:
    """A whole number; spreadsheets and pandas may write 1 as 1.0."""
    match = re.fullmatch(r"([+-]?\d{1,9})(\.0*)?", text)
    return int(match[1]) if match else None


def _path(text: str, folder: Path) -> Path:
    return Path(os.path.normpath(folder / Path(text).expanduser()))
