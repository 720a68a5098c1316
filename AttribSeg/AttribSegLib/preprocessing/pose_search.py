"""Where is the brain, and which way up? A search over all rotations and shifts.

Thick slices, unusual axis orders and scalp brighter than brain defeat an optimiser that starts at
the header's pose. Here every proper rotation of a fine grid is tried, all shifts at once by FFT,
and judged by the correlation ratio: the share of the image's variance that the atlas's tissue
classes explain. It asks for no particular contrast. Reflections are never tried: left and right
come from the header alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..image import Geometry, Image
from ..transform import Affine
from .atlas import Atlas
from .intensity import antialiased, brain_bright

#: Voxel of the search, mm: coarse enough that a rotation 30 degrees off still shows.
_VOXEL = 10.0

#: Rotations tried. Super-Fibonacci points of this number leave no rotation further than about 33
#: degrees from one of them (18 on average), which the refinement makes up for.
_ROTATIONS = 320

#: Least share of the atlas's brain (with its ring) that the field of view must show.
_LEAST_OVERLAP = 0.5

#: Adult brains are smaller than ICBM152, which is 1.9 litres: about this much along each axis.
START_SCALE = 1.1

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """A candidate.

    Attributes
    ----------
    transform : Affine
        From the image's space to the atlas; rigid.
    score : float
        Correlation ratio, 0 to 1.
    """

    transform: Affine
    score: float


def rotations(count: int) -> Array:
    """Evenly spread proper rotations, shape (count, 3, 3); the first is the identity.

    References
    ----------
    .. [1] M. Alexa, Super-Fibonacci spirals: fast, low-discrepancy sampling of SO(3), CVPR 2022.
    """
    from scipy.spatial.transform import Rotation

    phi, psi = np.sqrt(2.0), 1.533751168755204288118041
    s = np.arange(count) + 0.5
    radius, other = np.sqrt(s / count), np.sqrt(1 - s / count)
    alpha, beta = 2 * np.pi * s / phi, 2 * np.pi * s / psi
    quaternions = np.stack(
        [
            radius * np.sin(alpha),
            radius * np.cos(alpha),
            other * np.sin(beta),
            other * np.cos(beta),
        ],
        axis=1,
    )
    spread = Rotation.from_quat(quaternions)
    return (spread * spread[0].inv()).as_matrix()


def search_poses(
    image: Image, atlas: Atlas, level: float, *, keep: int = 6, turns: Array | None = None
) -> list[Pose]:
    """Best poses of a scan, each of a rotation of its own, best first.

    Parameters
    ----------
    image : Image
    atlas : Atlas
    level : float
        Intensity of the brain (see `intensity`).
    keep : int
    turns : ndarray of shape (N, 3, 3), optional
        Rotations to try, instead of all.
    """
    from scipy import fft

    grid, values, seen = coarse_image(image, level, _VOXEL)
    labels = _coarse_labels(atlas)
    reach = labels.shape[0]
    shape = [fft.next_fast_len(n + reach, real=True) for n in grid.size]
    # Sums over a class are correlations of its mask with the image, its square and its support.
    spectra = [fft.rfftn(a, shape) for a in (seen, seen * values, seen * values**2)]
    found = []
    for turn in rotations(_ROTATIONS) if turns is None else turns:
        ratio = _ratios(_turned(labels, turn), spectra, shape)
        best = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        # Shifts past the end of the image stand for negative ones.
        shift = [
            b if b < n else b - full for b, n, full in zip(best, grid.size, shape, strict=True)
        ]
        place = grid.to_lps(np.array(shift) + (reach - 1) / 2)
        matrix = np.eye(4)
        matrix[:3, :3] = START_SCALE * turn.T
        matrix[:3, 3] = atlas.centre - matrix[:3, :3] @ place
        found.append(Pose(Affine(matrix), float(ratio[best])))
    return sorted(found, key=lambda pose: -pose.score)[:keep]


def coarse_image(
    image: Image, level: float, voxel: float
) -> tuple[Geometry, NDArray[np.float32], NDArray[np.float32]]:
    """An image on a coarse grid along the LPS axes.

    Returns
    -------
    grid : Geometry
    values : ndarray of float32
        See `brain_bright`.
    seen : ndarray of float32
        1 inside the field of view.
    """
    low, high = image_box(image.geometry)
    size = np.maximum(np.ceil((high - low) / voxel).astype(int), 1)
    origin = (low + high) / 2 - (size - 1) * voxel / 2
    grid = Geometry((size[0], size[1], size[2]), (voxel,) * 3, (origin[0], origin[1], origin[2]))
    values = antialiased(brain_bright(image, level), voxel).resample(grid, background=np.nan).array
    seen = np.isfinite(values)
    return grid, np.where(seen, values, 0).astype(np.float32), seen.astype(np.float32)


def image_box(geometry: Geometry) -> tuple[Array, Array]:
    """Lowest and highest LPS coordinates of a field of view, mm."""
    ends = [(-0.5, n - 0.5) for n in geometry.size]
    corners = geometry.to_lps(np.array(np.meshgrid(*ends)).reshape(3, -1).T)
    return corners.min(axis=0), corners.max(axis=0)


def _coarse_labels(atlas: Atlas) -> NDArray[np.uint8]:
    """Tissue classes on a cube about the atlas's centre, which holds the brain in any rotation."""
    geometry = atlas.tissue.geometry
    known = geometry.to_lps(np.argwhere(atlas.tissue.array)[::50])
    radius = float(np.linalg.norm(known - atlas.centre, axis=1).max())
    voxel = _VOXEL * START_SCALE
    half = int(np.ceil(radius / voxel))
    origin = atlas.centre - half * voxel
    cube = Geometry((2 * half + 1,) * 3, (voxel,) * 3, (origin[0], origin[1], origin[2]))
    fractions = [
        antialiased(atlas.tissue.with_array(atlas.tissue.array == label), voxel)
        .resample(cube)
        .array
        for label in range(4)
    ]
    fractions[0] = 1 - np.sum(fractions[1:], axis=0)
    return np.argmax(fractions, axis=0).astype(np.uint8)


