"""The sample data: what they are, how Slicer hears of them, and what the bundle makes of them."""

import hashlib
import sys
import types
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from AttribSegLib.bundle import load_bundle
from AttribSegLib.detection import detect
from AttribSegLib.errors import InputError
from AttribSegLib.image import mni152_geometry
from AttribSegLib.image_io import read_image
from AttribSegLib.native_detection import needs_preprocessing
from AttribSegLib.segmentation_file import read_segmentation
from PIL import Image as Picture

sys.path.append(str(Path(__file__).resolve().parents[2] / "AttribSeg"))

from AttribSegPanel import sample_data
from AttribSegPanel.resources import demonstration_bundle, resource

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "AttribSeg" / "Resources" / "SampleData"


class Recorder:
    """Keeps what is registered; the parameters are those of Slicer's own function."""

    registered: ClassVar[list[dict[str, Any]]] = []

    @classmethod
    def registerCustomSampleDataSource(  # noqa: N802
        cls,
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = "VolumeFile",
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        cls.registered.append(dict(locals()))


@pytest.fixture
def registered(monkeypatch):
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = Recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "SampleData", module)
    monkeypatch.setattr(Recorder, "registered", [])
    sample_data.register()
    return Recorder.registered


def test_every_file_is_registered_and_opens_without_a_network(registered):
    names = []
    for source in registered:
        lists = ("uris", "fileNames", "nodeNames", "loadFileType", "checksums")
        assert len({len(source[key]) for key in lists}) == 1
        for uri, name, checksum in zip(*(source[k] for k in lists[:2] + lists[4:]), strict=True):
            with urllib.request.urlopen(uri) as stream:
                content = stream.read()
            assert checksum == f"SHA256:{hashlib.sha256(content).hexdigest()}"
            assert content == (FOLDER / name).read_bytes()
            names.append(name)
        with Picture.open(source["thumbnailFileName"]) as picture:
            assert picture.size == (128, 128)
    assert sorted(names) == sorted(p.name for p in FOLDER.iterdir() if p.suffix != ".md")


def test_segmentations_are_loaded_as_such(registered):
    for source in registered:
        for name, kind in zip(source["fileNames"], source["loadFileType"], strict=True):
            assert kind == ("SegmentationFile" if ".seg." in name else "VolumeFile")


def test_files_are_small():
    assert all(path.stat().st_size < 1.5e6 for path in FOLDER.iterdir())


def test_a_missing_resource_is_told():
    assert demonstration_bundle() == REPOSITORY / "Resources" / "DemoBundle"
    with pytest.raises(InputError, match=r"nothing\.nii\.gz.*install AttribSeg again"):
        resource("SampleData/nothing.nii.gz")


def test_the_bundle_tells_the_two_brains_apart_and_finds_the_tumour():
    bundle = load_bundle(demonstration_bundle())
    found = {}
    for name in ("SimulatedHealthy", "SimulatedTumour"):
        image = read_image(FOLDER / f"{name}_FLAIR.nii.gz")
        assert image.geometry.same_grid(mni152_geometry(2))
        assert image.array.dtype == np.int16
        assert not needs_preprocessing(bundle, {"FLAIR": image})
        found[name] = detect(bundle, {"FLAIR": image}, minimum_ml=0.05)
    assert found["SimulatedHealthy"].label == 0
    assert found["SimulatedTumour"].label == 1
    mask = found["SimulatedTumour"].mask
    drawn = read_segmentation(FOLDER / "SimulatedTumour_lesions.seg.nrrd").resample(
        mask.geometry, interpolation="nearest"
    )
    both = mask.array & (drawn.array != 0)
    assert 2 * both.sum() > 0.5 * (mask.array.sum() + (drawn.array != 0).sum())


def test_the_head_is_a_raw_oblique_scan_of_thick_slices():
    head = read_image(FOLDER / "SimulatedHead_FLAIR.nii.gz")
    assert max(head.geometry.spacing) == pytest.approx(4.0)
    assert np.abs(head.geometry.direction).max() < 0.999
    assert needs_preprocessing(load_bundle(demonstration_bundle()), {"FLAIR": head})
