"""Registration of a scan to the atlas: an affine transform, wherever the scan starts from.

SimpleITK optimises; where it starts is searched over all rotations (`pose_search`). The fixed
image is the atlas's tissue maps painted with the intensities that the scan itself shows in them,
so that one robust metric (correlation) serves every contrast, and a skull-stripped atlas serves a
head: the ring around its brain is painted as dark as the skull.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..image import Geometry, Image
from ..transform import Affine
from .atlas import Atlas
from .pose_search import Pose, antialiased, brain_bright, search_poses

#: Starts that are refined, and how far apart their rotations are at least, degrees.
_STARTS = 8
_CANDIDATES = 400
_APART = 25.0

#: Points of the metric; a rigid or affine transform needs no more.
_SAMPLES = 15_000

#: Determinants and anisotropies of adult brains on ICBM152: 1.0 to 2.2 litres, and 10 % of scale.
_DETERMINANT = (0.75, 2.6)
_ANISOTROPY = 1.25

#: Share of the variance around the brain that the atlas's tissues explain, below which a result is
#: doubtful, and how much better than the best other pose it must be
#: (Testing/Evidence/preprocessing).
_SCORE = 0.42
_MARGIN = 0.04

#: Share of the atlas's brain in the field of view below which the case is doubtful.
_COVERAGE = 0.7


@dataclass(frozen=True)
class Registration:
    """A transform and how far to trust it.

    Attributes
    ----------
    transform : Affine
        From the moving image's native space to the fixed one's, LPS mm.
    quality : dict of float
        ``score``: share of the variance that the atlas's tissues explain (0 to 1). ``margin``: how
        much better than the best other pose. ``determinant``, ``anisotropy``, ``rotation`` of the
        transform. ``coverage``: share of the atlas's brain in the field of view.
    warnings : tuple of str
        What makes the result doubtful.
    """

    transform: Affine
    quality: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def register_to_atlas(
    image: Image, atlas: Atlas, *, brain: Image | None = None, seed: int = 0
) -> Registration:
    """Affine registration of a head or a brain to the atlas (thesis ch. 1, III.2).

    The header's axes may be wrong by any rotation; its handedness is believed. A scan whose field
    of view holds half of the brain is enough.

    Parameters
    ----------
    image : Image
        Any contrast.
    atlas : Atlas
    brain : Image, optional
        Brain mask in the image's physical space; nothing else is then looked at.
    seed : int
        Of the metric's random points.

    Returns
    -------
    Registration
        With warnings where it is doubtful; it never raises because of a bad fit.
    """
    if brain is not None:
        inside = brain.resample(image.geometry, interpolation="nearest").array != 0
        image = image.with_array(np.where(inside, image.array, image.array[~inside].min()))
    coarse = shrunken(image, 4.0)
    refined = []
    for pose in _distinct(search_poses(image, atlas, keep=_CANDIDATES)):
        start = _align(atlas, coarse, pose.transform, voxel=8.0, rigid=True, rounds=2, seed=seed)
        start = _align(atlas, coarse, start, voxel=4.0, rigid=True, rounds=1, seed=seed)
        refined.append(Pose(start, correlation_ratio(coarse, atlas, start)))
    refined.sort(key=lambda pose: -pose.score)
    best = refined[0].transform
    others = [pose.score for pose in refined if _far(pose.transform, best, atlas)]
    best = _align(atlas, coarse, best, voxel=4.0, rigid=False, rounds=2, seed=seed)
    best = _align(atlas, shrunken(image, 2.0), best, voxel=2.0, rigid=False, rounds=2, seed=seed)
    margin = refined[0].score - max(others, default=0.0)
    return judged(image, atlas, best, margin=margin)


def judged(image: Image, atlas: Atlas, transform: Affine, *, margin: float) -> Registration:
    """Quality figures of a transform to the atlas, and warnings where they are out of bounds."""
    quality = {
        "score": correlation_ratio(shrunken(image, 4.0), atlas, transform),
        "margin": margin,
        "determinant": transform.determinant,
        "anisotropy": transform.anisotropy,
        "rotation": transform.rotation_degrees,
        "coverage": coverage(image.geometry, atlas, transform),
    }
    warnings = []
    if quality["score"] < _SCORE:
        warnings.append(
            f"registration: the atlas explains {quality['score']:.2f} of the image, at least "
            f"{_SCORE} was expected; is it a head or brain of usual contrast?"
        )
    if margin < _MARGIN:
        warnings.append("registration: another pose fits nearly as well; check the orientation")
    low, high = _DETERMINANT
    if not low <= quality["determinant"] <= high:
        warnings.append(
            f"registration: volumes change by a factor {quality['determinant']:.2f}, expected "
            f"{low} to {high}; check the voxel size"
        )
    if quality["anisotropy"] > _ANISOTROPY:
        warnings.append(
            f"registration: stretched unevenly ({quality['anisotropy']:.2f}, at most {_ANISOTROPY} "
            "expected); check the voxel size and the slice spacing"
        )
    if quality["coverage"] < _COVERAGE:
        warnings.append(
            f"registration: only {quality['coverage']:.0%} of the brain is in the field of view"
        )
    return Registration(transform, quality, tuple(warnings))


def shrunken(image: Image, voxel: float, *, fold: bool = True) -> Image:
    """`brain_bright` of an image on a grid of about ``voxel`` mm along its own axes."""
    old = image.geometry
    spacing = np.maximum(old.spacing, voxel)
    extent = np.array(old.size) * old.spacing
    size = np.maximum(np.ceil(extent / spacing - 1e-6).astype(int), 1)
    first = (extent - (size - 1) * spacing) / 2 - np.array(old.spacing) / 2
    origin = np.array(old.origin) + old.direction @ first
    grid = Geometry(tuple(size), tuple(spacing), tuple(origin), old.direction)
    return antialiased(brain_bright(image, fold=fold), voxel).resample(grid)


def correlation_ratio(moving: Image, atlas: Atlas, transform: Affine) -> float:
    """Share of an image's variance in and around the brain that the atlas's tissues explain.

    Parameters
    ----------
    moving : Image
        From `shrunken`.
    atlas : Atlas
    transform : Affine
        From the image's space to the atlas.

    Returns
    -------
    float
        0 to 1; 0 where less than a third of the brain is in the field of view.
    """
    from scipy import ndimage

    points, tissue = _tissue_points(atlas)
    ijk = moving.geometry.to_ijk(transform.inverse()(points))
    seen = ((ijk >= -0.5) & (ijk <= np.array(moving.geometry.size) - 0.5)).all(axis=1)
    if seen.mean() < 1 / 3:
        return 0.0
    values = ndimage.map_coordinates(moving.array, ijk[seen].T, order=1, mode="nearest")
    tissue = tissue[seen]
    within = 0.0
    for label in (1, 2, 3):
        members = values[tissue == label]
        within += float(members.var() * len(members)) if len(members) else 0.0
    total = float(values.var() * len(values))
    return 1 - within / total if total > 0 else 0.0


def _distinct(poses: list[Pose]) -> list[Pose]:
    """The best poses that differ in rotation, at most `_STARTS`."""
    chosen: list[Pose] = []
    for pose in poses:
        apart = [
            (pose.transform @ other.transform.inverse()).rotation_degrees >= _APART
            for other in chosen
        ]
        if all(apart) and len(chosen) < _STARTS:
            chosen.append(pose)
    return chosen


def _far(transform: Affine, other: Affine, atlas: Atlas) -> bool:
    """Whether two transforms place the brain differently: 15 mm apart on average."""
    points = atlas.points()
    moved = transform(other.inverse()(points))
    return float(np.linalg.norm(moved - points, axis=1).mean()) > 15.0


def coverage(native: Geometry, atlas: Atlas, transform: Affine) -> float:
    """Share of the atlas's brain that lies in a field of view."""
    ijk = native.to_ijk(transform.inverse()(atlas.points()))
    return float(((ijk >= -0.5) & (ijk <= np.array(native.size) - 0.5)).all(axis=1).mean())


