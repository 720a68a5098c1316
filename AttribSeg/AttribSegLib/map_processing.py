"""Post-processing of maps: each step a function with its reason, none of them silently on.

Whatever is done to the map of a method is done to every baseline it is compared with, because
some steps (input times map, smoothing) lend any map part of the strength of the plain intensity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .image import Geometry

#: Added to the name of a map that was post-processed.
PROCESSED = ", post-processed"


def smooth(
    values: NDArray[Any], brain: NDArray[np.bool_], sigma: Sequence[float]
) -> NDArray[np.float32]:
    """Gaussian mean over the brain voxels around each voxel.

    Gradients of networks with strides carry a fine chequered pattern that no lesion has; a lesion
    is larger than a voxel, so the mean over its size loses little of it.

    Parameters
    ----------
    values : ndarray of shape (I, J, K)
    brain : ndarray of shape (I, J, K)
        Voxels outside take no part (normalised convolution), so that the rim is not darkened.
    sigma : sequence of float
        Standard deviation along each axis, in voxels; axes of one voxel are left alone.

    Returns
    -------
    ndarray of shape (I, J, K)
        Zero outside the brain.
    """
    from scipy.ndimage import gaussian_filter

    width = [each if size > 1 else 0.0 for each, size in zip(sigma, brain.shape, strict=True)]
    weight = gaussian_filter(brain.astype(np.float32), width)
    inside = gaussian_filter(np.where(brain, values, 0).astype(np.float32), width)
    return np.where(brain, inside / np.maximum(weight, 1e-6), 0).astype(np.float32)


def times_input(values: NDArray[Any], image: NDArray[Any]) -> NDArray[np.float32]:
    """Map times the standardised intensity: the "global" form of a local attribution.

    It asks how much a voxel contributed, not how much a change of it would. It borrows from the
    intensity threshold: on FLAIR it favours what is bright.

    Parameters
    ----------
    values, image : ndarrays of shape (I, J, K)
    """
    return (values * image).astype(np.float32)


def channels_times_input(channels: NDArray[Any], images: NDArray[Any]) -> NDArray[np.float32]:
    """Sum over channels of map times intensity, every channel's map with its own channel.

    Parameters
    ----------
    channels : ndarray of shape (C, I, J, K) or (1, I, J, K)
        Maps; a single one for all channels goes with the first.
    images : ndarray of shape (C, I, J, K)

    Returns
    -------
    ndarray of shape (I, J, K)
    """
    if len(channels) == len(images):
        return np.einsum("c...,c...->...", channels, images).astype(np.float32)
    return times_input(channels.sum(axis=0), images[0])


def positive_part(values: NDArray[Any]) -> NDArray[np.float32]:
    """Zero where the map argues for "healthy".

    Before smoothing, it keeps the negative surroundings of a small lesion from cancelling it.
    """
    return np.maximum(values, 0).astype(np.float32)


def within_brain(values: NDArray[Any], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Zero outside the brain, where no lesion of the brain can be."""
    return np.where(brain, values, 0).astype(np.float32)


def without_small_components(mask: NDArray[np.bool_], minimum_voxels: float) -> NDArray[np.bool_]:
    """Drop connected components (all neighbours) with fewer voxels than a minimum.

    Lesions below the size that people mark are mostly noise.

    Parameters
    ----------
    mask : ndarray of bool
    minimum_voxels : float
    """
    from scipy.ndimage import label

    labels, _ = label(mask, structure=np.ones((3,) * mask.ndim))
    # Rounding of the spacing must not remove a component of exactly the minimum.
    large = np.bincount(labels.ravel()) >= minimum_voxels * (1 - 1e-6)
    large[0] = False
    return large[labels]


