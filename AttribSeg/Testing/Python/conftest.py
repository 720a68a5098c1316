"""Fixtures shared by the tests: grids of every orientation, tiny cohorts and tiny bundles."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttribSegLib.image import Geometry, Image

# As in Slicer, where the folder of a module is on the path; and the support code.
_ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(_ROOT / "AttribSeg"), str(_ROOT / "Testing")]

_SIZE, _SPACING, _ORIGIN = (11, 9, 7), (1.0, 1.2, 1.5), (-12.5, 20.0, 3.25)


def _rotation(*degrees: float) -> np.ndarray:
    """Rotations about the L, P and S axes, in that order."""
    result = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first], turn[first, second] = c, -s
        turn[second, first], turn[second, second] = s, c
        result = turn @ result
    return result


#: Columns are the directions of I, J, K in LPS.
_SAGITTAL = np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])
_CORONAL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_OBLIQUE = _rotation(20.0, -15.0, 30.0)

GEOMETRIES = {
    "axial": Geometry(_SIZE, _SPACING, _ORIGIN),
    "sagittal": Geometry(_SIZE, _SPACING, _ORIGIN, _SAGITTAL),
    "coronal": Geometry(_SIZE, _SPACING, _ORIGIN, _CORONAL),
    "oblique": Geometry(_SIZE, _SPACING, _ORIGIN, _OBLIQUE),
    "flipped": Geometry(_SIZE, _SPACING, _ORIGIN, np.diag([1.0, -1.0, 1.0])),
    "left-handed oblique": Geometry(_SIZE, _SPACING, _ORIGIN, _OBLIQUE @ np.diag([-1.0, 1, 1])),
    "anisotropic": Geometry((13, 11, 5), (0.5, 0.9, 6.0), _ORIGIN, np.diag([-1.0, -1.0, 1.0])),
    "single slice": Geometry((11, 9, 1), (0.9, 0.9, 5.0), _ORIGIN),
}


@pytest.fixture(params=list(GEOMETRIES))
def geometry(request: pytest.FixtureRequest) -> Geometry:
    """Each grid in turn: the test runs once per orientation."""
    return GEOMETRIES[request.param]


@pytest.fixture
def geometries() -> dict[str, Geometry]:
    """All grids by name."""
    return dict(GEOMETRIES)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def small_cohort(tmp_path: Path) -> Callable[..., Any]:
    """``small_cohort(slices=..., nominal=...)`` writes a cohort of small brains and reads it.

    The pathological ones have a bright box. The networks that fit have ``strides=(2, 1, 1, 1)``,
    for which 10 voxels are enough.
    """
    from AttribSegLib.cohort import read_cohort
    from AttribSegLib.image_io import write_image

    def make(
        *,
        train: int = 8,
        validation: int = 4,
        test: int = 2,
        slices: bool = False,
        masks: bool = True,
        nominal: bool = False,
        size: tuple[int, int, int] = (14, 12, 12),
        spacing: float = 4.0,
        seed: int = 0,
        write_test: bool = True,
        name: str = "cohort",
    ) -> Any:
        rng = np.random.default_rng(seed)
        folder = tmp_path / name
        folder.mkdir()
        grid = Geometry(size, (spacing,) * 3)
        places = np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij")
        brain = sum(place**2 for place in places) < 0.95
        header = "case,patient,label,split,FLAIR,lesions,slice,nominal_spacing"
        lines = [header]
        for split, count in (("train", train), ("validation", validation), ("test", test)):
            for number in range(count):
                case, label = f"{split}{number}", number % 2
                array = np.where(brain, 100 + 10 * rng.standard_normal(size), 0.0)
                lesions = np.zeros(size, dtype=bool)
                if label:
                    start = [int(rng.integers(n // 3, n // 2)) for n in size]
                    if slices:
                        start[2] = size[2] // 2 - 1
                    lesions[tuple(slice(s, s + 3) for s in start)] = True
                    array[lesions & brain] += 60
                if split != "test" or write_test:
                    write_image(Image(array.astype(np.float32), grid), folder / f"{case}.nii")
                    mask = Image((lesions & brain).astype(np.uint8), grid)
                    write_image(mask, folder / f"{case}_lesions.nii")
                cells = [case, f"p{case}", str(label), split, f"{case}.nii"]
                cells.append(f"{case}_lesions.nii" if masks and label else "")
                cells.append(str(size[2] // 2) if slices else "")
                lines.append(",".join([*cells, str(int(nominal))]))
        table = folder / "cohort.csv"
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return read_cohort(table, check_images=False)

    return make


@pytest.fixture
def scene() -> Iterator[Any]:
    """An MRML scene; the test is skipped without Slicer's libraries."""
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    scene = slicer.vtkMRMLScene()
    # The logic registers the rules by which segments are converted and copied.
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)
    yield scene
    logic.SetMRMLScene(None)
    scene.Clear(True)


