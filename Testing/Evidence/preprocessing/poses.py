"""Random poses of a scan, as clinics and converters make them, with the truth known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from AttribSegLib.image import Image
from AttribSegLib.transform import Affine
from scipy.ndimage import zoom
from scipy.spatial.transform import Rotation


def pose(
    image: Image, rng: np.random.Generator, *, crop: float = 0.2, strength: float = 1.0
) -> tuple[Image, Affine]:
    """A random pose, and the exact map from the scan's space to the posed one's.

    One of the 24 proper axis turns, a rotation to 40 degrees, a shift to 60 mm, a scale of 0.9 to
    1.1, a share of one axis cropped, a bias field and noise (times ``strength``), and any storage
    order.
    """
    axis = rng.standard_normal(3)
    turn = Rotation.from_rotvec(np.radians(rng.uniform(0, 40)) * axis / np.linalg.norm(axis))
    turn = turn * Rotation.create_group("O")[int(rng.integers(24))]
    matrix = np.eye(4)
    matrix[:3, :3] = rng.uniform(0.9, 1.1) * turn.as_matrix()
    middle = image.geometry.to_lps((np.array(image.geometry.size) - 1) / 2)
    shift = rng.standard_normal(3)
    shift *= rng.uniform(0, 60) / np.linalg.norm(shift)
    matrix[:3, 3] = middle + shift - matrix[:3, :3] @ middle
    truth = Affine(matrix)

    array = image.array.astype(np.float32)
    coarse = rng.normal(0, 0.2 * strength, (3, 3, 3))
    array *= np.exp(zoom(coarse, np.array(array.shape) / 3, order=1))
    array = np.abs(array + rng.normal(0, 0.03 * strength * np.percentile(array, 98), array.shape))
    cut_axis, side = int(rng.integers(3)), int(rng.integers(2))
    count = array.shape[cut_axis]
    cut = int(crop * count)
    start, stop = (cut, count) if side else (0, count - cut)
    window = [slice(None)] * 3
    window[cut_axis] = slice(start, stop)
    corner = np.zeros(3)
    corner[cut_axis] = start
    array = np.ascontiguousarray(array[tuple(window)])
    grid = image.geometry
    scale = truth.determinant ** (1 / 3)
    geometry = replace(
        grid,
        size=array.shape,
        spacing=tuple(scale * step for step in grid.spacing),
        origin=tuple(truth(grid.to_lps(corner)[None])[0]),
        direction=turn.as_matrix() @ grid.direction,
    )
    order = ["LR", "PA", "SI"]
    letters = "".join(order[i][int(rng.integers(2))] for i in rng.permutation(3))
    return Image(array, geometry).reorient(letters), truth
