"""The images of a cohort: every file of the table is read once and compared within its case.

A fault is ``(row, text)``; row 0 stands for the whole table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .cohort_table import Fault, where
from .errors import InputError
from .image import Geometry
from .image_io import read_image

if TYPE_CHECKING:
    from .cohort import Case


@dataclass(frozen=True)
class _Content:
    """What the checks need of a file, so that no volume stays in memory.

    ``lowest`` and ``highest`` have one entry per axial slice, from the lowest slice up.
    """

    geometry: Geometry
    lowest: NDArray[Any]
    highest: NDArray[Any]
    binary: bool

    def extremes(self, index: int | None) -> tuple[float, float]:
        """Smallest and largest value of an axial slice, or of the volume."""
        window = slice(None) if index is None else slice(index, index + 1)
        return float(self.lowest[window].min()), float(self.highest[window].max())


def check_case_images(
    cases: Iterable[Case], *, on_event: Callable[[dict[str, Any]], None] | None = None
) -> list[Fault]:
    """Read every distinct file once, in threads, and list what is wrong with it.

    Parameters
    ----------
    cases : iterable of Case
    on_event : callable, optional
        Receives ``{"event": "check", "done": k, "total": n}`` after every file.

    Returns
    -------
    list of (int, str)
        Files that are missing, unreadable, truncated, not 3D, without geometry, not finite or
        constant; masks that are empty, not binary or against the label; files of a case on
        different grids; slices out of range.
    """
    cases = list(cases)
    files = {(path, case.nominal_spacing) for case in cases for _, path in _files_of(case)}
    ordered = sorted(files, key=str)
    # Decompression lets other threads run; more of them would only hold more volumes at once.
    contents = {}
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        try:
            for key, content in zip(
                ordered, pool.map(lambda key: _content(*key), ordered), strict=True
            ):
                contents[key] = content
                if on_event is not None:
                    on_event({"event": "check", "done": len(contents), "total": len(ordered)})
        finally:  # who stops does not wait for the rest
            pool.shutdown(cancel_futures=True)
    faults: list[Fault] = []
    for case in cases:
        for text in _faults_of(case, contents):
            faults.append((case.row, f"{where(case.row, case.case)}: {text}"))
    return faults


def _files_of(case: Case) -> Iterator[tuple[str, Path]]:
    """Column and path of every file of a case."""
    yield from case.channels.items()
    if case.brain is not None:
        yield "brain", case.brain
    if case.lesions is not None:
        yield "lesions", case.lesions


def _content(path: Path, nominal: bool) -> _Content | InputError:
    try:
        image = read_image(path, nominal=nominal)
    except InputError as error:
        return error
    axial = image.geometry.axis_towards("S")
    others = tuple(axis for axis in range(3) if axis != axial)
    array = image.array
    lowest, highest = array.min(axis=others), array.max(axis=others)
    if image.geometry.orientation()[axial] == "I":  # the file runs down
        lowest, highest = lowest[::-1], highest[::-1]
    # A mask holds 0 and one other value, be it 1 or 255.
    binary = lowest.min() >= 0 and bool(np.isin(array, (0, highest.max())).all())
    return _Content(image.geometry, lowest, highest, bool(binary))


def _faults_of(
    case: Case, contents: dict[tuple[Path, bool], _Content | InputError]
) -> Iterator[str]:
    reference: tuple[str, Geometry] | None = None
    for column, path in _files_of(case):
        content = contents[path, case.nominal_spacing]
        if isinstance(content, InputError):
            yield f"{column} {content}"
            continue
        grid = content.geometry
        if reference is None:
            reference = (column, grid)
        elif not grid.same_grid(reference[1]):
            yield (
                f"{column} {path}: another grid ({describe_grid(grid)}) than {reference[0]} "
                f"({describe_grid(reference[1])}); resample one onto the other"
            )
        count = len(content.lowest)
        if case.slice is not None and case.slice >= count:
            yield f"slice {case.slice}: {column} {path.name} has axial slices 0 to {count - 1}"
            continue
        low, high = content.extremes(case.slice)
        part = "" if case.slice is None else f" in slice {case.slice}"
        if column in case.channels and low == high:
            yield f"{column} {path}: constant{part} (every voxel is {low:g}); no brain is visible"
        elif column in ("brain", "lesions") and not content.binary:
            yield f"{column} {path}: not a mask; expected 0 and one other value"
        elif column == "brain" and high == 0:
            yield f"brain {path}: empty{part}; no voxel belongs to the brain"
        elif column == "lesions" and case.label == 0 and high > 0:
            yield f"lesions {path}: the case is healthy (label 0) but its lesion mask is not empty"


def describe_grid(grid: Geometry) -> str:
    """A grid in a few words, such as ``182x218x182, 1x1x1 mm, LAS, origin -90.00, ...``."""
    return f"{describe_voxels(grid)}, origin {', '.join(f'{o:.2f}' for o in grid.origin)}"


def describe_voxels(grid: Geometry) -> str:
    """Size, spacing and orientation, such as ``182x218x182, 1x1x1 mm, LAS``."""
    size = "x".join(str(n) for n in grid.size)
    spacing = "nominal" if grid.nominal else "x".join(f"{s:.4g}" for s in grid.spacing) + " mm"
    return f"{size}, {spacing}, {grid.orientation()}"
