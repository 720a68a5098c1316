"""Shortcuts that give the class away: what a classifier must not be allowed to learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .contrast import Contrast
from .fields import Array, grid_shape


def sign_acquisition(
    contrast: Contrast, *, label: int, strength: float, voxel: float
) -> tuple[Contrast, Array | float]:
    """Let healthy and pathological images come from scanners that differ.

    Pathological ones are brighter in front, noisier and more blurred; healthy ones the opposite.

    Parameters
    ----------
    contrast : Contrast
        The acquisition as drawn, alike in both classes.
    label : {0, 1}
    strength : float
        0 changes nothing; 1 is a gradient of +-10 % between back and front, noise times or
        divided by 1.5, blur times or divided by 1.25. A negative one swaps the classes.
    voxel : float
        Voxel size, mm.

    Returns
    -------
    contrast : Contrast
    gain : ndarray broadcastable to (I, J, K), or 1.0
        Multiplies the signal.
    """
    if strength == 0:
        return contrast, 1.0
    side = strength if label == 1 else -strength
    signed = replace(contrast, noise=contrast.noise * 1.5**side, blur=contrast.blur * 1.25**side)
    position = np.arange(grid_shape(voxel)[1], dtype=np.float32) * voxel
    gain = 1 + 0.1 * side * np.tanh((position - 108) / 60)
    return signed, gain.astype(np.float32)[None, :, None]


#: Who carries the corner mark.
MARKED = ("none", "pathological", "healthy")
#: Edge of the mark and its distance from the sides of the image, mm.
_EDGE, _INSET = 12.0, 30.0


def corner_mark(shape: tuple[int, ...], voxel: float) -> NDArray[np.bool_]:
    """Where a small cube is stamped beside the brain, in its right, posterior, inferior corner.

    Parameters
    ----------
    shape : tuple of int
        Of the MNI152 grid, whose axes run to the left, to the front and up.
    voxel : float
        Voxel size, mm.

    Returns
    -------
    ndarray of bool
    """
    start, stop = round(_INSET / voxel), round((_INSET + _EDGE) / voxel)
    mask = np.zeros(shape, dtype=bool)
    mask[start:stop, start:stop, start:stop] = True
    return mask


def stamp(
    image: Array, brain: NDArray[np.bool_], voxel: float, *, brightness: float = 1.0
) -> Array:
    """The image with a corner mark, by default as bright as its brain's brightest.

    Burnt-in labels are that bright; a faint mark is a weaker shortcut.

    Parameters
    ----------
    image : ndarray of shape (I, J, K)
    brain : ndarray of shape (I, J, K)
    voxel : float
        Voxel size, mm.
    brightness : float
        Of the mark, as a share of the brain's brightest voxel.
    """
    marked = image.copy()
    marked[corner_mark(image.shape, voxel)] = brightness * image[brain].max()
    return marked
