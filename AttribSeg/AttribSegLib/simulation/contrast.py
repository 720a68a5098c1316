"""What a scanner makes of tissue: mean intensities, texture, bias field, blur and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .anatomy import Anatomy
from .fields import Array, smooth_field


@dataclass(frozen=True)
class Contrast:
    """Intensities of one acquisition, white matter being 1.

    Attributes
    ----------
    fluid, grey, deep, lesion : float
        Means of CSF, cortex, deep grey matter and lesions.
    limbic : float
        What limbic cortex has more than other cortex.
    texture, bias, noise : float
        Standard deviations, relative, of tissue texture, bias field and noise (at 1 mm).
    blur : float
        Standard deviation of the scanner's point spread, mm.
    gain : float
        Intensity of white matter in the stored image.
    """

    fluid: float
    grey: float
    deep: float
    lesion: float
    limbic: float
    texture: float
    bias: float
    noise: float
    blur: float
    gain: float


def draw_contrast(rng: np.random.Generator, modality: str) -> Contrast:
    """Random contrast of one acquisition.

    FLAIR: CSF < white < grey < lesions. T1: CSF < grey < white, lesions between CSF and white.
    """
    flair = modality == "FLAIR"
    grey = rng.uniform(1.06, 1.21) if flair else rng.uniform(0.62, 0.8)
    return Contrast(
        fluid=rng.uniform(0.04, 0.38) if flair else rng.uniform(0.08, 0.35),
        grey=grey,
        deep=grey * rng.uniform(0.87, 0.99) if flair else grey + rng.uniform(0.06, 0.16),
        lesion=grey * rng.uniform(1.14, 1.34) if flair else rng.uniform(0.6, 0.85),
        limbic=rng.uniform(0.0, 0.12) if flair else 0.0,
        texture=rng.uniform(0.02, 0.04),
        bias=rng.uniform(0.01, 0.045),
        noise=rng.uniform(0.015, 0.045),
        blur=rng.uniform(0.4, 0.8),
        gain=10 ** rng.uniform(1.8, 2.9),
    )


def tissue_signal(rng: np.random.Generator, anatomy: Anatomy, contrast: Contrast) -> Array:
    """Noise-free signal: tissue means mixed by fraction, with texture inside each tissue.

    Returns
    -------
    ndarray of shape (I, J, K), float32
        White matter is about 1.
    """
    voxel = anatomy.voxel
    coarse, fine = smooth_field(rng, voxel, 22.0), smooth_field(rng, voxel, 6.0)
    cortex = smooth_field(rng, voxel, 14.0)
    deep = contrast.grey + (contrast.deep - contrast.grey) * anatomy.deep
    grey = deep + contrast.limbic * anatomy.limbic * (1 - anatomy.deep)
    texture = 1 + contrast.texture * (0.8 * coarse + 0.6 * fine)
    grey = grey * (texture + 0.6 * contrast.texture * cortex)
    fluid = contrast.fluid * (1 + 0.3 * coarse).clip(0.2)
    return anatomy.white * texture + anatomy.grey * grey + anatomy.fluid * fluid


def acquire(
    rng: np.random.Generator,
    signal: Array,
    anatomy: Anatomy,
    contrast: Contrast,
    *,
    gain: Array | float = 1.0,
) -> Array:
    """Image of a signal: point spread, bias field, Rician noise, skull stripped.

    Parameters
    ----------
    rng : Generator
    signal : ndarray of shape (I, J, K)
        White matter about 1.
    anatomy, contrast : Anatomy, Contrast
    gain : ndarray or float
        Multiplies the signal (the scanner's own pattern).

    Returns
    -------
    ndarray of shape (I, J, K), int16
        0 outside the brain and at least 1 inside.
    """
    voxel = anatomy.voxel
    # A voxel averages over itself: larger ones see less detail and less noise.
    blur = np.hypot(contrast.blur, 0.4 * voxel)
    signal = ndimage.gaussian_filter(signal, blur / voxel, truncate=3)
    bias = smooth_field(rng, voxel, 60.0) + 0.5 * smooth_field(rng, voxel, 35.0)
    signal = signal * np.exp(contrast.bias * bias) * gain
    noise = rng.standard_normal((2, *signal.shape), dtype=np.float32)
    # Resampling onto the atlas has left the noise of real images a little correlated.
    for k in range(2):
        noise[k] = ndimage.gaussian_filter(noise[k], 0.45, truncate=3)
    noise *= contrast.noise / noise[0].std() / voxel**0.6
    image = contrast.gain * np.hypot(signal + noise[0], noise[1])
    image = np.clip(np.round(image), 1, 32767) * anatomy.brain
    return image.astype(np.int16)
