"""A ball drawn through a grid: which voxels a stroke of the brush covers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from AttribSegLib.errors import InputError
from numpy.typing import NDArray

from .labelmap import Window

#: A stroke's long pieces are cut into shorter ones, whose boxes hold fewer voxels.
_RADII_PER_PIECE = 4.0


class Stroke:
    """Voxels whose centres a ball has passed over.

    Distances are in mm in space, whatever the spacing, direction or shear of the grid. The voxel
    under the brush's centre always counts, even where the ball is smaller than a voxel.

    Parameters
    ----------
    to_world : ndarray of shape (4, 4)
        From voxel indices to points in mm.
    shape : tuple of int
        Voxels along I, J, K.
    radius_mm : float
    allowed : ndarray of bool, shape (I, J, K), optional
        Other voxels stay out.

    Attributes
    ----------
    mask : ndarray of bool, shape (I, J, K)
        What has been covered so far, I running fastest.
    window : tuple of slice or None
        Box that holds it all.

    Raises
    ------
    InputError
        If the radius is not positive.
    """

    def __init__(
        self,
        to_world: NDArray[np.float64],
        shape: tuple[int, int, int],
        radius_mm: float,
        allowed: NDArray[np.bool_] | None = None,
    ) -> None:
        if not (np.isfinite(radius_mm) and radius_mm > 0):
            raise InputError(f"brush radius {radius_mm} mm: a positive number was expected")
        self.mask: NDArray[np.bool_] = np.zeros(shape, dtype=bool, order="F")
        self.window: Window | None = None
        self.radius_mm = radius_mm
        self._allowed = allowed
        self._axes = to_world[:3, :3]
        self._to_index = np.linalg.inv(to_world)
        # How far the ball reaches along each index.
        inverse = self._to_index[:3, :3]
        self._reach = radius_mm * np.sqrt((inverse**2).sum(axis=1))
        self._last: NDArray[np.float64] | None = None

    def add(self, point: Sequence[float]) -> None:
        """Move the brush on, in a straight line from where it was.

        Parameters
        ----------
        point : sequence of float
            In mm, in the space of ``to_world``.
        """
        place = self._to_index[:3, :3] @ np.asarray(point, dtype=float) + self._to_index[:3, 3]
        start = place if self._last is None else self._last
        self._last = place
        length = float(np.linalg.norm(self._axes @ (place - start)))
        pieces = max(1, int(np.ceil(length / (_RADII_PER_PIECE * self.radius_mm))))
        corners = np.linspace(start, place, pieces + 1)
        for first, last in pairwise(corners):
            self._cover(first, last)

    def _cover(self, first: NDArray[np.float64], last: NDArray[np.float64]) -> None:
        """Add the voxels within the radius of a line, whose ends are voxel indices."""
        nearest = np.rint(last).astype(int)
        low = np.minimum(np.ceil(np.minimum(first, last) - self._reach).astype(int), nearest)
        high = np.maximum(np.floor(np.maximum(first, last) + self._reach).astype(int), nearest)
        low, high = np.maximum(low, 0), np.minimum(high + 1, self.mask.shape)
        if (low >= high).any():
            return
        grid = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1)
        offset = (grid - first) @ self._axes.T
        line = self._axes @ (last - first)
        squared = float(line @ line)
        share = np.clip(offset @ line / squared, 0, 1) if squared > 0 else np.zeros(grid.shape[:3])
        distance = np.linalg.norm(offset - share[..., None] * line, axis=-1)
        covered = (distance <= self.radius_mm) | (grid == nearest).all(axis=-1)
        box = (
            slice(int(low[0]), int(high[0])),
            slice(int(low[1]), int(high[1])),
            slice(int(low[2]), int(high[2])),
        )
        if self._allowed is not None:
            covered &= self._allowed[box]
        self.mask[box] |= covered
        self.window = box if self.window is None else _union(self.window, box)


def _union(one: Window, other: Window) -> Window:
    """The smallest window around two."""
    i, j, k = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return i, j, k
