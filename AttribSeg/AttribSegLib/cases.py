"""From the files of a case to the arrays that a network sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cohort import Case
from .errors import InputError
from .image import Geometry, Image
from .image_io import read_image
from .preprocessing.background import brain_from_background
from .preprocessing.standardise import standardise

#: Slices are stored with this axis order, so that the first two axes are left-right and
#: anterior-posterior whatever the file's order.
SLICE_ORIENTATION = "LPS"
#: Cropped volumes keep at least this many voxels along each axis.
_LEAST_CROP = 64


@dataclass(frozen=True)
class PreparedCase:
    """A case as a network sees it.

    Parameters
    ----------
    case : Case
    array : ndarray of shape (C, I, J, K)
        Standardised channels, float32; K is 1 for slices.
    brain : ndarray of shape (I, J, K)
        Brain mask.
    lesions : ndarray of shape (I, J, K) or None
        Lesion mask; all false for a healthy case without one.
    geometry : Geometry
        Grid of the arrays.
    """

    case: Case
    array: NDArray[np.float32]
    brain: NDArray[np.bool_]
    lesions: NDArray[np.bool_] | None
    geometry: Geometry


def prepare_channels(
    channels: Mapping[str, Image],
    brain: Image | None,
    *,
    background: float = 0.0,
    clip: float = 0.0,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Geometry]:
    """Standardise the channels of one volume over its brain.

    Parameters
    ----------
    channels : mapping of channel name to Image
        On one grid.
    brain : Image, optional
        Brain mask; derived from the background of the first channel when absent.
    background, clip : float
        See :func:`.standardise`.

    Returns
    -------
    array : ndarray of shape (C, I, J, K)
    brain : ndarray of shape (I, J, K)
    geometry : Geometry

    Raises
    ------
    InputError
        If the grids differ, or the brain is empty or constant in a channel.
    """
    first_name, first = next(iter(channels.items()))
    for name, image in channels.items():
        if not image.geometry.same_grid(first.geometry):
            raise InputError(
                f"channels {first_name} and {name} lie on different grids; register and resample "
                "them onto one grid first"
            )
    if brain is None:
        mask = brain_from_background(first.array)
    elif not brain.geometry.same_grid(first.geometry):
        raise InputError(f"the brain mask and channel {first_name} lie on different grids")
    else:
        mask = brain.array != 0
    stack = [
        standardise(image.array, mask, background=background, clip=clip)
        for image in channels.values()
    ]
    return np.stack(stack), mask, first.geometry


class CaseLoader:
    """Loads cases; slices of one volume share its reading and its standardisation.

    A slice is standardised with the statistics of its whole volume, so that a slice full of
    tumour is not made to look average.

    Parameters
    ----------
    background, clip : float
        See :func:`.standardise`.
    """

    def __init__(self, *, background: float = 0.0, clip: float = 0.0) -> None:
        self.background, self.clip = background, clip
        self._key: Any = None
        self._volume: PreparedCase | None = None

    def __call__(self, case: Case) -> PreparedCase:
        """Load a case.

        Raises
        ------
        InputError
            Names the case and what is wrong with its files.
        """
        try:
            volume = self._load_volume(case)
            return volume if case.slice is None else _take_slice(volume, case)
        except InputError as error:
            raise InputError(f"case {case.case}: {error}") from error

    def _load_volume(self, case: Case) -> PreparedCase:
        key = (tuple(case.channels.items()), case.brain, case.lesions, case.slice is None)
        if key != self._key or self._volume is None:
            self._volume, self._key = self._read(case), key
        volume = replace(self._volume, case=case)
        if volume.lesions is None and case.label == 0:
            # Not kept with the volume: its other slices may be pathological, with unknown masks.
            volume = replace(volume, lesions=np.zeros(volume.brain.shape, dtype=bool))
        return volume

    def _read(self, case: Case) -> PreparedCase:
        def read(path: Path) -> Image:
            image = read_image(path, nominal=case.nominal_spacing)
            return image if case.slice is None else image.reorient(SLICE_ORIENTATION)

        channels = {name: read(path) for name, path in case.channels.items()}
        brain = None if case.brain is None else read(case.brain)
        array, mask, geometry = prepare_channels(
            channels, brain, background=self.background, clip=self.clip
        )
        lesions: NDArray[np.bool_] | None = None
        if case.lesions is not None:
            image = read(case.lesions)
            if not image.geometry.same_grid(geometry):
                raise InputError(f"{case.lesions}: the lesion mask lies on another grid")
            lesions = image.array != 0
        return PreparedCase(case, array, mask, lesions, geometry)


def _take_slice(volume: PreparedCase, case: Case) -> PreparedCase:
    index = int(case.slice or 0)
    brain = Image(volume.brain, volume.geometry).axial_slice(index)
    window = slice(index, index + 1)
    lesions = None if volume.lesions is None else volume.lesions[:, :, window].copy()
    array = np.ascontiguousarray(volume.array[:, :, :, window])
    return PreparedCase(case, array, brain.array.copy(), lesions, brain.geometry)


def load_cases(
    cases: Sequence[Case],
    *,
    background: float = 0.0,
    clip: float = 0.0,
    on_done: Callable[[int], None] | None = None,
) -> list[PreparedCase]:
    """Load many cases, in their order; slices of one volume are read together."""
    loader = CaseLoader(background=background, clip=clip)
    order = sorted(
        range(len(cases)),
        key=lambda index: (str(next(iter(cases[index].channels.values()))), index),
    )
    result: list[PreparedCase | None] = [None] * len(cases)
    for count, index in enumerate(order, start=1):
        result[index] = loader(cases[index])
        if on_done is not None:
            on_done(count)
    return [case for case in result if case is not None]


def iterate_cases(
    cases: Sequence[Case], *, background: float = 0.0, clip: float = 0.0
) -> Iterator[PreparedCase]:
    """Load cases one by one, for what needs each only once."""
    loader = CaseLoader(background=background, clip=clip)
    for case in cases:
        yield loader(case)


def common_grid(cases: Sequence[PreparedCase]) -> Geometry:
    """The grid that all cases share.

    Slices must share their in-plane size; volumes their whole grid. Its spacing is nominal as
    soon as one case's is.

    Raises
    ------
    InputError
        Names the first case on another grid.
    """
    first = cases[0]
    for other in cases[1:]:
        if (other.case.slice is None) != (first.case.slice is None):
            raise InputError(
                f"case {other.case.case}: slices and volumes do not mix; case {first.case.case} is "
                f"a {'volume' if first.case.slice is None else 'slice'}"
            )
        if first.case.slice is None:
            same = first.geometry.same_grid(other.geometry)
        else:
            same = first.geometry.size == other.geometry.size
        if not same:
            raise InputError(
                f"case {other.case.case}: grid {other.geometry.size} with spacing "
                f"{_rounded(other.geometry.spacing)} differs from case {first.case.case}'s "
                f"{first.geometry.size} with spacing {_rounded(first.geometry.spacing)}; bring all "
                "images onto one grid (such as MNI152) first"
            )
    return replace(first.geometry, nominal=any(case.geometry.nominal for case in cases))


def crop_to_brains(cases: Sequence[PreparedCase], *, margin: int = 4) -> list[PreparedCase]:
    """Crop volumes that share a grid to the box of all their brains.

    A skull-stripped brain fills about half of the MNI152 grid; the rest costs time and memory and
    shows nothing. No axis becomes shorter than 64 voxels (or than it is).

    Parameters
    ----------
    cases : sequence of PreparedCase
        On one grid.
    margin : int
        Voxels kept around the box.
    """
    size = np.array(cases[0].geometry.size)
    union = np.logical_or.reduce([case.brain for case in cases])
    occupied = np.argwhere(union)
    start = np.maximum(occupied.min(axis=0) - margin, 0)
    stop = np.minimum(occupied.max(axis=0) + 1 + margin, size)
    lacking = np.maximum(np.minimum(_LEAST_CROP, size) - (stop - start), 0)
    start = np.maximum(start - lacking // 2, 0)
    stop = np.minimum(np.maximum(stop, start + np.minimum(_LEAST_CROP, size)), size)
    start = np.maximum(np.minimum(start, stop - np.minimum(_LEAST_CROP, size)), 0)
    window = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    cropped = []
    for case in cases:
        origin = tuple(case.geometry.to_lps(start))
        shape = (int(stop[0] - start[0]), int(stop[1] - start[1]), int(stop[2] - start[2]))
        cropped.append(
            replace(
                case,
                array=np.ascontiguousarray(case.array[:, *window]),
                brain=np.ascontiguousarray(case.brain[window]),
                lesions=None if case.lesions is None else case.lesions[window].copy(),
                geometry=replace(case.geometry, size=shape, origin=origin),
            )
        )
    return cropped


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values)
