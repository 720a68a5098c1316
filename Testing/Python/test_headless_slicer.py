from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import write_image
from AttribSegLib.segmentation_file import write_segmentation

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")

from AttribSegLib import mrml

GRID = Geometry((40, 40, 24), (2.0, 2.0, 3.0), (-39.0, -39.0, -34.5))  # LPS, centred at 0
COLOUR = (0.0, 1.0, 0.0)
PATIENT_LEFT = (-20.0, 10.0, 9.0)  # RAS


@pytest.fixture
def slicer_app() -> Iterator[Any]:
    from headless import HeadlessSlicer

    with HeadlessSlicer() as app:
        yield app


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A grey volume and a segmentation in the patient's left, anterior, superior part."""
    points = GRID.to_ras(np.stack(np.indices(GRID.size), axis=-1))
    mask = (np.abs(points - np.array(PATIENT_LEFT)) < 9.0).all(axis=-1)
    grey = np.full(GRID.size, 100, dtype=np.int16)
    grey[0] = 200
    write_image(Image(grey, GRID), tmp_path / "volume.nii.gz")
    write_segmentation(Image(mask, GRID), tmp_path / "lesions.seg.nrrd", colour=COLOUR)
    return tmp_path / "volume.nii.gz", tmp_path / "lesions.seg.nrrd"


def green(path: Path) -> np.ndarray:
    """Rows and columns of a picture where the segment shows."""
    from matplotlib.image import imread

    picture = imread(path)
    return np.argwhere(picture[..., 1] > picture[..., 0] + 0.15)


def test_segment_shows_where_it_is(
    slicer_app: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    volume, segmentation = slicer_app.load_volume(files[0]), slicer_app.load_segmentation(files[1])
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1
    # Half of the picture: 0 the upper or left one, 1 the lower or right one.
    halves = {"Axial": (0, 1), "Coronal": (0, 1), "Sagittal": (0, 0)}
    for orientation, expected in halves.items():
        # The plane passes through the segment; the picture's middle is at the head's.
        centre = [0.0, 0.0, 0.0]
        axis = {"Axial": 2, "Coronal": 1, "Sagittal": 0}[orientation]
        centre[axis] = PATIENT_LEFT[axis]
        path = slicer_app.render_slice(
            tmp_path / f"{orientation}.png", orientation, centre, background=volume, size=(240, 200)
        )
        from matplotlib.image import imread

        assert imread(path).shape[:2] == (200, 240)
        where = green(path)
        assert len(where) > 200
        rows, columns = (where / (200, 240)).mean(axis=0)
        assert (int(rows > 0.5), int(columns > 0.5)) == expected, orientation


def test_segment_is_blended_with_the_volume(
    slicer_app: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    from matplotlib.image import imread

    volume = slicer_app.load_volume(files[0])
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 200)
    slicer_app.load_segmentation(files[1])
    path = slicer_app.render_slice(
        tmp_path / "a.png", "Axial", PATIENT_LEFT, background=volume, size=(200, 200)
    )
    # Half of green over half of mid grey.
    assert imread(path)[100, 100, :3] == pytest.approx((0.25, 0.75, 0.25), abs=0.03)


def test_attribution_lies_in_the_foreground(
    slicer_app: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    from matplotlib.image import imread

    volume = slicer_app.load_volume(files[0])
    values = np.zeros(GRID.size, dtype=np.float32)
    values[20:], values[:10] = 1.0, -1.0  # hot on the patient's left, cold far on the right
    node = mrml.attribution_node(Image(values, GRID), scene=slicer_app.scene)
    path = slicer_app.render_slice(
        tmp_path / "a.png", background=volume, foreground=node, size=(200, 200)
    )
    picture = imread(path)
    row = picture[100]
    assert row[150, 0] > row[150, 2] + 0.2
    assert row[40, 2] > row[40, 0] + 0.2
    np.testing.assert_allclose(row[85, 0], row[85, 2], atol=0.02)  # nothing where it is zero


def test_volume_file_and_image_agree(slicer_app: Any, files: tuple[Path, Path]) -> None:
    """Slicer turns left-handed volumes over when it loads them; points keep their values."""
    volume = slicer_app.load_volume(files[0])
    node_image = mrml.image_from_volume_node(volume).resample(GRID)
    assert (node_image.array[0] == 200).all()
    assert (node_image.array[1:] == 100).all()


def test_saved_segmentation_is_read_again(
    slicer_app: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    from AttribSegLib.segmentation_file import read_segmentation

    node = slicer_app.load_segmentation(files[1])
    slicer_app.save_segmentation(node, tmp_path / "saved.seg.nrrd")
    saved = read_segmentation(tmp_path / "saved.seg.nrrd", "Lesions")
    original = read_segmentation(files[1])
    again = saved.resample(original.geometry, interpolation="nearest")
    np.testing.assert_array_equal(again.array, original.array)


def test_files_that_slicer_cannot_read(slicer_app: Any, tmp_path: Path) -> None:
    (tmp_path / "text.seg.nrrd").write_text("nothing", encoding="utf-8")
    with pytest.raises(RuntimeError, match="reads no segmentation"):
        slicer_app.load_segmentation(tmp_path / "text.seg.nrrd")
    with pytest.raises(ValueError, match="orientation"):
        slicer_app.render_slice(tmp_path / "a.png", "Oblique", background=None)
