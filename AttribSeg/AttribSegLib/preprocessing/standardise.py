"""Standardisation: zero mean and unit variance over the brain, one background constant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

#: Interquartile range of the standard normal distribution.
_NORMAL_IQR = 1.3489795


def standardise(
    array: NDArray[Any],
    brain: NDArray[np.bool_],
    *,
    background: float = 0.0,
    clip: float = 0.0,
    robust: bool = False,
) -> NDArray[np.float32]:
    """Standardise an image over its brain voxels (thesis ch. 1, III.2).

    Parameters
    ----------
    array, brain : ndarray of the same shape
        Intensities, and the brain mask.
    background : float
        Value given to everything outside the brain.
    clip : float
        Values further than this from the mean, in standard deviations, are set to this distance:
        a handful of very bright or dark voxels then cannot stand for the class. 0 clips nothing.
    robust : bool
        Median and interquartile range instead of mean and standard deviation (of the same size
        for a normal distribution), which large bright lesions hardly move.

    Returns
    -------
    ndarray of float32

    Raises
    ------
    InputError
        If the brain is empty or all its voxels (half of them, when robust) are equal.

    Examples
    --------
    >>> standardise(np.array([1.0, 3.0, 9.0]), np.array([True, True, False]), background=-2)
    array([-1.,  1., -2.], dtype=float32)
    """
    inside = array[brain].astype(np.float64)
    if inside.size == 0:
        raise InputError("the brain mask is empty; check the mask or the background value")
    # The deviation of equal numbers is not always zero: their mean may be rounded.
    if inside.min() == inside.max():
        raise InputError(f"all brain voxels have the value {inside[0]:g}; an image was expected")
    result = np.full(array.shape, background, dtype=np.float32)
    if robust:
        low, centre, high = np.percentile(inside, (25, 50, 75))
        if low == high:
            raise InputError(f"half of the brain voxels have the value {low:g}; do not use robust")
        inside = (inside - centre) / ((high - low) / _NORMAL_IQR)
    else:
        inside = (inside - inside.mean()) / inside.std()
    result[brain] = np.clip(inside, -clip, clip) if clip else inside
    return result
