"""Every second slice of the real scans left out and interpolated: ours, linear, cubic B-spline."""

from dataclasses import replace

import numpy as np
from AttribSegLib.image import Image
from AttribSegLib.preprocessing.interslice import interpolate_slices
from patient import STUDIES, authors_mask, authors_transform, scan
from scipy import ndimage


def measure() -> list[dict]:
    """RMSE over the left-out slices, in standard deviations of the brain's intensity.

    Inside the brain (the authors' mask) and at its edges: the fifth of those voxels with the
    steepest gradient in the plane.
    """
    rows = []
    for study in STUDIES:
        for channel in ("FLAIR", "T1W"):
            image = scan(study, channel)
            brain = authors_mask(study)
            if channel == "T1W":
                to_flair = authors_transform(study, "T1W_intrastudy_to_FLAIR")
                brain = brain.resample(image.geometry, transform=to_flair)
            rows.append({"scan": f"{study}_{channel}", **_errors(image, brain.array)})
    return rows


def _errors(image: Image, brain: np.ndarray) -> dict[str, float]:
    i, j, k = image.geometry.size
    count = k - (k + 1) % 2  # the last slice must be one that stays
    array, brain = image.array[:, :, :count].astype(np.float32), brain[:, :, :count]
    whole = replace(image.geometry, size=(i, j, count))
    x, y, z = whole.spacing
    half_grid = replace(whole, size=(i, j, (count + 1) // 2), spacing=(x, y, 2 * z))
    half = Image(np.ascontiguousarray(array[:, :, ::2]), half_grid)
    ways = {
        "ours": interpolate_slices(half, spacing=z).array,
        "linear": half.resample(whole).array,
        "bspline": half.resample(whole, interpolation="bspline").array,
    }
    left_out = np.zeros_like(brain)
    left_out[:, :, 1::2] = brain[:, :, 1::2]
    steep = ndimage.gaussian_gradient_magnitude(array, (1, 1, 0))
    edges = left_out & (steep > np.percentile(steep[left_out], 80))
    scale = array[brain].std()
    found = {}
    for name, values in ways.items():
        for where, voxels in (("brain", left_out), ("edges", edges)):
            error = np.square(values[voxels] - array[voxels]).mean() ** 0.5
            found[f"{name}_{where}"] = float(error / scale)
    return found
