"""How far two maps of one brain agree, and what chance would give: functions of arrays alone."""

from typing import Any

import numpy as np
from AttribSegLib.errors import InputError
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


def brightest(values: NDArray[Any], region: Mask, voxels: int) -> Mask:
    """The so many highest values of a region; of equal ones the first in memory.

    Raises
    ------
    InputError
        If the region holds fewer voxels.
    """
    inside = np.flatnonzero(region)
    if not 0 < voxels <= inside.size:
        raise InputError(f"{voxels} voxels of a region that has {inside.size}")
    order = np.argsort(-values.ravel()[inside], kind="stable")
    found = np.zeros(region.size, bool)
    found[inside[order[:voxels]]] = True
    return found.reshape(region.shape)


def dice(first: Mask, second: Mask) -> float:
    """Dice of two masks; NaN where both are empty."""
    whole = int(first.sum() + second.sum())
    return 2.0 * float((first & second).sum()) / whole if whole else float("nan")


def correlation(first: NDArray[Any], second: NDArray[Any], region: Mask) -> float:
    """Pearson correlation inside a region."""
    return float(np.corrcoef(first[region].astype(float), second[region].astype(float))[0, 1])


def moved(array: NDArray[Any], steps: tuple[int, ...]) -> NDArray[Any]:
    """An array moved by whole voxels; what enters is zero."""
    result = np.zeros_like(array)
    source, target = [], []
    for step, size in zip(steps, array.shape, strict=True):
        step = int(np.clip(step, -size, size))
        source.append(slice(max(0, -step), size - max(0, step)))
        target.append(slice(max(0, step), size + min(0, step)))
    result[tuple(target)] = array[tuple(source)]
    return result


def mirrored(array: NDArray[Any], region: Mask, axis: int) -> NDArray[Any]:
    """An array mirrored at the middle of a region, across one axis."""
    size = region.shape[axis]
    others = tuple(other for other in range(region.ndim) if other != axis)
    weight = region.sum(axis=others)
    middle = float((weight * np.arange(size)).sum() / weight.sum())
    steps = [0] * region.ndim
    steps[axis] = round(2 * middle - (size - 1))
    return moved(np.flip(array, axis), tuple(steps))


def shifted_dice(
    first: Mask,
    second: Mask,
    region: Mask,
    spacing: tuple[float, ...],
    *,
    count: int,
    between_mm: tuple[float, float],
    seed: int,
) -> list[float]:
    """Dice of a mask with the other one moved by chance, what leaves the region cut off.

    Directions are spread evenly over the sphere, lengths over the given range.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        way = rng.standard_normal(3)
        way *= rng.uniform(*between_mm) / np.linalg.norm(way)
        steps = tuple(round(float(w / s)) for w, s in zip(way, spacing, strict=True))
        found.append(dice(first, moved(second, steps) & region))
    return found


def largest_rise(
    before: NDArray[Any], after: NDArray[Any], region: Mask, *, rise_sd: float
) -> Mask:
    """Largest connected region where an image rose between two visits.

    Each image is centred on its median and divided by its (robust) standard deviation in the
    region, the difference smoothed a little. Three voxels below the region's surface count: at the
    surface a difference is the registration's.
    """
    scaled = []
    for image in (before, after):
        median = np.median(image[region])
        spread = 1.4826 * np.median(np.abs(image[region] - median))
        scaled.append((image.astype(float) - median) / spread)
    rise = ndimage.gaussian_filter(scaled[1] - scaled[0], (1.0, 1.0, 0.5))
    inside = ndimage.binary_erosion(region, iterations=3)
    labels, count = ndimage.label((rise > rise_sd) & inside, np.ones((3, 3, 3)))
    if not count:
        return np.zeros(region.shape, bool)
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def rank_of(values: NDArray[Any], part: Mask, region: Mask) -> float:
    """Mean share of the region's values below those of a part: 0.5 by chance, 1 at the top."""
    ordered = np.sort(values[region])
    below = np.searchsorted(ordered, values[part], side="left")
    up_to = np.searchsorted(ordered, values[part], side="right")
    return float((below + up_to).mean() / 2 / ordered.size)
