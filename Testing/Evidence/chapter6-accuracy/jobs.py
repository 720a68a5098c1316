"""The tasks of all parts, each finished once and kept as a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import accuracy
import brains
import cells
import deep
import depth
import ladder
import torch
import tumours
from AttribSegLib.errors import InputError
from AttribSegLib.files import read_json, write_json
from brain_tumours import BrainTumours, read_brain_tumours
from mednist import MedNist, read_mednist
from slices import Slices, read_slices

_MODULES: dict[str, ModuleType] = {
    "depth": depth,
    "ladder": ladder,
    "deep": deep,
    "accuracy": accuracy,
    "brains": brains,
    "tumours": tumours,
    "cells": cells,
}


@dataclass(frozen=True)
class Job:
    """A task of a part, with all that it needs.

    Parameters
    ----------
    part : str
    task : dict
        Its values are the name of the result.
    settings : dict
        Of the part.
    device : str
        Where networks are trained.
    folder : Path
        For the results of the part.
    data, slices : Path
        Folder with the images; cohort of slices.
    """

    part: str
    task: dict[str, Any]
    settings: dict[str, Any]
    device: str
    folder: Path
    data: Path
    slices: Path


def prepare() -> None:
    """Settings of a process that computes."""
    torch.set_num_threads(1)
    # Gradients of sure classifications are denormal; processors need ten times as long for them.
    torch.set_flush_denormal(True)


def finish(job: Job) -> dict[str, Any]:
    """The result of a task, computed unless its file is there."""
    name = "-".join(str(value) for value in job.task.values())
    path = job.folder / f"{name}.json"
    if not path.is_file():
        start = time.process_time()
        result = _computed(job)
        write_json(path, {**result, "cpu_seconds": round(time.process_time() - start, 1)})
        print(f"{job.part} {name}: {result.get('outcome', 'measured')}", flush=True)
    return dict(read_json(path))


def _computed(job: Job) -> dict[str, Any]:
    task, settings, device = job.task, job.settings, job.device
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "depth": lambda: depth.run(task, settings),
        "ladder": lambda: ladder.run(task, settings, mednist(job.data), device),
        "deep": lambda: deep.run(task, settings, mednist(job.data), device),
        "accuracy": lambda: accuracy.run(task, settings, mednist(job.data), device),
        "brains": lambda: brains.run(task, settings, lgg_slices(job.slices, settings), device),
        "tumours": lambda: tumours.run(task, settings, brain_tumours(job.data, settings), device),
        "cells": lambda: cells.run(task, settings, device),
    }
    return parts[job.part]()


def require_same(folder: Path, settings: Mapping[str, Any], part: str) -> None:
    """Refuse results that were computed with other settings than those in their names.

    Raises
    ------
    InputError
        Names the settings and the folder.
    """
    named = _MODULES[part].NAMED
    fixed = {name: value for name, value in settings.items() if name not in named}
    path = folder / "settings.json"
    if not path.is_file():
        write_json(path, fixed)
    before = read_json(path)
    if before != fixed:
        other = sorted(n for n in {*before, *fixed} if before.get(n) != fixed.get(n))
        raise InputError(
            f"{folder}: its results were computed with another {', '.join(other)} than study.json "
            "says; move the folder away to compute them anew"
        )


@cache
def mednist(folder: Path) -> MedNist:
    """The images, read once in each process."""
    return read_mednist(folder / "mednist.zip")


def brain_tumours(folder: Path, settings: dict[str, Any]) -> BrainTumours:
    """The images, read once in each process."""
    return _brain_tumours(folder, settings["size"], settings["alike"])


@cache
def _brain_tumours(folder: Path, size: int, alike: float) -> BrainTumours:
    return read_brain_tumours(folder / "brain_tumours_224.zip", size=size, alike=alike)


def lgg_slices(table: Path, settings: dict[str, Any]) -> Slices:
    """The slices, read once in each process."""
    return _lgg_slices(table, settings["coarser"])


@cache
def _lgg_slices(table: Path, coarser: int) -> Slices:
    return read_slices(table, coarser=coarser)
