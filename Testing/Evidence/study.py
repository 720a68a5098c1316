"""What the studies share: their settings, where data are, running commands, and what they leave.

A study is a folder: ``study.json`` (question, data, minutes and settings), ``run.py``,
``findings.md`` (written by hand after the runs), and what the run writes: ``results.json``,
``results.md``, ``summary.md`` and figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.errors import InputError
from AttribSegLib.evaluation import EvaluatedCase, Population
from AttribSegLib.files import make_folder, read_json, write_json, write_text
from AttribSegLib.provenance import versions

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = ("reduced", "full")


@dataclass(frozen=True)
class Study:
    """A study under way.

    Parameters
    ----------
    folder : Path
        Of the study, with ``study.json``.
    setting : {"reduced", "full"}
        The reduced one is for two cores of a processor, the full one for a GPU.
    jobs : int
        Processes that may run side by side.
    """

    folder: Path
    setting: str = "reduced"
    jobs: int = 1

    @property
    def about(self) -> dict[str, Any]:
        """Content of ``study.json``.

        Raises
        ------
        InputError
            If it is missing or lacks a part.
        """
        content = read_json(self.folder / "study.json")
        for name in ("title", "question", "data", "minutes", "full_needs", *SETTINGS):
            if name not in content:
                raise InputError(f"{self.folder / 'study.json'}: {name!r} is missing")
        return dict(content)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings: the reduced ones, with what the full ones say otherwise."""
        about = self.about
        return merged(about["reduced"], about["full"] if self.setting == "full" else {})

    @property
    def minutes(self) -> float:
        """Minutes of one core that the setting takes."""
        return float(self.about["minutes"][self.setting])

    @property
    def work(self) -> Path:
        """Where models and results of single runs are kept; ignored by git."""
        return make_folder(self.folder / "work" / ("" if self.setting == "reduced" else "full"))

    @property
    def out(self) -> Path:
        """Where pages and figures go."""
        return make_folder(self.folder / ("" if self.setting == "reduced" else "full"))

    @property
    def data(self) -> Path:
        """Folder with the real images; leaves the program, saying so, where they are absent."""
        return data_folder(*self.about["data"])

    def require_data(self) -> None:
        """Leave the program, saying so, where data are absent."""
        data_folder(*self.about["data"])

    @property
    def is_done(self) -> bool:
        """Whether the page is there and was made with these settings."""
        results = self.folder / ("" if self.setting == "reduced" else "full") / "results.json"
        return results.is_file() and read_json(results).get("settings") == self.settings


def begin(file: str, description: str | None) -> Study:
    """The study of a script, by its command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--setting", choices=SETTINGS, default="reduced")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: at least 1 was expected")
    return Study(Path(file).resolve().parent, args.setting, args.jobs)


def publish(study: Study, results: Mapping[str, Any], page: str, summary: str) -> None:
    """Write what a study found: ``results.json``, ``results.md`` and ``summary.md``.

    Parameters
    ----------
    study : Study
    results : mapping
        Figures, for machines; settings and versions are added.
    page : str
        Markdown; the title and the findings written by hand are added.
    summary : str
        Markdown for the overview: population and choices, one table, one figure.
    """
    about = study.about
    head = f"# {about['title']}\n\n{about['question']}\n\nSetting: {study.setting}."
    content = {"setting": study.setting, "settings": study.settings, "versions": versions()}
    write_json(study.out / "results.json", {**content, **results})
    text = "\n\n".join([head, *_MARKS, page.strip()]) + "\n"
    write_text(study.out / "results.md", with_findings(study, text))
    write_text(study.out / "summary.md", summary.strip() + "\n")
    print(f"written: {study.out / 'results.md'}", flush=True)


def with_findings(study: Study, page: str) -> str:
    """A study's page with the findings as they are now between its marks."""
    path = study.folder / "findings.md"
    text = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    before, _, rest = page.partition(_MARKS[0])
    after = rest.partition(_MARKS[1])[2]
    return "\n\n".join([before + _MARKS[0], *([text] if text else []), _MARKS[1] + after])


#: Between them stand the findings.
_MARKS = ("<!-- findings.md -->", "<!-- end of findings.md -->")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings within mappings: the first, with what the second says otherwise.

    >>> merged({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}})
    {'a': 1, 'b': {'c': 4, 'd': 3}}
    """
    found = dict(base)
    for name, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = merged(found[name], value) if both else value
    return found


def missing_data(*needed: str) -> list[str]:
    """Which of these are not below the folder with the real images."""
    return [name for name in needed if not (_data_root() / name).exists()]


def data_folder(*needed: str) -> Path:
    """Folder with the real images; leaves the program, saying so, where they are absent."""
    missing = missing_data(*needed)
    if missing:
        print(
            f"skipped: {', '.join(missing)} not found; set ATTRIBSEG_DATA (see CONTRIBUTING.md)",
            file=sys.stderr,
        )
        sys.exit(0)
    return _data_root()


def _data_root() -> Path:
    return Path(os.environ.get("ATTRIBSEG_DATA", REPOSITORY.parent / "shared" / "data"))


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
