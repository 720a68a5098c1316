"""Whether a scan can be a head at all, before anything is computed."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..image import Image

#: Fields of view that can hold most of a human brain, and of no scanner, mm.
_SMALLEST_MM = 60.0
_LARGEST_MM = 600.0

#: A stack of fewer slices cannot be registered in three dimensions.
_FEWEST_SLICES = 8


def check_scan(image: Image, name: str) -> None:
    """Refuse a scan that the chain cannot use.

    Parameters
    ----------
    image : Image
    name : str
        Channel, for the message.

    Raises
    ------
    InputError
        If the spacing is nominal, there are fewer than eight slices, the field of view is not
        that of a human head, voxels are not finite, or all have one value.
    """
    geometry = image.geometry
    if geometry.nominal:
        raise InputError(
            f"{name}: the voxel spacing is nominal (unknown); a scan with its true geometry was "
            "expected, preprocessing works in mm"
        )
    if min(geometry.size) < _FEWEST_SLICES:
        what = "a 2D image" if min(geometry.size) == 1 else f"{min(geometry.size)} slices"
        raise InputError(
            f"{name}: {what} (size {geometry.size}); a volume of at least {_FEWEST_SLICES} slices "
            "was expected"
        )
    extent = [n * s for n, s in zip(geometry.size, geometry.spacing, strict=True)]
    if min(extent) < _SMALLEST_MM or max(extent) > _LARGEST_MM:
        raise InputError(
            f"{name}: field of view {' x '.join(f'{e:.0f}' for e in extent)} mm; a human head was "
            f"expected ({_SMALLEST_MM:.0f} to {_LARGEST_MM:.0f} mm along each axis); check the "
            "voxel spacing in the header"
        )
    array = np.asarray(image.array)
    if not np.isfinite(array).all():
        raise InputError(f"{name}: some voxels are NaN or infinite; replace them first")
    if array.min() == array.max():
        raise InputError(
            f"{name}: all voxels have the value {array.flat[0]:g}; a scan was expected"
        )
