"""Brain extraction without a network: the atlas's brain surface, moved to where the scan shows it.

The atlas's surface, brought onto the scan by the affine registration, is a centimetre off at
most. From each of its points the intensities along the normal are read in every channel; the
surface moves to where bright brain ends and the dark gap of CSF and skull begins, with neighbours
held together, as in an active shape model. Where no gap follows (brain stem, skull base) the
neighbours and the atlas decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..image import Geometry, Image
from ..transform import Affine
from .atlas import Atlas
from .intensity import antialiased, brain_bright, measured_level

#: Grid of the surface, and steps along its normals, mm.
_VOXEL = 2.0
_STEP = 1.0

#: How far the surface may move, how far inwards the brain is looked at, and how much of the gap
#: behind it, mm.
_REACH = 14.0
_INWARDS = 10.0
_GAP = 4.0

#: Relative to the brain's own intensity nearby: what is half brain, half gap; and the slope.
_HALF = 0.65
_SLOPE = 0.3

#: Standard deviation of the distance between the atlas's surface and a scan's, mm.
_PRIOR = 4.0

#: Weight of a point's neighbours against what it sees itself, growing round by round; and the
#: distance over which neighbours count, mm.
_STIFFNESS = np.linspace(0.02, 0.5, 8)
_NEIGHBOURS = 5.0

#: Tissue this far inside the atlas's surface tells how bright brain is, averaged over this many
#: mm, so that a bias field does not matter.
_DEEP = 8.0
_LOCAL = 24.0

Array = NDArray[np.float32]


@dataclass(frozen=True)
class BrainExtraction:
    """A brain mask and how it came about.

    Attributes
    ----------
    mask : Image
        bool, on the atlas's own grid.
    quality : dict of float
        ``moved_mm``: mean distance the surface moved. ``edge``: mean contrast across it, 1 where
        bright brain ends at a dark gap everywhere, 0 where there is no edge at all, negative where
        it is brighter outside.
    """

    mask: Image
    quality: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Surface:
    """The atlas's brain surface on a grid that has room around it.

    Attributes
    ----------
    grid : Geometry
    distance : ndarray of shape (I, J, K)
        Signed distance to the surface, mm, negative inside.
    shell : ndarray of bool
        Voxels the surface passes through, N of them.
    normals : ndarray of shape (N, 3)
        Outwards, along the grid's axes.
    neighbours : sparse matrix of shape (N, N)
        Rows sum to one.
    """

    grid: Geometry
    distance: Array
    shell: NDArray[np.bool_]
    normals: NDArray[np.float64]
    neighbours: Any


def extract_brain(
    channels: Mapping[str, Image], atlas: Atlas, transforms: Mapping[str, Affine]
) -> BrainExtraction:
    """Brain mask of a subject from any of its registered channels, FLAIR and T1 alike.

    Parameters
    ----------
    channels : mapping of channel name to Image
        Raw scans; where several see a point, they vote.
    atlas : Atlas
    transforms : mapping of channel name to Affine
        From each channel's native space to the atlas.

    Returns
    -------
    BrainExtraction

    Raises
    ------
    InputError
        If no channel shows the inside of the atlas's brain.

    References
    ----------
    .. [1] T. Cootes et al., Active shape models: their training and application, Computer Vision
       and Image Understanding 61(1), 1995 (search along normals).
    .. [2] S. Smith, Fast robust automated brain extraction, Human Brain Mapping 17(3), 2002 (edge
       relative to the local intensity of the brain).
    """
    from scipy import ndimage

    surface = _surface(atlas)
    evidence = _evidence(channels, surface, atlas, transforms)
    positions, score = _edge_scores(evidence)
    shift = np.zeros(len(score))
    for stiffness in _STIFFNESS:
        mean = surface.neighbours @ shift
        pulled = score - stiffness * (positions - mean[:, None]) ** 2
        shift = positions[pulled.argmax(axis=1)]
    shift = surface.neighbours @ shift

    moved = np.zeros(surface.grid.size, np.float32)
    moved[surface.shell] = shift
    nearest = ndimage.distance_transform_edt(
        ~surface.shell, return_distances=False, return_indices=True
    )
    moved = ndimage.gaussian_filter(moved[tuple(nearest)], 1.0)
    outside = Image(surface.distance - moved, surface.grid)
    distance = outside.resample(atlas.brain.geometry, background=100.0)
    quality = {"moved_mm": float(np.abs(shift).mean()), "edge": _contrast(evidence, shift)}
    return BrainExtraction(distance.with_array(_largest_piece(distance.array < 0)), quality)


@lru_cache(maxsize=2)
def _surface(atlas: Atlas) -> _Surface:
    from scipy import ndimage

    old = atlas.brain.geometry
    extent = np.array(old.size) * old.spacing
    room = 6  # voxels around the atlas's grid, whose brain may touch its border
    size = np.ceil(extent / _VOXEL).astype(int) + 2 * room
    origin = old.to_lps(-room * _VOXEL / np.array(old.spacing))
    grid = Geometry(tuple(size), (_VOXEL,) * 3, tuple(origin), old.direction)
    whole = atlas.brain.with_array(atlas.brain.array.astype(np.float32))
    inside = antialiased(whole, _VOXEL).resample(grid).array > 0.5
    outer = ndimage.distance_transform_edt(~inside)
    inner = ndimage.distance_transform_edt(inside)
    # Both count from voxel centres, the surface lies half-way between them.
    distance = np.where(inside, 0.5 - inner, outer - 0.5) * _VOXEL
    distance = ndimage.gaussian_filter(distance, 1.0).astype(np.float32)
    shell = inside & ndimage.binary_dilation(~inside)
    slope = np.stack(np.gradient(ndimage.gaussian_filter(distance, 1.0)), axis=-1)[shell]
    normals = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-6)
    neighbours = _neighbours(np.argwhere(shell) * _VOXEL, normals)
    return _Surface(grid, distance, shell, normals, neighbours)


def _neighbours(points: NDArray[Any], normals: NDArray[Any]) -> Any:
    """Weights of the points nearby that face the same way; opposite banks do not count."""
    from scipy import sparse
    from scipy.spatial import cKDTree

    tree = cKDTree(points)
    pairs = tree.sparse_distance_matrix(tree, 2.4 * _NEIGHBOURS, output_type="coo_matrix")
    cosine = np.einsum("nd,nd->n", normals[pairs.row], normals[pairs.col])
    weights = np.exp(-(pairs.data**2) / (2 * _NEIGHBOURS**2)) * np.clip(cosine, 0, 1) ** 2
    matrix = sparse.csr_matrix((weights, (pairs.row, pairs.col)), shape=pairs.shape)
    total = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1e-9)
    return sparse.diags_array(1 / total) @ matrix


def _evidence(
    channels: Mapping[str, Image],
    surface: _Surface,
    atlas: Atlas,
    transforms: Mapping[str, Affine],
) -> Array:
    """Brain (1) or gap (-1) along every normal, mean over the channels; 0 where none sees.

    Returns
    -------
    ndarray of shape (N, steps)
        From `_REACH` + `_INWARDS` inside to `_REACH` + `_GAP` outside the atlas's surface.
    """
    from scipy import ndimage

    along = np.arange(-_REACH - _INWARDS, _REACH + _GAP + _STEP / 2, _STEP)
    voxels = np.argwhere(surface.shell)
    depth = surface.distance[surface.shell]
    steps = (along[None] - depth[:, None])[..., None] * surface.normals[:, None]
    points = surface.grid.to_lps(voxels[:, None] + steps / _VOXEL)
    total = np.zeros(points.shape[:2], np.float32)
    votes = np.zeros(points.shape[:2], np.float32)
    for name, image in channels.items():
        bright = measured_level(image, atlas, transforms[name])
        fine = antialiased(brain_bright(image, bright), 1.5)
        level = _brain_level(fine, surface, transforms[name])
        if level is None:
            continue
        ijk = fine.geometry.to_ijk(transforms[name].inverse()(points))
        seen = ((ijk >= 0) & (ijk <= np.array(fine.geometry.size) - 1)).all(axis=-1)
        values = ndimage.map_coordinates(
            fine.array, ijk.reshape(-1, 3).T, order=1, mode="nearest"
        ).reshape(seen.shape)
        relative = values / level[surface.shell][:, None]
        total += np.where(seen, np.clip((relative - _HALF) / _SLOPE, -1, 1), 0)
        votes += seen
    if not votes.any():
        raise InputError("no scan shows the inside of a brain; check the registration")
    return (total / np.maximum(votes, 1)).astype(np.float32)


def _brain_level(image: Image, surface: _Surface, transform: Affine) -> Array | None:
    """Intensity of brain around every voxel of the surface's grid; none if no brain is seen."""
    from scipy import ndimage

    values = image.resample(surface.grid, transform=transform, background=float("nan")).array
    tissue = (surface.distance < -_DEEP) & np.isfinite(values)
    if tissue.sum() < 1000:
        return None
    tissue &= values > 0.5 * np.median(values[tissue])  # not the ventricles
    if not tissue.any():
        return None
    sigma = _LOCAL / _VOXEL
    weight = ndimage.gaussian_filter(tissue.astype(np.float32), sigma)
    level = ndimage.gaussian_filter(np.where(tissue, values, 0), sigma) / np.maximum(weight, 1e-4)
    known = weight > 1e-3
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return level[tuple(nearest)].astype(np.float32)


