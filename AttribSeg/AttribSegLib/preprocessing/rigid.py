"""Rigid registration of one channel of a subject to another (FLAIR onto T1)."""

from __future__ import annotations

import numpy as np

from ..image import Image
from ..transform import Affine
from .atlas import Atlas
from .intensity import measured_level
from .registration import Registration, judged, register_to_atlas
from .tissue_fit import correlation_ratio, shrunken

#: A channel must be explained by the atlas, through the other channel's affine transform, at least
#: this well for the headers' common space to be believed.
_BELIEVED = 0.46

#: Points of the metric.
_SAMPLES = 20_000


def register_rigid(
    moving: Image, fixed: Image, atlas: Atlas, to_atlas: Registration, *, seed: int = 0
) -> Registration:
    """Rigid registration of a channel onto the subject's reference channel.

    Scanners give the scans of one session one space, so the headers' agreement is tried first.
    Where the result is not believable, the channel is registered to the atlas by itself, and that
    gives the start.

    Parameters
    ----------
    moving, fixed : Image
    atlas : Atlas
    to_atlas : Registration
        Of ``fixed``; says where its brain is.
    seed : int
        Of the metric's random points.

    Returns
    -------
    Registration
        The transform from ``moving`` to ``fixed``. Quality and warnings are those of the moving
        image in atlas space, and ``shift_mm``, ``angle``: how far the brain moved from where the
        header had it.
    """

    def score(transform: Affine) -> float:
        whole = to_atlas.transform @ transform
        coarse = shrunken(moving, measured_level(moving, atlas, whole), 4.0)
        return correlation_ratio(coarse, atlas, whole)

    best = optimise_rigid(moving, fixed, atlas, to_atlas.transform, Affine(), seed=seed)
    margin = None
    if score(best) < _BELIEVED:
        alone = register_to_atlas(moving, atlas)
        start = nearest_rigid(to_atlas.transform.inverse() @ alone.transform, atlas, alone)
        other = optimise_rigid(moving, fixed, atlas, to_atlas.transform, start, seed=seed)
        if score(other) > score(best):
            best, margin = other, alone.quality["margin"]
    result = judged(moving, atlas, to_atlas.transform @ best, margin=margin)
    brain = to_atlas.transform.inverse()(atlas.points())
    quality = {
        **result.quality,
        "shift_mm": float(np.linalg.norm(best(brain) - brain, axis=1).mean()),
        "angle": best.rotation_degrees,
    }
    return Registration(best, quality, result.warnings)


def nearest_rigid(transform: Affine, atlas: Atlas, alone: Registration) -> Affine:
    """The rigid transform that moves the brain most nearly as an affine one does."""
    points = alone.transform.inverse()(atlas.points())
    moved = transform(points)
    left, _, right = np.linalg.svd((moved - moved.mean(0)).T @ (points - points.mean(0)))
    turn = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = moved.mean(0) - turn @ points.mean(0)
    return Affine(matrix)


def optimise_rigid(
    moving: Image, fixed: Image, atlas: Atlas, to_atlas: Affine, start: Affine, *, seed: int
) -> Affine:
    """Mutual information over the brain and the ring around it, at 4 and 1.5 mm."""
    import SimpleITK as sitk

    transform = sitk.Euler3DTransform()
    region = atlas.tissue.with_array(atlas.tissue.array > 0)
    centre = to_atlas.inverse()(atlas.centre[None])[0]
    inverse = start.inverse()
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(inverse.matrix[:3, :3].ravel().tolist(), 1e-4)
    transform.SetTranslation((inverse(centre[None])[0] - centre).tolist())
    fixed_level = measured_level(fixed, atlas, to_atlas)
    moving_level = measured_level(moving, atlas, to_atlas @ start)
    for voxel, step in ((4.0, 2.0), (1.5, 0.5)):
        target = shrunken(fixed, fixed_level, voxel, fold=False)
        mask = region.resample(target.geometry, transform=to_atlas.inverse())
        if not mask.array.any():
            return start
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricFixedMask(mask.to_sitk())
        method.SetMetricSamplingStrategy(method.RANDOM)
        share = _SAMPLES / target.array.size / mask.array.mean()
        method.SetMetricSamplingPercentage(min(1.0, share), seed + 1)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(step, 0.005, 100, 0.6)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        try:
            source = shrunken(moving, moving_level, voxel, fold=False)
            method.Execute(target.to_sitk(), source.to_sitk())
        except RuntimeError:  # no overlap: the start stays
            return start
    return Affine.from_sitk(transform).inverse()