#: The smallest grid that the classifier takes, with axes of three lengths.
TINY = Geometry((34, 36, 32), (5.0,) * 3, (-82.5, 70.0, -60.0), np.diag([1.0, -1.0, 1.0]))


def _tiny_brain(geometry: Geometry, seed: int, *, lesion: bool = True) -> tuple[Image, Image]:
    """An ellipsoid with noise on a background of zero, and its lesion mask."""
    rng = np.random.default_rng(seed)
    centre = TINY.to_lps((np.array(TINY.size) - 1) / 2)
    places = geometry.to_lps(np.moveaxis(np.indices(geometry.size), 0, -1)) - centre
    inside = ((places / (62.0, 70.0, 60.0)) ** 2).sum(-1) < 1
    smooth = 100 + 10 * np.cos(places / 15).sum(-1)
    array = np.where(inside, smooth + rng.normal(0, 3, geometry.size), 0)
    middle = rng.uniform(-25, 25, 3)
    blob = inside & (((places - middle) ** 2).sum(-1) < 15**2) & lesion
    array[blob] += 60
    return Image(array.astype(np.float32), geometry), Image(blob, geometry)


@pytest.fixture(scope="session")
def tiny_geometry() -> Geometry:
    """Grid of the tiny cohorts and bundles."""
    return TINY


@pytest.fixture(scope="session")
def tiny_brain() -> Callable[..., tuple[Image, Image]]:
    """``tiny_brain(geometry, seed, lesion=True)``: an image and its lesion mask."""
    return _tiny_brain


@pytest.fixture(scope="session")
def tiny_bundle() -> Callable[..., Any]:
    """``tiny_bundle(channels=..., dimensions=..., geometry=..., **recipe)``: untrained."""

    def make(
        *,
        channels: tuple[str, ...] = ("FLAIR",),
        dimensions: int = 3,
        geometry: Geometry = TINY,
        threshold: float = 0.0,
        seed: int = 0,
        **recipe: Any,
    ) -> Any:
        import torch
        from AttribSegLib.bundle import Bundle
        from AttribSegLib.recipes.attribution import AttributionRecipe
        from AttribSegLib.thresholds import USER, Threshold

        made = AttributionRecipe(**{"width": 0.05, "background": 0.0, "clip": 0.0, **recipe})
        torch.manual_seed(seed)
        network = made.build(in_channels=len(channels), dimensions=dimensions).eval()
        thresholds = {
            "attribution": Threshold(threshold, USER),
            f"{channels[0]} intensity": Threshold(1.5, USER),
        }
        return Bundle(made, network, channels, dimensions, geometry, thresholds)

    return make


@pytest.fixture(scope="session")
def volume_cohort() -> Callable[..., Path]:
    """``volume_cohort(folder)`` writes a cohort of 14 volumes and gives its table.

    Six cases to train on, four to validate and four to test, half of each healthy.
    """

    def make(
        folder: Path,
        *,
        channels: tuple[str, ...] = ("FLAIR",),
        masks: bool = True,
        geometry: Geometry = TINY,
    ) -> Path:
        from AttribSegLib.image_io import write_image

        rows = [",".join(["case", "patient", "label", "split", *channels, "lesions"])]
        number = 0
        for split, count in (("train", 6), ("validation", 4), ("test", 4)):
            for index in range(count):
                number += 1
                label, name = index % 2, f"p{number:02d}"
                files = []
                for place, channel in enumerate(channels):
                    image, lesions = _tiny_brain(geometry, number, lesion=bool(label))
                    image = image.with_array(image.array * np.float32(1 + place))
                    write_image(image, folder / f"{name}_{channel}.nii.gz")
                    files.append(f"{name}_{channel}.nii.gz")
                mask = ""
                if label and masks:
                    mask = f"{name}_lesions.nii.gz"
                    write_image(lesions, folder / mask)
                rows.append(",".join([name, name, str(label), split, *files, mask]))
        table = folder / "cohort.csv"
        table.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return table

    return make


@pytest.fixture(scope="session")
def tiny_table(tmp_path_factory: pytest.TempPathFactory, volume_cohort: Any) -> Path:
    """A tiny cohort that no test changes."""
    return volume_cohort(tmp_path_factory.mktemp("cohort"))


#: Arguments that make training a matter of a second.
TINY_TRAINING = ["--width", "0.05", "--epochs", "2", "--batch-size", "6", "--device", "cpu"]


@pytest.fixture(scope="session")
def tiny_training() -> list[str]:
    """Arguments of ``attribseg train`` that make it a matter of a second."""
    return [*TINY_TRAINING, "--threads", "1"]


@pytest.fixture(scope="session")
def trained_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_table: Path, tiny_training: list[str]
) -> Path:
    """A bundle that was trained on the tiny cohort; no test changes it."""
    from AttribSegLib.cli import main

    folder = tmp_path_factory.mktemp("trained") / "bundle"
    assert main(["train", str(tiny_table), "--out", str(folder), *tiny_training]) == 0
    return folder
