"""Affine refinement by SimpleITK, onto tissue maps painted with the scan's own intensities.

So one robust metric (correlation) serves every contrast, and a skull-stripped atlas serves a head:
the ring around its brain is painted as dark as the skull.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..image import Geometry, Image
from ..transform import Affine
from .atlas import Atlas
from .pose_search import antialiased

#: Points of the metric; an affine transform needs no more.
_SAMPLES = 15_000

#: Times the tissues are painted and the transform is optimised.
_ROUNDS = 2

#: Width over which the brain's intensity is levelled, mm, and the weight of its mean in that.
_LEVEL_MM = 24.0
_LEVEL_PRIOR = 0.02


def refine_affine(
    moving: Image, atlas: Atlas, start: Affine, *, voxel: float, seed: int = 0
) -> Affine:
    """Alternate between painting the tissues and optimising the transform.

    Parameters
    ----------
    moving : Image
        From `tissue_fit.shrunken`.
    atlas : Atlas
    start : Affine
        From the image's space to the atlas.
    voxel : float
        Of the grid that the tissues are painted on, mm.
    seed : int
        Of the metric's random points.
    """
    grid, fractions = _tissue_fractions(atlas, voxel)
    region = fractions.sum(axis=0) > 0.5
    transform = start
    for _ in range(_ROUNDS):
        values = moving.resample(grid, transform=transform, background=np.nan).array
        seen = region & np.isfinite(values)
        if seen.sum() < region.sum() / 3:
            break
        means = np.linalg.lstsq(fractions[:, seen].T, values[seen], rcond=None)[0]
        painted = Image(np.tensordot(means, fractions, axes=1).astype(np.float32), grid)
        transform = _optimise(painted, Image(region, grid), moving, transform, seed)
    return transform


def levelled(moving: Image, atlas: Atlas, transform: Affine) -> Image:
    """The image divided by the smooth intensity of its brain: no bias field pulls the fit then.

    Parameters
    ----------
    moving : Image
        From `tissue_fit.shrunken`.
    atlas : Atlas
    transform : Affine
        From the image's space to the atlas; a pose near the right one is enough.
    """
    from scipy import ndimage

    tissue = atlas.tissue.with_array(atlas.tissue.array > 1)  # grey or white
    inside = tissue.resample(moving.geometry, transform=transform.inverse()).array
    if not inside.any():
        return moving
    median = float(np.median(moving.array[inside]))
    inside &= moving.array > 0.5 * median  # neither CSF nor skull
    if not inside.any():
        return moving
    sigma = _LEVEL_MM / np.array(moving.geometry.spacing)
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(inside, moving.array, 0).astype(np.float32), sigma)
    mean = float(moving.array[inside].mean())
    # Far from the brain, where nothing is known, the level is the brain's mean.
    level = (total + _LEVEL_PRIOR * mean) / (weight + _LEVEL_PRIOR) / mean
    return moving.with_array((moving.array / level).astype(np.float32))


@lru_cache(maxsize=6)
def _tissue_fractions(atlas: Atlas, voxel: float) -> tuple[Geometry, NDArray[np.float32]]:
    """Fractions of dark, grey and white on a coarse grid, shape (3, I, J, K)."""
    old = atlas.tissue.geometry
    size = [int(np.ceil(n * s / voxel)) for n, s in zip(old.size, old.spacing, strict=True)]
    grid = Geometry((size[0], size[1], size[2]), (voxel,) * 3, old.origin, old.direction)
    maps = [atlas.tissue.with_array(atlas.tissue.array == label) for label in (1, 2, 3)]
    return grid, np.stack([antialiased(one, voxel).resample(grid).array for one in maps])


def _optimise(fixed: Image, region: Image, moving: Image, start: Affine, seed: int) -> Affine:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(region.to_sitk())
    method.SetMetricSamplingStrategy(method.RANDOM)
    share = _SAMPLES / fixed.array.size / region.array.mean()
    method.SetMetricSamplingPercentage(min(1.0, share), seed + 1)
    method.SetInterpolator(sitk.sitkLinear)
    # Twelve parameters couple: with longer steps an affine transform folds over.
    method.SetOptimizerAsRegularStepGradientDescent(0.5, 0.01, 100, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    inverse = start.inverse()
    centre = fixed.geometry.to_lps(np.argwhere(region.array).mean(axis=0))
    transform = sitk.AffineTransform(3)
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(inverse.matrix[:3, :3].ravel().tolist())
    transform.SetTranslation((inverse(centre[None])[0] - centre).tolist())
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed.to_sitk(), moving.to_sitk())
    except RuntimeError:  # the optimiser left the field of view: the start is the better result
        return start
    return Affine.from_sitk(transform).inverse()
