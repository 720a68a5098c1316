"""Make the sample data of the Slicer extension: ``AttribSeg/Resources/SampleData``.

Everything is simulated. From one number that was drawn at random on, the first subject is taken
that the demonstration bundle (trained on others) gets right, healthy and with its tumour: a
tutorial needs one. What was passed over on the way is printed, and stands in the README of the
folder. Run it again when the simulation or the bundle changes, and correct the README.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from AttribSegLib.bundle import Bundle, load_bundle
from AttribSegLib.detection import detect
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.native_detection import detect_native, needs_preprocessing
from AttribSegLib.segmentation_file import write_segmentation
from AttribSegLib.simulation import Subject, acquire_stack, simulate_head, simulate_subject
from PIL import Image as Picture
from scipy.spatial.transform import Rotation

REPOSITORY = Path(__file__).resolve().parents[1]
MODULE = REPOSITORY / "AttribSeg"

#: Drawn at random, once.
FIRST_SEED = 146574

#: What counts as right: the classes, and this overlap with the drawn lesion.
LEAST_DICE = 0.3

#: Smaller lesions are dropped, mL.
MINIMUM_ML = 0.05

#: How the head lies in the scanner: turns about the three axes (degrees) and shift (mm).
TURNS, SHIFT = (11.0, -4.0, 6.0), (5.0, -18.0, 30.0)

#: A clinical two-dimensional FLAIR: thick slices, and a field that just holds the head, mm.
SPACING, FIELD = (1.4, 1.4, 4.0), (190.0, 240.0, 208.0)

#: Grey levels of the head: as many as its noise leaves to be told apart, for a small file.
LEVELS = 256


def turned(image: Image) -> Image:
    """The same head, lying elsewhere in the scanner: only the header changes."""
    turn = Rotation.from_euler("xyz", TURNS, degrees=True).as_matrix()
    old = image.geometry
    origin = tuple(turn @ np.asarray(old.origin) + SHIFT)
    grid = Geometry(old.size, old.spacing, origin, turn @ old.direction)
    return Image(image.array, grid)


def thumbnail(image: Image, path: Path) -> None:
    """An axial slice through the middle, 128 pixels a side, as the Sample Data module shows it."""
    array = image.reorient("RAS").array.astype(np.float32)
    plane = array[:, :, int(0.55 * array.shape[2])].T[::-1, ::-1]
    plane = np.clip(plane / np.percentile(plane[plane > 0], 99.5), 0, 1)
    steps = image.reorient("RAS").geometry.spacing
    size = (round(plane.shape[1] * steps[0]), round(plane.shape[0] * steps[1]))
    picture = Picture.fromarray((255 * plane).astype(np.uint8)).resize(size)
    picture.thumbnail((128, 128))
    square = Picture.new("L", (128, 128))
    square.paste(picture, ((128 - picture.width) // 2, (128 - picture.height) // 2))
    square.save(path, optimize=True)


def dice(found: Image, drawn: Image) -> float:
    """Overlap of two masks on one grid."""
    both = found.array.astype(bool) & drawn.array.astype(bool)
    return float(2 * both.sum() / max(found.array.astype(bool).sum() + drawn.array.sum(), 1))


def first_right(bundle: Bundle) -> tuple[int, Subject, Subject]:
    """The first seed whose two subjects the bundle gets right, and they."""
    seed = FIRST_SEED
    while True:
        pair = [simulate_subject(label, lesions="tumour", seed=seed) for label in (0, 1)]
        found = [detect(bundle, {"FLAIR": s.image}, minimum_ml=MINIMUM_ML) for s in pair]
        overlap = dice(found[1].mask, pair[1].lesions)
        print(
            f"seed {seed}: healthy {found[0].probability:.3f}, "
            f"tumour {found[1].probability:.3f}, Dice {overlap:.2f}",
            flush=True,
        )
        if [f.label for f in found] == [0, 1] and overlap >= LEAST_DICE:
            return seed, pair[0], pair[1]
        seed += 1


def raw_head(seed: int) -> tuple[Image, Image]:
    """A raw scan of the subject with the tumour, and the drawn lesion on its grid."""
    head = simulate_head(1, modality="FLAIR", lesions="tumour", seed=seed)
    stack = acquire_stack(turned(head.image), spacing=SPACING, field=FIELD)
    levels = np.clip(stack.array * (LEVELS / np.percentile(stack.array, 99.9)), 0, None)
    drawn = turned(head.lesions).resample(stack.geometry, interpolation="nearest")
    return stack.with_array(np.round(levels).astype(np.int16)), drawn


def tell(bundle: Bundle, name: str, image: Image, drawn: Image) -> None:
    """Print what is detected in an image, and what the best threshold on the map would give."""
    scans = {"FLAIR": image}
    run = detect_native if needs_preprocessing(bundle, scans) else detect
    found = run(bundle, scans, minimum_ml=MINIMUM_ML)
    scores = found.attribution
    best = max(
        (dice(scores.with_array(scores.array >= level), drawn), level)
        for level in np.quantile(scores.array, np.linspace(0.95, 1, 100))
    )
    print(
        f"{name}: probability {found.probability:.3f}, {len(found.lesions)} lesions, "
        f"Dice {dice(found.mask, drawn):.2f} at {found.threshold.value:.0f}, "
        f"at best {best[0]:.2f} at {best[1]:.0f}",
        flush=True,
    )
    for warning in () if found.prepared is None else found.prepared.warnings:
        print(f"  {warning}")


def main() -> int:
    """Simulate, write, and tell what the demonstration bundle makes of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=MODULE / "Resources" / "SampleData")
    parser.add_argument("--thumbnails", type=Path, default=MODULE / "Resources" / "Icons")
    parser.add_argument("--bundle", type=Path, default=REPOSITORY / "Resources" / "DemoBundle")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.thumbnails.mkdir(parents=True, exist_ok=True)

    bundle = load_bundle(args.bundle)
    seed, healthy, tumour = first_right(bundle)
    scan, drawn = raw_head(seed)
    write_segmentation(
        tumour.lesions, args.out / "SimulatedTumour_lesions.seg.nrrd", name="Drawn lesions"
    )
    for name, image, lesions in (
        ("SimulatedHealthy_FLAIR", healthy.image, healthy.lesions),
        ("SimulatedTumour_FLAIR", tumour.image, tumour.lesions),
        ("SimulatedHead_FLAIR", scan, drawn),
    ):
        write_image(image, args.out / f"{name}.nii.gz")
        thumbnail(image, args.thumbnails / f"{name}.png")
        tell(bundle, name, read_image(args.out / f"{name}.nii.gz"), lesions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