def _edge_scores(evidence: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How well the brain's edge fits at every position along the normals.

    Everything inside should be brain and the next few millimetres should not; what lies behind
    the gap (scalp) counts for nothing.

    Returns
    -------
    positions : ndarray of shape (P,)
        Along the normal, mm, 0 on the atlas's surface.
    score : ndarray of shape (N, P)
    """
    first = np.zeros((len(evidence), 1))
    inside = np.concatenate([first, np.cumsum(evidence, axis=1)], axis=1) * _STEP
    positions = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    index = np.round((positions + _REACH + _INWARDS) / _STEP).astype(int)
    gap = inside[:, index + round(_GAP / _STEP)] - inside[:, index]
    return positions, inside[:, index] - gap - positions**2 / (2 * _PRIOR**2)


def _contrast(evidence: Array, shift: NDArray[np.float64]) -> float:
    """Half the difference of the evidence just inside and just outside the surface, mean."""
    at = np.round((shift + _REACH + _INWARDS) / _STEP).astype(int)
    width = np.arange(1, round(_GAP / _STEP) + 1)
    inside = np.take_along_axis(evidence, at[:, None] - width, axis=1)
    last = evidence.shape[1] - 1
    outside = np.take_along_axis(evidence, np.minimum(at[:, None] + width - 1, last), axis=1)
    return float((inside.mean(axis=1) - outside.mean(axis=1)).mean() / 2)


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(pieces == sizes.argmax()) & mask.any()
