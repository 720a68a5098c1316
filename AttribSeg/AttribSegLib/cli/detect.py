"""Detect lesions with a trained bundle: maps, masks, segmentations, tables and pictures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HELP = "detect lesions in images with a bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``attribseg detect``."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="skull-stripped image on the atlas; for several channels FLAIR=a.nii.gz,T1=b.nii.gz",
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--brain", type=Path, help="brain mask, for one image (default: from its background)"
    )
    parser.add_argument("--minimum-ml", type=float, default=0.0, help="drop smaller lesions, in mL")
    parser.add_argument(
        "--threshold", type=float, help="threshold on the map instead of the bundle's own"
    )
    parser.add_argument(
        "--nominal-spacing", action="store_true", help="voxel sizes are unknown; report none"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print events as JSON lines")


def run(args: argparse.Namespace) -> int:
    """Detect; one image's failure does not stop the others."""
    from ..errors import InputError
    from ..files import make_folder

    inputs = [_parse(text) for text in args.images]
    names = [name for name, _ in inputs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"two images are called {doubled[0]}; results would overwrite each other")
    if args.brain is not None and len(inputs) > 1:
        raise InputError("--brain belongs to one image; give the images one at a time")
    if args.minimum_ml < 0:
        raise InputError(f"--minimum-ml {args.minimum_ml}: a volume of at least 0 was expected")
    make_folder(args.out)

    from ..bundle import load_bundle
    from ..training.distributed import select_device

    bundle = load_bundle(args.bundle)
    device = select_device(args.device)
    failures: list[tuple[str, str]] = []
    for name, files in inputs:
        try:
            event = _detect_one(args, bundle, device, name, files)
        except InputError as error:
            failures.append((name, str(error)))
            event = {"event": "failed", "case": name, "reason": str(error)}
        _report(event, as_json=args.json)
    if failures:
        print(f"attribseg: {len(failures)} of {len(inputs)} images failed:", file=sys.stderr)
        for _, reason in failures:
            print(f"  {reason}", file=sys.stderr)
        return 2
    return 0


def _parse(text: str) -> tuple[str, dict[str, Path]]:
    """Case name and files per channel; a file without a channel's name goes by ``""``."""
    from ..files import stem

    files: dict[str, Path] = {}
    for part in text.split(","):
        channel, separator, path = part.partition("=")
        files[channel if separator else ""] = Path(path if separator else part)
    return stem(next(iter(files.values()))), files


def _detect_one(
    args: argparse.Namespace, bundle: Any, device: Any, name: str, files: dict[str, Path]
) -> dict[str, Any]:
    from ..detection import detect, write_detection
    from ..errors import InputError
    from ..image_io import read_image
    from ..provenance import file_hash, record
    from ..thresholds import Threshold

    if "" in files:
        if len(bundle.channels) > 1:
            raise InputError(
                f"{files['']}: the bundle expects {', '.join(bundle.channels)}; name the files as "
                + ",".join(f"{channel}=FILE" for channel in bundle.channels)
            )
        files = {bundle.channels[0]: files[""]}
    unknown = [channel for channel in files if channel not in bundle.channels]
    if unknown:
        raise InputError(
            f"{files[unknown[0]]}: channel {unknown[0]} is not the bundle's; it was trained on "
            f"{', '.join(bundle.channels)}"
        )
    nominal = args.nominal_spacing or bundle.geometry.nominal
    channels = {key: read_image(path, nominal=nominal) for key, path in files.items()}
    brain = None if args.brain is None else read_image(args.brain, nominal=nominal)
    threshold = bundle.thresholds["attribution"]
    if args.threshold is not None:
        threshold = Threshold(args.threshold, "user", {}, "given on the command line")
    try:
        detection = detect(
            bundle,
            channels,
            brain=brain,
            minimum_ml=args.minimum_ml,
            threshold=threshold,
            device=device,
        )
    except InputError as error:
        raise InputError(f"{next(iter(files.values()))}: {error}") from error
    paths = [path for path in files.values() if path.is_file()]
    details = record(
        inputs={key: str(path) for key, path in files.items()},
        inputs_sha256=file_hash(paths),
        bundle=str(args.bundle),
        bundle_sha256=file_hash([args.bundle / "models" / "model.safetensors"]),
        minimum_ml=args.minimum_ml,
        device=device.type,
    )
    written = write_detection(detection, args.out / name, name=name, record=details)
    return {
        "event": "case",
        "case": name,
        "probability": detection.probability,
        "class": "pathological" if detection.label else "healthy",
        "lesions": len(detection.lesions),
        "lesion_ml": None
        if detection.image.geometry.nominal
        else sum(lesion.volume_ml or 0.0 for lesion in detection.lesions),
        "files": {kind: str(path) for kind, path in written.items()},
    }


def _report(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(event), flush=True)
    elif event["event"] == "failed":
        print(f"{event['case']}: failed", flush=True)
    else:
        volume = "" if event["lesion_ml"] is None else f", {event['lesion_ml']:.2f} mL"
        print(
            f"{event['case']}: {event['class']} (probability {event['probability']:.2f}), "
            f"{event['lesions']} lesions{volume} -> {event['files']['segmentation']}",
            flush=True,
        )
