"""N4: the bias field of a scanner's coil, estimated inside the brain and divided out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..image import Image

#: Iterations on each of the nested B-spline grids, and the distance of the first one's knots, mm.
_ITERATIONS = (30, 20, 15)
_KNOTS_MM = 100.0


@dataclass(frozen=True)
class BiasCorrection:
    """A corrected image and the field that was divided out.

    Attributes
    ----------
    image : Image
        float32; the mean over the brain is that of the input.
    field : Image
        Positive, about 1 inside the brain.
    quality : dict of float
        ``variation_before``, ``variation_after``: coefficient of variation inside the brain;
        ``field_range``: 99th over 1st percentile of the field there.
    """

    image: Image
    field: Image
    quality: dict[str, float]


def correct_bias(image: Image, brain: Image, *, shrink_mm: float = 4.0) -> BiasCorrection:
    """Correct the bias field of an image (thesis ch. 1, III.2).

    The field is smooth: it is estimated on a coarse grid and applied on the fine one. Not for
    images with large lesions, whose contrast it takes for a bias field (thesis fig. 1.18).

    Parameters
    ----------
    image : Image
        Not standardised: N4 works on logarithms, voxels that are not positive are left out.
    brain : Image
        Mask, bool, on the same grid.
    shrink_mm : float
        Voxel size of the grid on which the field is estimated.

    Raises
    ------
    InputError
        If the mask is empty, lies on another grid, or holds hardly any positive voxel.

    References
    ----------
    .. [1] N. Tustison et al., N4ITK: improved N3 bias correction, IEEE TMI 29(6), 2010.
    """
    import SimpleITK as sitk

    if not image.geometry.same_grid(brain.geometry):
        raise InputError("the brain mask lies on another grid than the image; resample it first")
    if not shrink_mm > 0:
        raise InputError(f"shrink_mm {shrink_mm}: a voxel size above 0 was expected")
    array = image.array.astype(np.float32)
    inside = brain.array & (array > 0)
    if inside.sum() < max(100, 0.1 * brain.array.sum()):
        raise InputError(
            "hardly any brain voxel is positive; N4 needs raw intensities, before standardisation"
        )
    factors = [
        max(1, min(round(shrink_mm / step), n // 4))
        for step, n in zip(image.geometry.spacing, image.geometry.size, strict=True)
    ]
    # The mean inside the mask, not a sample of it: noise must not look like a field.
    whole = sitk.Cast(image.with_array(array).to_sitk(), sitk.sitkFloat32)
    mask = image.with_array(inside.astype(np.float32)).to_sitk()
    weight = sitk.BinShrink(mask, factors)
    coarse = sitk.BinShrink(whole * mask, factors) / (weight + 1e-6)
    coarse_mask = weight > 0.5
    if not sitk.GetArrayViewFromImage(coarse_mask).any():
        raise InputError("the brain is thinner than the coarse grid of N4; use a smaller shrink_mm")
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(_ITERATIONS)
    corrector.SetConvergenceThreshold(1e-4)
    extent = [n * s for n, s in zip(image.geometry.size, image.geometry.spacing, strict=True)]
    corrector.SetNumberOfControlPoints([max(4, round(e / _KNOTS_MM) + 3) for e in extent])
    corrector.Execute(coarse, coarse_mask)
    field_array = np.exp(
        sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(whole)).transpose(2, 1, 0)
    )
    corrected = array / field_array
    # N4 leaves the scale open.
    scale = float(array[inside].mean() / corrected[inside].mean())
    corrected, field_array = corrected * scale, field_array / scale
    low, high = np.percentile(field_array[inside], (1, 99))
    quality = {
        "variation_before": float(array[inside].std() / array[inside].mean()),
        "variation_after": float(corrected[inside].std() / corrected[inside].mean()),
        "field_range": float(high / low),
    }
    return BiasCorrection(
        image.with_array(corrected.astype(np.float32)),
        image.with_array(field_array.astype(np.float32)),
        quality,
    )
