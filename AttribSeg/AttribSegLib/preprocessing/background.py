"""The brain of a skull-stripped image: everything that is not its constant background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

#: A skull-stripped brain fills about a quarter of the MNI152 grid. An image with its skull, or
#: with a noisy background, is nearly all "brain".
_LARGEST_FRACTION = 0.8


def brain_from_background(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Brain mask of a skull-stripped volume.

    The background is the value that the volume's corners share; holes inside the brain (dark
    voxels that happen to have the same value) are filled, in 3D, or in the plane of a volume of
    one slice.

    Parameters
    ----------
    array : ndarray of shape (I, J, K)

    Raises
    ------
    InputError
        If there is no constant background, or nothing but background.
    """
    from scipy import ndimage

    corners = array[np.ix_(*[sorted({0, n - 1}) for n in array.shape])].ravel()
    values, counts = np.unique(corners, return_counts=True)
    background = values[np.argmax(counts)]
    brain = array != background
    if not brain.any():
        raise InputError("the brain is empty: every voxel has the background value")
    # Along an axis of one voxel everything touches the border, and no hole would be one.
    brain = ndimage.binary_fill_holes(brain.squeeze()).reshape(brain.shape)
    if brain.mean() > _LARGEST_FRACTION:
        raise InputError(
            f"no constant background ({brain.mean():.0%} of the voxels differ from "
            f"{background:g}): a skull-stripped image was expected; extract the brain first or "
            "give a brain mask"
        )
    return brain
