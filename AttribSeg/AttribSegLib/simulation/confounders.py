"""Bright structures that are not lesions, alike in healthy and pathological subjects."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .anatomy import Anatomy
from .fields import Array, sigmoid, smooth_field
from .template import ras_to_grid

#: Tips of the frontal and occipital horns of the lateral ventricles (RAS mm in the template).
_HORNS = ((17, 33, 8), (-17, 33, 8), (27, -58, 10), (-27, -58, 10))


def add_confounders(
    rng: np.random.Generator, signal: Array, anatomy: Anatomy, modality: str
) -> Array:
    """Add ventricular lining and caps, brain rim, vessels and flow artefacts.

    Parameters
    ----------
    rng : Generator
    signal : ndarray of shape (I, J, K)
        White matter about 1.
    anatomy : Anatomy
    modality : {"FLAIR", "T1"}
        On T1 the periventricular structures are slightly dark, the rest of either sign.

    Returns
    -------
    ndarray of shape (I, J, K), float32
    """
    flair = modality == "FLAIR"
    signal = signal * (1 + (1 if flair else -0.4) * _periventricular(rng, anatomy))
    layers = (
        (_rim(rng, anatomy), (1.0, 1.6) if flair else (0.5, 1.3)),
        (_vessels(rng, anatomy), (1.1, 1.8) if flair else (0.2, 1.4)),
        (_flow(rng, anatomy), (0.5, 1.3) if flair else (0.3, 0.7)),
    )
    for fraction, levels in layers:
        signal = signal + fraction * (rng.uniform(*levels) - signal)
    return signal.astype(np.float32)


def _periventricular(rng: np.random.Generator, anatomy: Anatomy) -> Array:
    """Relative brightness of the ependymal lining and of the caps on the horns."""
    lining, caps = rng.uniform(0.08, 0.35), rng.uniform(0.05, 0.35, len(_HORNS))
    width = rng.uniform(1.5, 2.6)
    voxel, coordinates = anatomy.voxel, anatomy.coordinates
    near = ndimage.gaussian_filter(anatomy.ventricles, width / voxel, truncate=3)
    patchy = sigmoid(1.5 * smooth_field(rng, voxel, 12.0))
    result = lining * np.minimum(3 * near, 1) * patchy
    for brightness, horn in zip(caps, _HORNS, strict=True):
        centre = ras_to_grid(*horn).astype(np.float32)[:, None, None, None]
        squared = ((coordinates - centre) ** 2).sum(axis=0)
        result += brightness * np.exp(-squared / (2 * 5.0**2))
    return result * (1 - anatomy.fluid)


def _rim(rng: np.random.Generator, anatomy: Anatomy) -> Array:
    """Patches of meninges and of skull-stripping remainder along the brain's surface."""
    threshold, depth = rng.uniform(0.6, 1.8), rng.uniform(0.62, 0.75)
    near = ndimage.gaussian_filter(anatomy.brain.astype(np.float32), 2.0 / anatomy.voxel)
    shell = sigmoid((depth - near) / 0.05)
    return shell * sigmoid(4 * (smooth_field(rng, anatomy.voxel, 16.0) - threshold))


def _vessels(rng: np.random.Generator, anatomy: Anatomy) -> Array:
    """Fractions of bright vessels: smooth random walks that start in or beside sulci."""
    count, radius = int(rng.integers(25, 90)), rng.uniform(0.7, 1.0)
    voxel, shape = anatomy.voxel, anatomy.brain.shape
    length = 1.0 / voxel  # one step is a millimetre
    cortex = np.flatnonzero(anatomy.brain & (anatomy.fluid > 0.2) & (anatomy.fluid < 0.9))
    start = np.stack(np.unravel_index(rng.choice(cortex, count), shape), axis=1).astype(float)
    heading = rng.standard_normal((count, 1, 3))
    turns = np.cumsum(0.35 * rng.standard_normal((count, 45, 3)), axis=1) + heading
    turns /= np.linalg.norm(turns, axis=2, keepdims=True)
    path = start[:, None] + length * np.cumsum(turns, axis=1)
    alive = np.arange(45)[None] < rng.integers(10, 45, count)[:, None]
    voxels = np.round(path[alive]).astype(int)
    voxels = voxels[((voxels >= 0) & (voxels < shape)).all(axis=1)]
    line = np.zeros(shape, np.float32)
    np.add.at(line, tuple(voxels.T), 1.0)
    spread = max(radius, 0.5 * voxel)
    # Millimetres of vessel per cubic millimetre; one straight vessel peaks at its cross-section.
    line = ndimage.gaussian_filter(line / voxel**3, spread / voxel, truncate=3)
    fraction = line * 2 * np.pi * spread**2 * min(1.0, (radius / spread) ** 2)
    return np.minimum(fraction, 1.0) * (1 - 0.85 * anatomy.white)


def _flow(rng: np.random.Generator, anatomy: Anatomy) -> Array:
    """CSF that flow has left bright, mostly in the third ventricle and the basal cisterns."""
    strength, threshold = rng.uniform(0.2, 0.9), rng.uniform(0.2, 1.0)
    centre = ras_to_grid(0, -20, -18).astype(np.float32)[:, None, None, None]
    squared = ((anatomy.coordinates - centre) ** 2).sum(axis=0)
    place = 0.2 + 0.8 * np.exp(-squared / (2 * 28.0**2))
    blobs = sigmoid(4 * (smooth_field(rng, anatomy.voxel, 9.0) - threshold))
    return strength * place * blobs * anatomy.fluid
