"""A table of text, written as Markdown or CSV."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

from ..evaluation_report import markdown_table

#: What HTML or Markdown would act on. An underscore inside a word is left as it is: names of
#: attributions are full of them.
_ACTIVE = re.compile(r"[\\`*\[\]<>&~#$]|(?<!\w)_|_(?!\w)")


@dataclass(frozen=True)
class Table:
    """A table of text: heading, columns, rows and what is to be known to read it.

    Parameters
    ----------
    title : str
    head : list of str
    rows : list of list of str
        As many cells each as columns; plain text.
    legend : str
        Populations and how thresholds were chosen.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    legend: str

    def markdown(self) -> str:
        """Heading, table and legend; names in them are escaped."""
        head, *rows = ([escape_markdown(cell) for cell in row] for row in [self.head, *self.rows])
        parts = [f"## {escape_markdown(self.title)}", markdown_table(head, rows)]
        return "\n\n".join([*parts, escape_markdown(self.legend)])

    def csv(self) -> str:
        """The cells as they stand; plain numbers are in ``cases.csv`` and ``comparison.json``."""
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([self.head, *self.rows])
        return buffer.getvalue()


def escape_markdown(text: str) -> str:
    r"""Plain text on one line, with the signs escaped that Markdown would act on.

    >>> print(escape_markdown("a*b* <i> unsup_tv"))
    a\*b\* \<i\> unsup_tv
    """
    return _ACTIVE.sub(r"\\\g<0>", " ".join(text.split()))
