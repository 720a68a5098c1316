"""Study chapter6-accuracy: do monotone networks train, and does the initialisation make them?

ResNets in three forms (standard with batch norm, standard without, monotone), drawn by Kaiming or
rescaled in one pass of noise: their features by depth, short trainings over optimisers, learning
rates and depths, and the accuracy on MedNIST. What is finished is not run again. About 45
minutes of processor time in two processes of one thread; ``--jobs 1`` uses one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

# One thread per process: the networks are small, and the processes share the cores.
os.environ["OMP_NUM_THREADS"] = "1"

import accuracy  # noqa: E402
import deep  # noqa: E402
import depth  # noqa: E402
import figures  # noqa: E402
import ladder  # noqa: E402
import page  # noqa: E402
import torch  # noqa: E402
from AttribSegLib.files import read_json, write_json, write_text  # noqa: E402
from AttribSegLib.provenance import versions  # noqa: E402
from mednist import MedNist, read_mednist  # noqa: E402
from study import data_folder  # noqa: E402

WORK = HERE / "work"
SOURCE = "mednist.zip"
_PARTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "depth": depth.run,
    "accuracy": lambda task: accuracy.run(task, data()),
    "ladder": lambda task: ladder.run(task, data()),
    "deep": lambda task: deep.run(task, data()),
}


@cache
def data() -> MedNist:
    """The images, read once in each process."""
    return read_mednist(data_folder(SOURCE) / SOURCE)


def prepare() -> None:
    """Settings of a process that computes."""
    torch.set_num_threads(1)
    # Gradients of sure classifications are denormal; processors need ten times as long for them.
    torch.set_flush_denormal(True)


def finish(job: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """The result of a task, computed unless its file is there."""
    part, task = job
    name = "-".join(str(value) for value in task.values())
    path = WORK / part / f"{name}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        start = time.process_time()
        result = _PARTS[part](task)
        write_json(path, {**result, "cpu_seconds": round(time.process_time() - start, 1)})
        print(f"{part} {name}: {result.get('outcome', 'measured')}", flush=True)
    return read_json(path)


def without_losses(result: dict[str, Any]) -> dict[str, Any]:
    """A result of a training in short: its losses by step become the first and the last one."""
    losses = result["losses"]
    short = {name: value for name, value in result.items() if name != "losses"}
    return {**short, "first_loss": losses[0], "last_loss": losses[-1], "steps": len(losses)}


def main() -> None:
    """Compute what is missing, draw, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    jobs = parser.parse_args().jobs
    data_folder(SOURCE)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=prepare) as pool:

        def all_of(part: str, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return list(pool.map(finish, [(part, task) for task in tasks]))

        measured = all_of("depth", depth.tasks())
        searched = all_of("accuracy", accuracy.tasks())
        trained = all_of("accuracy", accuracy.finals(searched))
        steps = all_of("ladder", ladder.tasks())
        longer = all_of("deep", deep.tasks())
    results = {
        "depth": depth.summary(measured),
        "search": [without_losses(each) for each in searched],
        "accuracy": [without_losses(each) for each in trained],
        "ladder": [without_losses(each) for each in steps],
        "deep": [without_losses(each) for each in longer],
        "versions": versions(),
    }
    write_json(HERE / "results.json", results)
    figures.draw_all(HERE, measured, steps, trained)
    write_text(HERE / "results.md", page.page(results))
    print(f"written: {HERE / 'results.md'}")


if __name__ == "__main__":
    main()
