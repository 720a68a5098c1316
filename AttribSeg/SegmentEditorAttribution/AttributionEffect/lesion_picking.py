"""One lesion of a mask, pointed at.

Voxels that share a corner belong to one lesion, as in `AttribSegLib.lesions`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .labelmap import bounding_window


def lesion_at(mask: NDArray[np.bool_], ijk: Sequence[int]) -> NDArray[np.bool_] | None:
    """The connected component that holds a voxel.

    Parameters
    ----------
    mask : ndarray of bool, shape (I, J, K)
    ijk : sequence of int
        May lie outside.

    Returns
    -------
    ndarray of bool, shape (I, J, K), or None
        None where the voxel is not in the mask.

    Examples
    --------
    >>> mask = np.zeros((5, 5, 5), dtype=bool)
    >>> mask[[0, 1, 4], [0, 1, 4], [0, 1, 4]] = True
    >>> int(lesion_at(mask, (1, 1, 1)).sum())
    2
    """
    place = tuple(int(n) for n in ijk)
    within = all(0 <= n < count for n, count in zip(place, mask.shape, strict=True))
    if not within or not mask[place]:
        return None
    import SimpleITK as sitk

    window = bounding_window(mask)
    assert window is not None
    # Grown from the voxel: labelling every lesion would take ten times as long.
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask[window].T, dtype=np.uint8))
    seed = [n - each.start for n, each in zip(place, window, strict=True)]
    full = sitk.ConnectedThresholdImageFilter.FullConnectivity
    grown = sitk.ConnectedThreshold(image, [seed], 1, 1, 1, full)
    result = np.zeros_like(mask)
    result[window] = sitk.GetArrayViewFromImage(grown).T
    return result


class KeptLesions:
    """Lesions that were pointed at, one after the other, of those of a mask.

    Parameters
    ----------
    candidates : ndarray of bool, shape (I, J, K)
        All that can be kept; a later click can bring back what an earlier one left out.
    """

    def __init__(self, candidates: NDArray[np.bool_]) -> None:
        self.candidates = candidates
        self.kept = np.zeros_like(candidates)

    def keep(self, ijk: Sequence[int]) -> bool:
        """Add the lesion that holds a voxel; False where there is none."""
        lesion = lesion_at(self.candidates, ijk)
        if lesion is None:
            return False
        self.kept |= lesion
        return True
