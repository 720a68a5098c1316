"""Simulated heads with known truth, and the stacks of thick slices that clinics take of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError
from ..image import Geometry, Image
from ..transform import Affine
from .anatomy import draw_deformation
from .fields import Array
from .head_tissue import VOXEL, draw_head_contrast, head_signal
from .subject import Subject, simulate_subject, subject_streams

#: Room around the MNI152 grid for the head: right, back, down and left, front, up, mm.
_ROOM_LOW = (24, 24, 60)
_ROOM_HIGH = (24, 46, 24)

#: Strength of the bias field (standard deviation of its logarithm) and knots of it, mm.
_BIAS = (0.05, 0.2)
_BIAS_KNOTS = 90.0


@dataclass(frozen=True)
class Head:
    """A simulated head.

    Attributes
    ----------
    image : Image
        Raw scan, int16, on a 1 mm grid.
    brain, lesions : Image
        Masks on the same grid, bool.
    to_atlas : Affine
        The affine transform that comes nearest, over the brain, to the deformation that made the
        subject from the template: from the image's space to the atlas.
    subject : Subject
        The brain inside.
    """

    image: Image
    brain: Image
    lesions: Image
    to_atlas: Affine
    subject: Subject


def simulate_head(
    label: int = 0, *, modality: str = "T1", lesions: str = "ms", seed: int = 0
) -> Head:
    """Simulate a raw scan: a subject's brain in a head.

    Parameters
    ----------
    label : {0, 1}
    modality : {"FLAIR", "T1"}
    lesions : {"ms", "tumour", "mixed"}
    seed : int
        The brain is that of `simulate_subject` with the same arguments at 1 mm.

    Raises
    ------
    InputError
        For an unknown modality, kind of lesions or label.
    """
    subject = simulate_subject(label, modality=modality, spacing=1, lesions=lesions, seed=seed)
    rng = np.random.default_rng([seed, 1])
    contrast = subject.parameters["contrast"]
    grid = _padded(subject.image.geometry)
    i, j, k = (int(np.ceil(n / VOXEL)) for n in grid.size)
    shift = (VOXEL - 1) / 2  # centres of coarse voxels lie between fine ones
    origin = tuple(grid.to_lps(np.full(3, shift)))
    coarse = Geometry((i, j, k), (VOXEL,) * 3, origin, grid.direction)

    brain = subject.brain.resample(coarse).array
    lps = coarse.to_lps(np.moveaxis(np.indices(coarse.size), 0, -1))
    ras = np.moveaxis(lps * (-1, -1, 1), -1, 0).astype(np.float32)
    head = draw_head_contrast(rng, modality, contrast["fluid"])
    around = Image(head_signal(rng, brain, ras, head), coarse).resample(grid).array
    inside = _placed(subject.brain.array, grid)
    signal = np.where(
        inside, _placed(subject.image.array / np.float32(contrast["gain"]), grid), around
    )
    image = _acquire(rng, signal.astype(np.float32), inside, contrast)
    return Head(
        Image(image, grid),
        Image(inside, grid),
        Image(_placed(subject.lesions.array, grid), grid),
        _nearest_affine(subject, seed),
        subject,
    )


def acquire_stack(
    image: Image, *, spacing: Sequence[float] = (0.9, 0.9, 3.0), field: Sequence[float] = ()
) -> Image:
    """A stack of thick slices of a scan: averaged over each voxel, axes as in the scan.

    Parameters
    ----------
    image : Image
    spacing : sequence of float
        Voxel size of the stack, mm.
    field : sequence of float, optional
        Field of view around the centre, mm along each axis, instead of the whole.

    Raises
    ------
    InputError
        If the spacing or the field of view is not positive.
    """
    if len(spacing) != 3 or not all(step > 0 for step in spacing):
        raise InputError(f"spacing {tuple(spacing)}: three sizes above 0, in mm, were expected")
    old = image.geometry
    extent = np.array(old.size) * old.spacing
    if len(field) not in (0, 3):
        raise InputError(f"field of view {tuple(field)}: three sizes above 0, in mm, were expected")
    field_mm = np.minimum(field, extent) if len(field) else extent
    if not (field_mm > 0).all():
        raise InputError(f"field of view {tuple(field)}: sizes above 0, in mm, were expected")
    size = np.maximum(np.floor(field_mm / spacing).astype(int), 1)
    first = (np.array(old.size) - 1) / 2 - (size - 1) * spacing / np.array(old.spacing) / 2
    grid = Geometry(
        (size[0], size[1], size[2]),
        (spacing[0], spacing[1], spacing[2]),
        tuple(old.to_lps(first)),
        old.direction,
    )
    # The blur that makes a voxel of the old size one of the new.
    sigma = np.sqrt(np.maximum(np.square(spacing) - np.square(old.spacing), 0) / 12) / old.spacing
    array = ndimage.gaussian_filter(image.array.astype(np.float32), sigma)
    return image.with_array(array).resample(grid)


def _padded(grid: Geometry) -> Geometry:
    """The MNI152 grid with room for the head: its axes run left, front, up."""
    size = np.array(grid.size) + _ROOM_LOW + _ROOM_HIGH
    origin = grid.to_lps(-np.array(_ROOM_LOW))
    return Geometry(tuple(size), grid.spacing, tuple(origin), grid.direction)


def _placed(array: NDArray[Any], grid: Geometry) -> NDArray[Any]:
    """An array on the MNI152 grid, placed on the padded one."""
    result = np.zeros(grid.size, array.dtype)
    window = tuple(slice(low, low + n) for low, n in zip(_ROOM_LOW, array.shape, strict=True))
    result[window] = array
    return result


def _acquire(
    rng: np.random.Generator,
    signal: Array,
    inside: NDArray[np.bool_],
    contrast: Mapping[str, float],
) -> NDArray[np.int16]:
    """Bias field over the whole head, point spread, and noise where the brain has it not yet."""
    strength = rng.uniform(*_BIAS)
    knots = [int(np.ceil(n / _BIAS_KNOTS)) + 1 for n in signal.shape]
    coarse = rng.standard_normal(knots, dtype=np.float32)
    field = ndimage.zoom(coarse, np.array(signal.shape) / knots, order=3, mode="nearest")
    signal = signal * np.exp(strength * field / field.std())
    blurred = ndimage.gaussian_filter(signal, 0.6, truncate=3)
    signal = np.where(ndimage.binary_erosion(inside), signal, blurred)
    noise = rng.standard_normal((2, *signal.shape), dtype=np.float32) * contrast["noise"]
    noise[:, inside] *= 0.3
    image = contrast["gain"] * np.hypot(signal + noise[0], noise[1])
    return np.clip(np.round(image), 0, 32767).astype(np.int16)


def _nearest_affine(subject: Subject, seed: int) -> Affine:
    """Least-squares affine part, over the brain, of the deformation that made a subject."""
    grid = subject.brain.geometry
    template = draw_deformation(subject_streams(seed)[0], grid.spacing[0])
    voxels = np.argwhere(subject.brain.array)[::50]
    here = np.c_[grid.to_lps(voxels), np.ones(len(voxels))]
    there = grid.to_lps(template[(slice(None), *voxels.T)].T / grid.spacing[0])
    matrix = np.eye(4)
    matrix[:3] = np.linalg.lstsq(here, there, rcond=None)[0].T
    return Affine(matrix)
