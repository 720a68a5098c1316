"""Studies that are an ``attribseg compare``: the slices they share, the plan, and a short table."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.cohort import Case, read_cohort, write_cohort
from AttribSegLib.files import read_json, write_json
from study import Study, attribseg, data_folder

LGG = "lgg_flair_2d.npz"
_LGG_FOLDER = Path(__file__).resolve().parent / "lgg-2d"


def lgg_cohort_table(study: Study) -> Path:
    """Cohort of tumour slices, made if it is not there.

    Patients are split 60 / 15 / 25 %. In the reduced setting validation and test have every second
    slice of their patients: neighbours look alike, and patients are what counts. Training always
    has all.
    """
    sys.path.insert(0, str(_LGG_FOLDER))
    from lgg_cohort import convert

    data = data_folder(LGG)
    table = _LGG_FOLDER / "work" / "cohort" / "cohort.csv"
    if not table.is_file():
        convert(data / LGG, table.parent)
    if study.setting == "full":
        return table
    thinned = table.with_name("every_second.csv")
    if not thinned.is_file():
        cohort = read_cohort(table, check_images=False)
        write_cohort(cohort.select(is_kept), thinned)
    return thinned


def is_kept(case: Case) -> bool:
    """Whether a slice belongs to the reduced setting."""
    return case.split == "train" or (case.slice or 0) % 2 == 0


def run_compare(
    study: Study,
    table: Path,
    plan: dict[str, Any] | None = None,
    name: str = "compare",
    *,
    keep: Sequence[str] = ("*.png", "table_*.csv"),
) -> dict[str, Any]:
    """Run ``attribseg compare``, resumably; the seeds side by side where there are jobs for them.

    Parameters
    ----------
    study : Study
        Its ``settings["plan"]`` is the plan unless one is given.
    table : Path
        Cohort.
    plan : dict, optional
    name : str
        Folder of models and results in the study's work; other names than "compare" stand before
        the copied files' names.
    keep : sequence of str
        Figures and tables that are copied to the study's folder.

    Returns
    -------
    dict
        Content of ``comparison.json``.
    """
    plan = plan or study.settings["plan"]
    out = study.work / name

    def run(content: dict[str, Any], stem: str, folder: Path) -> None:
        file = study.work / "plans" / f"{name}-{stem}.json"
        write_json(file, content)
        threads = os.environ.get("OMP_NUM_THREADS") or ("1" if study.jobs > 1 else None)
        attribseg(
            *("compare", str(table), "--recipes", str(file), "--out", str(folder)),
            *(("--threads", threads) if threads else ()),
        )

    seeds = plan.get("seeds", [0])
    if study.jobs > 1 and len(seeds) > 1:
        # Reports of single seeds are made in the same folder, and replaced by the whole at the end.
        with ThreadPoolExecutor(study.jobs) as pool:
            list(pool.map(lambda s: run({**plan, "seeds": [s]}, f"seed-{s}", out), seeds))
    run(plan, "all", out)
    prefix = "" if name == "compare" else f"{name}_"
    for pattern in keep:
        for path in sorted(out.glob(pattern)):
            shutil.copyfile(path, study.out / f"{prefix}{path.name}")
    return dict(read_json(out / "comparison.json"))


def comparison_page(study: Study, name: str = "compare") -> str:
    """The command's own report in Markdown, without its title."""
    text = (study.work / name / "comparison.md").read_text(encoding="utf-8")
    prefix = "" if name == "compare" else f"{name}_"
    return text.partition("\n")[2].replace("](", f"]({prefix}")


def population_line(study: Study, comparison: dict[str, Any]) -> str:
    """Who was looked at, in one sentence."""
    counts = comparison["counts"]
    seeds = sorted({run["seed"] for run in comparison["runs"] if run["kind"] != "intensity"})
    return (
        f"{counts['cases']} test cases of {counts['patients']} patients ({counts['healthy']} "
        f"healthy, {counts['masked']} with lesion masks); lesions are "
        f"{100 * comparison['prevalence']:.1f} % of the brain voxels of the masked cases. "
        f"Split by patient; {len(seeds)} seed{'s' if len(seeds) > 1 else ''}; {study.setting} "
        "setting."
    )


def values_of(
    comparison: dict[str, Any],
    entry: str,
    metric: str,
    *,
    name: str = "",
    rule: str = "none",
    per_case: bool = False,
) -> list[float]:
    """A metric of an entry's map, one value per seed.

    Parameters
    ----------
    comparison : dict
        Content of ``comparison.json``.
    entry, metric : str
    name : str
        Of the map; the entry's main one unless given.
    rule : {"none", "labels", "masks"}
        By which post-processing was chosen.
    per_case : bool
        Mean over cases instead of the pooled metric.
    """
    found = []
    for run in comparison["runs"]:
        if run["entry"] != entry:
            continue
        for each in run["maps"]:
            if each["name"] == (name or run["primary"]) and each["rule"] == rule:
                values = each["per_case"][metric] if per_case else [each["pooled"][metric]]
                finite = [v for v in values if v is not None and np.isfinite(v)]
                found.append(float(np.mean(finite)) if finite else float("nan"))
    return found


def entries_of(comparison: dict[str, Any]) -> list[str]:
    """Names of the entries, the plain intensity first."""
    return list(dict.fromkeys(run["entry"] for run in comparison["runs"]))


def image_values(comparison: dict[str, Any], entry: str, metric: str) -> list[float]:
    """An image metric of an entry, one value per seed; empty for the plain intensity."""
    runs = [run for run in comparison["runs"] if run["entry"] == entry and run["image"]]
    return [run["image"][metric] for run in runs]


def spread_text(values: Sequence[float]) -> str:
    """Mean +- SD over seeds, or the one value; a dash for none."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} +- {np.std(values, ddof=1):.3f}"


def rows_of(
    comparison: dict[str, Any], columns: dict[str, Callable[[str], Sequence[float]]]
) -> list[list[str]]:
    """Rows of a table: every entry, and the spread of each column's values of it."""
    return [
        [entry, *(spread_text(column(entry)) for column in columns.values())]
        for entry in entries_of(comparison)
    ]