@dataclass(frozen=True)
class MapProcessing:
    """Which steps are applied to a map, in this order, and how that was decided.

    Parameters
    ----------
    times_input, positive : bool
    smoothing_mm : float
        Standard deviation, in mm.
    smoothing_voxels : float
        The same in voxels, for images of nominal spacing.
    minimum_ml : float
        Smallest lesion after the threshold, in mL.
    minimum_voxels : int
        The same in voxels, for images of nominal spacing.
    chosen_by : {"", "user", "labels", "masks"}

    Raises
    ------
    InputError
        If a width or volume is negative or not finite.
    """

    times_input: bool = False
    positive: bool = False
    smoothing_mm: float = 0.0
    smoothing_voxels: float = 0.0
    minimum_ml: float = 0.0
    minimum_voxels: int = 0
    chosen_by: str = ""

    def __post_init__(self) -> None:
        for name in ("smoothing_mm", "smoothing_voxels", "minimum_ml", "minimum_voxels"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value >= 0):
                raise InputError(f"{name} {value!r}: a number of at least 0 was expected")
        if self.chosen_by not in ("", "user", "labels", "masks"):
            raise InputError(f"chosen_by {self.chosen_by!r}: labels, masks or user was expected")

    @property
    def changes_map(self) -> bool:
        """Whether the map itself is changed."""
        return (
            self.times_input or self.positive or self.smoothing_mm > 0 or self.smoothing_voxels > 0
        )

    @property
    def does_nothing(self) -> bool:
        """Whether maps and masks stay as they are."""
        return not self.changes_map and not self.minimum_ml and not self.minimum_voxels

    def map(
        self,
        values: NDArray[Any],
        image: NDArray[Any],
        brain: NDArray[np.bool_],
        geometry: Geometry,
    ) -> NDArray[np.float32]:
        """Post-process a map.

        Parameters
        ----------
        values : ndarray of shape (I, J, K)
        image : ndarray of shape (I, J, K)
            Standardised intensity, for ``times_input``.
        brain : ndarray of shape (I, J, K)
        geometry : Geometry

        Raises
        ------
        InputError
            If a width in mm meets a nominal spacing.
        """
        product = times_input(values, image) if self.times_input else values
        return self.map_or_product(values, product, brain, geometry)

    def map_or_product(
        self,
        values: NDArray[Any],
        product: NDArray[Any],
        brain: NDArray[np.bool_],
        geometry: Geometry,
    ) -> NDArray[np.float32]:
        """Post-process a map whose product with the input is at hand.

        See :func:`channels_times_input` and :meth:`map`.
        """
        result = np.asarray(product if self.times_input else values, dtype=np.float32)
        if self.positive:
            result = positive_part(result)
        if self.smoothing_mm:
            geometry.require_spacing("smoothing in mm")
            result = smooth(result, brain, [self.smoothing_mm / n for n in geometry.spacing])
        if self.smoothing_voxels:
            result = smooth(result, brain, [self.smoothing_voxels] * 3)
        return result

    def mask(self, mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.bool_]:
        """Drop small lesions of a thresholded map.

        Raises
        ------
        InputError
            If a volume in mL meets a nominal spacing.
        """
        least = float(self.minimum_voxels)
        if self.minimum_ml:
            geometry.require_spacing("a minimum volume in mL")
            least = max(least, self.minimum_ml / geometry.voxel_volume_ml)
        return without_small_components(mask, least) if least > 1 else mask

    def describe(self) -> str:
        """The steps in words.

        >>> MapProcessing(positive=True, smoothing_mm=2).describe()
        'positive part, smoothed by 2 mm'
        """
        words = []
        if self.times_input:
            words.append("times input")
        if self.positive:
            words.append("positive part")
        if self.smoothing_mm:
            words.append(f"smoothed by {self.smoothing_mm:g} mm")
        if self.smoothing_voxels:
            words.append(f"smoothed by {self.smoothing_voxels:g} voxels")
        if self.minimum_ml:
            words.append(f"lesions from {self.minimum_ml:g} mL")
        if self.minimum_voxels:
            words.append(f"lesions from {self.minimum_voxels} voxels")
        return ", ".join(words) or "raw"

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> MapProcessing:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        InputError
            If a step is unknown.
        """
        if not isinstance(content, Mapping):
            raise InputError(f"post-processing {content!r}: names and values were expected")
        known = [item.name for item in fields(cls)]
        unknown = sorted(set(content) - set(known))
        if unknown:
            raise InputError(
                f"post-processing {unknown[0]!r} is unknown; known are {', '.join(known)}"
            )
        return cls(**content)


RAW = MapProcessing()


def standard_candidates(*, nominal: bool) -> list[MapProcessing]:
    """What is tried when the post-processing is to be chosen; the raw map first."""
    steps: list[dict[str, Any]] = [{}]
    for width in (1.0, 2.0) if nominal else (2.0, 4.0):
        name = "smoothing_voxels" if nominal else "smoothing_mm"
        steps += [{name: width}, {"positive": True, name: width}]
        steps += [{"times_input": True, name: width}]
    return [MapProcessing(**each) for each in steps]
