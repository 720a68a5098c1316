"""Recipes trained on shortcuts of several strengths, and tested with and without them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from AttribSegLib.cohort import read_cohort
from AttribSegLib.files import read_json, write_json
from AttribSegLib.recipes import recipe_from_dict
from AttribSegLib.task_pool import run_tasks
from AttribSegLib.training.run import train_bundle
from shortcut_cohorts import derived, name_of, redrawn, shared_folder, simulated, with_mark
from shortcut_measure import TESTS, measure
from study import Study

SIGNATURE, MARK, PLAIN = "scanner signature", "corner mark", "no shortcut"


@dataclass(frozen=True)
class Trial:
    """One training of the sweep.

    Parameters
    ----------
    shortcut : str
    strength : float
    recipe : str
        Name in the tables.
    content : dict
        Its parameters.
    seed : int
    tables : dict of str to Path
        Cohort by test.
    factor : int
        Grid: 2 mm times this.
    folder : Path
        Of the bundle; the figures go beside it.
    """

    shortcut: str
    strength: float
    recipe: str
    content: dict[str, Any]
    seed: int
    tables: dict[str, Path]
    factor: int
    folder: Path

    @property
    def file(self) -> Path:
        """Where its figures are kept."""
        return self.folder.with_name(self.folder.name + ".json")


def run_sweep(study: Study) -> list[dict[str, Any]]:
    """Figures of every trial; those that are there are read."""
    trials = trials_of(study)
    missing = [trial for trial in trials if not trial.file.is_file()]
    for done, (trial, result) in enumerate(run_tasks(run, missing, jobs=study.jobs), start=1):
        if isinstance(result, Exception):
            raise result
        print(f"{done}/{len(missing)} {trial.folder.name}", flush=True)
    return [read_json(trial.file) for trial in trials]


def trials_of(study: Study) -> list[Trial]:
    """All trainings of the sweep, by seed, recipe and strength."""
    sweep = study.settings["sweep"]
    points = [(PLAIN, 0.0)]
    points += [(name, strength) for name in (SIGNATURE, MARK) for strength in sweep[name]]
    tables = {point: tables_of(study, *point) for point in points}
    trials = []
    for seed, (name, content) in product(sweep["seeds"], sweep["recipes"].items()):
        for (shortcut, strength), cohorts in tables.items():
            stem = f"{shortcut}-{strength:g}-{name}-{seed}".replace(" ", "-").lower()
            trials.append(
                Trial(
                    shortcut=shortcut,
                    strength=strength,
                    recipe=name,
                    content={**sweep["common"], **content},
                    seed=seed,
                    tables=cohorts,
                    factor=sweep["factor"],
                    folder=study.work / "sweep" / stem,
                )
            )
    return trials


def tables_of(study: Study, shortcut: str, strength: float) -> dict[str, Path]:
    """The cohorts of a shortcut on the sweep's grid, made unless they are there."""
    settings, shared = study.settings, shared_folder(study.setting)
    factor = settings["sweep"]["factor"]
    fine = simulated(shared, settings["subjects"], study.jobs, {})
    grid = study.work / f"grid-{2 * factor}mm"
    plain = derived(fine, grid / "plain", factor=factor)
    if shortcut == PLAIN:
        return dict.fromkeys(TESTS, plain)
    place = grid / f"{shortcut.replace(' ', '-')}-{strength:g}"
    other = place.with_name(f"{place.name}-swapped")
    if shortcut == MARK:
        trained = derived(fine, place, with_mark(strength, 1), factor=factor)
        swapped = derived(fine, other, with_mark(strength, 0), factor=factor, split="test")
    else:
        trained = _signed(shared, fine, place, strength, factor, "")
        swapped = _signed(shared, fine, other, -strength, factor, "test")
    return dict(zip(TESTS, (trained, plain, swapped), strict=True))


def _signed(shared: Path, plain: Path, out: Path, strength: float, factor: int, split: str) -> Path:
    """A cohort with a scanner's signature, from the one at 2 mm where that is there already."""
    options = {"scanner_signature": strength}
    whole = shared / name_of(options) / "cohort.csv"
    if whole.is_file():
        return derived(whole, out, factor=factor, split=split)
    return derived(plain, out, redrawn(options), factor=factor, split=split)


def run(trial: Trial) -> None:
    """Train, test, keep the figures."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    cohort = read_cohort(trial.tables["as trained"], check_images=False)
    recipe = recipe_from_dict(trial.content)
    bundle = train_bundle(cohort, recipe, trial.folder, seed=trial.seed, resume=True)
    known: dict[Path, dict[str, Any]] = {}
    for table in trial.tables.values():
        if table not in known:
            known[table] = measure(trial.folder, table, trial.factor)
    write_json(
        trial.file,
        {
            "shortcut": trial.shortcut,
            "strength": trial.strength,
            "recipe": trial.recipe,
            "seed": trial.seed,
            "seconds": bundle.record["history"][-1]["seconds"],
            "best_epoch": bundle.record["best_epoch"],
            "tests": {name: known[table] for name, table in trial.tables.items()},
        },
    )
