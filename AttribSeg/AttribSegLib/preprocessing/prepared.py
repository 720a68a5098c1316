"""`Prepared`: what the preprocessing chain returns, with the way back to the scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..image import Geometry, Image
from ..transform import Affine
from .mask_transfer import transfer_mask


@dataclass(frozen=True)
class StepRecord:
    """What one step did.

    Attributes
    ----------
    step : str
        Name of the step.
    channel : str
        Channel it worked on, empty for all.
    parameters : dict
    version : str
        Version of this package.
    seconds : float
    quality : dict of float
        Quality figures, such as ``"determinant"``.
    """

    step: str
    channel: str
    parameters: dict[str, Any]
    version: str
    seconds: float
    quality: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Prepared:
    """Images of one case in atlas space.

    Attributes
    ----------
    channels : dict of str to Image
        On the atlas grid, float32.
    brain : Image
        Brain mask on the atlas grid, bool.
    transforms : dict of str to Affine
        From each channel's native space to the atlas.
    native : dict of str to Geometry
        Grid each channel came on.
    steps : tuple of StepRecord
        In the order they ran.
    warnings : tuple of str
        What makes the result doubtful; a case with any is *flagged* and must be looked at.
    before_n4 : dict of str to Image
        The channels as they were before the bias field was corrected, where it was.
    """

    channels: dict[str, Image]
    brain: Image
    transforms: dict[str, Affine]
    native: dict[str, Geometry]
    steps: tuple[StepRecord, ...] = ()
    warnings: tuple[str, ...] = ()
    before_n4: dict[str, Image] = field(default_factory=dict)

    @property
    def flagged(self) -> bool:
        """Whether somebody has to look at this case before it is used."""
        return bool(self.warnings)

    @property
    def quality(self) -> dict[str, float]:
        """Quality figures of all steps, as ``step.channel.figure`` or ``step.figure``."""
        figures: dict[str, float] = {}
        for record in self.steps:
            prefix = ".".join(filter(None, (record.step, record.channel)))
            figures |= {f"{prefix}.{name}": value for name, value in record.quality.items()}
        return figures

    def to_native(self, image: Image, channel: str, *, background: float = 0.0) -> Image:
        """Bring a map or mask from the atlas to the native grid of a channel.

        Parameters
        ----------
        image : Image
            In atlas space, on any grid. In a boolean mask every lesion keeps its volume and
            centre (`transfer_mask`); maps are interpolated.
        channel : str
        background : float
            Value where the atlas grid does not reach.

        Raises
        ------
        InputError
            If there is no such channel.
        """
        back = self._transform(channel).inverse()
        if image.array.dtype == bool:
            return transfer_mask(image, self.native[channel], back)
        return image.resample(self.native[channel], transform=back, background=background)

    def to_atlas(self, image: Image, channel: str) -> Image:
        """Bring a map or mask from a channel's native space onto the atlas grid, likewise."""
        if image.array.dtype == bool:
            return transfer_mask(image, self.brain.geometry, self._transform(channel))
        return image.resample(self.brain.geometry, transform=self._transform(channel))

    def _transform(self, channel: str) -> Affine:
        if channel not in self.transforms:
            raise InputError(f"channel {channel!r}: the case has {', '.join(self.transforms)}")
        return self.transforms[channel]

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Arrays of the channels, shape (I, J, K)."""
        return {name: image.array for name, image in self.channels.items()}

    def summary(self) -> Mapping[str, Any]:
        """Record of the case, in plain form for JSON."""
        return {
            "channels": list(self.channels),
            "grid": self.brain.geometry.to_dict(),
            "native": {name: grid.to_dict() for name, grid in self.native.items()},
            "transforms": {name: t.to_list() for name, t in self.transforms.items()},
            "warnings": list(self.warnings),
            "steps": [record.to_dict() for record in self.steps],
        }
