"""How well the atlas's tissues explain a scan in a pose, and which pose nearby they explain best.

The measure is the correlation ratio, which asks for no particular contrast. Powell's method needs
no derivatives, so that neither thick slices nor the border of the field of view lead it away: it
never ends worse than it started.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..image import Geometry, Image
from ..transform import Affine
from .atlas import Atlas
from .intensity import antialiased, brain_bright

#: Points of the atlas looked at: for a figure to report, and for each step of the optimisation.
_POINTS = 20_000
_POINTS_PER_STEP = 4000

#: Units of the parameters in Powell's line searches: rotation (radians), shift (mm), logarithm of
#: the scale; and of uneven stretching (two) and shear (three).
_UNITS = np.array([0.1] * 3 + [5.0] * 3 + [0.1] + [0.05] * 5)

#: Weight of the squared logarithm of the scale (in its unit, counted from the start): a brain that
#: shrinks into the white matter of another explains it well, too.
_SCALE_PENALTY = 0.01

#: The same for uneven stretching and shear.
_SHAPE_PENALTY = 0.002

#: Least share of the atlas's brain (with its ring) that must be in the field of view.
_LEAST_SEEN = 0.4

Array = NDArray[np.float64]


def shrunken(image: Image, level: float, voxel: float, *, fold: bool = True) -> Image:
    """`brain_bright` of an image on a grid of about ``voxel`` mm along its own axes."""
    return coarser(brain_bright(image, level, fold=fold), voxel)


def coarser(image: Image, voxel: float) -> Image:
    """An image on a grid of about ``voxel`` mm along its own axes; float32."""
    old = image.geometry
    spacing = np.maximum(old.spacing, voxel)
    extent = np.array(old.size) * old.spacing
    size = np.maximum(np.ceil(extent / spacing - 1e-6).astype(int), 1)
    first = (extent - (size - 1) * spacing) / 2 - np.array(old.spacing) / 2
    origin = np.array(old.origin) + old.direction @ first
    grid = Geometry(tuple(size), tuple(spacing), tuple(origin), old.direction)
    return antialiased(image, voxel).resample(grid)


def correlation_ratio(moving: Image, atlas: Atlas, transform: Affine) -> float:
    """Share of an image's variance in and around the brain that the atlas's tissues explain.

    Parameters
    ----------
    moving : Image
        From `shrunken`.
    atlas : Atlas
    transform : Affine
        From the image's space to the atlas.

    Returns
    -------
    float
        0 to 1; 0 where too little of the brain is in the field of view.
    """
    points, tissue = _tissue_points(atlas)
    return _ratio(moving, points, tissue, transform.inverse().matrix)


def refine_pose(moving: Image, atlas: Atlas, start: Affine, *, affine: bool = False) -> Affine:
    """The transform near a start that the atlas's tissues explain best.

    Parameters
    ----------
    moving : Image
        From `shrunken`.
    atlas : Atlas
    start : Affine
        From the image's space to the atlas.
    affine : bool
        All twelve parameters, instead of rotation, shift and one scale.

    References
    ----------
    .. [1] M. Powell, An efficient method for finding the minimum of a function of several
       variables without calculating derivatives, The Computer Journal 7(2), 1964.
    """
    from scipy.optimize import minimize
    from scipy.spatial.transform import Rotation

    points, tissue = _tissue_points(atlas)
    count = _POINTS if affine else _POINTS_PER_STEP
    points, tissue = points[:count], tissue[:count]
    back = start.inverse().matrix
    centre = atlas.centre

    def moved(parameters: Array) -> Any:
        values = parameters * _UNITS[: len(parameters)]
        change = np.eye(4)
        change[:3, :3] = np.exp(values[6]) * Rotation.from_rotvec(values[:3]).as_matrix()
        if affine:
            x, y, a, b, c = values[7:]
            stretch = np.exp([x, y, -x - y])
            change[:3, :3] @= np.array([[1, a, b], [0, 1, c], [0, 0, 1]]) * stretch
        change[:3, 3] = centre + values[3:6] - change[:3, :3] @ centre
        return back @ change

    def cost(parameters: Array) -> float:
        penalty = _SCALE_PENALTY * float(parameters[6]) ** 2
        penalty += _SHAPE_PENALTY * float(np.square(parameters[7:]).sum())
        return penalty - _ratio(moving, points, tissue, moved(parameters))

    options = {"xtol": 0.02, "ftol": 1e-4, "maxfev": 3000 if affine else 600}
    found = minimize(cost, np.zeros(12 if affine else 7), method="Powell", options=options)
    return Affine(moved(found.x)).inverse()


def coverage(native: Geometry, atlas: Atlas, transform: Affine) -> float:
    """Share of the atlas's brain that lies in a field of view."""
    ijk = native.to_ijk(transform.inverse()(atlas.points()))
    return float(((ijk >= -0.5) & (ijk <= np.array(native.size) - 0.5)).all(axis=1).mean())


def _ratio(moving: Image, points: Array, tissue: NDArray[np.uint8], back: Any) -> float:
    """Correlation ratio over points of the atlas that the matrix takes back into the image."""
    from scipy import ndimage

    ijk = moving.geometry.to_ijk(points @ back[:3, :3].T + back[:3, 3])
    seen = ((ijk >= -0.5) & (ijk <= np.array(moving.geometry.size) - 0.5)).all(axis=1)
    if seen.mean() < _LEAST_SEEN:
        return 0.0
    values = ndimage.map_coordinates(moving.array, ijk[seen].T, order=1, mode="nearest")
    values = values.astype(np.float64)
    label = tissue[seen]
    count = np.bincount(label, minlength=4)[1:]
    total = np.bincount(label, values, minlength=4)[1:]
    mean = values.mean()
    between = (total**2 / np.maximum(count, 1)).sum() - len(values) * mean**2
    whole = ((values - mean) ** 2).sum()
    return float(between / whole) if whole > 0 else 0.0


@lru_cache(maxsize=2)
def _tissue_points(atlas: Atlas) -> tuple[Array, NDArray[np.uint8]]:
    """Random points of the brain and its ring, LPS mm, and their tissue."""
    voxels = np.argwhere(atlas.tissue.array)
    voxels = voxels[np.random.default_rng(0).choice(len(voxels), _POINTS)]
    return atlas.tissue.geometry.to_lps(voxels), atlas.tissue.array[tuple(voxels.T)]
