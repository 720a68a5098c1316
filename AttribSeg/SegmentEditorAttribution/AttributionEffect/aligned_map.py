"""A map on the grid that a segmentation is edited on, ready for any threshold.

Everything that the effect shows or writes is decided on that grid, so that the preview is what
"Apply" gives.
"""

from __future__ import annotations

from threading import Thread
from typing import Any

import numpy as np
from AttribSegLib import mrml
from AttribSegLib.errors import InputError
from AttribSegLib.map_preview import MapPreview
from numpy.typing import NDArray

from .labelmap import (
    Window,
    array_to_world,
    bounding_window,
    geometry_in_world,
    volume_to_world,
)


def alignment_key(map_node: Any, segmentation_node: Any, grid: Any) -> tuple[Any, ...]:
    """What an :class:`AlignedMap` was made from; another key asks for another one.

    Parameters
    ----------
    map_node : vtkMRMLScalarVolumeNode
    segmentation_node : vtkMRMLSegmentationNode
    grid : vtkOrientedImageData
        Grid of the edits, in the segmentation's coordinates.

    Raises
    ------
    InputError
        If the map has no voxels, or a transform is not linear.
    """
    data = map_node.GetImageData()
    if data is None or data.GetPointData().GetScalars() is None:
        mrml.geometry_from_volume_node(map_node)  # says so
    return (
        map_node.GetID(),
        data.GetMTime(),
        data.GetPointData().GetScalars().GetMTime(),
        volume_to_world(map_node).tobytes(),
        array_to_world(grid, segmentation_node).tobytes(),
        grid.GetExtent(),
    )


class AlignedMap:
    """A map on the grid of the edits.

    Parameters
    ----------
    map_node : vtkMRMLScalarVolumeNode
        On any grid, under any linear transform.
    segmentation_node : vtkMRMLSegmentationNode
    grid : vtkOrientedImageData
        Grid of the edits, in the segmentation's coordinates.
    nominal : bool
        Whether the voxel spacing is unknown.

    Attributes
    ----------
    name : str
        Of the map's node.
    array : ndarray of shape (I, J, K)
        The map; zero where it does not reach.
    voxel_volume_ml : float or None
        None when the spacing is nominal.

    Raises
    ------
    InputError
        If the map has no scalar voxels, some are not finite, or a transform is not linear.
    """

    def __init__(
        self, map_node: Any, segmentation_node: Any, grid: Any, *, nominal: bool = False
    ) -> None:
        image = mrml.image_from_volume_node(map_node, nominal=nominal)
        onto = geometry_in_world(grid, segmentation_node)
        aligned = image.resample(onto)
        self.name = map_node.GetName()
        self.array: NDArray[Any] = aligned.array
        self.voxel_volume_ml = None if nominal else onto.voxel_volume_ml
        self._positive = bounding_window(self.array > 0)
        self._preview = MapPreview(aligned)
        self._range = (self._preview.prepared, self._preview.range)
        self._thread: Thread | None = None
        self._wanted = self._preview.prepared
        self._error: Exception | None = None

    @property
    def prepared(self) -> tuple[float, float]:
        """Smallest lesion in mL and smoothing in mm that are in force."""
        return self._preview.prepared

    @property
    def range(self) -> tuple[float, float]:
        """Lowest positive value and highest; zeros where nothing is positive."""
        if self._range[0] != self.prepared:
            self._range = (self.prepared, self._preview.range)
        return self._range[1]

    def mask(self, threshold: float) -> NDArray[np.bool_]:
        """Voxels above a threshold, shape (I, J, K), as :attr:`prepared`."""
        return self._preview.mask(threshold)

    def window(self, mask: NDArray[np.bool_], threshold: float) -> Window | None:
        """Box that holds a mask made at a threshold; the same one as often as can be."""
        if threshold >= 0 and not self.prepared[1]:
            return self._positive
        return bounding_window(mask)

    def prepare(self, minimum_ml: float, smoothing_mm: float) -> None:
        """Ask for a smallest lesion and smoothing; a thread works them out, see :attr:`busy`."""
        asked = (minimum_ml, smoothing_mm)
        if asked == (self._wanted if self.busy else self.prepared):
            return
        self._wanted = asked
        self._thread = Thread(target=self._work, args=asked, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether :meth:`prepare` is still at work.

        Raises
        ------
        InputError
            If it has refused.
        """
        if self._thread is not None:
            # In Slicer, threads of Python run only while the window's thread waits like this.
            self._thread.join(0.003)
            if self._thread.is_alive():
                return True
            self._thread = None
        self._raise()
        return False

    def wait(self) -> None:
        """Wait for :meth:`prepare`; errors as of :attr:`busy`."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._raise()

    def _work(self, minimum_ml: float, smoothing_mm: float) -> None:
        try:
            self._preview.prepare(minimum_ml=minimum_ml, smoothing_mm=smoothing_mm)
        except InputError as error:
            self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
