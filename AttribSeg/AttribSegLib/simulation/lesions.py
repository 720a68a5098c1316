"""Multiple-sclerosis-like lesions: many, small, ovoid, irregular, in white matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .anatomy import Anatomy
from .fields import Array, sigmoid, smooth_field

#: How lesions are shared between periventricular, juxtacortical, deep and infratentorial places.
_PLACES = (0.45, 0.22, 0.28, 0.05)

#: Above this height in the template (mm along K) white matter is supratentorial.
_TENTORIUM_MM = 62.0


@dataclass(frozen=True)
class Lesions:
    """Lesions of one subject, maps of shape (I, J, K).

    Attributes
    ----------
    fraction : ndarray, float32
        Share of each voxel that is lesion, with soft edges.
    level : ndarray, float32
        Intensity of lesion tissue, relative to the contrast's lesion mean (1).
    """

    fraction: Array
    level: Array

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Voxels at least half of which is lesion."""
        return self.fraction >= 0.5


def plant(signal: Array, lesions: Lesions, mean: float) -> Array:
    """Mix lesions into a signal: (1 - f) S + f L.

    Parameters
    ----------
    signal : ndarray of shape (I, J, K)
        White matter about 1.
    lesions : Lesions
    mean : float
        Mean intensity of lesions, in units of white matter.
    """
    return signal + lesions.fraction * (mean * lesions.level - signal)


def draw_ms_lesions(rng: np.random.Generator, anatomy: Anatomy) -> Lesions:
    """Draw lesions until a log-normal total load is reached.

    The load has median 10 mL and lies in [1.5, 40] mL; single lesions have median 0.05 mL; up to
    60 % of a load above 5 mL is one confluent band around the ventricles. Radii
    follow ovoids, periventricular ones lie across the ventricle's wall ("Dawson's fingers"), and
    a smooth random field makes them irregular.
    """
    voxel, shape = anatomy.voxel, anatomy.brain.shape
    load = float(np.clip(rng.lognormal(np.log(10.0), 0.9), 1.5, 40.0))
    edge = rng.uniform(0.5, 0.9)
    # Heavy loads are mostly confluent around the ventricles.
    confluent = load * rng.uniform(0.0, 0.6) * (load > 5)
    volumes = _draw_volumes(rng, load - confluent)
    rough = 0.7 * smooth_field(rng, voxel, 4.0) + 0.6 * smooth_field(rng, voxel, 8.0)
    texture = 1 + 0.05 * smooth_field(rng, voxel, 5.0)
    near = ndimage.gaussian_filter(anatomy.ventricles, 5.0 / voxel, truncate=3)
    places = _place_weights(anatomy, near)
    kinds = rng.choice(len(_PLACES), size=len(volumes), p=_PLACES)
    picks = rng.random(len(volumes))

    fraction, level = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    for volume, kind, pick in zip(volumes, kinds, picks, strict=True):
        cumulated = places[kind]
        centre = np.array(np.unravel_index(np.searchsorted(cumulated, pick * cumulated[-1]), shape))
        # Large juxtacortical or infratentorial lesions are rare: they follow the cortex or pons.
        if kind in (1, 3):
            volume = min(volume, 0.6)
        inwards = _gradient(near, centre) if kind == 0 else None
        _stamp(rng, fraction, level, centre, volume, inwards, rough, edge, voxel)
    if confluent > 0:
        fraction = np.maximum(fraction, _confluent(anatomy, near, rough, confluent, edge))
    solid = np.clip(anatomy.white + 0.8 * anatomy.grey, 0, 1)
    return Lesions(fraction * solid * anatomy.brain, level * texture)


def _draw_volumes(rng: np.random.Generator, load: float) -> list[float]:
    """Volumes in mL, heavy-tailed, that add up to the load."""
    volumes: list[float] = []
    while sum(volumes) < load:
        volumes.append(float(np.clip(rng.lognormal(np.log(0.05), 1.3), 0.012, 0.2 * load + 0.1)))
    return volumes


