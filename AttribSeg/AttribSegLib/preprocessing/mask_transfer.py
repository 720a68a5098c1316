"""Lesion masks from one grid to another, each lesion with its volume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..image import Geometry, Image
from ..transform import Affine

#: Distance of a lesion's centre from where it should be that is good enough, mm; the most rounds to
#: get there, and the length of their steps (in the lesion's own size).
_CENTRE_MM = 0.3
_ROUNDS = 60
_ASCENT = 0.2

#: Share of a lesion that must be in the field of view for its own volume and centre to count.
_SEEN = 0.9


def transfer_mask(mask: Image, onto: Geometry, transform: Affine | None = None) -> Image:
    """Bring a mask of lesions onto another grid.

    Interpolating and cutting at one half makes small lesions smaller and loses those thinner than
    a slice. Here every lesion (connected component) keeps its volume in mm3 of the target, to the
    nearest voxel: it takes the voxels that it fills most.

    Parameters
    ----------
    mask : Image
        Bool.
    onto : Geometry
        Target grid.
    transform : Affine, optional
        From the mask's physical space to the target's.

    Returns
    -------
    Image
        Bool, on ``onto``. A lesion that fills less than half a voxel is gone.
    """
    from scipy import ndimage

    transform = transform or Affine()
    result = np.zeros(onto.size, bool)
    labels, count = ndimage.label(mask.array, np.ones((3, 3, 3)))
    if not count:
        return Image(result, onto)
    window = _window(mask, onto, transform)
    if window is None:
        return Image(result, onto)
    small = _cropped(onto, window)
    filled = _filled(mask, small, transform)
    # Which lesion a voxel beside several belongs to: the nearest.
    nearest = ndimage.distance_transform_edt(
        labels == 0, sampling=mask.geometry.spacing, return_distances=False, return_indices=True
    )
    lesion = Image(labels[tuple(nearest)].astype(np.int32), mask.geometry).resample(
        small, transform=transform, interpolation="nearest"
    )
    part = np.zeros(small.size, bool)
    voxels = np.flatnonzero((filled > 0) & (lesion.array > 0))
    owner, share = lesion.array.ravel()[voxels], filled.ravel()[voxels]
    place = small.to_lps(np.stack(np.unravel_index(voxels, small.size), axis=1))
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(1, count + 2))
    centres = ndimage.center_of_mass(mask.array, labels, range(1, count + 1))
    centres = transform(mask.geometry.to_lps(np.array(centres)))
    cells = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    volumes = cells * np.prod(mask.geometry.spacing) * abs(transform.determinant)
    wanted = volumes / np.prod(onto.spacing)
    for first, last, volume, centre in zip(starts[:-1], starts[1:], wanted, centres, strict=True):
        members = order[first:last]
        near, filling = place[members], share[members]
        seen = float(filling.sum())
        if seen < _SEEN * volume:  # the field of view cuts it
            if not seen:
                continue
            volume, centre = seen, np.average(near, axis=0, weights=filling)
        chosen = members[_choose(filling, near - centre, round(volume))]
        part.ravel()[voxels[chosen]] = True
    result[window] = part
    return Image(result, onto)


def _choose(
    share: NDArray[np.float32], offset: NDArray[np.float64], wanted: int
) -> NDArray[np.intp]:
    """The fullest voxels, as many as the lesion's volume asks for, that have its centre.

    The centre is a constraint on the choice; its Lagrange multipliers are found by ascent. Without
    it a lesion between two thick slices would move into one of them.
    """
    if not wanted:
        return np.empty(0, np.intp)
    multiplier = np.zeros(3)
    step = _ASCENT / max(float(offset.var(axis=0).sum()), 1e-6)
    best, nearest = np.argsort(-share)[:wanted], np.inf
    for _ in range(_ROUNDS):
        found = np.argsort(-(share - offset @ multiplier), kind="stable")[:wanted]
        away = offset[found].mean(axis=0)
        distance = float(np.linalg.norm(away))
        if distance < nearest:
            best, nearest = found, distance
        if nearest < _CENTRE_MM:
            break
        multiplier += step * away
    return best


def _window(mask: Image, onto: Geometry, transform: Affine) -> tuple[slice, slice, slice] | None:
    """The part of the target that the lesions lie in, with a margin."""
    voxels = np.argwhere(mask.array)
    corners = np.array(np.meshgrid(*zip(voxels.min(0) - 1, voxels.max(0) + 1, strict=True)))
    places = onto.to_ijk(transform(mask.geometry.to_lps(corners.reshape(3, -1).T)))
    low = np.clip(np.floor(places.min(axis=0)).astype(int) - 1, 0, None)
    high = np.minimum(np.ceil(places.max(axis=0)).astype(int) + 2, onto.size)
    if (low >= high).any():
        return None
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return i, j, k


def _cropped(grid: Geometry, window: tuple[slice, slice, slice]) -> Geometry:
    first = [piece.start for piece in window]
    i, j, k = (piece.stop - piece.start for piece in window)
    return replace(grid, size=(i, j, k), origin=tuple(grid.to_lps(first)))


def _filled(mask: Image, grid: Geometry, transform: Affine) -> NDArray[np.float32]:
    """Share of every voxel of a grid that the mask fills: the mean over finer voxels."""
    scale = abs(transform.determinant) ** (1 / 3)
    finest = scale * min(mask.geometry.spacing)
    parts = [max(1, int(np.ceil(step / finest - 1e-6))) for step in grid.spacing]
    i, j, k = (n * p for n, p in zip(grid.size, parts, strict=True))
    steps = [step / part for step, part in zip(grid.spacing, parts, strict=True)]
    first = [(1 / part - 1) / 2 for part in parts]  # centre of the first finer voxel
    fine = replace(
        grid,
        size=(i, j, k),
        spacing=(steps[0], steps[1], steps[2]),
        origin=tuple(grid.to_lps(first)),
    )
    smooth = mask.with_array(mask.array.astype(np.float32))
    values = smooth.resample(fine, transform=transform).array
    blocks = values.reshape(grid.size[0], parts[0], grid.size[1], parts[1], grid.size[2], parts[2])
    return np.asarray(blocks.mean(axis=(1, 3, 5)), np.float32)
