"""Lesions planted from masks in atlas space, such as those drawn by experts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError
from ..image import mni152_geometry
from ..image_io import read_image
from .anatomy import Anatomy, sample
from .fields import smooth_field
from .lesions import Lesions
from .template import CENTRE_MM, load_template

#: Sizes of the template, relative to the brain of a mask, that are tried: masks of images
#: registered rigidly belong to brains smaller than the template.
_SIZES = np.arange(0.9, 1.31, 0.05)


def find_lesion_shapes(folder: str | Path) -> list[Path]:
    """Masks below a folder: ``*.nii.gz`` whose name contains "lesion", in a fixed order.

    Raises
    ------
    InputError
        If the folder does not exist or holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of lesion masks")
    found = sorted(p for p in folder.rglob("*.nii.gz") if "lesion" in p.name.lower())
    if not found:
        raise InputError(
            f"{folder}: no lesion masks; expected files *.nii.gz with 'lesion' in their name"
        )
    return found


def draw_shape_lesions(
    rng: np.random.Generator, anatomy: Anatomy, shapes: Sequence[Path]
) -> Lesions:
    """Plant one of the masks, by chance mirrored, deformed with the subject.

    Raises
    ------
    InputError
        If none of the masks leaves a voxel that is half lesion in this brain.
    """
    level = rng.normal(1.0, 0.03) + 0.06 * smooth_field(rng, anatomy.voxel, 5.0)
    for choice in rng.permutation(len(shapes)):
        shape, size = _read_shape(shapes[choice])
        position = anatomy.coordinates - CENTRE_MM.astype(np.float32)[:, None, None, None]
        if rng.random() < 0.5:
            position[0] = -position[0]
        position = position / np.float32(size)
        position += CENTRE_MM.astype(np.float32)[:, None, None, None]
        fraction = sample(shape, position) / np.float32(255)
        fraction *= np.clip(anatomy.white + anatomy.grey, 0, 1) * anatomy.brain
        if (fraction >= 0.5).any():
            return Lesions(fraction, level.astype(np.float32))
    raise InputError(
        f"{shapes[0].parent}: no mask leaves a lesion in the brain; MNI152 space was expected"
    )


@lru_cache(maxsize=16)
def _read_shape(path: Path) -> tuple[NDArray[np.uint8], float]:
    """Lesion fraction times 255 on the 1 mm MNI152 grid, and the size that suits the template.

    Lesions lie in white matter: the size is the one that puts most of the mask there.
    """
    image = read_image(path)
    mask = image.with_array((image.array > 0).astype(np.float32)).resample(mni152_geometry(1))
    # Half a voxel of blur turns the staircase of a drawn mask into fractions.
    fraction = ndimage.gaussian_filter(mask.array.astype(np.float32), 0.5)
    points = np.argwhere(mask.array >= 0.5)
    if not len(points):
        return np.zeros(mask.array.shape, np.uint8), 1.0
    points = points[:: max(1, len(points) // 5000)]
    white = load_template().maps["white"]
    scores = []
    for size in _SIZES:
        place = (points - CENTRE_MM) * size + CENTRE_MM
        scores.append(float(sample(white, place.T.astype(np.float32)).mean()))
    return np.round(255 * fraction).astype(np.uint8), float(_SIZES[int(np.argmax(scores))])
