"""The 2D protocol: central axial slices of volumes as cases of their own (METHODS 4; BraTS19).

The slices without lesion of a patient's volume are the healthy class, so that both classes come
from the same scanners; nothing but the lesion tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .cases import SLICE_ORIENTATION
from .cohort import Case, Cohort, write_cohort
from .cohort_fingerprint import cohort_fingerprint
from .errors import InputError
from .files import make_folder, read_json, write_json
from .image import Geometry, Image
from .image_io import read_image, write_image
from .preprocessing.background import brain_from_background
from .preprocessing.match import match_histogram

COUNT, SIZE, LEAST_LESION = 10, 224, 0.001


def central_slices(
    cohort: Cohort,
    out: str | Path,
    *,
    count: int = COUNT,
    size: int = SIZE,
    least_lesion: float = LEAST_LESION,
    seed: int = 0,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Write a cohort of central slices.

    Slices without a lesion voxel are healthy, those with lesions on more than a share of the
    slice pathological, the few in between are not used. Intensities are matched to one healthy
    training slice, drawn at random.

    Parameters
    ----------
    cohort : Cohort
        Of volumes, skull-stripped; every pathological case has a lesion mask.
    out : path
        Folder for ``cohort.csv``, the slices and ``protocol.json``. A finished one of the same
        options and cohort (rows and files) is used again; ``cohort.csv`` is written last.
    count : int
        Slices per volume, around the middle of its brain.
    size : int
        Pixels along both axes; the image keeps its proportions, and background fills up.
    least_lesion : float
        Share of the slice that lesions of a pathological slice exceed.
    seed : int
        Of the healthy slice that intensities are matched to.
    on_event : callable, optional
        Receives ``{"event": "slices", "done": k, "total": n}``.

    Returns
    -------
    Path
        The table; patients keep their split.

    Raises
    ------
    InputError
        If a case is a slice already, a pathological one has no mask, or no healthy slice is left
        in the training split.
    """
    folder, table = make_folder(out), Path(out) / "cohort.csv"
    options = {
        "count": count,
        "size": size,
        "least_lesion": least_lesion,
        "seed": seed,
        # Other splits or corrected masks leave the counts as they are.
        "cohort_fingerprint": cohort_fingerprint(cohort),
    }
    protocol = folder / "protocol.json"
    if table.is_file() and protocol.is_file() and _agrees(read_json(protocol), options):
        return table
    table.unlink(missing_ok=True)
    for case in cohort.cases:
        if case.slice is not None:
            raise InputError(f"case {case.case}: a slice already; the 2D protocol takes volumes")
        if case.label == 1 and case.lesions is None:
            raise InputError(
                f"case {case.case}: no lesion mask; the 2D protocol tells healthy slices from "
                "pathological ones by it"
            )
    # One volume at a time: stacks are written as they are, and matched where they lie once the
    # reference is known.
    rows: list[Case] = []
    for number, case in enumerate(cohort.cases, start=1):
        stack = _stack(case, cohort.channels, count, size)
        for name, image in stack.items():
            write_image(image, _place(folder, case.case, name))
        rows += _slices(case, stack, folder, cohort.channels, least_lesion)
        if on_event is not None:
            on_event({"event": "slices", "done": number, "total": len(cohort.cases)})
    healthy = [row for row in rows if row.label == 0 and row.split == "train"]
    if not healthy:
        raise InputError(f"{cohort.source}: no training slice is without lesion")
    chosen = healthy[int(np.random.default_rng(seed).integers(len(healthy)))]
    volume = chosen.case.rpartition("-")[0]
    reference = {
        name: image.axial_slice(int(chosen.slice or 0))
        for name, image in _written(folder, volume, cohort.channels).items()
    }
    for case in cohort.cases:
        stack = _written(folder, case.case, cohort.channels)
        for name in cohort.channels:
            matched = match_histogram(
                stack[name], stack["brain"], reference[name], reference["brain"]
            )
            write_image(matched, _place(folder, case.case, name))
    write_json(protocol, {**options, "cohort": cohort.summary()})
    write_cohort(Cohort(tuple(rows), cohort.channels, str(table)), table)
    return table


