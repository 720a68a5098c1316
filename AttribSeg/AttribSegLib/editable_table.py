"""`EditableTable`: a cohort table changed row by row, every other row left byte for byte.

People keep such tables in spreadsheets, with their own separators, orders and columns; a program
that adds a case must not rewrite theirs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cohort_table import (
    OPTIONAL,
    REQUIRED,
    Fault,
    delimiter_of,
    open_table,
    parse_rows,
    table_of,
)
from .errors import CohortError
from .files import atomic_path

_BOM = "\ufeff"


@dataclass(eq=False)
class _Record:
    """A row as it stands in the file, and its cells; a blank line has none."""

    text: str
    cells: list[str]


class EditableTable:
    """The text of a cohort table.

    Parameters
    ----------
    path : path
        A CSV as :func:`.read_cohort` takes it.

    Raises
    ------
    InputError
        If there is no such file or it is not a text table.
    CohortError
        Lists the faults of the header: nothing can be added to a table without one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.folder = self.path.absolute().parent
        table = open_table(self.path)
        self.columns = list(table.columns)
        _, faults = parse_rows(table, self.folder)
        header = [text for row, text in faults if row == 1]
        if header:
            raise CohortError(str(self.path), header)
        text = self.path.read_bytes().decode("utf-8")
        self._start = _BOM if text.startswith(_BOM) else ""
        text = text.removeprefix(_BOM)
        self._delimiter = delimiter_of(text)
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._records = list(_records(text, self._delimiter))

    @property
    def rows(self) -> list[dict[str, str]]:
        """Cells of every row below the header, by column."""
        named = [record.cells for record in self._records if record.cells][1:]
        return [dict(zip(self.columns, cells, strict=False)) for cells in named]

    @property
    def channels(self) -> tuple[str, ...]:
        """Columns that hold images."""
        return tuple(name for name in self.columns if name not in (*REQUIRED, *OPTIONAL))

    @property
    def has_splits(self) -> bool:
        """Whether the table says which split its cases are in."""
        return any(row.get("split") for row in self.rows)

    def find(self, case: str) -> int | None:
        """Number of the row of a case, counted from 0 below the header."""
        names = [row.get("case") for row in self.rows]
        return names.index(case) if case in names else None

    def add(self, values: Mapping[str, str]) -> None:
        """Add a row at the end, and the columns it needs."""
        self._need(values)
        cells = [values.get(column, "") for column in self.columns]
        if self._records and not self._records[-1].text.endswith(("\n", "\r")):
            self._records[-1].text += self._newline
        self._records.append(_Record(self._text(cells), cells))

    def change(self, index: int, values: Mapping[str, str]) -> None:
        """Change cells of a row, and add the columns that they need."""
        self._need(values)
        record = self._row(index)
        cells = record.cells + [""] * (len(self.columns) - len(record.cells))
        for column, value in values.items():
            cells[self.columns.index(column)] = value
        record.cells, record.text = cells, self._text(cells)

    def remove(self, index: int) -> None:
        """Remove a row."""
        self._records.remove(self._row(index))

    def text(self) -> str:
        """The table as it is to be written."""
        return self._start + "".join(record.text for record in self._records)

    def parsed(self) -> tuple[list[dict[str, Any]], list[Fault]]:
        """Rows and faults of the table as it stands now; see :func:`.parse_rows`."""
        return parse_rows(table_of(self.text().removeprefix(_BOM), self.path), self.folder)

    def write(self) -> None:
        """Write the table in one step; whoever reads it meanwhile sees the old one.

        Raises
        ------
        OutputError
            If it cannot be written; the old one is left.
        """
        with atomic_path(self.path) as temporary:
            temporary.write_bytes(self.text().encode("utf-8"))

    def _row(self, index: int) -> _Record:
        return [record for record in self._records if record.cells][1:][index]

    def _need(self, values: Mapping[str, str]) -> None:
        """Add the columns that are not there yet; every row is then written anew."""
        missing = [name for name, value in values.items() if value and name not in self.columns]
        if not missing:
            return
        count = len(self.columns)
        self.columns += missing
        header = True
        for record in self._records:
            if not record.cells:
                continue
            # Separators at the end of a line, as spreadsheets write them, are no columns.
            new = list(missing) if header else [""] * len(missing)
            record.cells = record.cells[:count] + new + [c for c in record.cells[count:] if c]
            record.text, header = self._text(record.cells), False

    def _text(self, cells: list[str]) -> str:
        stream = io.StringIO()
        csv.writer(stream, delimiter=self._delimiter, lineterminator=self._newline).writerow(cells)
        return stream.getvalue()


def _records(text: str, delimiter: str) -> Iterator[_Record]:
    """Rows of a CSV with the text that each came from; a quoted cell may hold line ends."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    for cells in csv.reader(lines(), delimiter=delimiter, skipinitialspace=True):
        stripped = [cell.strip() for cell in cells]
        yield _Record("".join(taken), stripped if any(stripped) else [])
        taken.clear()
