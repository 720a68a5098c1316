"""Augmentation of training images (thesis ch. 1, III.3), with MONAI's transforms.

Every draw comes from a generator seeded by the sample, so that a resumed or a distributed run
sees the images that an uninterrupted one sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputError


@dataclass(frozen=True)
class AugmentationOptions:
    """How training images are varied.

    Parameters
    ----------
    brightness : tuple of float
        Range of the factor on intensities, counted from the background; (1, 1) for none. The
        thesis uses (0.5, 2). With a background below the mean (such as -3, where the signal is
        about zero) the factor moves the mean too. Without that, standardised images all have
        mean zero, a uniform attribution costs the classifier nothing, and the constraint can be
        met by a constant.
    flip : float
        Probability of a flip in the sagittal plane.
    elastic : float
        Probability of an elastic deformation.
    elastic_amplitude : float
        Largest displacement, as a fraction of half the field of view.
    affine : float
        Probability of a small rotation, scaling and shift; not in the thesis, worth having where
        patients are few.
    """

    brightness: tuple[float, float] = (0.8, 1.25)
    flip: float = 0.5
    elastic: float = 0.3
    elastic_amplitude: float = 0.06
    affine: float = 0.3

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "brightness", tuple(float(b) for b in self.brightness))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"brightness {self.brightness!r}: two factors were expected"
            ) from error
        if len(self.brightness) != 2 or not 0 < self.brightness[0] <= self.brightness[1] < math.inf:
            raise InputError(f"brightness {self.brightness}: two factors, 0 < low <= high")
        for name in ("flip", "elastic", "affine", "elastic_amplitude"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and 0 <= value <= 1):
                raise InputError(f"{name} {value}: a number from 0 to 1 was expected")


#: Images as they are.
NO_AUGMENTATION = AugmentationOptions(brightness=(1.0, 1.0), flip=0.0, elastic=0.0, affine=0.0)

#: Control points of the elastic field along each axis.
_CONTROL_POINTS = 5
#: Limits of the affine variation: radians, relative size, share of the field of view.
_ROTATION, _SCALING, _SHIFT = 0.25, 0.15, 0.08


class Augmentation:
    """Varies one image and its brain mask.

    Parameters
    ----------
    options : AugmentationOptions
    spatial_size : tuple of int
        Voxels along each axis, two or three of them.
    flip_axis : int
        Axis that runs from left to right.
    background : float
        Value outside the brain; it is never changed.
    """

    def __init__(
        self,
        options: AugmentationOptions,
        spatial_size: tuple[int, ...],
        *,
        flip_axis: int = 0,
        background: float = 0.0,
    ) -> None:
        from monai.transforms import RandAffine, RandFlip, RandScaleIntensity, RandSmoothDeform

        self.background = background
        low, high = options.brightness
        self._brightness: Any = None
        if (low, high) != (1.0, 1.0):
            self._brightness = RandScaleIntensity(factors=(low - 1.0, high - 1.0), prob=1.0)
        self._spatial: list[Any] = []
        if options.flip > 0:
            self._spatial.append(RandFlip(prob=options.flip, spatial_axis=flip_axis))
        if options.elastic > 0 and options.elastic_amplitude > 0:
            axes = len(spatial_size)
            self._spatial.append(
                RandSmoothDeform(
                    spatial_size=spatial_size,
                    rand_size=(_CONTROL_POINTS,) * axes,
                    pad=1,
                    field_mode="trilinear" if axes == 3 else "bicubic",
                    align_corners=True,
                    prob=options.elastic,
                    def_range=options.elastic_amplitude,
                    grid_mode="bilinear",
                    # MONAI's grid runs from corner to corner, which its sampling does not by
                    # itself.
                    grid_align_corners=True,
                )
            )
        if options.affine > 0:
            self._spatial.append(
                RandAffine(
                    prob=options.affine,
                    rotate_range=[_ROTATION] * (3 if len(spatial_size) == 3 else 1),
                    scale_range=[_SCALING] * len(spatial_size),
                    translate_range=[_SHIFT * size for size in spatial_size],
                    padding_mode="zeros",
                )
            )

    def __call__(
        self, image: torch.Tensor, masks: torch.Tensor, *, seed: tuple[int, ...]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vary an image.

        Parameters
        ----------
        image : Tensor of shape (C, I, J[, K])
        masks : Tensor of shape (M, I, J[, K]), bool
            The brain first, then whatever else must go with the image.
        seed : tuple of int
            Names the draw: seed of the run, epoch, step, place in the batch.

        Returns
        -------
        image, masks : Tensors of the same shapes
        """
        from monai.utils import convert_to_tensor

        states = np.random.SeedSequence(seed).generate_state(4)
        if self._spatial:
            count = len(masks)
            both = torch.cat([image - self.background, masks.to(image.dtype)])
            for transform, state in zip(self._spatial, states[1:], strict=False):
                transform.set_random_state(int(state))
                both = convert_to_tensor(transform(both), track_meta=False)
            image, masks = both[:-count], both[-count:] > 0.5
        else:
            image = image - self.background
        if self._brightness is not None:
            self._brightness.set_random_state(int(states[0]))
            image = convert_to_tensor(self._brightness(image), track_meta=False)
        return torch.where(masks[:1], image, 0.0) + self.background, masks
