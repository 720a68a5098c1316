"""Detect lesions with a trained bundle: maps, masks, segmentations, tables and pictures."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .events import print_event

HELP = "detect lesions in images with a bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``attribseg detect``."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="raw scan, or skull-stripped image on the atlas; for several channels "
        "FLAIR=a.nii.gz,T1=b.nii.gz (a T1 beside the bundle's channels helps the registration)",
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--brain", type=Path, help="brain mask, for one image (default: from its background)"
    )
    parser.add_argument(
        "--preprocess",
        choices=("auto", "none"),
        default="auto",
        help="auto: raw scans go through the chain that the bundle expects, results come back to "
        "their own space; none: images are taken as they are",
    )
    parser.add_argument(
        "--allow-download", action="store_true", help="HD-BET may fetch its weights"
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

    parsed = [_parse(text) for text in args.images]
    inputs = list(
        zip(_names([next(iter(files.values())) for files in parsed]), parsed, strict=True)
    )
    if args.brain is not None and len(inputs) > 1:
        raise InputError("--brain belongs to one image; give the images one at a time")
    if not (math.isfinite(args.minimum_ml) and args.minimum_ml >= 0):
        raise InputError(f"--minimum-ml {args.minimum_ml}: a volume of at least 0 was expected")
    if args.threshold is not None and not math.isfinite(args.threshold):
        raise InputError(f"--threshold {args.threshold}: a finite number was expected")
    make_folder(args.out)

    from ..bundle import load_bundle
    from ..training.distributed import select_device

    bundle = load_bundle(args.bundle)
    device = select_device(args.device)
    failures: list[tuple[str, str]] = []
    for done, (name, files) in enumerate(inputs):
        if args.json:
            print_event({"event": "image", "case": name, "done": done, "total": len(inputs)})
        try:
            event = _detect_one(args, bundle, device, name, files)
        except InputError as error:
            failures.append((name, str(error)))
            event = {"event": "failed", "case": name, "reason": str(error)}
        event |= {"done": done + 1, "total": len(inputs)}
        if args.json or len(inputs) > 1 or not failures:
            (print_event if args.json else _tell)(event)
    if failures and len(inputs) == 1:
        raise InputError(failures[0][1])
    if failures:
        print(f"attribseg: {len(failures)} of {len(inputs)} images failed:", file=sys.stderr)
        for _, reason in failures:
            print(f"  {reason}", file=sys.stderr)
        return 2
    return 0


def _parse(text: str) -> dict[str, Path]:
    """Files per channel; a file without a channel's name goes by ``""``."""
    from ..errors import InputError

    if Path(text).exists():  # its name may hold a comma or an equals sign
        return {"": Path(text)}
    files: dict[str, Path] = {}
    for part in text.split(","):
        channel, separator, path = part.partition("=")
        channel, path = (channel, path) if separator else ("", part)
        if channel in files or (files and "" in (channel, *files)):
            raise InputError(f"{text}: one file per channel was expected, as in FLAIR=FILE,T1=FILE")
        files[channel] = Path(path)
    return files


def _names(paths: list[Path]) -> list[str]:
    """Names of the cases; files of one name in different folders take their folder's before it.

    Names are compared as the file systems of Windows and macOS compare them.
    """
    from ..errors import InputError
    from ..files import stem

    whole = [path.absolute() for path in paths]
    # A DICOM folder may have a dot in its name; a file may have nothing but a suffix.
    names = [path.name if path.is_dir() else stem(path) or path.name for path in whole]
    count = Counter(name.casefold() for name in names)
    names = [
        f"{path.parent.name}_{name}" if count[name.casefold()] > 1 else name
        for path, name in zip(whole, names, strict=True)
    ]
    first: dict[str, Path] = {}
    for path, name in zip(paths, names, strict=True):
        other = first.setdefault(name.casefold(), path)
        if other is not path:
            raise InputError(
                f"{other} and {path}: the results of both would be called {name}; detect them one "
                "at a time with another --out"
            )
    return names


def _detect_one(
    args: argparse.Namespace, bundle: Any, device: Any, name: str, files: dict[str, Path]
) -> dict[str, Any]:
    from ..detection import detect, write_detection
    from ..errors import InputError
    from ..image_io import read_image
    from ..native_detection import detect_native, needs_preprocessing
    from ..provenance import file_hash, record
    from ..thresholds import Threshold

    if "" in files:
        if len(bundle.channels) > 1:
            raise InputError(
                f"{files['']}: the bundle expects {', '.join(bundle.channels)}; name the files as "
                + ",".join(f"{channel}=FILE" for channel in bundle.channels)
            )
        files = {bundle.channels[0]: files[""]}
    nominal = args.nominal_spacing or bundle.geometry.nominal
    channels = {key: read_image(path, nominal=nominal) for key, path in files.items()}
    raw = args.preprocess == "auto" and not nominal and needs_preprocessing(bundle, channels)
    unknown = [channel for channel in files if channel not in bundle.channels]
    if unknown and not raw:
        raise InputError(
            f"{files[unknown[0]]}: channel {unknown[0]} is not the bundle's; it was trained on "
            f"{', '.join(bundle.channels)}"
        )
    brain = None if args.brain is None else read_image(args.brain, nominal=nominal)
    threshold = bundle.detection_threshold
    if args.threshold is not None:
        threshold = Threshold(args.threshold, "user", {}, "given on the command line")
    given: dict[str, Any] = {
        "brain": brain,
        "minimum_ml": args.minimum_ml,
        "threshold": threshold,
        "device": device,
        "on_event": print_event if args.json else None,
    }
    if raw and not args.json:
        print(f"{name}: a raw scan, preparing it (about a minute) ...", flush=True)
    try:
        if raw:
            detection = detect_native(bundle, channels, allow_download=args.allow_download, **given)
        else:
            detection = detect(bundle, channels, **given)
    except InputError as error:
        raise InputError(f"{next(iter(files.values()))}: {error}") from error
    details = record(
        inputs={key: str(path) for key, path in files.items()},
        inputs_sha256=file_hash(_contents(files.values())),
        bundle=str(args.bundle),
        bundle_sha256=file_hash([args.bundle / "models" / "model.safetensors"]),
        minimum_ml=args.minimum_ml,
        device=device.type,
    )
    if args.json:
        print_event({"event": "step", "step": "write", "channel": ""})
    written = write_detection(detection, args.out / name, name=name, record=details)
    return {
        "event": "case",
        "case": name,
        "preprocessed": raw,
        "warnings": list(detection.prepared.warnings) if detection.prepared else [],
        "probability": detection.probability,
        "class": "pathological" if detection.label else "healthy",
        "lesions": len(detection.lesions),
        "lesion_ml": None
        if detection.image.geometry.nominal
        else sum(lesion.volume_ml or 0.0 for lesion in detection.lesions),
        "files": {kind: str(path) for kind, path in written.items()},
    }


def _contents(paths: Iterable[Path]) -> Iterator[Path]:
    """The files themselves, and those in DICOM folders."""
    for path in paths:
        yield from sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]


def _tell(event: dict[str, Any]) -> None:
    """For people."""
    if event["event"] == "failed":
        print(f"{event['case']}: failed", flush=True)
    else:
        volume = "" if event["lesion_ml"] is None else f", {event['lesion_ml']:.2f} mL"
        print(
            f"{event['case']}: {event['class']} (probability {event['probability']:.2f}), "
            f"{event['lesions']} lesions{volume} -> {event['files']['segmentation']}",
            flush=True,
        )
        for warning in event["warnings"]:
            print(f"  look at this case: {warning}", flush=True)
