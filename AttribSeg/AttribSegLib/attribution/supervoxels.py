"""Super-voxels: an image cut into compact regions of similar intensity."""

from __future__ import annotations

import math

import numpy as np

from ..errors import InputError

_ITERATIONS = 10


def supervoxels(
    image: np.ndarray,
    *,
    count: int = 100,
    compactness: float = 1.0,
    brain: np.ndarray | None = None,
) -> np.ndarray:
    """Label every voxel with its region, by simple linear iterative clustering (SLIC) [1]_.

    Parameters
    ----------
    image : array of shape (I, J[, K])
    count : int
        About how many regions to make; SLIC starts from a regular grid of cubes, so the number
        that comes out is near, not equal. No region is smaller than a voxel.
    compactness : float
        Standard deviations of intensity that weigh as much as one grid spacing: the larger, the
        more regular the regions.
    brain : bool array of shape (I, J[, K]) or None
        Region to cut up; all voxels outside share label 0, and the regions start from 1.

    Returns
    -------
    int64 array of shape (I, J[, K])
        Labels 0 to n - 1, none of them empty.

    Raises
    ------
    InputError
        If the image is not 2D or 3D or holds values that are not finite, if the brain mask is
        empty or of another shape, or if a parameter is not positive.

    References
    ----------
    .. [1] R. Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods",
       IEEE TPAMI 34(11), 2012.
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3):
        raise InputError(f"image of shape {image.shape}: (I, J) or (I, J, K) was expected")
    if count < 1:
        raise InputError(f"count {count}: at least 1 was expected")
    if not (math.isfinite(compactness) and compactness > 0):
        raise InputError(f"compactness {compactness}: a positive number was expected")
    inside = np.ones(image.shape, bool) if brain is None else np.asarray(brain, bool)
    if inside.shape != image.shape or not inside.any():
        raise InputError(
            f"brain of shape {inside.shape} with {np.count_nonzero(inside)} voxels: a mask of "
            f"shape {image.shape} that is not empty was expected"
        )
    if not np.isfinite(image[inside]).all():
        raise InputError("image: not all its values are finite")
    box = tuple(slice(int(found.min()), int(found.max()) + 1) for found in (np.nonzero(inside)))
    spacing = _spacing(int(np.count_nonzero(inside)), count, inside[box].shape)
    labels = np.full(image.shape, -1, np.int64)
    labels[box] = _slic(_standardised(image[box], inside[box]), spacing, compactness)
    labels[~inside] = -1
    # Consecutive numbers, also where a region of the box lay outside the brain altogether.
    return np.unique(labels, return_inverse=True)[1].reshape(image.shape).astype(np.int64)


def _spacing(voxels: float, count: int, shape: tuple[int, ...]) -> float:
    """Edge of the cubes that so many voxels make; axes shorter than it are not cut."""
    sizes = sorted(shape)
    while len(sizes) > 1 and sizes[0] < (voxels / count) ** (1 / len(sizes)):
        voxels /= sizes.pop(0)
    return (voxels / count) ** (1 / len(sizes))


def _standardised(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Intensities in standard deviations of the region, 0 outside; a flat region is 0."""
    values = image[inside].astype(np.float64)
    deviation = values.std()
    result = np.zeros(image.shape, np.float32)
    # Rounding alone leaves a flat region a deviation of some 1e-16 of its value.
    if deviation > 1e-9 * np.abs(values).max():
        result[inside] = (values - values.mean()) / deviation
    return result


def _slic(image: np.ndarray, spacing: float, compactness: float) -> np.ndarray:
    import SimpleITK as sitk

    # As many whole cells along each axis as come nearest to the spacing.
    grid = [size // min(size, max(1, round(size / spacing))) for size in reversed(image.shape)]
    labels = sitk.SLIC(
        sitk.GetImageFromArray(image),
        superGridSize=grid,
        spatialProximityWeight=compactness,
        maximumNumberOfIterations=_ITERATIONS,
        enforceConnectivity=True,
        initializationPerturbation=True,
    )
    return sitk.GetArrayFromImage(labels).astype(np.int64)
