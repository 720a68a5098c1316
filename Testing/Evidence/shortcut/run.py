"""Study shortcut: what classifiers look at when something else than lesions gives the class away.

Simulated cohorts in which every pathological image carries a bright cube in a corner, or the
classes come from scanners that differ, each more or less. Several recipes learn them, and are
tested as they are, without the shortcut, and with the shortcut on the other class. The sweep runs
on a coarse grid; some of its points are repeated on the 2 mm grid. What is finished is not run
again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from AttribSegLib.files import read_json, write_json  # noqa: E402
from shortcut_cohorts import (  # noqa: E402
    derived,
    name_of,
    redrawn,
    shared_folder,
    simulated,
)
from shortcut_figures import draw_sweep, draw_where  # noqa: E402
from shortcut_measure import TESTS, measure  # noqa: E402
from shortcut_page import page_of, summary_of  # noqa: E402
from shortcut_sweep import SIGNATURE, run_sweep  # noqa: E402
from study import Study, begin, publish, train_once  # noqa: E402


def fine_tables(study: Study, shortcut: str, strength: float) -> dict[str, Path]:
    """Cohorts of a shortcut at 2 mm, as the command simulates them."""
    shared, subjects = shared_folder(study.setting), study.settings["subjects"]
    plain = simulated(shared, subjects, study.jobs, {})
    if shortcut == SIGNATURE:
        trained, swapped = ({"scanner_signature": sign * strength} for sign in (1, -1))
    else:
        brightness = {} if strength == 1 else {"mark_brightness": strength}
        trained, swapped = (
            {"corner_mark": marked, **brightness} for marked in ("pathological", "healthy")
        )
    other = shared / name_of(swapped)
    tables = (
        simulated(shared, subjects, study.jobs, trained),
        plain,
        derived(plain, other, redrawn(swapped), split="test"),
    )
    return dict(zip(TESTS, tables, strict=True))


def run_fine(study: Study) -> list[dict[str, Any]]:
    """The trainings on the 2 mm grid."""
    fine = study.settings["fine"]
    runs = []
    for name, shortcuts in fine["runs"].items():
        ((shortcut, strength),) = shortcuts.items()
        for constraint, shown in fine["constraints"].items():
            folder = study.work / f"{name}-{constraint}"
            file = study.work / "fine" / f"{folder.name}.json"
            if not file.is_file():
                tables = fine_tables(study, shortcut, strength)
                recipe = {**fine["common"], "constraint": constraint}
                train_once(tables["as trained"], folder, recipe, seed=fine["seed"])
                tests = {test: measure(folder, table, 1) for test, table in tables.items()}
                about = {"shortcut": shortcut, "strength": strength, "recipe": shown}
                write_json(file, {**about, "folder": folder.name, "tests": tests})
            runs.append(read_json(file))
    return runs


def main() -> None:
    """Simulate, train, measure, report."""
    study = begin(__file__, __doc__)
    sweep = run_sweep(study)
    fine = run_fine(study)
    draw_sweep(sweep, study.settings["sweep"], study.out / "shortcut.png")
    if fine:
        tables = [fine_tables(study, run["shortcut"], run["strength"]) for run in fine]
        shown = [
            (study.work / run["folder"], run, each[TESTS[0]])
            for run, each in zip(fine, tables, strict=True)
        ]
        draw_where(shown, study.out / "where.png")
    publish(
        study,
        {"sweep": sweep, "fine": fine},
        page_of(study, sweep, fine),
        summary_of(study, sweep),
    )


if __name__ == "__main__":
    main()
