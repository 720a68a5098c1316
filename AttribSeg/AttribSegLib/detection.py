"""Detection: an image in, lesions out, in the image's own geometry."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Bundle
from .cases import SLICE_ORIENTATION, prepare_channels
from .errors import InputError, OutputError
from .files import atomic_folder, write_json, write_text
from .image import Image
from .image_io import write_image
from .inference import predict_slices, predict_volume
from .lesions import Lesion, lesion_table, remove_small_lesions, write_lesion_table
from .map_processing import RAW, MapProcessing, within_brain
from .operating_point import post_process
from .preprocessing.prepared import Prepared
from .thresholds import Threshold
from .transform import write_transform


@dataclass(frozen=True)
class Detection:
    """Lesions of one image.

    Parameters
    ----------
    image : Image
        First channel, as it came.
    logit, probability : float
        Of the class pathological. For a volume read slice by slice, the largest over slices.
    attribution : Image
        Map in the image's own geometry, post-processed where the bundle says so; zero outside the
        brain.
    mask : Image
        Lesion mask, bool, in the image's own geometry.
    lesions : list of Lesion
    threshold : Threshold
        That was applied to the attribution.
    slices : list of dict
        For a volume read slice by slice: index, logit and probability of each.
    by_channel : dict of str to Image
        Raw map of each channel, where there are several.
    processing : MapProcessing
        Post-processing of the map.
    atlas : Detection, optional
        Of a raw scan: the same detection in atlas space.
    prepared : Prepared, optional
        Of a raw scan: how it was brought to the atlas.
    """

    image: Image
    logit: float
    probability: float
    attribution: Image
    mask: Image
    lesions: list[Lesion]
    threshold: Threshold
    slices: list[dict[str, float]] = field(default_factory=list)
    by_channel: dict[str, Image] = field(default_factory=dict)
    processing: MapProcessing = RAW
    atlas: Detection | None = None
    prepared: Prepared | None = None

    @property
    def label(self) -> int:
        """0 healthy, 1 pathological."""
        return int(self.logit > 0)


def detect(
    bundle: Bundle,
    channels: Mapping[str, Image],
    *,
    brain: Image | None = None,
    minimum_ml: float = 0.0,
    threshold: Threshold | None = None,
    device: Any = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Detection:
    """Detect the lesions of one image.

    A volume is brought onto the bundle's grid through its own coordinates (it must already be
    registered to the atlas), the map comes back the same way. A bundle trained on slices reads
    the volume slice by slice.

    Parameters
    ----------
    bundle : Bundle
    channels : mapping of channel name to Image
        Skull-stripped, one per channel of the bundle, on one grid.
    brain : Image, optional
        Brain mask; derived from the background when absent.
    minimum_ml : float
        Smaller lesions are dropped, in mL.
    threshold : Threshold, optional
        Instead of the bundle's own.
    device : torch.device, optional
    on_event : callable, optional
        Called with ``{"event": "step", "step": "attribution", "channel": ""}`` before the network
        is asked, which takes most of the time.

    Raises
    ------
    InputError
        If channels are missing, the image cannot be prepared, or it does not lie on the atlas.
    """
    missing = [name for name in bundle.channels if name not in channels]
    if missing:
        raise InputError(
            f"channel {', '.join(missing)} is missing: the bundle expects "
            f"{', '.join(bundle.channels)}, the image gives {', '.join(channels)}"
        )
    first = channels[bundle.channels[0]]
    if bundle.dimensions == 2:
        # Slices are cut across the body axis; work in their orientation and come back at the end.
        channels = {name: image.reorient(SLICE_ORIENTATION) for name, image in channels.items()}
        brain = None if brain is None else brain.reorient(SLICE_ORIENTATION)
    array, inside, geometry = prepare_channels(
        {name: channels[name] for name in bundle.channels},
        brain,
        background=bundle.recipe.background,
        clip=bundle.recipe.clip,
    )
    if on_event is not None:
        on_event({"event": "step", "step": "attribution", "channel": ""})
    slices: list[dict[str, float]] = []
    if bundle.dimensions == 2:
        prediction, slices = predict_slices(bundle, array, inside, geometry, device=device)
    else:
        prediction = predict_volume(bundle, array, inside, geometry, device=device)
    chosen = threshold or bundle.detection_threshold
    processing = bundle.detection_processing
    processed = post_process(prediction, processing, array, inside, geometry)
    attribution = within_brain(processed, inside)
    mask = Image(processing.mask(chosen.mask(attribution) & inside, geometry), geometry)
    if minimum_ml > 0:
        mask = remove_small_lesions(mask, minimum_ml)

    def back(image: Image) -> Image:
        array = image.reorient(first.geometry.orientation()).array
        return Image(np.ascontiguousarray(array), first.geometry)

    map_native, mask_native = back(Image(attribution, geometry)), back(mask)
    by_channel = {
        name: back(Image(within_brain(values, inside), geometry))
        for name, values in prediction.by_channel(bundle.map_channels).items()
    }
    return Detection(
        first,
        prediction.logit,
        prediction.probability,
        map_native,
        mask_native,
        lesion_table(mask_native, map_native),
        chosen,
        slices,
        by_channel,
        processing,
    )


def write_detection(
    detection: Detection, folder: str | Path, *, name: str, record: Mapping[str, Any]
) -> dict[str, Path]:
    """Write everything about one detection into a folder, all or nothing.

    Parameters
    ----------
    detection : Detection
    folder : path
        Replaced when it holds an earlier detection.
    name : str
        Name of the case; files begin with it.
    record : mapping
        Provenance, stored in ``detection.json``.

    Returns
    -------
    dict of str to Path
        ``attribution`` (and one for each of several channels), ``mask``, ``segmentation``,
        ``lesions``, ``overlay``, ``summary``; for a raw scan also ``atlas``, a folder with the
        same in atlas space.

    Raises
    ------
    OutputError
        If a file cannot be written, or the folder holds something else; nothing is left behind.
    """
    from .overlay import save_overlay
    from .segmentation_file import write_segmentation

    names = {
        "attribution": f"{name}_attribution.nii.gz",
        "mask": f"{name}_lesions.nii.gz",
        "segmentation": f"{name}_lesions.seg.nrrd",
        "lesions": f"{name}_lesions.csv",
        "overlay": f"{name}_overlay.png",
        "summary": "detection.json",
    }
    target = Path(folder)
    if target.is_dir() and any(target.iterdir()) and not (target / names["summary"]).is_file():
        raise OutputError(
            f"{target}: holds other files, not an earlier detection; give another --out"
        )
    nominal = detection.image.geometry.nominal
    with atomic_folder(target) as temporary:
        write_image(detection.attribution, temporary / names["attribution"])
        for channel, image in detection.by_channel.items():
            names[f"attribution_{channel}"] = f"{name}_attribution_{channel}.nii.gz"
            write_image(image, temporary / names[f"attribution_{channel}"])
        write_image(detection.mask, temporary / names["mask"])
        write_segmentation(detection.mask, temporary / names["segmentation"])
        write_lesion_table(detection.lesions, temporary / names["lesions"], nominal=nominal)
        if detection.slices:
            names["slices"] = f"{name}_slices.csv"
            write_text(temporary / names["slices"], _slices_table(detection.slices))
        verdict = "pathological" if detection.label else "healthy"
        save_overlay(
            temporary / names["overlay"],
            detection.image,
            detection.mask,
            detection.attribution,
            title=f"{name}: {verdict}, probability {detection.probability:.2f}",
        )
        total = None if nominal else sum(lesion.volume_ml or 0.0 for lesion in detection.lesions)
        summary = {
            "case": name,
            "probability": detection.probability,
            "logit": detection.logit,
            "class": verdict,
            "lesions": len(detection.lesions),
            "lesion_volume_ml": total,
            "threshold": detection.threshold.to_dict(),
            "post_processing": detection.processing.to_dict(),
            "record": dict(record),
        }
        if detection.atlas is not None and detection.prepared is not None:
            names["atlas"] = "atlas"
            _write_atlas(detection.atlas, detection.prepared, temporary / "atlas", name)
            summary["preprocessing"] = detection.prepared.summary()
        write_json(temporary / names["summary"], summary)
    return {kind: target / file for kind, file in names.items()}


def _write_atlas(detection: Detection, prepared: Prepared, folder: Path, name: str) -> None:
    """The prepared images, the transforms and the detection in atlas space."""
    for channel, image in prepared.channels.items():
        write_image(image, folder / f"{name}_{channel}.nii.gz")
        write_transform(prepared.transforms[channel], folder / f"{name}_{channel}_to_atlas.tfm")
    write_image(prepared.brain, folder / f"{name}_brain.nii.gz")
    write_image(detection.attribution, folder / f"{name}_attribution.nii.gz")
    write_image(detection.mask, folder / f"{name}_lesions.nii.gz")


def _slices_table(rows: list[dict[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
