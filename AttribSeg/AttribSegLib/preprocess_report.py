"""Report on a preprocessed cohort: tables of quality figures and a page with every montage."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .files import write_text


@dataclass(frozen=True)
class ReportRow:
    """A case in the report.

    Attributes
    ----------
    case : str
    status : {"failed", "flagged", "done", "skipped"}
        Skipped: done before, with the same inputs and options.
    reason : str
        Of a failure.
    warnings : tuple of str
    quality : dict of float
        As `Prepared.quality`.
    seconds : float
    folder, montage : str
        Relative to the report; empty when the case failed.
    """

    case: str
    status: str
    reason: str = ""
    warnings: tuple[str, ...] = ()
    quality: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    folder: str = ""
    montage: str = ""


def worst_first(rows: Sequence[ReportRow]) -> list[ReportRow]:
    """Failed cases, then flagged ones, then the others; each by the score of the registration."""
    rank = {"failed": 0, "flagged": 1}

    def key(row: ReportRow) -> tuple[int, float, str]:
        scores = [value for name, value in row.quality.items() if name.endswith(".score")]
        return rank.get(row.status, 2), min(scores, default=1.0), row.case

    return sorted(rows, key=key)


def write_quality_table(rows: Sequence[ReportRow], path: Path) -> None:
    """One row per case and one column per quality figure, worst first."""
    figures = _figures(rows)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "status", "seconds", "warnings", "reason", *figures])
    for row in worst_first(rows):
        cells = [f"{row.quality[name]:.4g}" if name in row.quality else "" for name in figures]
        head = [row.case, row.status, row.seconds, "; ".join(row.warnings), row.reason]
        writer.writerow([*head, *cells])
    write_text(path, stream.getvalue())


def write_report(
    rows: Sequence[ReportRow],
    path: Path,
    *,
    source: str,
    options: dict[str, Any],
    versions: dict[str, str],
) -> None:
    """A page with the table and one montage per case, worst first.

    Parameters
    ----------
    rows : sequence of ReportRow
    path : Path
        HTML file, in the folder that the rows' paths start from.
    source : str
        Table the cases come from.
    options : dict
        `ChainOptions` in plain form.
    versions : dict of str
    """
    from jinja2 import Environment, StrictUndefined

    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    status = [row.status for row in rows]
    failed, flagged = status.count("failed"), status.count("flagged")
    count = {"failed": failed, "flagged": flagged, "good": len(status) - failed - flagged}
    page = environment.from_string(template).render(
        rows=worst_first(rows),
        figures=_figures(rows),
        count=count,
        source=source,
        options=options,
        versions=versions,
    )
    write_text(path, page)


def _figures(rows: Sequence[ReportRow]) -> list[str]:
    return sorted({name for row in rows for name in row.quality})