@lru_cache(maxsize=2)
def _tissue_points(atlas: Atlas) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Random points of the brain and its ring, LPS mm, and their tissue."""
    voxels = np.argwhere(atlas.tissue.array)
    voxels = voxels[np.random.default_rng(0).choice(len(voxels), 20_000)]
    return atlas.tissue.geometry.to_lps(voxels), atlas.tissue.array[tuple(voxels.T)]


@lru_cache(maxsize=6)
def _tissue_fractions(atlas: Atlas, voxel: float) -> tuple[Geometry, NDArray[np.float32]]:
    """Fractions of dark, grey and white on a coarse grid, shape (3, I, J, K)."""
    old = atlas.tissue.geometry
    size = [int(np.ceil(n * s / voxel)) for n, s in zip(old.size, old.spacing, strict=True)]
    grid = Geometry((size[0], size[1], size[2]), (voxel,) * 3, old.origin, old.direction)
    maps = [atlas.tissue.with_array(atlas.tissue.array == label) for label in (1, 2, 3)]
    return grid, np.stack([antialiased(one, voxel).resample(grid).array for one in maps])


def _align(
    atlas: Atlas,
    moving: Image,
    start: Affine,
    *,
    voxel: float,
    rigid: bool,
    rounds: int,
    seed: int,
) -> Affine:
    """Alternate between painting the tissues and optimising the transform.

    Parameters
    ----------
    rigid : bool
        Rotation, shift and one scale only.
    """
    grid, fractions = _tissue_fractions(atlas, voxel)
    region = fractions.sum(axis=0) > 0.5
    transform = start
    for _ in range(rounds):
        values = moving.resample(grid, transform=transform, background=np.nan).array
        seen = region & np.isfinite(values)
        if seen.sum() < region.sum() / 3:
            break
        means = np.linalg.lstsq(fractions[:, seen].T, values[seen], rcond=None)[0]
        painted = Image(np.tensordot(means, fractions, axes=1).astype(np.float32), grid)
        transform = _optimise(
            painted, Image(region, grid), moving, transform, rigid=rigid, seed=seed
        )
    return transform


def _optimise(
    fixed: Image, region: Image, moving: Image, start: Affine, *, rigid: bool, seed: int
) -> Affine:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(region.to_sitk())
    method.SetMetricSamplingStrategy(method.RANDOM)
    share = _SAMPLES / fixed.array.size / region.array.mean()
    method.SetMetricSamplingPercentage(min(1.0, share), seed + 1)
    method.SetInterpolator(sitk.sitkLinear)
    # Twelve parameters couple: with longer steps an affine transform folds over.
    method.SetOptimizerAsRegularStepGradientDescent(2.0 if rigid else 0.5, 0.01, 100, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    inverse = start.inverse()
    centre = fixed.geometry.to_lps(np.argwhere(region.array).mean(axis=0))
    linear = inverse.matrix[:3, :3].ravel().tolist()
    transform = sitk.Similarity3DTransform() if rigid else sitk.AffineTransform(3)
    transform.SetCenter(centre.tolist())
    if isinstance(transform, sitk.Similarity3DTransform):
        transform.SetMatrix(linear, 1e-4)  # rounding makes it less than exactly a rotation
    else:
        transform.SetMatrix(linear)
    transform.SetTranslation((inverse(centre[None])[0] - centre).tolist())
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed.to_sitk(), moving.to_sitk())
    except RuntimeError:  # the optimiser left the field of view: the start is the better result
        return start
    return Affine.from_sitk(transform).inverse()
