"""Detect lesions in every image of a folder, in Slicer without its window.

    Slicer --no-splash --no-main-window --python-script batch_detect.py SCANS BUNDLE RESULTS

writes a folder for each image (segmentation, attribution, lesion table) and ``detections.csv``.
An image that cannot be used is reported there and does not stop the others. Ends with 0 when all
went well, 1 when an image failed, 2 when nothing could be started.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Volumes that Slicer loads from one file.
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")

COLUMNS = ("case", "state", "probability", "class", "lesions", "volume_ml", "message")


def images_below(folder: Path) -> dict[str, Path]:
    """Images of a folder by name of the case; segmentations are left out.

    Raises
    ------
    InputError
        If there is no such folder, or no image in it.
    """
    from AttribSegLib.errors import InputError
    from AttribSegLib.files import full_suffix, stem

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of the scans")
    paths = sorted(path for path in folder.iterdir() if full_suffix(path) in SUFFIXES)
    if not paths:
        raise InputError(f"{folder}: holds no {', '.join(SUFFIXES)}; give the folder of the scans")
    names = Counter(stem(path) for path in paths)
    return {
        stem(path) if names[stem(path)] == 1 else path.name.replace(".", "_"): path
        for path in paths
    }


def detect_case(
    logic: Any, path: Path, bundle: Path, folder: Path, minimum_ml: float
) -> dict[str, Any]:
    """Detect in one image, save its nodes, and say what was found.

    Raises
    ------
    InputError
        If the image cannot be used or a result cannot be written.
    """
    import slicer
    from AttribSegLib.errors import InputError, OutputError
    from AttribSegLib.files import atomic_folder
    from AttribSegLib.mrml import mask_from_segment
    from AttribSegScene import names

    segmentation = f"{folder.name}_lesions.seg.nrrd"
    if folder.is_dir() and any(folder.iterdir()) and not (folder / segmentation).is_file():
        raise OutputError(f"{folder}: holds other files; choose another folder for the results")
    try:
        volume = slicer.util.loadVolume(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: Slicer cannot read it as a volume") from error
    found = logic.detect(volume, bundle=str(bundle), minimumMl=minimum_ml)
    with atomic_folder(folder) as temporary:
        for node, name in (
            (found.segmentation_node, segmentation),
            (found.attribution_node, f"{folder.name}_attribution.nii.gz"),
            (found.table_node, f"{folder.name}_lesions.csv"),
        ):
            if not slicer.util.saveNode(node, str(temporary / name)):
                raise OutputError(f"{folder / name}: Slicer cannot write it")
    mask = mask_from_segment(found.segmentation_node, found.segment_id, reference=volume)
    mask = mask.with_nominal(found.nominal)
    volume_ml = "" if found.nominal else f"{mask.array.sum() * mask.geometry.voxel_volume_ml:.3f}"
    return {
        "state": "done",
        "probability": f"{found.probability:.4f}",
        "class": "pathological" if found.pathological else "healthy",
        # The table holds the largest only, of which there may be hundreds.
        "lesions": int(found.table_node.GetAttribute(names.LESIONS)),
        "volume_ml": volume_ml,
    }


def require_packages(*, install: bool) -> None:
    """See that detection can run; there is nobody to answer a question.

    Raises
    ------
    InputError
        If packages are missing and may not be, or cannot be, installed.
    """
    from AttribSegLib.errors import InputError
    from AttribSegPanel.dependencies import ensure, missing

    if install:
        ensure(confirm=lambda question: True)
    elif missing():
        raise InputError(
            f"{', '.join(missing())}: not installed in Slicer; press Detect in the module once, or "
            "give --install"
        )


def write_summary(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the table of all cases so far; it is whole at any time."""
    from AttribSegLib.files import write_text

    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def run(scans: Path, bundle: Path, out: Path, *, minimum_ml: float, logic: Any) -> int:
    """Detect in all images; the scene is emptied after each.

    Returns
    -------
    int
        How many images failed.

    Raises
    ------
    InputError
        If there is nothing to work on, or the results cannot be written.
    """
    import slicer
    from AttribSegLib.bundle_card import read_card
    from AttribSegLib.errors import InputError
    from AttribSegLib.files import make_folder

    images = images_below(scans)
    read_card(bundle)
    make_folder(out)
    rows: list[dict[str, Any]] = []
    for number, (name, path) in enumerate(images.items(), start=1):
        row: dict[str, Any] = {"case": name}
        try:
            row |= detect_case(logic, path, bundle, out / name, minimum_ml)
        except InputError as error:
            row |= {"state": "failed", "message": str(error)}
        except Exception as error:  # one bad image must not stop a night's work
            row |= {"state": "failed", "message": f"{type(error).__name__}: {error}"}
        slicer.mrmlScene.Clear(False)
        rows.append(row)
        write_summary(out / "detections.csv", rows)
        told = row.get("message") or f"probability {row['probability']}, {row['lesions']} lesions"
        print(f"[{number}/{len(images)}] {name}: {told}", flush=True)
    return sum(row["state"] == "failed" for row in rows)


def main(argv: Sequence[str]) -> int:
    """Read the arguments, detect, and return the exit code."""
    parser = argparse.ArgumentParser(prog="batch_detect.py", description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path, help="folder of the images, raw or prepared")
    parser.add_argument("bundle", type=Path, help="bundle folder")
    parser.add_argument("out", type=Path, help="folder for the results")
    parser.add_argument("--minimum-ml", type=float, default=0.05, help="drop smaller lesions, mL")
    parser.add_argument(
        "--install", action="store_true", help="install missing Python packages without asking"
    )
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # Slicer would go on with an open application
        return 2 if stop.code else 0
    from AttribSegLib.errors import InputError

    try:
        from AttribSeg import AttribSegLogic

        require_packages(install=args.install)
        failed = run(
            args.scans, args.bundle, args.out, minimum_ml=args.minimum_ml, logic=AttribSegLogic()
        )
    except InputError as error:
        print(f"batch_detect: error: {error}", file=sys.stderr, flush=True)
        return 2
    except Exception:  # Slicer would go on without a window, for ever
        traceback.print_exc()
        return 2
    return int(failed > 0)


if __name__ == "__main__":
    import slicer

    slicer.util.exit(main(sys.argv[1:]))
