"""Which case of a cohort an image is, and on which grid its cases lie.

Programs turn the axes of an image over when they load it: LAS on the disk is LAI in Slicer. The
voxels are the same, so that grids are compared and images are written without regard to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .cohort import Case
from .cohort_state import image_headers
from .editable_table import EditableTable
from .errors import InputError
from .image import Geometry, Image
from .image_io import read_image

#: Largest difference between two readings of one image, of its range of values.
_SAME_IMAGE = 1e-3


@dataclass(frozen=True)
class KnownCase:
    """What a cohort has of an image; the case is empty where only the patient is known."""

    case: str
    patient: str


def turned(image: Image, like: Geometry) -> Image:
    """The image with its axes as those of ``like`` where that makes their grids one.

    Returns
    -------
    Image
        As it was, where its voxels are others.
    """
    if image.geometry.same_grid(like):
        return image
    other = image.reorient(like.orientation())
    return other if other.geometry.same_grid(like) else image


def turned_grid(grid: Geometry, like: Geometry) -> Geometry:
    """The grid with its axes as those of ``like``, where its voxels are the same; see `turned`."""
    return turned(Image(np.broadcast_to(np.False_, grid.size), grid), like).geometry


def same_voxels(first: Geometry, second: Geometry) -> bool:
    """Whether two grids have the same voxels, in whatever order and sense of their axes."""
    return turned_grid(first, second).same_grid(second)


def same_image(stored: Image, image: Image) -> bool:
    """Whether two images are readings of one, their axes turned over perhaps."""
    image = turned(image, stored.geometry)
    if not image.geometry.same_grid(stored.geometry):
        return False
    there, here = stored.array.astype(np.float64), image.array.astype(np.float64)
    return bool(np.abs(there - here).max() <= _SAME_IMAGE * np.ptp(there))


def grids_of_cases(table: EditableTable) -> list[tuple[str, Geometry]]:
    """Patient and grid of every case whose first channel can be read."""
    cases = _cases(table)
    headers = image_headers(cases)
    found = []
    for case in cases:
        grid = headers.get((next(iter(case.channels.values()), Path()), case.nominal_spacing))
        if isinstance(grid, Geometry):
            found.append((case.patient, grid))
    return found


def shared_grid(grids: Sequence[tuple[str, Geometry]]) -> Geometry | None:
    """The grid that all cases of `grids_of_cases` lie on; None where there are several, or none.

    Cases on one grid are prepared for a network, those on several are raw scans.
    """
    if not grids or not all(same_voxels(grid, grids[0][1]) for _, grid in grids[1:]):
        return None
    return grids[0][1]


def case_of_image(
    cohort: str | Path, images: Mapping[str, Image], *, source: str = "", name: str = ""
) -> KnownCase | None:
    """The case that images are of: by the file they were loaded from, or by their voxels.

    Where a case has some of them and others in place of the rest, such as one T1 of two visits,
    it is of the same patient.

    Parameters
    ----------
    cohort : path
        The cohort table.
    images : mapping of channel name to Image
        At least one channel of the table.
    source : str
        A file of one of them, where that is known.
    name : str
        Case that is looked at first.

    Returns
    -------
    KnownCase or None
        None where no case has these images.

    Raises
    ------
    InputError
        If there is no such table.
    """
    table = EditableTable(cohort)
    cases = sorted(_cases(table), key=lambda case: case.case != name)
    origin = Path(source) if source and Path(source).exists() else None
    if origin is not None:
        for case in cases:
            if any(path.exists() and path.samefile(origin) for path in case.channels.values()):
                return KnownCase(case.case, case.patient)
    headers = image_headers(cases)
    patient: str | None = None
    for case in cases:
        alike = _alike(case, images, headers)
        if alike and all(alike):
            return KnownCase(case.case, case.patient)
        if any(alike):
            patient = case.patient
    return None if patient is None else KnownCase("", patient)


def _cases(table: EditableTable) -> list[Case]:
    return [Case(**row) for row in table.parsed()[0]]


@lru_cache(maxsize=4096)
def _sample_of_file(path: Path, nominal: bool, size: int, time: int) -> NDArray[np.float64]:
    """Some voxels of a file of this size and time of change: it is read whole once only."""
    return _sample(read_image(path, nominal=nominal))


def _sample(image: Image) -> NDArray[np.float64]:
    """Least and largest value, and some voxels that do not depend on the order of the axes."""
    array = image.reorient("LPS").array
    some = array[tuple(slice(n % 8 // 2, None, max(1, n // 8)) for n in array.shape)]
    return np.array([array.min(), array.max(), *some.ravel()], dtype=np.float64)


def _close(there: NDArray[np.float64], here: NDArray[np.float64]) -> bool:
    """Whether two sets of voxels are one, as far as two readings of an image agree."""
    return bool(np.abs(there - here).max() <= _SAME_IMAGE * (there[1] - there[0]))


def _alike(
    case: Case,
    images: Mapping[str, Image],
    headers: Mapping[tuple[Path, bool], Geometry | InputError],
) -> list[bool]:
    """Whether the channels that both have are one; files are read only where grids agree."""

    def same(name: str, image: Image) -> bool:
        path, nominal = case.channels[name], case.nominal_spacing
        grid = headers.get((path, nominal))
        if not isinstance(grid, Geometry) or not same_voxels(image.geometry, grid):
            return False
        try:
            stamp = path.stat()
            sample = _sample_of_file(path, nominal, stamp.st_size, stamp.st_mtime_ns)
            if not _close(sample, _sample(image)):
                return False
            return same_image(read_image(path, nominal=nominal), image)
        except (InputError, OSError):  # told by the state of its row
            return False

    return [same(name, image) for name, image in images.items() if name in case.channels]
