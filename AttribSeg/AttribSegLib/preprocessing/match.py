"""Histogram matching: the intensities of one brain on the scale of another."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..image import Image


def match_histogram(image: Image, brain: Image, reference: Image, reference_brain: Image) -> Image:
    """Map the intensities inside a brain so that their distribution is the reference's.

    The 2D protocol matches every image to one healthy slice (thesis ch. 5). The map is the
    reference's quantile function after the image's distribution function: monotone, so that no
    contrast is turned round.

    Parameters
    ----------
    image, reference : Image
    brain, reference_brain : Image
        Masks, bool, each on its image's grid; the two images need not share one.

    Returns
    -------
    Image
        float32; unchanged outside the brain.

    Raises
    ------
    InputError
        If a mask is empty or lies on another grid.
    """
    for name, one, mask in (("image", image, brain), ("reference", reference, reference_brain)):
        if one.array.shape != mask.array.shape:
            raise InputError(
                f"the brain mask of the {name} lies on another grid; resample it first"
            )
        if not mask.array.any():
            raise InputError(f"the brain mask of the {name} is empty; check the mask")
    inside = brain.array.astype(bool)
    _, index, counts = np.unique(image.array[inside], return_inverse=True, return_counts=True)
    wanted = np.sort(reference.array[reference_brain.array.astype(bool)]).astype(np.float64)
    # Mid-ranks: ties map to the middle of their share of the reference.
    ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
    places = (np.arange(len(wanted)) + 0.5) / len(wanted)
    result = image.array.astype(np.float32)
    result[inside] = np.interp(ranks, places, wanted)[index.ravel()]
    return image.with_array(result)
