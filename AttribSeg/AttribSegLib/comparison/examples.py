"""Which test cases are shown, and what of them (fig. 5.7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..cases import PreparedCase, iterate_cases
from ..cohort import Case
from ..files import atomic_path
from ..image import Image
from .results import Example, RunResult


def choose_examples(cases: Sequence[Case], count: int, *, background: float) -> dict[str, Example]:
    """Cases with lesions of evenly spread sizes, of different patients where there are enough.

    They are chosen by their masks alone, before any map is looked at.

    Parameters
    ----------
    cases : sequence of Case
        The test cases.
    count : int
    background : float

    Returns
    -------
    dict of str to Example
        By case, from small lesions to large ones, still without maps.
    """
    sizes: dict[str, int] = {}
    patients: dict[str, str] = {}
    for case in iterate_cases(cases, background=background):
        if case.lesions is not None and (case.lesions & case.brain).any():
            sizes[case.case.case] = int((case.lesions & case.brain).sum())
            patients[case.case.case] = case.case.patient
    ranked = sorted(sizes, key=lambda name: (sizes[name], name))
    chosen: list[str] = []
    for place in np.linspace(0.15, 0.85, count) if count > 1 else [0.5]:
        if not ranked or len(chosen) == count:
            break
        wanted = place * (len(ranked) - 1)
        seen = {patients[name] for name in chosen}
        free = [i for i, name in enumerate(ranked) if name not in chosen]
        fresh = [i for i in free if patients[ranked[i]] not in seen] or free
        if fresh:
            chosen.append(ranked[min(fresh, key=lambda i: abs(i - wanted))])
    chosen.sort(key=lambda name: sizes[name])
    wanted_cases = {case.case: case for case in cases if case.case in chosen}
    result = {}
    for name in chosen:
        case = next(iter(iterate_cases([wanted_cases[name]], background=background)))
        assert case.lesions is not None  # that is what they were chosen by
        index = _largest_slice(case)
        image, lesions, brain = (
            cut_slice(array, case, index) for array in (case.array[0], case.lesions, case.brain)
        )
        result[name] = Example(name, image, lesions > 0, brain > 0, {}, {})
    return result


def _largest_slice(case: PreparedCase) -> int:
    """The axial slice with the largest lesions."""
    assert case.lesions is not None
    axis = case.geometry.axis_towards("S")
    others = tuple(a for a in range(3) if a != axis)
    return int(np.argmax((case.lesions & case.brain).sum(axis=others)))


def cut_slice(
    values: NDArray[np.generic], case: PreparedCase, index: int | None = None
) -> NDArray[np.float32]:
    """One axial slice in LPS order, shape (I, J): that of the largest lesions unless given."""
    place = _largest_slice(case) if index is None else index
    array = np.ascontiguousarray(values, dtype=np.float32)
    image = Image(array, case.geometry).axial_slice(place).reorient("LPS")
    return np.ascontiguousarray(image.array[:, :, 0])


def save_example_maps(path: Path, maps: dict[str, NDArray[np.float32]]) -> None:
    """Keep the slices of one run, so that a resumed comparison can draw them."""
    from safetensors.numpy import save

    with atomic_path(path) as temporary:
        temporary.write_bytes(save(maps))


def load_example_maps(path: Path) -> dict[str, NDArray[np.float32]]:
    """Inverse of :func:`save_example_maps`."""
    from safetensors.numpy import load

    return load(path.read_bytes())


def finish_examples(
    examples: dict[str, Example],
    runs: Sequence[RunResult],
    stored: Callable[[RunResult], Path],
) -> list[Example]:
    """Examples with the raw maps and thresholds of every entry's first run.

    Parameters
    ----------
    examples : dict of str to Example
        From :func:`choose_examples`.
    runs : sequence of RunResult
    stored : callable
        File of a run's example maps.
    """
    finished = []
    first = {run.entry: run for run in reversed(runs)}
    found = [(first[entry], entry) for entry in dict.fromkeys(run.entry for run in runs)]
    slices = {entry: load_example_maps(stored(run)) for run, entry in found}
    for name, example in examples.items():
        maps, thresholds, tuned = {}, {}, {}
        for run, entry in found:
            scored = run.map(run.primary)
            if name not in slices[entry] or scored is None:
                continue
            maps[entry], thresholds[entry] = slices[entry][name], scored.threshold
            if np.isfinite(scored.tuned_threshold):
                tuned[entry] = scored.tuned_threshold
        finished.append(replace(example, maps=maps, thresholds=thresholds, tuned=tuned))
    return finished
