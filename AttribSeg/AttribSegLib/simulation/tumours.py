"""Tumour-like lesions: one, large, with a heterogeneous core and oedema along white matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .anatomy import Anatomy, sample
from .fields import Array, sigmoid, smooth_field
from .lesions import Lesions
from .template import load_template


@dataclass(frozen=True)
class TumourSeed:
    """Where a tumour grows, and how it displaces the brain around it.

    Attributes
    ----------
    centre : tuple of float
        Position on the subject's grid, mm along I, J, K.
    volume : float
        Oedema and core together, mL.
    push : float
        Mass effect: share of the distance from the centre by which tissue has moved, in [0, 1).
    """

    centre: tuple[float, float, float]
    volume: float
    push: float


def draw_tumour_seed(rng: np.random.Generator, coordinates: Array, voxel: float) -> TumourSeed:
    """Choose a place in cerebral white matter and a volume of 10 to 80 mL."""
    white = sample(load_template().maps["white"], coordinates) / 255
    allowed = np.flatnonzero((white > 0.8) & (coordinates[2] > 74))
    chosen = np.unravel_index(rng.choice(allowed), white.shape)
    volume = float(np.clip(rng.lognormal(np.log(35.0), 0.55), 10.0, 80.0))
    i, j, k = (float(c * voxel) for c in chosen)
    return TumourSeed((i, j, k), volume, rng.uniform(0.0, 0.45))


def mass_effect(coordinates: Array, seed: TumourSeed, voxel: float) -> Array:
    """Push tissue away from a tumour.

    The map x -> x - k (x - c) exp(-|x - c|^2 / 2 s^2) has the determinant
    (1 - k e)^2 (1 - k e (1 - r^2/s^2)), positive for 0 <= k < 1; it is applied before
    ``coordinates``.

    Parameters
    ----------
    coordinates : ndarray of shape (3, I, J, K)
        Template position of every voxel, mm.
    seed : TumourSeed
    voxel : float
        Voxel size, mm.
    """
    width = 1.2 * (1000 * seed.volume * 3 / (4 * np.pi)) ** (1 / 3)
    axes = _axes_from(seed, coordinates.shape[1:], voxel)
    offset = np.stack(np.meshgrid(*axes, indexing="ij"))
    pull = -seed.push * np.exp(-(offset**2).sum(axis=0) / (2 * width**2))
    position = np.indices(coordinates.shape[1:], dtype=np.float32)
    position += offset * pull / np.float32(voxel)
    # Inside the grid only: mode "nearest" keeps the border where it is.
    moved = [
        ndimage.map_coordinates(c, position, output=np.float32, order=1, mode="nearest")
        for c in coordinates
    ]
    return np.stack(moved)


def draw_tumour(
    rng: np.random.Generator, anatomy: Anatomy, seed: TumourSeed, modality: str
) -> Lesions:
    """Grow a tumour of the given volume.

    Tissue is invaded in the order of a distance from the centre that is longer across grey
    matter and to the other hemisphere, and irregular.

    Returns
    -------
    Lesions
        Level 1 is oedema; the core is brighter or darker than it, and patchy.
    """
    voxel = anatomy.voxel
    edge, core_share = rng.uniform(1.0, 2.0), rng.uniform(0.15, 0.5)
    core_level, necrosis = rng.uniform(0.8, 1.2), rng.uniform(0.35, 0.9)
    if modality != "FLAIR":
        core_level, necrosis = rng.uniform(0.7, 1.1), rng.uniform(0.4, 0.8)
    x, y, z = _axes_from(seed, anatomy.brain.shape, voxel)
    distance = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z**2)
    radius = (1000 * seed.volume * 3 / (4 * np.pi)) ** (1 / 3)
    rough = 0.8 * smooth_field(rng, voxel, 18.0) + 0.4 * smooth_field(rng, voxel, 7.0)
    patchy = smooth_field(rng, voxel, 8.0)
    white = ndimage.gaussian_filter(anatomy.white, 1.5 / voxel, truncate=3)
    side = anatomy.coordinates[0] > 90
    i, j, k = (round(c / voxel) for c in seed.centre)
    reach = distance * (1 + 0.5 * (1 - white)) + 0.3 * radius * rough.clip(-2, 2)
    reach = reach + 15.0 * (side != side[i, j, k])

    open_to_it = anatomy.brain & (anatomy.fluid < 0.5)
    ranked = np.sort(reach[open_to_it])
    count = min(int(seed.volume * 1000 / voxel**3), len(ranked) - 1)
    front = ranked[count]
    pieces, _ = ndimage.label((reach < front + 3 * edge) & anatomy.brain)
    whole = pieces == np.bincount(pieces[open_to_it & (reach <= front)]).argmax()
    solid = np.clip(anatomy.white + anatomy.grey, 0, 1)
    fraction = sigmoid((front - reach) / edge) * solid * whole

    core_front = ranked[int(core_share * count)]
    core = sigmoid((core_front - distance * 1.1 - 0.15 * radius * rough) / 1.5)
    dead = core * sigmoid(3 * (patchy - 0.3))
    level = 1 + 0.06 * patchy + core * (core_level - 1) + dead * (necrosis - core_level)
    return Lesions(fraction.astype(np.float32), level.astype(np.float32))


def _axes_from(seed: TumourSeed, shape: tuple[int, ...], voxel: float) -> list[Array]:
    """Distance along each axis of every voxel from the centre, mm."""
    sizes = zip(shape, seed.centre, strict=True)
    return [(np.arange(n) * voxel - c).astype(np.float32) for n, c in sizes]
