"""The batch script for Slicer without its window, on real nodes and the real logic."""

import csv
import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image_io import read_image
from AttribSegLib.segmentation_file import read_segmentation
from scipy import ndimage

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES = REPOSITORY / "AttribSeg" / "Resources" / "SampleData"
BUNDLE = REPOSITORY / "Resources" / "DemoBundle"


def load(path):
    """Run a Python file as a module, whatever else is called so."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


batch_detect = load(REPOSITORY / "AttribSeg" / "Resources" / "Scripts" / "batch_detect.py")


@pytest.fixture
def application(monkeypatch):
    from headless.application import HeadlessApplication

    monkeypatch.syspath_prepend(str(REPOSITORY / "AttribSeg"))
    with HeadlessApplication() as app:
        # Slicer has the module's file under its name; here it may be the folder's.
        module = load(REPOSITORY / "AttribSeg" / "AttribSeg.py")
        monkeypatch.setitem(sys.modules, "AttribSeg", module)
        yield app


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    shutil.copy(SAMPLES / "SimulatedTumour_FLAIR.nii.gz", folder / "b tumour.nii.gz")
    shutil.copy(SAMPLES / "SimulatedTumour_lesions.seg.nrrd", folder)
    (folder / "a_broken.nii.gz").write_bytes(b"not an image")
    (folder / "notes.txt").write_text("not an image either", encoding="utf-8")
    return folder


def rows(out):
    with (out / "detections.csv").open(encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_a_bad_image_does_not_stop_the_others(application, scans, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("AttribSegScene.tables.MOST_LESIONS", 1)  # of far more, as of 500
    out = tmp_path / "results"
    code = batch_detect.main([str(scans), str(BUNDLE), str(out), "--minimum-ml", "0"])
    table = rows(out)
    assert code == 1
    assert list(table) == ["a_broken", "b tumour"]
    assert table["a_broken"]["state"] == "failed"
    assert "a_broken.nii.gz" in table["a_broken"]["message"]
    assert not (out / "a_broken").exists()
    done = table["b tumour"]
    assert (done["state"], done["class"], done["message"]) == ("done", "pathological", "")
    assert application.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0

    image = read_image(SAMPLES / "SimulatedTumour_FLAIR.nii.gz")
    mask = read_segmentation(out / "b tumour" / "b tumour_lesions.seg.nrrd").resample(
        image.geometry, interpolation="nearest"
    )
    volume = (mask.array != 0).sum() * image.geometry.voxel_volume_ml
    assert float(done["volume_ml"]) == pytest.approx(volume, rel=1e-3)
    # Slicer turns the axis of a left-handed volume; where the voxels lie stays.
    attribution = read_image(out / "b tumour" / "b tumour_attribution.nii.gz").reorient(
        image.geometry.orientation()
    )
    assert attribution.geometry.same_grid(image.geometry)
    assert attribution.array[mask.array != 0].min() > 0
    with (out / "b tumour" / "b tumour_lesions.csv").open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.reader(stream))) == 1 + 1
    assert int(done["lesions"]) == ndimage.label(mask.array != 0, np.ones((3, 3, 3)))[1] > 1
    assert "[2/2] b tumour: probability" in capsys.readouterr().out


def test_bad_arguments_end_with_2_and_one_line(application, scans, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, bundle, told in (
        (tmp_path / "none", BUNDLE, "no such folder"),
        (empty, BUNDLE, "holds no"),
        (scans, empty, str(empty)),
    ):
        assert batch_detect.main([str(folder), str(bundle), str(tmp_path / "out")]) == 2
        message = capsys.readouterr().err
        assert told in message
        assert message.count("\n") == 1
    assert batch_detect.main(["only one"]) == 2
    assert batch_detect.main(["--help"]) == 0
    assert not (tmp_path / "out").exists()


def test_foreign_files_are_not_replaced(tmp_path):
    folder = tmp_path / "case"
    folder.mkdir()
    (folder / "thesis.docx").touch()
    with pytest.raises(InputError, match="holds other files"):
        batch_detect.detect_case(None, tmp_path / "a.nii", BUNDLE, folder, 0.0)
    assert (folder / "thesis.docx").exists()


def test_images_of_one_name_are_told_apart(tmp_path):
    for name in ("a.nii.gz", "a.nrrd", "b.NII.GZ", "b.seg.nrrd", "c.txt"):
        (tmp_path / name).touch()
    found = batch_detect.images_below(tmp_path)
    assert {case: path.name for case, path in found.items()} == {
        "a_nii_gz": "a.nii.gz",
        "a_nrrd": "a.nrrd",
        "b": "b.NII.GZ",
    }
