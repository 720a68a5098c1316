"""Detection on a scan as it left the scanner: to the atlas, through the bundle, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .bundle import Bundle
from .detection import Detection, detect
from .errors import InputError
from .image import Image
from .lesions import lesion_table, remove_small_lesions
from .preprocessing.atlas import load_atlas
from .preprocessing.background import brain_from_background
from .preprocessing.chain import OnEvent, prepare
from .preprocessing.options import ChainOptions
from .thresholds import Threshold

#: Overlap (Dice) of a skull-stripped brain with the atlas's, through the header alone, from which
#: the image counts as registered. Brains registered rigidly reach 0.7, unregistered ones less.
_REGISTERED = 0.65

#: Share of it that lies in the atlas's brain or the ring around it; of a head on a black background
#: much less does.
_WITHIN = 0.93


def expected_options(bundle: Bundle) -> ChainOptions:
    """How images must be prepared for a bundle.

    That is what its training images went through (`Bundle.preprocessing`); for a bundle that says
    nothing, the default chain at the spacing of its grid.

    Raises
    ------
    InputError
        If the bundle works on images of unknown spacing or on a grid that no chain makes.
    """
    if bundle.preprocessing:
        return ChainOptions.from_dict(bundle.preprocessing)
    spacing = bundle.geometry.spacing
    if bundle.geometry.nominal or len(set(np.round(spacing, 3))) > 1 or spacing[0] not in (1, 2):
        raise InputError(
            "the bundle was not trained in MNI152 space and does not say how its images were "
            "prepared; prepare the image as they were and give --preprocess none"
        )
    return ChainOptions(spacing=spacing[0])


def needs_preprocessing(bundle: Bundle, channels: Mapping[str, Image]) -> bool:
    """Whether images are raw scans rather than brains in the atlas's space.

    An image counts as prepared when its background is constant (the skull is stripped) and its
    brain lies where the atlas's does. For a bundle on another grid, or of unknown spacing, nothing
    can be prepared, and images are taken as they are.
    """
    try:
        options = expected_options(bundle)
    except InputError:
        return False
    atlas = load_atlas(options.atlas)
    for image in channels.values():
        try:
            brain = image.with_array(brain_from_background(image.array))
        except InputError:
            return True
        there = brain.resample(atlas.brain.geometry).array
        both = 2 * (there & atlas.brain.array).sum()
        overlap = both / (there.sum() + atlas.brain.array.sum())
        within = (there & (atlas.tissue.array > 0)).sum() * atlas.brain.geometry.voxel_volume_ml
        whole = brain.array.sum() * image.geometry.voxel_volume_ml
        if overlap < _REGISTERED or within < _WITHIN * whole:
            return True
    return False


def detect_native(
    bundle: Bundle,
    scans: Mapping[str, Image],
    *,
    brain: Image | None = None,
    minimum_ml: float = 0.0,
    threshold: Threshold | None = None,
    device: Any = None,
    allow_download: bool = False,
    on_event: OnEvent | None = None,
) -> Detection:
    """Prepare raw scans as the bundle expects, detect, and bring the result back.

    Parameters
    ----------
    bundle : Bundle
    scans : mapping of channel name to Image
        The bundle's channels; a T1 beside them helps the registration.
    brain : Image, optional
        Brain mask in the scans' space.
    minimum_ml : float
        Smaller lesions are dropped, in mL of the scan (not of the atlas, which is larger than
        most brains).
    threshold : Threshold, optional
        Instead of the bundle's own.
    device : torch.device, optional
    allow_download : bool
        HD-BET, where the bundle asks for it, may fetch its weights.
    on_event : callable, optional
        See `prepare` and `detect`.

    Returns
    -------
    Detection
        On the grid of the bundle's first channel, with `Detection.atlas` and
        `Detection.prepared` set.

    Raises
    ------
    InputError
        If a channel is missing, or the scans cannot be prepared.
    """
    missing = [name for name in bundle.channels if name not in scans]
    if missing:
        raise InputError(
            f"channel {', '.join(missing)} is missing: the bundle expects "
            f"{', '.join(bundle.channels)}, the image gives {', '.join(scans)}"
        )
    options = replace(expected_options(bundle), allow_download=allow_download)
    prepared = prepare(scans, options, brain=brain, on_event=on_event)
    found = detect(
        bundle,
        prepared.channels,
        brain=prepared.brain,
        threshold=threshold,
        device=device,
        on_event=on_event,
    )
    first = bundle.channels[0]
    attribution = prepared.to_native(found.attribution, first)
    mask = prepared.to_native(found.mask, first)
    if minimum_ml > 0:
        mask = remove_small_lesions(mask, minimum_ml)
    return replace(
        found,
        image=scans[first],
        attribution=attribution,
        by_channel={
            name: prepared.to_native(image, first) for name, image in found.by_channel.items()
        },
        mask=mask,
        lesions=lesion_table(mask, attribution),
        atlas=found,
        prepared=prepared,
    )
