"""Registration of a scan to the atlas: an affine transform, wherever the scan starts from.

Where it starts is searched over all rotations (`pose_search`); the best of them are refined as
rigid poses with a scale, the best of those as an affine transform (`tissue_fit`). What comes out is
judged, and said to be doubtful where it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..image import Image
from ..transform import Affine
from .atlas import Atlas
from .intensity import brain_levels, levelled, measured_level
from .pose_search import Pose, search_poses
from .tissue_fit import coarser, correlation_ratio, coverage, refine_pose, shrunken

#: Starts that are refined, and how far apart their rotations are at least, degrees.
_STARTS = 10
_CANDIDATES = 200
_APART = 25.0

#: Scales tried about the best pose.
_SCALES = (0.87, 1.0, 1.15)

#: Score and margin of a pose from which no other guess of the brain's intensity is tried.
_CONVINCING = 0.5
_CONVINCING_MARGIN = 0.1

#: Voxel size from which all steps start, mm.
_FINEST = 2.0

#: Determinants and anisotropies of adult brains on ICBM152: 1.0 to 2.2 litres, and 10 % of scale.
_DETERMINANT = (0.75, 2.6)
_ANISOTROPY = 1.25

#: Share of the variance around the brain that the atlas's tissues explain, below which a result is
#: doubtful, and how much better than the best other pose it must be
#: (Testing/Evidence/preprocessing).
_SCORE = 0.46
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


def register_to_atlas(image: Image, atlas: Atlas, *, brain: Image | None = None) -> Registration:
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

    Returns
    -------
    Registration
        With warnings where it is doubtful; it never raises because of a bad fit.

    Raises
    ------
    InputError
        If the mask does not overlap the image.
    """
    if brain is not None:
        inside = brain.resample(image.geometry, interpolation="nearest").array != 0
        if not inside.any():
            raise InputError(
                "the brain mask does not lie on the scan; a mask in the scan's physical space was "
                "expected, check its header"
            )
        darkest = image.array[~inside].min(initial=image.array.max())
        image = image.with_array(np.where(inside, image.array, darkest))
    image = coarser(image, _FINEST)  # no step looks closer
    refined: list[Pose] = []
    for level in brain_levels(image):
        poses = _distinct(search_poses(image, atlas, level, keep=_CANDIDATES))
        refined += _refine(image, atlas, level, [pose.transform for pose in poses])
        refined.sort(key=lambda pose: -pose.score)
        margin = _margin(refined, atlas)
        if refined[0].score > _CONVINCING and margin > _CONVINCING_MARGIN:
            break  # the next guess of the brain's intensity is not needed
    best = refined[0].transform
    # A wrong scale has a basin of its own.
    level = measured_level(image, atlas, best)
    scales = [_scaled(best, atlas, factor) for factor in _SCALES]
    best = max(_refine(image, atlas, level, scales), key=lambda pose: pose.score).transform
    fine = shrunken(image, measured_level(image, atlas, best), 4.0)
    best = refine_pose(levelled(fine, atlas, best), atlas, best)
    best = refine_pose(levelled(fine, atlas, best), atlas, best, affine=True)
    return judged(image, atlas, best, margin=margin)


def _margin(poses: list[Pose], atlas: Atlas) -> float:
    """How much better the first pose is than the best that places the brain differently."""
    others = [pose.score for pose in poses if _far(pose.transform, poses[0].transform, atlas)]
    return poses[0].score - max(others, default=0.0)


def _refine(image: Image, atlas: Atlas, level: float, starts: list[Affine]) -> list[Pose]:
    """Poses near the starts, with the score that each has at a finer scale."""
    rough, coarse = shrunken(image, level, 8.0), shrunken(image, level, 4.0)
    found = [refine_pose(rough, atlas, start) for start in starts]
    return [Pose(pose, correlation_ratio(coarse, atlas, pose)) for pose in found]


def _scaled(transform: Affine, atlas: Atlas, factor: float) -> Affine:
    """A transform whose result is scaled about the centre of the atlas's brain."""
    scale = np.diag([factor, factor, factor, 1.0])
    scale[:3, 3] = (1 - factor) * atlas.centre
    return Affine(scale) @ transform


def judged(
    image: Image, atlas: Atlas, transform: Affine, *, margin: float | None = None
) -> Registration:
    """Quality figures of a transform to the atlas, and warnings where they are out of bounds."""
    coarse = shrunken(image, measured_level(image, atlas, transform), 4.0)
    quality = {
        "score": correlation_ratio(levelled(coarse, atlas, transform), atlas, transform),
        **({} if margin is None else {"margin": margin}),
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
    if margin is not None and margin < _MARGIN:
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
