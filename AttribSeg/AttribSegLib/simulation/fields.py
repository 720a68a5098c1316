"""Smooth random fields on the MNI152 grid, the same at 1 and 2 mm for one random state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: Extent of the MNI152 grid along I, J, K, in mm.
EXTENT_MM = (182, 218, 182)

#: Variance that a cubic B-spline leaves of white coefficients, per axis: the integral of its
#: square, 151/315.
_VARIANCE_PER_AXIS = 151.0 / 315.0


def grid_shape(voxel: float) -> tuple[int, int, int]:
    """Voxels of the MNI152 grid along I, J, K at a spacing of ``voxel`` mm."""
    return tuple(round(extent / voxel) for extent in EXTENT_MM)  # type: ignore[return-value]


def bspline_matrix(extent: float, voxel: float, knots: float) -> Array:
    """Uniform cubic B-splines sampled at voxel centres.

    Parameters
    ----------
    extent, voxel, knots : float
        Length of the axis, voxel size and distance between knots, in mm.

    Returns
    -------
    ndarray of shape (voxels, coefficients), float32
        Rows sum to one.
    """
    position = np.arange(round(extent / voxel)) * voxel / knots
    cell = np.floor(position).astype(int)
    u = position - cell
    weights = np.stack(
        [(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], axis=1
    )
    # As many coefficients at 1 as at 2 mm, so that one random state gives one field.
    matrix = np.zeros((len(position), int(np.ceil(extent / knots)) + 3), dtype=np.float32)
    for k in range(4):
        matrix[np.arange(len(position)), cell + k] = weights[:, k] / 6
    return matrix


def smooth_field(
    rng: np.random.Generator, voxel: float, knots: float, *, bound: float | None = None
) -> Array:
    """A Gaussian random field made of cubic B-splines.

    Parameters
    ----------
    rng : Generator
    voxel : float
        Voxel size of the MNI152 grid, in mm.
    knots : float
        Distance between knots, in mm: the scale of the field.
    bound : float, optional
        Coefficients are clipped at this many standard deviations and the field is left
        unscaled, so that ``abs(field) <= bound``; without it the field has unit variance.

    Returns
    -------
    ndarray of shape (I, J, K), float32
    """
    x, y, z = (bspline_matrix(extent, voxel, knots) for extent in EXTENT_MM)
    coefficients = rng.standard_normal((x.shape[1], y.shape[1], z.shape[1]), dtype=np.float32)
    if bound is not None:
        coefficients = np.clip(coefficients, -bound, bound)
    else:
        coefficients /= np.float32(_VARIANCE_PER_AXIS**1.5)
    field = y @ (coefficients @ z.T)
    return (x @ field.reshape(len(field), -1)).reshape(len(x), *field.shape[1:])


def sigmoid(values: Array) -> Array:
    """Logistic function that does not overflow."""
    return (0.5 + 0.5 * np.tanh(0.5 * values)).astype(np.float32)