def _turned(labels: NDArray[np.uint8], turn: Array) -> list[NDArray[np.float32]]:
    """Mask of every class after a rotation about the centre of the cube."""
    from scipy import ndimage

    centre = (np.array(labels.shape) - 1) / 2
    # The grids of image and cube both run along LPS.
    turned = ndimage.affine_transform(
        labels, turn.T, centre - turn.T @ centre, order=0, mode="constant"
    )
    return [(turned == label).astype(np.float32) for label in (1, 2, 3)]


def _ratios(
    masks: list[NDArray[np.float32]], spectra: list[NDArray[np.complex64]], shape: list[int]
) -> NDArray[np.float32]:
    """Correlation ratio for every shift; 0 where too little of the brain is in view."""
    from scipy import fft

    seen, first, second = spectra
    count = np.zeros(shape, np.float32)
    sums = np.zeros(shape, np.float32)
    between = np.zeros(shape, np.float32)
    for mask in masks:
        spectrum = fft.rfftn(mask, shape).conj()
        n = np.maximum(fft.irfftn(spectrum * seen, shape), 0)
        s = fft.irfftn(spectrum * first, shape)
        count += n
        sums += s
        between += s**2 / np.maximum(n, 0.5)
    whole = fft.rfftn(np.sum(masks, axis=0), shape).conj()
    squares = fft.irfftn(whole * second, shape)
    mean = sums**2 / np.maximum(count, 1)
    least = _LEAST_OVERLAP * sum(float(mask.sum()) for mask in masks)
    ratio = (between - mean) / np.maximum(squares - mean, 1e-3)
    return np.where(count >= least, ratio, 0)