def _agrees(found: Any, options: dict[str, Any]) -> bool:
    """Whether the record of a finished protocol has these options."""
    return isinstance(found, dict) and all(found.get(k) == v for k, v in options.items())


def _place(folder: Path, case: str, name: str) -> Path:
    """File of a channel or mask."""
    kind = "masks" if name in ("brain", "lesions") else "images"
    return folder / kind / f"{case}_{name}.nii.gz"


def _written(folder: Path, case: str, channels: tuple[str, ...]) -> dict[str, Image]:
    """Channels and brain of a stack that was written."""
    return {name: read_image(_place(folder, case, name)) for name in (*channels, "brain")}


def _stack(case: Case, channels: tuple[str, ...], count: int, size: int) -> dict[str, Image]:
    """Central slices of every channel and mask, of size x size pixels, in LPS order."""
    images = {
        name: read_image(path, nominal=case.nominal_spacing).reorient(SLICE_ORIENTATION)
        for name, path in case.channels.items()
        if name in channels
    }
    first = images[channels[0]]
    if case.brain is None:
        brain = first.with_array(brain_from_background(first.array))
    else:
        brain = read_image(case.brain, nominal=case.nominal_spacing).reorient(SLICE_ORIENTATION)
        brain = brain.with_array(brain.array != 0)
    if case.lesions is None:
        lesions = brain.with_array(np.zeros_like(brain.array, dtype=bool))
    else:
        lesions = read_image(case.lesions, nominal=case.nominal_spacing)
        lesions = lesions.reorient(SLICE_ORIENTATION)
        lesions = lesions.with_array(lesions.array != 0)
    heights = np.flatnonzero(brain.array.any(axis=(0, 1)))
    if heights.size == 0:
        raise InputError(f"case {case.case}: the brain mask is empty")
    start = int(np.clip((heights[0] + heights[-1] + 1 - count) // 2, 0, None))
    grid = _plane(first.geometry, size, start, min(count, first.geometry.size[2]))
    result: dict[str, Image] = {}
    for name, image in images.items():
        background = float(np.median(image.array[~brain.array])) if not brain.array.all() else 0.0
        moved = image.resample(grid, background=background)
        result[name] = moved.with_array(moved.array.astype(np.float32))
    for name, mask in (("brain", brain), ("lesions", lesions)):
        moved = mask.resample(grid, interpolation="nearest")
        result[name] = moved.with_array(moved.array != 0)
    return result


def _plane(geometry: Geometry, size: int, start: int, count: int) -> Geometry:
    """Grid of the slices: the longer side fills the picture, the middle stays the middle."""
    pixel = max(n * s for n, s in zip(geometry.size[:2], geometry.spacing[:2], strict=True)) / size
    middle = [(n - 1) / 2 for n in geometry.size[:2]]
    grid = replace(geometry, size=(size, size, count), spacing=(pixel, pixel, geometry.spacing[2]))
    wanted = geometry.to_lps([*middle, start])
    shift = wanted - grid.to_lps([(size - 1) / 2, (size - 1) / 2, 0])
    return replace(grid, origin=tuple(np.asarray(grid.origin) + shift))


def _slices(
    case: Case,
    stack: dict[str, Image],
    folder: Path,
    channels: tuple[str, ...],
    least_lesion: float,
) -> list[Case]:
    """A case for every slice that is clearly of one class."""
    rows = []
    for index in range(stack["brain"].geometry.size[2]):
        share = float(stack["lesions"].array[:, :, index].mean())
        if 0 < share <= least_lesion or not stack["brain"].array[:, :, index].any():
            continue
        rows.append(
            Case(
                case=f"{case.case}-{index:02d}",
                patient=case.patient,
                label=int(share > 0),
                split=case.split,
                channels={c: _place(folder, case.case, c) for c in channels},
                brain=_place(folder, case.case, "brain"),
                lesions=_place(folder, case.case, "lesions"),
                slice=index,
                nominal_spacing=case.nominal_spacing,
            )
        )
    return rows
