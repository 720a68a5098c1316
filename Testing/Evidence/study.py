"""What the studies share: where data are, running commands, tables and pictures."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.evaluation import EvaluatedCase, Population
from AttribSegLib.files import write_text

REPOSITORY = Path(__file__).resolve().parents[2]


def data_folder(*needed: str) -> Path:
    """Folder with the real images; leaves the program, saying so, where they are absent."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("ATTRIBSEG_DATA", default))
    missing = [name for name in needed if not (folder / name).exists()]
    if missing:
        print(
            f"skipped: {', '.join(missing)} not found; set ATTRIBSEG_DATA (see CONTRIBUTING.md)",
            file=sys.stderr,
        )
        sys.exit(0)
    return folder


def attribseg(*arguments: str) -> None:
    """Run an ``attribseg`` command as a user would, in a process of its own."""
    print(f"$ attribseg {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "AttribSegLib", *arguments], check=True)


def train_once(table: Path, out: Path, recipe: dict[str, Any], *, seed: int) -> None:
    """Train a bundle unless it is there; go on with a run that was stopped."""
    recipe_file = out.with_name(out.name + ".recipe.json")
    recipe_file.parent.mkdir(parents=True, exist_ok=True)
    recipe_file.write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    threads = os.environ.get("OMP_NUM_THREADS")
    attribseg(
        *("train", str(table), "--out", str(out), "--recipe", str(recipe_file)),
        *("--seed", str(seed), "--resume"),
        *(("--threads", threads) if threads else ()),
    )


def compare_on_lgg(here: Path) -> None:
    """Run ``attribseg compare`` with the plan beside a study on the cohort of lgg-2d.

    The cohort is made if it is not there; what is finished is not run again. Figures and tables are
    kept beside the study, and its page is the report below ``results.template.md``.
    """
    sys.path.insert(0, str(here.parent / "lgg-2d"))
    from lgg_cohort import convert

    data = data_folder("lgg_flair_2d.npz")
    cohort = here.parent / "lgg-2d" / "work" / "cohort"
    table = cohort / "cohort.csv"
    if not table.is_file():
        convert(data / "lgg_flair_2d.npz", cohort)
    work = here / "work"
    threads = os.environ.get("OMP_NUM_THREADS")
    attribseg(
        *("compare", str(table), "--recipes", str(here / "recipes.json"), "--out", str(work)),
        *(("--threads", threads) if threads else ()),
    )
    for pattern in ("*.png", "table_*.csv"):
        for path in sorted(work.glob(pattern)):
            shutil.copyfile(path, here / path.name)
    head = (here / "results.template.md").read_text(encoding="utf-8")
    text = (work / "comparison.md").read_text(encoding="utf-8")
    write_text(here / "results.md", head + text.partition("\n")[2])
    print(f"written: {here / 'results.md'}")


def with_smoothed(cases: Iterator[EvaluatedCase], sigma: float) -> Iterator[EvaluatedCase]:
    """Every map once more, smoothed with a Gaussian inside the brain (sigma in voxels)."""
    from scipy.ndimage import gaussian_filter

    for case in cases:
        width = [sigma if size > 1 else 0.0 for size in case.brain.shape]
        weight = gaussian_filter(case.brain.astype(np.float32), width)
        maps = dict(case.maps)
        for name, values in case.maps.items():
            inside = np.where(case.brain, values, 0.0).astype(np.float32)
            smooth = gaussian_filter(inside, width) / np.maximum(weight, 1e-6)
            maps[f"{name}, smoothed"] = smooth
        yield replace(case, maps=maps)


def pooled(population: Population, name: str) -> dict[str, float]:
    """Pooled metrics of a map in a population."""
    return dict(population.maps[name].pooled)


def mean_and_sd(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds, as text."""
    spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
    return f"{np.mean(values):.3f} +- {spread:.3f}"
