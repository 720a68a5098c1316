"""The preprocessing chain: raw scans in, images a classifier can be trained on out.

Inter-slice interpolation, registration, brain extraction, bias-field correction, histogram
matching and standardisation, in this order; any can be left out (thesis ch. 1, III.2).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import InputError
from ..image import Image
from ..image_io import read_image
from ..transform import Affine
from .atlas import Atlas, load_atlas
from .background import brain_from_background
from .options import ChainOptions
from .prepared import Prepared, StepRecord
from .registration import Registration, register_to_atlas
from .scan import check_scan
from .tissue_fit import coverage

#: Channels that the others are registered to: the first of these that the case has.
_REFERENCES = ("t1", "t1w", "t1ce")

#: A mask is doubtful where the contrast across its surface is lower, or the atlas's surface had to
#: move further (mm). Real scans show 0.47 and more, 2.6 and less; scans that are 20 and 40 mm off
#: 0.42 to 0.19, 5.4 to 9.2; pictures without a brain 0.01 and 9.
_EDGE = 0.33
_MOVED = 5.0

#: Brain volumes of a child of one year and of a large adult, with CSF, mL.
_BRAIN_ML = (700.0, 2100.0)

#: Distance of interpolated slices over the atlas's voxel size.
_FINER = 0.8

#: Share of the atlas's brain that a scan must show when registration is left out.
_OVERLAP = 0.2

OnEvent = Callable[[dict[str, Any]], None]


def prepare(
    channels: Mapping[str, Image],
    options: ChainOptions | None = None,
    *,
    brain: Image | None = None,
    on_event: OnEvent | None = None,
) -> Prepared:
    """Bring the scans of one case to the atlas.

    Parameters
    ----------
    channels : mapping of channel name to Image
        Raw scans. A T1 among them is registered to the atlas and the others rigidly to it; without
        a T1 the first channel takes its place.
    options : ChainOptions, optional
    brain : Image, optional
        The user's own brain mask, in the physical space of the T1 (or of the channel whose grid
        it shares); it replaces brain extraction.
    on_event : callable, optional
        Called with ``{"event": "step", "step": name, "channel": name}`` before every step;
        whatever it raises stops the chain.

    Returns
    -------
    Prepared
        With warnings where it is doubtful.

    Raises
    ------
    InputError
        If a scan cannot be used (see `check_scan`), a mask is empty, or a step that is left out
        would have been needed (no overlap with the atlas, no constant background).
    """
    options = options or ChainOptions()
    for name, image in channels.items():
        check_scan(image, name)
    case = _Case(dict(channels), options, load_atlas(options.atlas), on_event)
    interpolated = case.interpolate_slices()
    case.register(brain)
    mask = case.extract_brain(brain)
    images = case.resample(interpolated, mask)
    before: dict[str, Image] = {}
    if "n4" in options.steps:
        before, images = images, case.correct_bias(images, mask)
    if "match" in options.steps:
        images = case.match(images, mask)
    if "standardise" in options.steps:
        images = case.standardise(images, mask)
    return Prepared(
        images,
        mask,
        case.transforms,
        {name: image.geometry for name, image in channels.items()},
        tuple(case.records),
        tuple(case.warnings),
        before,
    )


class _Case:
    """The state of one run: where each channel lies, what was done, what is doubtful."""

    def __init__(
        self,
        scans: dict[str, Image],
        options: ChainOptions,
        atlas: Atlas,
        on_event: OnEvent | None,
    ) -> None:
        if not scans:
            raise InputError("no channel: at least one scan was expected")
        self.scans = scans
        self.options = options
        self.atlas = atlas
        self.on_event = on_event
        self.reference = reference_channel(scans)
        self.matching = matching_reference(options, list(scans))
        self.grid = atlas.grid(options.spacing)
        self.transforms = {name: Affine() for name in scans}
        self.seen: dict[str, NDArray[np.bool_]] = {}
        self.records: list[StepRecord] = []
        self.warnings: list[str] = []

    @contextmanager
    def _step(self, step: str, channel: str = "", **parameters: Any) -> Iterator[dict[str, float]]:
        """Announce a step and record it with the quality figures that its body fills in."""
        if self.on_event is not None:
            self.on_event({"event": "step", "step": step, "channel": channel})
        quality: dict[str, float] = {}
        start = time.perf_counter()
        try:
            yield quality
        except InputError as error:
            raise InputError(f"{step}{f' of {channel}' if channel else ''}: {error}") from error
        seconds = round(time.perf_counter() - start, 2)
        self.records.append(
            StepRecord(step, channel, parameters, __version__, seconds, dict(quality))
        )

    def interpolate_slices(self) -> dict[str, Image]:
        """The scans, anisotropic ones interpolated between their slices."""
        images = dict(self.scans)
        factor = self.options.interslice_factor
        if "interslice" in self.options.steps:
            from .interslice import interpolate_slices

            for name, image in self.scans.items():
                with self._step("interslice", name, factor=factor) as quality:
                    # Slices finer than the atlas's voxels would only cost memory.
                    in_plane = sorted(image.geometry.spacing)[1]
                    spacing = max(in_plane, _FINER * min(self.grid.spacing))
                    images[name] = interpolate_slices(image, factor=factor, spacing=spacing)
                    slices = zip(images[name].array.shape, image.array.shape, strict=True)
                    quality["slices_added"] = float(sum(new - old for new, old in slices))
        return images

    def register(self, brain: Image | None) -> None:
        """Find the transform of every channel to the atlas."""
        from .rigid import register_rigid

        if "registration" not in self.options.steps:
            for name, image in self.scans.items():
                seen = coverage(image.geometry, self.atlas, Affine())
                if seen < _OVERLAP:
                    raise InputError(
                        f"{name}: shows {seen:.0%} of the atlas's brain; it is not in atlas space. "
                        "Run the registration step, or check the header"
                    )
            return
        seed = self.options.seed
        reference = self.scans[self.reference]
        with self._step("registration", self.reference, kind="affine") as quality:
            # A mask on another channel's grid lies where that channel's header says.
            fits = brain is not None and self._channel_of(brain) == self.reference
            found = register_to_atlas(reference, self.atlas, brain=brain if fits else None)
            quality |= found.quality
        self._accept(self.reference, found.transform, found)
        for name, image in self.scans.items():
            if name == self.reference:
                continue
            with self._step("registration", name, kind="rigid", onto=self.reference, seed=seed) as (
                quality
            ):
                rigid = register_rigid(image, reference, self.atlas, found, seed=seed)
                quality |= rigid.quality
            self._accept(name, found.transform @ rigid.transform, rigid)

    def _accept(self, name: str, transform: Affine, registration: Registration) -> None:
        self.transforms[name] = transform
        self.warnings += [f"{name}: {text}" for text in registration.warnings]

    def extract_brain(self, own: Image | None) -> Image:
        """Brain mask on the atlas grid."""
        method = self.options.brain_method
        if own is not None:
            with self._step("brain", method="own mask") as quality:
                mask = self._to_atlas(own.with_array(own.array != 0), self._channel_of(own))
                self._check_brain(mask, quality)
        elif "brain" not in self.options.steps:
            with self._step("brain", self.reference, method="background") as quality:
                scan = self.scans[self.reference]
                inside = scan.with_array(brain_from_background(scan.array))
                mask = self._to_atlas(inside, self.reference)
                self._check_brain(mask, quality)
        elif method == "hd-bet":
            from .hdbet import extract_brain_hdbet

            with self._step("brain", self.reference, method=method) as quality:
                scan = self.scans[self.reference]
                own = extract_brain_hdbet(scan, allow_download=self.options.allow_download)
                mask = self._to_atlas(own, self.reference)
                self._check_brain(mask, quality)
        else:
            from .brain import extract_brain

            with self._step("brain", method=method) as quality:
                found = extract_brain(self.scans, self.atlas, self.transforms)
                quality |= found.quality
                mask = found.mask.resample(self.grid)
                self._check_brain(mask, quality)
                edge, moved = found.quality["edge"], found.quality["moved_mm"]
                if edge < _EDGE or moved > _MOVED:
                    self.warnings.append(
                        f"brain: the mask fits badly (edge {edge:.2f}, at least {_EDGE} expected; "
                        f"moved by {moved:.1f} mm, at most {_MOVED} expected); look at it"
                    )
        return mask

    def _to_atlas(self, mask: Image, channel: str) -> Image:
        return mask.resample(self.grid, transform=self._moved(channel))

    def _moved(self, channel: str) -> Affine | None:
        """Transform of a channel, none where nothing moves (grids that agree are then kept)."""
        return self.transforms[channel] if "registration" in self.options.steps else None

    def _channel_of(self, image: Image) -> str:
        """The channel whose grid a mask shares, else the reference."""
        same = [n for n, scan in self.scans.items() if scan.geometry.same_grid(image.geometry)]
        return self.reference if self.reference in same or not same else same[0]

    def _check_brain(self, mask: Image, quality: dict[str, float]) -> None:
        if not mask.array.any():
            raise InputError("the brain mask is empty on the atlas grid; check the mask and header")
        scale = abs(self.transforms[self.reference].determinant)
        volume = float(mask.array.sum()) * mask.geometry.voxel_volume_ml / scale
        quality["brain_ml"] = volume
        low, high = _BRAIN_ML
        if not low <= volume <= high:
            self.warnings.append(
                f"brain: {volume:.0f} mL, expected {low:.0f} to {high:.0f}; look at the mask"
            )

    def resample(self, images: dict[str, Image], mask: Image) -> dict[str, Image]:
        """The one resampling: every channel onto the atlas grid, 0 where it was not seen."""
        from .intensity import antialiased

        result = {}
        for name, image in images.items():
            with self._step("resample", name, interpolation="linear") as quality:
                if self._moved(name) is None and image.geometry.same_grid(self.grid):
                    smooth = image.with_array(image.array.astype(np.float32))
                else:
                    # What a millimetre of the atlas is in the scan.
                    scale = abs(self.transforms[name].determinant) ** (1 / 3)
                    smooth = antialiased(image, min(self.grid.spacing) / scale)
                onto = smooth.resample(
                    self.grid, transform=self._moved(name), background=float("nan")
                )
                seen = np.isfinite(onto.array)
                quality["seen"] = float(seen[mask.array].mean())
                if quality["seen"] < 0.1:
                    raise InputError(
                        "the scan shows less than a tenth of the brain; check the mask and header"
                    )
                self.seen[name] = seen
                result[name] = onto.with_array(np.where(seen, onto.array, 0).astype(np.float32))
        return result

    def correct_bias(self, images: dict[str, Image], mask: Image) -> dict[str, Image]:
        """N4 for every channel."""
        from .n4 import correct_bias

        result = {}
        shrink = self.options.n4_shrink_mm
        for name, image in images.items():
            with self._step("n4", name, shrink_mm=shrink) as quality:
                done = correct_bias(image, self._seen(name, mask), shrink_mm=shrink)
                quality |= done.quality
            result[name] = done.image
        return result

    def match(self, images: dict[str, Image], mask: Image) -> dict[str, Image]:
        """Histogram of one channel matched to the reference image's."""
        from .match import match_histogram

        assert self.matching is not None
        name, reference, inside = self.matching
        with self._step("match", name, reference=self.options.reference):
            matched = match_histogram(images[name], self._seen(name, mask), reference, inside)
        return {**images, name: matched}

    def standardise(self, images: dict[str, Image], mask: Image) -> dict[str, Image]:
        """Zero mean and unit variance over what is seen of the brain."""
        from .standardise import standardise

        robust, background = self.options.robust, self.options.background
        result = {}
        for name, image in images.items():
            with self._step("standardise", name, robust=robust, background=background):
                array = standardise(
                    image.array,
                    self._seen(name, mask).array,
                    background=background,
                    robust=robust,
                )
            result[name] = image.with_array(array)
        return result

    def _seen(self, channel: str, mask: Image) -> Image:
        """The part of the brain that a channel's field of view holds."""
        return mask.with_array(mask.array & self.seen[channel])


def reference_channel(channels: Iterable[str]) -> str:
    """The channel that is registered to the atlas: a T1 if there is one, else the first."""
    names = {name.casefold(): name for name in reversed(list(channels))}
    return next((names[t1] for t1 in _REFERENCES if t1 in names), list(names.values())[-1])


def matching_reference(
    options: ChainOptions, channels: Sequence[str]
) -> tuple[str, Image, Image] | None:
    """What the step "match" needs: the channel, the reference image and its brain.

    Raises
    ------
    InputError
        If it is not said which of several channels is matched, or the reference image cannot be
        read or is not skull-stripped.
    """
    if "match" not in options.steps:
        return None
    name = options.reference_channel or (channels[0] if len(channels) == 1 else "")
    if name not in channels:
        raise InputError(
            f"step match: channel {name!r} of the reference image, expected one of "
            f"{', '.join(channels)}; give it as CHANNEL=FILE"
        )
    reference = read_image(options.reference)
    try:
        inside = reference.with_array(brain_from_background(reference.array))
    except InputError as error:
        raise InputError(f"{options.reference}: {error}") from error
    return name, reference, inside
