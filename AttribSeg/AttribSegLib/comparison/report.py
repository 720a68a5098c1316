"""A comparison on disk: tables, figures, one page to look at and one file for machines."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from pathlib import Path
from typing import Any

from ..files import make_folder, write_json, write_text
from .figures import draw_figures
from .results import CASE_METRICS, Comparison
from .style import Picture
from .summaries import is_scored
from .table import Table, escape_markdown
from .tables import comparison_tables

_TEMPLATE = Path(__file__).parents[1] / "comparison_report.html"
_NO_MASKS = (
    "No test case has a lesion mask: the maps could not be scored, and only the classification of "
    "images is reported."
)
#: Figures that stand after a table; where the table is missing, after the last one.
_AFTER = {
    "dice": "main",
    "examples": "main",
    "auprc": "auprc",
    "dice_by_map": "auprc",
    "histograms": "correlations",
    "sweep": "sweep",
}


@dataclasses.dataclass(frozen=True)
class _Section:
    """Part of the report: a table with its CSV file, or a figure."""

    key: str
    table: Table | None = None
    picture: Picture | None = None


def write_comparison(comparison: Comparison, out: str | Path) -> dict[str, Path]:
    """Write a comparison: Markdown, a page, CSV tables, PNG figures and JSON.

    Parameters
    ----------
    comparison : Comparison
    out : path
        Folder; created if needed.

    Returns
    -------
    dict of str to Path
        Keys ``markdown``, ``page``, ``cases``, ``json``, ``table_*`` for each table and
        ``figure_*`` for each figure there is data for.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    folder = make_folder(out)
    paths = {
        "markdown": folder / "comparison.md",
        "page": folder / "index.html",
        "cases": folder / "cases.csv",
        "json": folder / "comparison.json",
    }
    tables = comparison_tables(comparison)
    for key, table in tables.items():
        paths[f"table_{key}"] = folder / _csv_name(key)
        write_text(paths[f"table_{key}"], table.csv())
    pictures = draw_figures(comparison, folder)
    paths |= {f"figure_{key}": picture.path for key, picture in pictures.items()}
    sections = _sections(tables, pictures)
    write_text(paths["cases"], cases_table(comparison))
    write_json(paths["json"], comparison_dict(comparison))
    write_text(paths["markdown"], _markdown(comparison, sections))
    write_text(paths["page"], _page(comparison, sections))
    return paths


def cases_table(comparison: Comparison) -> str:
    """CSV with one row per entry, seed, map, rule and case; what is undefined is left empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["entry", "seed", "map", "rule", "processing", "case", "patient"]
    writer.writerow([*head, *CASE_METRICS])
    for run in comparison.runs:
        for each in run.maps:
            for index, (case, patient) in enumerate(zip(run.cases, run.patients, strict=True)):
                values = [each.per_case.get(metric, []) for metric in CASE_METRICS]
                cells = [_cell(found[index]) if index < len(found) else "" for found in values]
                what = [run.entry, run.seed, each.name, each.rule, each.processing]
                writer.writerow([*what, case, patient, *cells])
    return buffer.getvalue()


def _cell(value: float) -> float | str:
    return value if math.isfinite(value) else ""


def comparison_dict(comparison: Comparison) -> dict[str, Any]:
    """Plain form of a comparison, without the pictures' arrays: examples are names of cases."""
    names = ("title", "description", "split", "counts", "prevalence", "nominal", "reference")
    return {
        **{name: getattr(comparison, name) for name in names},
        "runs": [run.to_dict() for run in comparison.runs],
        "sweep": [dataclasses.asdict(point) for point in comparison.sweep],
        "examples": [example.case for example in comparison.examples],
        "notes": comparison.notes,
    }


def _csv_name(key: str) -> str:
    return f"table_{key}.csv"


def _sections(tables: dict[str, Table], pictures: dict[str, Picture]) -> list[_Section]:
    """Tables in their order, each with the figures that belong to it."""
    sections: list[_Section] = []
    left = dict(pictures)
    for key, table in tables.items():
        sections.append(_Section(key, table=table))
        for name in [name for name in left if _AFTER[name] == key]:
            sections.append(_Section(name, picture=left.pop(name)))
    return sections + [_Section(name, picture=picture) for name, picture in left.items()]


def _population(comparison: Comparison) -> str:
    """Who was looked at, in a sentence or two."""
    counts = comparison.counts
    text = (
        f"Part of the cohort: {comparison.split}. {counts.get('cases', 0)} cases of "
        f"{counts.get('patients', 0)} patients: {counts.get('healthy', 0)} healthy, "
        f"{counts.get('pathological', 0)} pathological, {counts.get('masked', 0)} of these with a "
        "mask. "
    )
    if not is_scored(comparison):
        return text + _NO_MASKS
    return text + (
        f"Lesions are {comparison.prevalence:.3%} of the brain voxels of the masked cases. Raw "
        "maps come first; post-processed ones have tables of their own, the plain intensity "
        "processed alike. Thresholds and post-processing that masks had a part in are called "
        "mask-tuned or oracle; recipes that learned from masks are named in the notes."
    )


def _markdown(comparison: Comparison, sections: list[_Section]) -> str:
    parts = [
        f"# {escape_markdown(comparison.title)}",
        escape_markdown(comparison.description),
        escape_markdown(_population(comparison)),
    ]
    if comparison.notes:
        parts.append("\n".join(f"- {escape_markdown(note)}" for note in comparison.notes))
    for section in sections:
        if section.table is not None:
            name = _csv_name(section.key)
            parts += [section.table.markdown(), f"As a file: [{name}]({name})"]
        if section.picture is not None:
            picture = section.picture
            parts += [
                f"## {picture.title}",
                f"![{picture.title}]({picture.path.name})",
                escape_markdown(picture.legend),
            ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _page(comparison: Comparison, sections: list[_Section]) -> str:
    """The HTML page: no script, nothing from a network, images by relative names."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        comparison=comparison,
        population=_population(comparison),
        sections=sections,
        csv_name=_csv_name,
    )
