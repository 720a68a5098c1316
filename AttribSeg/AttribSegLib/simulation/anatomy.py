"""A subject's shape: the template's tissue maps under a random invertible deformation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .fields import Array, grid_shape, smooth_field
from .template import CENTRE_MM, load_template

#: Elastic deformation: knots and standard deviation in mm; coefficients clipped at two of them.
#: A sum of cubic B-splines is injective when the largest coefficients, each divided by its
#: knots / 2.48, add up to less than one (Choi and Lee 2000): 0.97 here.
_ELASTIC = ((40.0, 4.0), (20.0, 1.2), (10.0, 0.35))


@dataclass(frozen=True)
class Anatomy:
    """Tissue of one subject on the MNI152 grid; all maps of shape (I, J, K).

    Attributes
    ----------
    coordinates : ndarray of shape (3, I, J, K), float32
        Position in the template of every voxel, in mm along the MNI152 grid's axes.
    voxel : float
        Voxel size, mm.
    grey, white, fluid : ndarray, float32
        Fractions, which sum to one; everything outside the brain counts as fluid.
    ventricles, deep, limbic : ndarray, float32
        Where structures lie (see `Template`).
    brain : ndarray, bool
        Brain mask, without holes.
    """

    coordinates: Array
    voxel: float
    grey: Array
    white: Array
    fluid: Array
    ventricles: Array
    deep: Array
    limbic: Array
    brain: NDArray[np.bool_]


def draw_deformation(rng: np.random.Generator, voxel: float) -> Array:
    """Random map from a subject's grid to the template.

    An affine part (brains registered rigidly keep their size, 0.82 to 1 of the template's),
    an elastic part of three scales, and wider or narrower ventricles.

    Parameters
    ----------
    rng : Generator
    voxel : float
        Voxel size, mm.

    Returns
    -------
    ndarray of shape (3, I, J, K), float32
        Template position in mm of every voxel; the Jacobian is positive.

    References
    ----------
    .. [1] Y. Choi, S. Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions,
       Graphical Models 62(6), 2000.
    """
    scale = rng.uniform(0.82, 1.0) * rng.normal(1.0, 0.02, 3).clip(0.95, 1.05)
    angles = np.radians(rng.normal(0, 3, 3).clip(-8, 8))
    shift = rng.normal(0, 2, 3).clip(-5, 5)
    widening = rng.uniform(-1.0, 5.0)

    axes = [np.arange(n, dtype=np.float32) * np.float32(voxel) for n in grid_shape(voxel)]
    position = np.stack(np.meshgrid(*axes, indexing="ij"))
    for knots, deviation in _ELASTIC:
        for axis in range(3):
            position[axis] += deviation * smooth_field(rng, voxel, knots, bound=2.0)
    matrix = (_rotation(angles) / scale).astype(np.float32)
    offset = (CENTRE_MM - matrix @ (CENTRE_MM + shift)).astype(np.float32)
    coordinates = np.tensordot(matrix, position, axes=1) + offset[:, None, None, None]

    pull = load_template().pull
    step = np.stack([sample(component, coordinates / 2) for component in pull])
    return (coordinates + np.float32(widening) * step).astype(np.float32)


def sample(volume: NDArray[np.generic], coordinates: Array) -> Array:
    """Linear interpolation of a volume at voxel positions of shape (3, ...), 0 outside.

    Only positions in the box that holds the volume's values are interpolated, a quarter to a half
    of the grid for most structures.
    """
    inside = np.ones(coordinates.shape[1:], bool)
    for axis, position in enumerate(coordinates):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(volume.any(axis=others))
        if not len(filled):
            return np.zeros(coordinates.shape[1:], np.float32)
        inside &= (position > filled[0] - 1) & (position < filled[-1] + 1)
    result = np.zeros(coordinates.shape[1:], np.float32)
    result[inside] = ndimage.map_coordinates(
        volume, coordinates[:, inside], output=np.float32, order=1, mode="constant"
    )
    return result


def jacobian(coordinates: Array, voxel: float) -> Array:
    """Determinant of the derivative of a map, shape (3, I, J, K) -> (I, J, K).

    Parameters
    ----------
    coordinates : ndarray of shape (3, I, J, K)
        Where each voxel goes, mm.
    voxel : float
        Voxel size, mm.
    """
    d = [np.gradient(component, voxel) for component in coordinates]
    return (
        d[0][0] * (d[1][1] * d[2][2] - d[1][2] * d[2][1])
        - d[0][1] * (d[1][0] * d[2][2] - d[1][2] * d[2][0])
        + d[0][2] * (d[1][0] * d[2][1] - d[1][1] * d[2][0])
    )


def build_anatomy(rng: np.random.Generator, coordinates: Array, voxel: float) -> Anatomy:
    """Deform the tissue maps and give the subject its own folding.

    The template is an average, its sulci are blurred. Fractions p are sharpened to
    softmax(k log p + noise): smooth noise of a few mm opens some sulci and closes others, and
    its mean widens or narrows all CSF, as in atrophy. The brain mask follows the parenchyma more
    or less tightly, as brain extraction does.

    Parameters
    ----------
    rng : Generator
    coordinates : ndarray of shape (3, I, J, K)
        Template positions (`draw_deformation`), mm.
    voxel : float
        Voxel size, mm.
    """
    exponent = rng.uniform(1.9, 3.0)
    folding = rng.uniform(0.5, 1.1)
    opening = rng.uniform(0.35, 1.1)
    atrophy = rng.normal(0.6, 0.5)
    tightness = rng.uniform(0.18, 0.5)

    template = {
        n: sample(m, coordinates) / np.float32(255) for n, m in load_template().maps.items()
    }
    grey, white = template["grey"], template["white"]
    fluid = np.clip(1 - grey - white, 0, 1)
    fluid = fluid + opening * template["sulci"] * (1 - fluid)
    sulci = 0.8 * smooth_field(rng, voxel, 5.0) + 0.6 * smooth_field(rng, voxel, 11.0)
    sheet = 0.35 * smooth_field(rng, voxel, 4.0)
    logits = [
        exponent * np.log(np.maximum(grey, 1e-3)),
        exponent * np.log(np.maximum(white, 1e-3)) + sheet,
        exponent * np.log(np.maximum(fluid, 1e-3)) + folding * sulci + atrophy,
    ]
    # A hundredth of fluid inside solid tissue must stay nothing whatever the noise says.
    grey, white, fluid = (np.exp(np.minimum(x, 0.5)) for x in logits)
    total = grey + white + fluid
    grey, white, fluid = grey / total, white / total, fluid / total

    smooth = ndimage.gaussian_filter(1 - fluid, 2.0 / voxel, truncate=3)
    pieces, _ = ndimage.label(smooth > tightness)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    brain = ndimage.binary_fill_holes(pieces == sizes.argmax())
    return Anatomy(
        coordinates,
        voxel,
        grey,
        white,
        fluid,
        template["ventricles"],
        template["deep"],
        template["limbic"],
        brain,
    )


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation about I, J, K in turn, by angles in radians."""
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        a, b = [other for other in range(3) if other != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result
