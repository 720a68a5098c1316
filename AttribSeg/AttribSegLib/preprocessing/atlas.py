"""The atlas that scans are registered to: ICBM152, or the user's own skull-stripped T1."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..image import Geometry, Image, mni152_geometry
from ..image_io import read_image

#: Width of the ring around the atlas brain that stands for CSF and skull, mm. A skull-stripped
#: atlas has nothing there; a head has a dark gap before the bright scalp.
RING_MM = 8.0

#: Smallest and largest brain that a user's atlas may show, mL: a child's to a large adult's,
#: with room for generous masks.
_PLAUSIBLE_ML = (500.0, 2500.0)


@dataclass(frozen=True, eq=False)  # hashed by identity, so that what is derived can be cached
class Atlas:
    """A skull-stripped T1 template.

    Attributes
    ----------
    t1 : Image
        0 outside the brain.
    brain : Image
        Brain mask, bool.
    tissue : Image
        uint8: 0 unknown (further out), 1 dark (CSF, and the ring around the brain), 2 grey,
        3 white matter.
    name : str
    """

    t1: Image
    brain: Image
    tissue: Image
    name: str

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """Centre of mass of the brain, LPS mm."""
        return self.brain.geometry.to_lps(np.argwhere(self.brain.array).mean(axis=0))

    def points(self, *, count: int = 2000, seed: int = 0) -> NDArray[np.float64]:
        """Random points of the brain, LPS mm, shape (count, 3)."""
        voxels = np.argwhere(self.brain.array)
        chosen = np.random.default_rng(seed).choice(len(voxels), count)
        return self.brain.geometry.to_lps(voxels[chosen])

    def grid(self, spacing: float) -> Geometry:
        """Grid of prepared images: MNI152 at 1 or 2 mm, or a user's atlas's own."""
        return mni152_geometry(spacing) if self.name == "ICBM152" else self.t1.geometry


@lru_cache(maxsize=2)
def load_atlas(path: str = "") -> Atlas:
    """Load an atlas, once per process.

    Parameters
    ----------
    path : str
        A skull-stripped T1 with a constant background; without it the ICBM152 2009a template that
        the nilearn package carries, on the 1 mm MNI152 grid.

    Raises
    ------
    InputError
        If the file cannot be read, is not skull-stripped, or shows nothing of a brain's size.

    References
    ----------
    .. [1] V. Fonov et al., Unbiased average age-appropriate atlases for pediatric studies,
       NeuroImage 54(1), 2011.
    """
    from .background import brain_from_background

    if path:
        t1, name = read_image(path), Path(path).name
    else:
        t1, name = read_image(_template_path()).resample(mni152_geometry(1)), "ICBM152"
    array = t1.array.astype(np.float32)
    try:
        brain = brain_from_background(array)
        volume = brain.sum() * t1.geometry.voxel_volume_ml
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not _PLAUSIBLE_ML[0] <= volume <= _PLAUSIBLE_ML[1]:
        raise InputError(
            f"{path}: the atlas shows {volume:.0f} mL of brain; a skull-stripped T1 of a whole "
            "brain was expected"
        )
    array = np.where(brain, array - array[~brain].min(), 0).astype(np.float32)
    geometry = t1.geometry
    tissue = Image(_tissue(array, brain, geometry), geometry)
    return Atlas(Image(array, geometry), Image(brain, geometry), tissue, name)


def _tissue(
    array: NDArray[np.float32], brain: NDArray[np.bool_], geometry: Geometry
) -> NDArray[np.uint8]:
    """Three classes by Otsu's thresholds inside the brain, and the ring around it."""
    import SimpleITK as sitk
    from scipy import ndimage

    otsu = sitk.OtsuMultipleThresholdsImageFilter()
    otsu.SetNumberOfThresholds(2)
    otsu.Execute(sitk.GetImageFromArray(array[brain][None]))
    classes = np.digitize(array, otsu.GetThresholds()) + 1
    outside = ndimage.distance_transform_edt(~brain, sampling=geometry.spacing)
    tissue = np.where(outside <= RING_MM, 1, 0)
    return np.where(brain, classes, tissue).astype(np.uint8)


def _template_path() -> Path:
    """The T1 template inside the installed nilearn package, found without importing it."""
    found = find_spec("nilearn")
    if found is None or found.origin is None:
        raise InputError("the atlas comes with nilearn, which is missing; pip install nilearn")
    folder = Path(found.origin).parent / "datasets" / "data"
    return folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
