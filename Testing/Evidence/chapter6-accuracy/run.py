"""Study chapter6-accuracy: do monotone networks train, and does the initialisation make them?

ResNets in three forms, drawn by Kaiming or rescaled in one pass of noise: their features by depth,
short trainings over optimisers, learning rates and depths; and the four data sets of table 6.2.
What is finished is not run again.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

# One thread per process: the networks are small, and the processes share the cores.
os.environ["OMP_NUM_THREADS"] = "1"

import accuracy  # noqa: E402
import brains  # noqa: E402
import cells  # noqa: E402
import deep  # noqa: E402
import depth  # noqa: E402
import figures  # noqa: E402
import ladder  # noqa: E402
import page  # noqa: E402
import summary  # noqa: E402
import table62  # noqa: E402
import tumours  # noqa: E402
from comparing import lgg_cohort_table  # noqa: E402
from jobs import Job, brain_tumours, finish, lgg_slices, prepare, require_same  # noqa: E402
from study import begin, publish  # noqa: E402


def in_short(result: dict[str, Any]) -> dict[str, Any]:
    """A training without what takes many lines: its losses become the first and the last one."""
    left_out = {"losses", "looks", "right"}
    short = {name: value for name, value in result.items() if name not in left_out}
    losses = result["losses"]
    return {**short, "first_loss": losses[0], "last_loss": losses[-1], "steps": len(losses)}


def main() -> None:
    """Compute what is missing, draw, report."""
    study = begin(__file__, __doc__)
    settings, data = study.settings, study.data
    slices = lgg_cohort_table(study)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(study.jobs, mp_context=context, initializer=prepare) as pool:

        def all_of(part: str, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
            folder = study.work / part
            require_same(folder, settings[part], part)
            jobs = [
                Job(part, task, settings[part], settings["device"], folder, data, slices)
                for task in tasks
            ]
            return list(pool.map(finish, jobs))

        found = {
            "depth": all_of("depth", depth.tasks(settings["depth"])),
            "search": all_of("accuracy", accuracy.search(settings["accuracy"])),
        }
        finals = accuracy.finals(settings["accuracy"], found["search"])
        found["accuracy"] = all_of("accuracy", finals)
        found["ladder"] = all_of("ladder", ladder.tasks(settings["ladder"]))
        found["deep"] = all_of("deep", deep.tasks(settings["deep"]))
        found["cells"] = all_of("cells", cells.tasks(settings["cells"]))
        found["brains_search"] = all_of("brains", brains.search(settings["brains"]))
        finals = brains.finals(settings["brains"], found["brains_search"])
        found["brains"] = all_of("brains", finals)
        found["tumours"] = all_of("tumours", tumours.tasks(settings["tumours"]))
    images = brain_tumours(data, settings["tumours"])
    pictures = lgg_slices(slices, settings["brains"])
    results: dict[str, Any] = {
        "depth": depth.summary(found["depth"]),
        **{
            part: [in_short(each) for each in runs]
            for part, runs in found.items()
            if part != "depth"
        },
        "about": {
            "tumours": tumours.about(settings["tumours"], images),
            "brains": brains.about(pictures),
        },
        "alike": tumours.by_closeness(found["tumours"], settings["tumours"], images),
        "table": table62.columns(settings, found),
        "pairs": table62.pairs(settings, found, images, pictures),
    }
    figures.draw_all(study.out, settings, found)
    summary.draw_table(study.out / "chapter6-accuracy.png", settings, results["table"])
    publish(study, results, page.page(settings, results), summary.summary(settings, results))


if __name__ == "__main__":
    main()
