"""Registration of a scan to the atlas: an affine transform, wherever the scan starts from.

Where it starts is searched over all rotations (`pose_search`); the best of them are refined as
rigid poses with a scale (`tissue_fit`), the best of those as affine transforms (`affine`). What
comes out is judged, and said to be doubtful where it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..image import Image
from ..transform import Affine
from .affine import levelled, refine_affine
from .atlas import Atlas
from .pose_search import Pose, search_poses
from .tissue_fit import correlation_ratio, coverage, refine_pose, shrunken

#: Starts that are refined, and how far apart their rotations are at least, degrees.
_STARTS = 12
_CANDIDATES = 400
_APART = 25.0

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
    coarse, rough = shrunken(image, 4.0), shrunken(image, 8.0)
    refined = []
    for pose in _distinct(search_poses(image, atlas, keep=_CANDIDATES)):
        start = refine_pose(rough, atlas, pose.transform)
        refined.append(Pose(start, correlation_ratio(coarse, atlas, start)))
    refined.sort(key=lambda pose: -pose.score)
    best = refined[0].transform
    others = [pose.score for pose in refined if _far(pose.transform, best, atlas)]
    best = refine_pose(coarse, atlas, best)
    level = levelled(coarse, atlas, best)
    best = refine_affine(level, atlas, best, voxel=4.0, seed=seed)
    level = levelled(shrunken(image, 2.0), atlas, best)
    best = refine_affine(level, atlas, best, voxel=2.0, seed=seed)
    margin = refined[0].score - max(others, default=0.0)
    return judged(image, atlas, best, margin=margin)


def judged(image: Image, atlas: Atlas, transform: Affine, *, margin: float) -> Registration:
    """Quality figures of a transform to the atlas, and warnings where they are out of bounds."""
    quality = {
        "score": correlation_ratio(
            levelled(shrunken(image, 4.0), atlas, transform), atlas, transform
        ),
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
