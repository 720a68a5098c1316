"""What surrounds a brain: CSF, dura, skull, scalp, eyes, sinuses, face and neck.

A brain cut from a template and registered back to it proves little about heads. These are crude
heads, made for what misleads registration and brain extraction: fat brighter than any brain, bone
as dark as air, muscle and eyes as bright as grey matter, and a neck that goes on where the brain
stops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .fields import Array

#: Voxel of the maps here, mm. Distances are smooth, so that finer images interpolate them.
VOXEL = 2.0

#: Standard deviation of the template brain's voxels along right-left, back-front and down-up, and
#: their centre, RAS mm (ICBM152).
_SPREAD = np.array([34.7, 42.8, 32.5])
_CENTRE = np.array([0.0, -18.0, 8.0])


@dataclass(frozen=True)
class HeadContrast:
    """Signal of a head's tissues, white matter being 1; thicknesses in mm.

    Attributes
    ----------
    fluid, dura, bone, marrow, fat, skin, muscle, vitreous, lens, cord : float
    csf_mm, skull_mm, scalp_mm : float
        Mean thickness of the layer under the dura, of the skull, and of the scalp.
    """

    fluid: float
    dura: float
    bone: float
    marrow: float
    fat: float
    skin: float
    muscle: float
    vitreous: float
    lens: float
    cord: float
    csf_mm: float
    skull_mm: float
    scalp_mm: float


def draw_head_contrast(rng: np.random.Generator, modality: str, fluid: float) -> HeadContrast:
    """Random tissues of a head; on FLAIR, fat may be suppressed.

    Parameters
    ----------
    rng : Generator
    modality : {"FLAIR", "T1"}
    fluid : float
        Signal of CSF, as inside the brain.
    """
    flair = modality == "FLAIR"
    suppressed = flair and bool(rng.integers(2))
    return HeadContrast(
        fluid=fluid,
        dura=rng.uniform(0.4, 0.7),
        bone=rng.uniform(0.03, 0.1),
        marrow=rng.uniform(0.1, 0.3) if suppressed else rng.uniform(0.3, 1.0),
        fat=rng.uniform(0.25, 0.5)
        if suppressed
        else rng.uniform(0.7, 1.3)
        if flair
        else rng.uniform(1.7, 3.2),
        skin=rng.uniform(0.5, 0.8),
        muscle=rng.uniform(0.3, 0.5) if flair else rng.uniform(0.5, 0.7),
        vitreous=rng.uniform(0.05, 0.25),
        lens=rng.uniform(0.4, 0.7),
        cord=rng.uniform(0.85, 1.0),
        csf_mm=rng.uniform(1.5, 4.0),
        skull_mm=rng.uniform(5.0, 9.0),
        scalp_mm=rng.uniform(4.0, 9.0),
    )


def head_signal(
    rng: np.random.Generator,
    brain: NDArray[np.bool_],
    position: Array,
    contrast: HeadContrast,
) -> Array:
    """Signal of everything around a brain; 0 in air, and inside the brain fluid.

    Parameters
    ----------
    rng : Generator
    brain : ndarray of shape (I, J, K)
        On a grid of `VOXEL` mm that has room for the head.
    position : ndarray of shape (3, I, J, K)
        RAS mm of every voxel.
    contrast : HeadContrast
    """
    points = position[:, brain]
    spread = points.std(axis=1)
    scale = spread / _SPREAD
    x, y, z = (
        (position[axis] - points[axis].mean()) / scale[axis] + _CENTRE[axis] for axis in range(3)
    )
    size = float(scale.mean())

    hull = ndimage.binary_closing(np.pad(brain, 8), iterations=6)[8:-8, 8:-8, 8:-8] | brain
    depth = _distance(hull)
    uneven = 1 + 0.25 * _noise(rng, brain.shape, 40.0)
    inner = contrast.csf_mm * (1 + 0.4 * _noise(rng, brain.shape, 25.0)).clip(0.3)
    outer = inner + contrast.skull_mm * uneven.clip(0.5)
    surface = outer + contrast.scalp_mm * (1 + 0.3 * _noise(rng, brain.shape, 30.0)).clip(0.4)

    head = depth < surface
    head |= _ellipsoid(x, y, z, (0, 42, -62), (62, 48, 62)) < 1  # face and jaw
    head |= _ellipsoid(x, y, z, (0, 84, -56), (15, 16, 22)) < 1  # nose
    head |= (((x / 58) ** 2 + ((y + 38) / 56) ** 2) < 1) & (z < -35)  # neck
    skin_depth = -_distance(head) * size

    signal = contrast.muscle * (1 + 0.25 * _noise(rng, brain.shape, 6.0))
    islands = _noise(rng, brain.shape, 9.0) > 0.9
    signal = np.where(islands | (skin_depth < 5.0), contrast.fat, signal)
    signal = _cord_and_spine(signal, x, y, z, contrast)
    signal = _orbits(signal, x, y, z, contrast)
    cavities = _noise(rng, brain.shape, 5.0) < 0.3  # septa between the cells
    for centre, radii in (
        ((0, 62, -46), (11, 16, 20)),  # nose and ethmoid
        ((0, 22, -36), (9, 9, 7)),  # sphenoid
        ((30, 52, -68), (14, 15, 15)),  # maxillary
        ((-30, 52, -68), (14, 15, 15)),
        ((0, 24, -85), (11, 8, 40)),  # pharynx
        ((0, 78, -8), (22, 6, 11)),  # frontal
        ((48, -26, -36), (9, 12, 9)),  # mastoid
        ((-48, -26, -36), (9, 12, 9)),
    ):
        hollow = _ellipsoid(x, y, z, centre, radii) < 1
        signal = np.where(hollow & (cavities | (centre[0] == 0)), 0.0, signal)

    layer = (depth - inner) / np.maximum(outer - inner, 0.5)
    bone = np.where((layer > 0.3) & (layer < 0.7), contrast.marrow, contrast.bone)
    opening = (_ellipsoid(x, y, z, (0, -36, -66), (13, 13, 30)) < 1) & (depth > 0)  # to the spine
    signal = np.where((depth < outer) & ~opening, bone, signal)
    signal = np.where((layer > -0.2) & (layer < 0.0) & ~opening, contrast.dura, signal)
    signal = np.where((depth < inner - 1.0) & ~opening, contrast.fluid, signal)
    signal = np.where(skin_depth < 1.5, contrast.skin, signal)
    return np.where(head, signal, 0).astype(np.float32)


def _cord_and_spine(signal: Array, x: Array, y: Array, z: Array, contrast: HeadContrast) -> Array:
    across = np.hypot(x, 1.2 * (y + 38 - 0.12 * (z + 60)))
    below = z < -48
    vertebrae = (np.hypot(x, y + 18) < 15) & (z < -62)
    discs = np.sin(2 * np.pi * z / 18) > 0.8
    signal = np.where(vertebrae, np.where(discs, contrast.muscle, contrast.marrow), signal)
    signal = np.where(below & (across < 14), contrast.bone, signal)
    signal = np.where(below & (across < 11), contrast.fluid, signal)
    return np.where(below & (across < 6), contrast.cord, signal)


def _orbits(signal: Array, x: Array, y: Array, z: Array, contrast: HeadContrast) -> Array:
    for side in (-1, 1):
        eye = (32 * side, 62, -37)
        cone = _ellipsoid(x, y, z, (27 * side, 48, -36), (17, 30, 17)) < 1
        signal = np.where(cone, contrast.fat, signal)
        along = np.hypot(x - side * (27 - 0.4 * (48 - y)), z + 36)
        signal = np.where(cone & (along < 3) & (y < 52), contrast.cord, signal)  # optic nerve
        signal = np.where(_ellipsoid(x, y, z, eye, (13, 13, 13)) < 1, contrast.dura, signal)
        signal = np.where(_ellipsoid(x, y, z, eye, (11.5,) * 3) < 1, contrast.vitreous, signal)
        lens = (32 * side, 71, -37)
        signal = np.where(_ellipsoid(x, y, z, lens, (5, 2.5, 5)) < 1, contrast.lens, signal)
    return signal


def _ellipsoid(
    x: Array, y: Array, z: Array, centre: tuple[float, ...], radii: tuple[float, ...]
) -> Array:
    """Below 1 inside."""
    offsets = [(axis - c) / r for axis, c, r in zip((x, y, z), centre, radii, strict=True)]
    return offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2


def _distance(mask: NDArray[np.bool_]) -> Array:
    """Signed distance to the surface of a mask, mm, negative inside."""
    outer = ndimage.distance_transform_edt(~mask)
    inner = ndimage.distance_transform_edt(mask)
    distance = np.where(mask, 0.5 - inner, outer - 0.5) * VOXEL
    return ndimage.gaussian_filter(distance, 0.7).astype(np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Array:
    """Smooth random field of unit variance; ``scale`` is the distance of its knots, mm."""
    knots = [int(np.ceil(n * VOXEL / scale)) + 3 for n in shape]
    coarse = rng.standard_normal(knots, dtype=np.float32)
    step = VOXEL / scale
    matrix = np.diag([step] * 3)
    field = ndimage.affine_transform(coarse, matrix, 1.0, output_shape=shape, order=1)
    return np.asarray(field / max(float(field.std()), 1e-6), np.float32)
