"""The chain: what goes in comes back, and what cannot be prepared is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image, mni152_geometry
from AttribSegLib.image_io import write_image
from AttribSegLib.preprocessing.chain import prepare
from AttribSegLib.preprocessing.options import ChainOptions
from AttribSegLib.preprocessing.prepared import Prepared
from AttribSegLib.preprocessing.standardise import standardise
from AttribSegLib.simulation import simulate_subject
from AttribSegLib.transform import Affine

LIGHT = ChainOptions(steps=("standardise",), spacing=2)


def test_options_survive_json_and_refuse_nonsense():
    options = ChainOptions(steps=("standardise", "n4"), spacing=2, robust=True)
    assert options.steps == ("n4", "standardise")
    assert ChainOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options
    assert "n4" not in ChainOptions().steps  # it takes the contrast of tumours away
    for bad in (
        {"steps": ("skull",)},
        {"spacing": 3},
        {"brain_method": "bet"},
        {"seed": -1},
        {"seed": 2**32},
        {"background": float("nan")},
        {"n4_shrink_mm": 0},
    ):
        with pytest.raises(InputError):
            ChainOptions(**bad)
    assert (
        "allow_download" not in ChainOptions(allow_download=True).to_dict()
    )  # consent is personal
    with pytest.raises(InputError, match="colour"):
        ChainOptions.from_dict({"colour": 1})
    with pytest.raises(InputError, match="reference"):
        ChainOptions(steps=("match",))


def test_robust_standardisation_ignores_a_bright_lesion(rng):
    array = rng.normal(100, 10, 20_000)
    array[:1000] = 400
    inside = np.ones(array.shape, bool)
    assert standardise(array, inside, robust=True)[1000:].std() == pytest.approx(1, abs=0.1)
    assert standardise(array, inside)[1000:].std() < 0.3
    with pytest.raises(InputError, match="half of the brain"):
        standardise(np.r_[np.zeros(9), 1.0], np.ones(10, bool), robust=True)


def test_an_image_on_the_atlas_is_standardised_in_place():
    subject = simulate_subject(1, seed=2)
    prepared = prepare({"FLAIR": subject.image}, LIGHT)
    values = prepared.channels["FLAIR"].array
    assert prepared.brain.geometry.same_grid(mni152_geometry(2))
    assert np.array_equal(prepared.brain.array, subject.brain.array)
    assert values[subject.brain.array].mean() == pytest.approx(0, abs=1e-4)
    assert values[subject.brain.array].std() == pytest.approx(1, abs=1e-4)
    assert not values[~subject.brain.array].any()
    assert [record.step for record in prepared.steps][-1] == "standardise"
    json.dumps(prepared.summary())


def test_the_bright_lesion_keeps_its_contrast_by_default():
    """Without N4, standardised contrast is the scan's own."""
    subject = simulate_subject(1, lesions="tumour", seed=4)
    values = prepare({"FLAIR": subject.image}, LIGHT).channels["FLAIR"].array
    lesion, rest = subject.lesions.array, subject.brain.array & ~subject.lesions.array

    def contrast(array):
        return (array[lesion].mean() - array[rest].mean()) / array[rest].std()

    assert contrast(values) == pytest.approx(contrast(subject.image.array.astype(float)), rel=0.05)


def test_masks_come_back_to_an_oblique_native_grid(geometry):
    """Volume within 5 % and centre within 1 mm."""
    atlas = mni152_geometry(1)
    scale = np.diag([1.1, 1.1, 1.1, 1.0])
    size = (180, 190, 60)
    spacing = (1.0, 1.0, 3.0)
    grid = Geometry(size, spacing, (0, 0, 0), geometry.direction)
    middle = grid.to_lps((np.array(size) - 1) / 2)
    grid = Geometry(size, spacing, tuple(-middle), geometry.direction)
    scale[:3, 3] = (0.0, 17.0, 19.0)
    to_atlas = Affine(scale)
    ball = np.linalg.norm(grid.to_lps(np.argwhere(np.ones(size))) - (12, 8, 5), axis=1) < 9
    lesion = Image(ball.reshape(size), grid)
    brain = Image(np.ones(atlas.size, bool), atlas)
    prepared = Prepared({}, brain, {"FLAIR": to_atlas}, {"FLAIR": grid})
    back = prepared.to_native(prepared.to_atlas(lesion, "FLAIR"), "FLAIR")
    assert back.geometry.same_grid(grid)
    assert back.array.sum() == pytest.approx(lesion.array.sum(), rel=0.05)
    centres = [grid.to_lps(np.argwhere(m.array).mean(axis=0)) for m in (back, lesion)]
    assert np.linalg.norm(centres[0] - centres[1]) < 1
    with pytest.raises(InputError, match="T2"):
        prepared.to_native(lesion, "T2")


