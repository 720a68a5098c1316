"""Lesions: the connected components of a mask, one row each."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .files import write_text
from .image import Image
from .map_processing import without_small_components


@dataclass(frozen=True)
class Lesion:
    """One connected component of a mask.

    Parameters
    ----------
    number : int
        Rank by volume, 1 for the largest.
    voxels : int
        Size in voxels.
    volume_ml : float or None
        Volume in mL; None when the voxel spacing is nominal.
    centre_ras_mm : tuple of float or None
        RAS coordinates of the centre of mass, in mm; None when the voxel spacing is nominal.
    centre_ijk : tuple of float
        Centre of mass in voxel indices.
    mean_attribution, peak_attribution : float
        Mean and maximum of the attribution over the lesion.
    """

    number: int
    voxels: int
    volume_ml: float | None
    centre_ras_mm: tuple[float, float, float] | None
    centre_ijk: tuple[float, float, float]
    mean_attribution: float
    peak_attribution: float


def binary_array(mask: Image) -> NDArray[np.bool_]:
    """Voxels of a mask as booleans, shape (I, J, K).

    Raises
    ------
    InputError
        If a voxel is neither 0 nor 1: a map has to be thresholded, a label map reduced to one
        label, before it is a mask.
    """
    array = mask.array
    if array.dtype == bool:
        return array
    result = array == 1
    other = ~(result | (array == 0))
    if other.any():
        raise InputError(
            f"mask with the value {array[other].flat[0]}: only 0 and 1 were expected; threshold a "
            "map, or choose one label of a label map, first"
        )
    return result


def label_lesions(mask: Image) -> tuple[NDArray[np.int32], int]:
    """Label the connected components of a mask; voxels that share a corner belong together.

    Parameters
    ----------
    mask : Image
        Binary, shape (I, J, K).

    Returns
    -------
    labels : ndarray of int32, shape (I, J, K)
        0 outside, 1 to ``count`` in the lesions.
    count : int
        Number of lesions.

    Examples
    --------
    >>> from AttribSegLib.image import Geometry
    >>> array = np.zeros((4, 4, 1), dtype=bool)
    >>> array[[0, 1, 3], [0, 1, 3]] = True
    >>> label_lesions(Image(array, Geometry((4, 4, 1))))[1]
    2
    """
    from scipy import ndimage

    labels = np.zeros(mask.array.shape, dtype=np.int32)
    count = ndimage.label(binary_array(mask), structure=np.ones((3, 3, 3)), output=labels)
    return labels, int(count)


def remove_small_lesions(mask: Image, minimum_ml: float) -> Image:
    """Remove the lesions smaller than a volume.

    Parameters
    ----------
    mask : Image
        Binary, shape (I, J, K).
    minimum_ml : float
        Smallest volume that stays, in mL; 0 keeps every lesion.

    Returns
    -------
    Image
        Boolean mask on the same grid.

    Raises
    ------
    InputError
        If the volume is negative or not finite, or the voxel spacing is nominal.
    """
    if not (math.isfinite(minimum_ml) and minimum_ml >= 0):
        raise InputError(f"minimum lesion volume {minimum_ml} mL: zero or more was expected")
    if minimum_ml == 0:
        return mask.with_array(binary_array(mask).copy())
    mask.geometry.require_spacing("a minimum lesion volume in mL")
    smallest = minimum_ml / mask.geometry.voxel_volume_ml
    return mask.with_array(without_small_components(binary_array(mask), smallest))


def lesion_table(mask: Image, attribution: Image) -> list[Lesion]:
    """Describe every lesion of a mask.

    Parameters
    ----------
    mask : Image
        Binary, shape (I, J, K).
    attribution : Image
        Attribution (or another map) on the same grid.

    Returns
    -------
    list of Lesion
        Largest first; lesions of one size in the order of their first voxel.

    Raises
    ------
    InputError
        If the grids differ or the mask is not binary.
    """
    if not mask.geometry.same_grid(attribution.geometry):
        raise InputError("the mask and the attribution lie on different grids; resample one first")
    from scipy import ndimage

    labels, count = label_lesions(mask)
    if count == 0:
        return []
    inside = np.nonzero(labels)
    label = labels[inside]
    values = attribution.array[inside].astype(np.float64)
    voxels = np.bincount(label, minlength=count + 1)[1:]

    def mean(weights: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(label, weights=weights, minlength=count + 1)[1:] / voxels

    centres = np.stack([mean(index) for index in inside], axis=1)
    means = mean(values)
    peaks = np.asarray(ndimage.maximum(values, label, np.arange(1, count + 1)))
    geometry = mask.geometry
    known = not geometry.nominal
    voxel_ml = geometry.voxel_volume_ml if known else 0.0
    ras = geometry.to_ras(centres)
    result = []
    for number, index in enumerate(np.argsort(-voxels, kind="stable"), start=1):
        result.append(
            Lesion(
                number=number,
                voxels=int(voxels[index]),
                volume_ml=float(voxels[index] * voxel_ml) if known else None,
                centre_ras_mm=_triple(ras[index]) if known else None,
                centre_ijk=_triple(centres[index]),
                mean_attribution=float(means[index]),
                peak_attribution=float(peaks[index]),
            )
        )
    return result


def write_lesion_table(
    lesions: Sequence[Lesion], path: str | Path, *, nominal: bool = False
) -> None:
    """Write the lesions as CSV, one row each; a table without lesions still has its header.

    Parameters
    ----------
    lesions : sequence of Lesion
        As :func:`lesion_table` gives them.
    path : path
        The table.
    nominal : bool
        Leave out the columns in mm and mL. They are left out by themselves when the lesions
        have no volume; an empty list cannot tell.

    Raises
    ------
    OutputError
        If the table cannot be written.
    """
    nominal = nominal or any(lesion.volume_ml is None for lesion in lesions)
    rows = [_row(lesion) for lesion in lesions]
    physical = [] if nominal else ["volume_ml", "centre_r_mm", "centre_a_mm", "centre_s_mm"]
    columns = ["number", "voxels", *physical, "centre_i", "centre_j", "centre_k"]
    columns += ["mean_attribution", "peak_attribution"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _row(lesion: Lesion) -> dict[str, str]:
    """Columns of a lesion as text."""
    row = {"number": str(lesion.number), "voxels": str(lesion.voxels)}
    if lesion.volume_ml is not None:
        row["volume_ml"] = f"{lesion.volume_ml:.6g}"
    if lesion.centre_ras_mm is not None:
        names = ("centre_r_mm", "centre_a_mm", "centre_s_mm")
        row |= {n: f"{x:.2f}" for n, x in zip(names, lesion.centre_ras_mm, strict=True)}
    names = ("centre_i", "centre_j", "centre_k")
    row |= {n: f"{x:.2f}" for n, x in zip(names, lesion.centre_ijk, strict=True)}
    row["mean_attribution"] = f"{lesion.mean_attribution:.6g}"
    row["peak_attribution"] = f"{lesion.peak_attribution:.6g}"
    return row


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    i, j, k = (float(value) for value in values)
    return i, j, k
