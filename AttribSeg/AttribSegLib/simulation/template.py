"""Tissue maps of the ICBM152 template that the nilearn wheel carries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError
from ..image import mni152_geometry
from ..image_io import read_image

#: Point about which brains are scaled and rotated: I, J, K in mm on the MNI152 grid.
CENTRE_MM = np.array([90.0, 108.0, 84.0])

#: Cortex that is bright on FLAIR: insula, hippocampus with amygdala, cingulate (RAS mm, radius).
_LIMBIC = (
    (38, 6, 2, 12),
    (-38, 6, 2, 12),
    (26, -16, -18, 11),
    (-26, -16, -18, 11),
    (0, 36, 14, 14),
    (0, -20, 38, 12),
)


@dataclass(frozen=True)
class Template:
    """Maps on the 1 mm MNI152 grid, shape (182, 218, 182).

    Attributes
    ----------
    maps : dict of ndarray, uint8
        ``grey``, ``white``: fractions times 255. ``sulci``: how much a voxel lies on a ridge of
        CSF. ``ventricles``: the CSF inside the brain.
        ``deep``: basal ganglia and thalamus. ``limbic``: where cortex is bright on FLAIR.
    pull : ndarray of shape (3, 91, 109, 91), float32
        Vectors towards the ventricles on the 2 mm grid, the longest of them 1.
    """

    maps: dict[str, NDArray[np.uint8]]
    pull: NDArray[np.float32]


def ras_to_grid(x: float, y: float, z: float) -> NDArray[np.float64]:
    """Position on the MNI152 grid (mm along I, J, K) of RAS coordinates."""
    return np.array([90.0 - x, y + 126.0, z + 72.0])


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the template once per process.

    CSF is what the skull-stripped template leaves beside grey and white matter; the ventricles
    are the CSF further than 18 mm from the brain's surface.

    Raises
    ------
    InputError
        If nilearn is missing or lost its data files.

    References
    ----------
    .. [1] V. Fonov et al., Unbiased average age-appropriate atlases for pediatric studies,
       NeuroImage 54(1), 2011 (ICBM152 2009a).
    """
    grid = mni152_geometry(1)
    volumes = {}
    for name in ("t1", "gm", "wm"):
        volumes[name] = read_image(_template_path(name)).resample(grid).array
    grey = volumes["gm"].astype(np.float32) / 255
    white = volumes["wm"].astype(np.float32) / 255
    brain = ndimage.binary_fill_holes(volumes["t1"] > 0)
    fluid = np.clip(brain - grey - white, 0, 1)

    depth = ndimage.distance_transform_edt(brain[::2, ::2, ::2]) * 2
    depth = depth.astype(np.float32).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    i, j, k = np.ogrid[: grid.size[0], : grid.size[1], : grid.size[2]]
    x, y, z = 90 - i, j - 126, k - 72
    inner = (abs(x) < 48) & (y > -56) & (y < 42) & (z > -20) & (z < 34) & (depth > 18)
    ventricles = fluid * inner
    # The average template hardly shows narrow sulci: where CSF is a ridge, however faint.
    fluid = 1 - grey - white
    relative = ndimage.gaussian_filter(fluid, 0.6) / (ndimage.gaussian_filter(fluid, 4.0) + 0.05)
    sulci = np.clip((relative - 0.55) / 1.3, 0, 1) * (depth < 45)
    box = (abs(x) < 33) & (y > -36) & (y < 28) & (z > -14) & (z < 26) & (depth > 24)
    deep = ndimage.gaussian_filter(box.astype(np.float32), 2.0)
    limbic = np.zeros(grid.size, np.float32)
    for *ras, radius in _LIMBIC:
        bell = [
            np.exp(-((axis - centre) ** 2) / (2 * (0.8 * radius) ** 2)).astype(np.float32)
            for axis, centre in zip((i, j, k), ras_to_grid(*ras), strict=True)
        ]
        limbic += bell[0] * bell[1] * bell[2]

    maps = {
        "grey": grey,
        "white": white,
        "sulci": np.where(brain, sulci, 0),
        "ventricles": ventricles,
        "deep": deep,
        "limbic": np.minimum(limbic, 1),
    }
    near = ndimage.gaussian_filter(ventricles[::2, ::2, ::2], 4.0)
    pull = np.stack(np.gradient(near)).astype(np.float32)
    pull /= np.sqrt((pull**2).sum(axis=0)).max()
    pull[abs(pull) < 1e-3] = 0
    return Template({name: np.round(255 * m).astype(np.uint8) for name, m in maps.items()}, pull)


def _template_path(name: str) -> Path:
    """A template volume inside the installed nilearn package, found without importing it."""
    found = find_spec("nilearn")
    if found is None or found.origin is None:
        raise InputError("the template comes with nilearn, which is missing; pip install nilearn")
    folder = Path(found.origin).parent / "datasets" / "data"
    return folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