@pytest.mark.parametrize(
    ("size", "spacing", "value", "message"),
    [
        ((40, 40, 1), (4.0, 4.0, 4.0), None, "a 2D image"),
        ((40, 40, 5), (4.0, 4.0, 20.0), None, "5 slices"),
        ((40, 40, 40), (0.2, 0.2, 0.2), None, "human head"),
        ((40, 40, 40), (40.0, 40.0, 40.0), None, "human head"),
        ((40, 40, 40), (4.0, 4.0, 4.0), 0.0, "all voxels have the value 0"),
        ((40, 40, 40), (4.0, 4.0, 4.0), np.nan, "NaN"),
    ],
)
def test_scans_that_are_no_heads(rng, size, spacing, value, message):
    array = rng.random(size) if value is None else np.full(size, value)
    with pytest.raises(InputError, match=message):
        prepare({"FLAIR": Image(array, Geometry(size, spacing))}, ChainOptions())


def test_without_registration_the_scan_must_lie_on_the_atlas():
    image = simulate_subject(0, seed=2).image
    away = Image(image.array, Geometry(image.geometry.size, (2.0,) * 3, (900, 0, 0)))
    with pytest.raises(InputError, match="not in atlas space"):
        prepare({"FLAIR": away}, LIGHT)
    with pytest.raises(InputError, match="nominal"):
        prepare({"FLAIR": image.with_nominal(True)}, LIGHT)


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.uint32, np.int32])
def test_wide_integers_do_not_overflow(kind):
    subject = simulate_subject(0, seed=2)
    wide = subject.image.array.astype(kind) * kind(2_000_000)
    found = prepare({"FLAIR": subject.image.with_array(wide)}, LIGHT).channels["FLAIR"]
    usual = prepare({"FLAIR": subject.image}, LIGHT).channels["FLAIR"]
    assert found.array == pytest.approx(usual.array, abs=1e-3)


def test_own_mask_and_histogram_matching(tmp_path):
    subject, other = simulate_subject(0, seed=2), simulate_subject(0, seed=3)
    half = subject.brain.array.copy()
    half[: half.shape[0] // 2] = False
    prepared = prepare({"FLAIR": subject.image}, LIGHT, brain=subject.brain.with_array(half))
    assert np.array_equal(prepared.brain.array, half)
    assert not prepared.channels["FLAIR"].array[~half].any()
    with pytest.raises(InputError, match="empty"):
        prepare({"FLAIR": subject.image}, LIGHT, brain=subject.brain.with_array(half & ~half))

    write_image(other.image, tmp_path / "reference.nii.gz")
    options = ChainOptions(
        steps=("match",), spacing=2, reference=str(tmp_path / "reference.nii.gz")
    )
    matched = prepare({"FLAIR": subject.image}, options).channels["FLAIR"].array
    quantiles = np.linspace(0.05, 0.95, 10)
    assert np.quantile(matched[subject.brain.array], quantiles) == pytest.approx(
        np.quantile(other.image.array[other.brain.array], quantiles), rel=0.02
    )


def test_own_atlas_brings_its_grid(tmp_path):
    subject = simulate_subject(0, modality="T1", spacing=2, seed=7)
    write_image(subject.image, tmp_path / "atlas.nii.gz")
    options = ChainOptions(steps=("standardise",), atlas=str(tmp_path / "atlas.nii.gz"), spacing=1)
    prepared = prepare({"T1": subject.image}, options)
    assert prepared.brain.geometry.same_grid(subject.image.geometry)
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.nii\.gz"):
        prepare({"T1": subject.image}, ChainOptions(atlas=str(tmp_path / "empty.nii.gz")))


def test_zeros_inside_the_brain_are_seen():
    """Clipped CSF is the darkest tissue, not the mean."""
    subject = simulate_subject(0, seed=2)
    array = subject.image.array.copy()
    array[subject.fractions["fluid"] > 0.9] = 0
    image = subject.image.with_array(array)
    prepared = prepare({"FLAIR": image}, LIGHT, brain=subject.brain)
    values = prepared.channels["FLAIR"].array
    dark = (array == 0) & subject.brain.array
    assert dark.any()
    assert values[dark].max() < -2


def test_which_channel_is_matched(tmp_path):
    subject = simulate_subject(0, seed=2)
    write_image(subject.image, tmp_path / "reference.nii.gz")
    path = str(tmp_path / "reference.nii.gz")
    options = ChainOptions(steps=("match",), spacing=2, reference=path)
    scans = {"FLAIR": subject.image, "T1": simulate_subject(0, modality="T1", seed=2).image}
    with pytest.raises(InputError, match="CHANNEL=FILE"):
        prepare(scans, options)
    named = replace(options, reference_channel="FLAIR")
    first = prepare(scans, named).channels["FLAIR"].array
    second = prepare(dict(reversed(scans.items())), named).channels["FLAIR"].array
    assert np.array_equal(first, second)