def _confluent(anatomy: Anatomy, near: Array, rough: Array, volume: float, edge: float) -> Array:
    """Fraction of a lesion of ``volume`` mL that spreads unevenly from the ventricles' walls."""
    # `near` falls off over about 5 mm; its logarithm is a distance, roughly.
    reach = -5.0 * np.log(near + 1e-3) + 2.5 * rough.clip(-2, 2)
    reach += 6 * (1 - anatomy.white)
    ranked = np.sort(reach[anatomy.brain & (anatomy.white > 0.5)])
    front = ranked[min(int(volume * 1000 / anatomy.voxel**3), len(ranked) - 1)]
    return sigmoid((front - reach) / (2 * edge))


def _place_weights(anatomy: Anatomy, near: Array) -> list[NDArray[np.float64]]:
    """Cumulated probability of a lesion's centre over all voxels, one per kind of place."""
    above = (anatomy.coordinates[2] > _TENTORIUM_MM) & anatomy.brain
    white = np.where(above, anatomy.white, 0) ** 2
    cortex = anatomy.grey * (1 - anatomy.deep)
    cortex = ndimage.gaussian_filter(cortex, 2.5 / anatomy.voxel, truncate=3)
    periventricular = white * np.clip(near - 0.03, 0, 0.4)
    juxtacortical = white * np.clip(cortex - 0.2, 0, 1)
    deep = white * np.exp(-8 * near) * np.clip(1 - 2 * cortex, 0.02, 1)
    below = np.where(above | ~anatomy.brain, 0, anatomy.white) ** 2
    weights = (periventricular, juxtacortical, deep, below)
    return [np.cumsum(w.ravel(), dtype=np.float64) for w in weights]


def _gradient(field: Array, centre: NDArray[np.int_]) -> NDArray[np.float64]:
    """Central difference at a voxel away from the border."""
    low, high = centre - 1, centre + 1
    result = np.empty(3)
    for axis in range(3):
        a, b = centre.copy(), centre.copy()
        a[axis], b[axis] = max(low[axis], 0), min(high[axis], field.shape[axis] - 1)
        result[axis] = field[tuple(b)] - field[tuple(a)]
    return result


def _stamp(
    rng: np.random.Generator,
    fraction: Array,
    level: Array,
    centre: NDArray[np.int_],
    volume: float,
    along: NDArray[np.float64] | None,
    rough: Array,
    edge: float,
    voxel: float,
) -> None:
    """Write one ovoid into the maps; where lesions overlap the larger fraction wins.

    ``volume`` in mL, ``along`` the long axis (random without it), ``edge`` in mm.
    """
    axis = rng.standard_normal(3) if along is None or not along.any() else along
    axis = axis / np.linalg.norm(axis)
    stretch = rng.uniform(1.0, 1.6) if along is None else rng.uniform(1.2, 2.4)
    jitter, brightness = rng.uniform(-0.5, 0.5, 3), rng.normal(1.0, 0.06)
    radius = (1000 * volume * 3 / (4 * np.pi)) ** (1 / 3)
    across = radius / stretch ** (1 / 3)
    reach = int(np.ceil(1.5 * (across * stretch + 3 * edge) / voxel)) + 1
    window = tuple(
        slice(max(c - reach, 0), min(c + reach + 1, n))
        for c, n in zip(centre, fraction.shape, strict=True)
    )
    grids = np.meshgrid(*[np.arange(w.start, w.stop) for w in window], indexing="ij")
    offset = np.stack(grids, axis=-1).astype(np.float32) - (centre + jitter)
    offset *= voxel
    length = offset @ axis
    squared = (offset**2).sum(axis=-1) - length**2
    distance = np.sqrt(np.maximum(squared, 0) + (length / stretch) ** 2)
    # Irregular by half of the radius or so; a small lesion stays where it is.
    surface = across * (1 + 0.35 * rough[window].clip(-1.8, 1.8)) - distance
    new = sigmoid((surface / edge).astype(np.float32))
    new[new < 0.02] = 0
    old = fraction[window]
    level[window] = np.where(new > old, brightness, level[window])
    fraction[window] = np.maximum(old, new)
