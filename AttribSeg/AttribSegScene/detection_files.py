"""What a detection wrote, read and measured without touching a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from AttribSegLib.errors import InputError
from AttribSegLib.files import read_json
from AttribSegLib.image import Image
from AttribSegLib.lesions import Lesion, binary_array
from AttribSegLib.overlay import attribution_limit
from AttribSegLib.transform import Affine

from . import names
from .live_threshold import lesions_within


@dataclass(frozen=True)
class DetectionFiles:
    """What a detection wrote, read and measured, ready to become nodes.

    Attributes
    ----------
    folder : Path
    summary : mapping
        Content of ``detection.json``.
    attribution, mask : Image
        On the grid of the volume.
    lesions : list of Lesion
    limit : float
        Value at which the attribution's colours saturate.
    by_channel : dict of str to Image
        Map of each channel, where there are several.
    prepared : dict of str to Image
        Of a raw scan: channels in atlas space.
    to_atlas : Affine or None
        Of a raw scan.
    channels : tuple of str
        Channels of the image, that of the volume first.
    """

    folder: Path
    summary: Mapping[str, Any]
    attribution: Image
    mask: Image
    lesions: list[Lesion]
    limit: float
    by_channel: dict[str, Image] = field(default_factory=dict)
    prepared: dict[str, Image] = field(default_factory=dict)
    to_atlas: Affine | None = None
    channels: tuple[str, ...] = ()


def read_detection(folder: str | Path, channels: Sequence[str] = ()) -> DetectionFiles:
    """Read what ``attribseg detect`` wrote about one image; touches no node.

    Parameters
    ----------
    folder : path
        Holds ``detection.json``.
    channels : sequence of str
        Channels of the image, that of the volume first; default as the record has them.

    Raises
    ------
    InputError
        If the folder holds no detection, or a file of it is missing or damaged.
    """
    source = Path(folder)
    summary = read_json(source / "detection.json")
    try:
        case, record = str(summary["case"]), summary["record"]
        nominal = summary["lesion_volume_ml"] is None
        given = list(channels) or list(record["inputs"])
        attributes_of(summary)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{source / 'detection.json'}: {error!r} is missing or of another kind; detect again"
        ) from error

    def read(name: str) -> Image:
        from AttribSegLib.image_io import read_image

        return read_image(source / name, nominal=nominal)

    attribution, mask = read(f"{case}_attribution.nii.gz"), read(f"{case}_lesions.nii.gz")
    if not mask.geometry.same_grid(attribution.geometry):
        raise InputError(f"{source}: mask and attribution lie on different grids; detect again")
    mask = mask.with_array(binary_array(mask))
    start, end = f"{case}_attribution_", ".nii.gz"
    files = sorted(path.name for path in source.iterdir() if path.name.startswith(start))
    by_channel = {name[len(start) : -len(end)]: read(name) for name in files if name.endswith(end)}
    prepared: dict[str, Image] = {}
    to_atlas = None
    if (source / "atlas").is_dir():
        from AttribSegLib.transform import read_transform

        prepared = {name: read(f"atlas/{case}_{name}.nii.gz") for name in given}
        to_atlas = read_transform(source / "atlas" / f"{case}_{given[0]}_to_atlas.tfm")
    return DetectionFiles(
        source,
        summary,
        attribution,
        mask,
        lesions_within(mask.array, attribution),
        attribution_limit(attribution),
        by_channel,
        prepared,
        to_atlas,
        tuple(given),
    )


def attributes_of(summary: Mapping[str, Any]) -> dict[str, str]:
    """What the segmentation node remembers of ``detection.json``."""
    record = summary["record"]
    return {
        names.CASE: str(summary["case"]),
        names.PROBABILITY: repr(float(summary["probability"])),
        names.CLASS: str(summary["class"]),
        names.THRESHOLD: repr(float(summary["threshold"]["value"])),
        names.MINIMUM_ML: repr(float(record["minimum_ml"])),
        names.SMOOTHING_MM: repr(0.0),
        names.BUNDLE: str(record["bundle"]),
        names.BUNDLE_HASH: str(record["bundle_sha256"]),
        names.WARNINGS: "\n".join(summary.get("preprocessing", {}).get("warnings", [])),
        names.NOMINAL: "1" if summary["lesion_volume_ml"] is None else "0",
    }
