"""A raw scan in, lesions on its own grid out."""

import json
from dataclasses import replace

import numpy as np
import pytest
from AttribSegLib.bundle import save_bundle
from AttribSegLib.cli import main
from AttribSegLib.errors import InputError
from AttribSegLib.image import Image, mni152_geometry
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.native_detection import detect_native, expected_options, needs_preprocessing
from AttribSegLib.simulation import acquire_stack, simulate_head, simulate_subject
from scipy import ndimage


@pytest.fixture(scope="module")
def scan():
    """A head with lesions as a stack of 4 mm slices, stored in an unusual order."""
    head = simulate_head(1, modality="FLAIR", seed=3)
    return acquire_stack(head.image, spacing=(2.0, 2.0, 4.0)).reorient("PIR")


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return tiny_bundle(geometry=mni152_geometry(2))


def test_what_needs_preprocessing(bundle, scan, tiny_bundle):
    assert needs_preprocessing(bundle, {"FLAIR": scan})
    prepared = simulate_subject(1, seed=3).image
    assert not needs_preprocessing(bundle, {"FLAIR": prepared})
    elsewhere = replace(prepared.geometry, origin=tuple(prepared.geometry.to_lps([30, 0, 0])))
    assert needs_preprocessing(bundle, {"FLAIR": Image(prepared.array, elsewhere)})
    assert not needs_preprocessing(tiny_bundle(), {"FLAIR": scan})  # no chain makes its grid
    lost = replace(bundle, preprocessing={"atlas": "gone.nii.gz"})
    with pytest.raises(InputError, match=r"gone\.nii\.gz"):
        needs_preprocessing(lost, {"FLAIR": prepared})


def test_a_bundle_says_how_images_are_prepared(bundle, tiny_bundle):
    assert expected_options(bundle).spacing == 2
    steps = {"steps": ["registration", "brain", "n4", "standardise"], "spacing": 2}
    made = replace(tiny_bundle(geometry=mni152_geometry(2)), preprocessing=steps)
    assert "n4" in expected_options(made).steps
    with pytest.raises(InputError, match="--preprocess none"):
        expected_options(tiny_bundle())


def test_results_lie_on_the_scan(bundle, scan):
    found = detect_native(bundle, {"FLAIR": scan})
    assert found.mask.geometry.same_grid(scan.geometry)
    assert found.attribution.geometry.same_grid(scan.geometry)
    assert found.atlas.mask.geometry.same_grid(mni152_geometry(2))
    assert found.image is scan
    assert not found.prepared.flagged
    # What is found in the atlas is at the same place in the scan.
    inside = ndimage.binary_erosion(found.prepared.brain.array, iterations=4)
    maps = (found.prepared.to_atlas(found.attribution, "FLAIR"), found.atlas.attribution)
    smooth = [ndimage.gaussian_filter(one.array, 3)[inside] for one in maps]
    assert np.corrcoef(*smooth)[0, 1] > 0.7
    with pytest.raises(InputError, match="channel FLAIR is missing"):
        detect_native(bundle, {"T1": scan})


def test_on_the_command_line(bundle, scan, tmp_path, capsys):
    save_bundle(bundle, tmp_path / "bundle")
    write_image(scan, tmp_path / "head.nii.gz")
    command = ["detect", str(tmp_path / "head.nii.gz"), "--bundle", str(tmp_path / "bundle")]
    assert main([*command, "--out", str(tmp_path / "out"), "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["step"] for e in events if e["event"] == "step"][:2] == ["interslice", "registration"]
    assert events[-1]["preprocessed"]
    (mask,) = (tmp_path / "out").glob("head/head_lesions.nii.gz")
    assert read_image(mask).geometry.same_grid(scan.geometry)
    assert main([*command, "--out", str(tmp_path / "raw"), "--preprocess", "none"]) == 2
    assert "head.nii.gz" in capsys.readouterr().err
