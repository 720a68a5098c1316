"""Live thresholding of a map: whatever is slow happens once, a threshold is then a comparison.

Dropping small lesions after every move of a threshold means labelling components again and again.
An area opening does it for all thresholds at once: it lowers every voxel to the highest level at
which its component still has the wanted size (L. Vincent, "Grayscale area openings and closings,
their efficient implementation and applications", 1993), so that the voxels of the opened map above
a threshold are the large components of the map above it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .image import Image
from .map_processing import MapProcessing, smooth, within_brain, without_small_components

#: Thresholds from here up are a comparison only. Below zero, a map argues for "healthy".
_FLOOR = 0.0


@dataclass(frozen=True)
class _Prepared:
    """What a threshold is compared with.

    Parameters
    ----------
    minimum_ml, smoothing_mm : float
        As they were asked for.
    values : ndarray of shape (I, J, K)
        The map after smoothing; zero outside the brain.
    minimum_voxels : float
    window : tuple of slice
        Box of all that is above the floor.
    opened : ndarray
        The map in the window, every lesion at least so large at any threshold from the floor up.
    range : tuple of float
        Lowest positive value of the map and its highest.
    """

    minimum_ml: float
    smoothing_mm: float
    values: NDArray[Any]
    minimum_voxels: float
    window: tuple[slice, slice, slice]
    opened: NDArray[Any]
    range: tuple[float, float]


class MapPreview:
    """Masks of a map at any threshold, fast enough to follow a slider.

    Parameters
    ----------
    score_map : Image
        Shape (I, J, K). Zero outside the brain, as detections have it.
    brain : Image, optional
        Brain mask on the same grid; where the map is not zero when absent.

    Raises
    ------
    InputError
        If a voxel is not finite, or the brain lies on another grid.
    """

    def __init__(self, score_map: Image, brain: Image | None = None) -> None:
        if brain is not None and not brain.geometry.same_grid(score_map.geometry):
            raise InputError("the brain mask lies on another grid than the map; resample it first")
        # Single precision, unless that would round the map.
        values = score_map.array.astype(np.result_type(score_map.array.dtype, np.float32))
        if not np.isfinite(values).all():
            raise InputError("map with NaN or infinite voxels; replace them first")
        self.geometry = score_map.geometry
        self._inside = values != 0 if brain is None else brain.array != 0
        self._values = np.where(self._inside, values, 0).astype(values.dtype, copy=False)
        self._lock = Lock()
        self._asked = self._in_force = 0
        self._state = self._make(0.0, 0.0)

    @property
    def prepared(self) -> tuple[float, float]:
        """Minimum volume in mL and smoothing in mm that are in force."""
        state = self._state
        return state.minimum_ml, state.smoothing_mm

    @property
    def range(self) -> tuple[float, float]:
        """Lowest positive value of the map (smoothed, if it is) and its highest.

        (0, 0) where nothing is positive: no voxel argues for a lesion.
        """
        return self._state.range

    def prepare(self, *, minimum_ml: float = 0.0, smoothing_mm: float = 0.0) -> None:
        """Smooth the map and drop small lesions, for all thresholds at once.

        Takes up to seconds; meant for another thread, while :meth:`mask` goes on with what was in
        force before. Of several calls at once the last one stays in force.

        Parameters
        ----------
        minimum_ml : float
            Smaller lesions are dropped, as :func:`.remove_small_lesions` does.
        smoothing_mm : float
            Standard deviation, see :func:`.smooth`.

        Raises
        ------
        InputError
            If a value is negative or not finite, or the spacing of the map is nominal.
        """
        with self._lock:
            self._asked += 1
            ticket = self._asked
        state = self._make(minimum_ml, smoothing_mm)
        with self._lock:
            if ticket > self._in_force:
                self._state, self._in_force = state, ticket

    def mask(self, threshold: float) -> NDArray[np.bool_]:
        """Voxels above a threshold, without lesions smaller than the minimum.

        A comparison, except for thresholds below zero, at which components are labelled.

        Parameters
        ----------
        threshold : float
            A voxel is segmented when its score is strictly above.

        Returns
        -------
        ndarray of bool, shape (I, J, K)
            A new array, I running fastest in memory (its transpose is what VTK and SimpleITK
            take without a copy).

        Raises
        ------
        InputError
            If the threshold is not finite.
        """
        if not math.isfinite(threshold):
            raise InputError(f"threshold {threshold}: a finite number was expected")
        state = self._state
        if threshold < _FLOOR:
            above = (state.values > _at_most(threshold, state.values.dtype)) & self._inside
            if state.minimum_voxels > 1:
                above = without_small_components(above, state.minimum_voxels)
            return np.asfortranarray(above)
        result = np.zeros(self.geometry.size, dtype=bool, order="F")
        limit = _at_most(threshold, state.opened.dtype)
        np.greater(state.opened, limit, out=result[state.window])
        return result

    def _make(self, minimum_ml: float, smoothing_mm: float) -> _Prepared:
        # Checks both values, in the words of every other place that takes them.
        steps = MapProcessing(minimum_ml=minimum_ml, smoothing_mm=smoothing_mm)
        values = self._values
        if steps.smoothing_mm:
            self.geometry.require_spacing("smoothing in mm")
            sigma = [steps.smoothing_mm / step for step in self.geometry.spacing]
            values = within_brain(smooth(values, self._inside, sigma), self._inside)
        least = 0.0
        if steps.minimum_ml:
            self.geometry.require_spacing("a minimum volume in mL")
            least = steps.minimum_ml / self.geometry.voxel_volume_ml
        window = _box(values > _FLOOR)
        opened = np.asfortranarray(values[window])
        if least > 1 and opened.size:
            opened = _area_opening(opened, least)
        positive = values[window][values[window] > _FLOOR]
        limits = (float(positive.min()), float(positive.max())) if positive.size else (0.0, 0.0)
        return _Prepared(minimum_ml, smoothing_mm, values, least, window, opened, limits)


def _area_opening(values: NDArray[Any], minimum_voxels: float) -> NDArray[Any]:
    """Lower every voxel to where its component (all neighbours) has at least so many voxels.

    Levels below the floor are not told apart.

    Parameters
    ----------
    values : ndarray of shape (I, J, K)
    minimum_voxels : float
    """
    import SimpleITK as sitk

    # A rim at the floor: what never is large enough must have somewhere to sink to.
    rim = np.full([n + 2 for n in reversed(values.shape)], _FLOOR, dtype=values.dtype)
    inner = (slice(1, -1),) * 3
    np.maximum(values.T, _FLOOR, out=rim[inner])
    opening = sitk.AreaOpeningImageFilter()
    opening.SetFullyConnected(True)
    opening.SetUseImageSpacing(False)
    # Rounding of the spacing must not remove a component of exactly the minimum.
    opening.SetLambda(math.ceil(minimum_voxels * (1 - 1e-6)))
    result = sitk.GetArrayFromImage(opening.Execute(sitk.GetImageFromArray(rim)))
    return np.ascontiguousarray(result[inner]).T


def _at_most(threshold: float, kind: np.dtype[Any]) -> Any:
    """The largest number of a precision that is not above a threshold.

    ``value > threshold`` in double precision is ``value > _at_most(threshold)`` in the value's
    own, which needs no conversion of the map.
    """
    with np.errstate(over="ignore"):
        rounded = kind.type(threshold)
    return np.nextafter(rounded, kind.type(-np.inf)) if float(rounded) > threshold else rounded


def _box(where: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The smallest box around the true voxels; empty where there are none."""
    pieces = []
    for axis in range(3):
        others = tuple(each for each in range(3) if each != axis)
        found = np.flatnonzero(where.any(axis=others))
        pieces.append(slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0))
    return pieces[0], pieces[1], pieces[2]
