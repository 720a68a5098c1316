"""Intensities that make heads comparable with a skull-stripped atlas, whatever the contrast.

Fat is two to four times as bright as brain on T1; counted as dark, scalp and skull look alike, as
they do around the atlas. What is too bright for brain depends on how bright the brain is: before
it is found there are only guesses, afterwards it is measured.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..image import Image
from ..transform import Affine
from .atlas import Atlas

#: Share of the bright end above which a voxel is foreground rather than air.
_FOREGROUND = 0.15

#: Brain over the median of the foreground: a brain that makes most of the image is as bright; one
#: with a dark neck and face in the picture (fat suppressed) is brighter.
_GUESSES = (1.0, 1.7)

#: Multiple of the brain's intensity above which a voxel is fat or vessel, not brain.
_BRIGHT = 1.6
#: Lesions and limbic cortex are no brighter than this to the registration.
_CLIP = 1.2

#: Width over which the brain's intensity is levelled, mm, and the weight of its mean in that.
_LEVEL_MM = 24.0
_LEVEL_PRIOR = 0.02

#: Points of the brain at which its intensity is measured.
_POINTS = 4000


def brain_levels(image: Image) -> tuple[float, ...]:
    """Guesses of the brain's intensity, most usual first."""
    array = image.array.astype(np.float32)
    low = float(np.percentile(array, 1))
    floor = low + _FOREGROUND * (np.percentile(array, 98) - low)
    foreground = array[array > floor]
    middle = float(np.median(foreground)) - low if foreground.size else 1.0
    return tuple(low + guess * middle for guess in _GUESSES)


def measured_level(image: Image, atlas: Atlas, transform: Affine) -> float:
    """Median intensity where the atlas has grey or white matter.

    Parameters
    ----------
    image : Image
    atlas : Atlas
    transform : Affine
        From the image's space to the atlas.

    Returns
    -------
    float
        The most usual guess where the field of view shows none of it.
    """
    points = atlas.points(count=_POINTS)
    tissue = _nearest(atlas.tissue, points)
    ijk = image.geometry.to_ijk(transform.inverse()(points[tissue > 1]))
    index = np.round(ijk).astype(int)
    seen = ((index >= 0) & (index < image.geometry.size)).all(axis=1)
    if not seen.any():
        return brain_levels(image)[0]
    return float(np.median(image.array[tuple(index[seen].T)]))


def brain_bright(image: Image, level: float, *, fold: bool = True) -> Image:
    """Intensities relative to the brain's, with everything much brighter made dark.

    Parameters
    ----------
    image : Image
    level : float
        The brain's intensity.
    fold : bool
        Otherwise what is much brighter is clipped, for matching two scans of one head.
    """
    array = image.array.astype(np.float32)
    low = float(np.percentile(array, 1))
    span = max(level - low, 1e-6 * (abs(level) + abs(low)), 1e-20)
    ratio = (array - np.float32(low)) / np.float32(span)
    if not fold:
        return image.with_array(np.clip(ratio, 0, _BRIGHT))
    folded = np.where(ratio > _BRIGHT, 1 - 2 * (ratio - _BRIGHT), np.minimum(ratio, _CLIP))
    return image.with_array(np.clip(folded, 0, None).astype(np.float32))


def levelled(moving: Image, atlas: Atlas, transform: Affine) -> Image:
    """The image divided by the smooth intensity of its brain: no bias field pulls the fit then.

    Parameters
    ----------
    moving : Image
        From `brain_bright`.
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


def antialiased(image: Image, voxel: float) -> Image:
    """The image smoothed for sampling every ``voxel`` mm; axes as coarse as that are left alone."""
    from scipy import ndimage

    spacing = np.array(image.geometry.spacing)
    # The blur that makes a voxel of the old size one of the new (both taken as box profiles).
    sigma = np.sqrt(np.maximum(voxel**2 - spacing**2, 0) / 12) / spacing
    array = image.array.astype(np.float32)
    return image.with_array(ndimage.gaussian_filter(array, sigma) if sigma.any() else array)


def _nearest(image: Image, points: NDArray[np.float64]) -> NDArray[Any]:
    index = np.round(image.geometry.to_ijk(points)).astype(int)
    return np.asarray(image.array[tuple(index.T)])
