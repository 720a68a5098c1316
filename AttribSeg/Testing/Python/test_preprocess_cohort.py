"""The chain and whole cohorts: what goes in comes back, and nothing stops the rest."""

import json

import numpy as np
import pytest
from AttribSegLib.cli import main
from AttribSegLib.cohort import read_cohort
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image, mni152_geometry
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.preprocessing.chain import prepare
from AttribSegLib.preprocessing.options import ChainOptions, recorded_options
from AttribSegLib.preprocessing.prepared import Prepared
from AttribSegLib.preprocessing.standardise import standardise
from AttribSegLib.simulation import simulate_cohort, simulate_subject
from AttribSegLib.transform import Affine

LIGHT = ChainOptions(steps=("standardise",), spacing=2)


@pytest.fixture(scope="module")
def raw_cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    return simulate_cohort(folder, healthy=2, pathological=2, spacing=2, lesions="tumour", seed=1)


def run(table, out, *options):
    return main(["preprocess", str(table), "--out", str(out), "--spacing", "2", *options])


def test_options_survive_json_and_refuse_nonsense():
    options = ChainOptions(steps=("standardise", "n4"), spacing=2, robust=True)
    assert options.steps == ("n4", "standardise")
    assert ChainOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options
    assert "n4" not in ChainOptions().steps  # it takes the contrast of tumours away
    for bad in ({"steps": ("skull",)}, {"spacing": 3}, {"brain_method": "bet"}, {"seed": -1}):
        with pytest.raises(InputError):
            ChainOptions(**bad)
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


def test_a_cohort_is_prepared_resumed_and_redone(raw_cohort, tmp_path, capsys):
    assert run(raw_cohort, tmp_path, "--steps", "standardise") == 0
    assert "4 of 4 cases prepared (0 before)" in capsys.readouterr().out
    old, new = read_cohort(raw_cohort), read_cohort(tmp_path / "cohort.csv")
    for before, after in zip(old.cases, new.cases, strict=True):
        assert (before.case, before.label, before.split) == (after.case, after.label, after.split)
        assert after.brain is not None
        if before.lesions is not None:
            masks = [read_image(case.lesions).array != 0 for case in (before, after)]
            assert np.array_equal(*masks)
    assert recorded_options(tmp_path / "cohort.csv")["steps"] == ["standardise"]
    assert run(raw_cohort, tmp_path, "--steps", "standardise", "--jobs", "2") == 0
    assert "(4 before)" in capsys.readouterr().out
    assert run(raw_cohort, tmp_path, "--steps", "standardise", "--robust") == 0
    assert "(0 before)" in capsys.readouterr().out


def test_two_processes_give_what_one_gives(raw_cohort, tmp_path):
    assert run(raw_cohort, tmp_path / "a", "--steps", "standardise") == 0
    assert run(raw_cohort, tmp_path / "b", "--steps", "standardise", "--jobs", "2") == 0
    for path in sorted((tmp_path / "a" / "cases").rglob("*.nii.gz")):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert np.array_equal(read_image(path).array, read_image(other).array)


def test_one_bad_case_does_not_stop_the_others(raw_cohort, tmp_path, capsys):
    cohort = read_cohort(raw_cohort)
    image = read_image(cohort.cases[0].channels["FLAIR"])
    write_image(image.with_array(0 * image.array), tmp_path / "zero.nii.gz")
    (tmp_path / "damaged.nii.gz").write_bytes(b"\x1f\x8bnothing")
    good, other = (case.channels["FLAIR"].as_posix() for case in cohort.cases[1:3])
    table = tmp_path / "c.csv"
    table.write_text(
        "case,patient,label,split,FLAIR\n"
        f"a,a,0,train,zero.nii.gz\nb,b,1,train,damaged.nii.gz\nc,c,1,train,{good}\n"
        f"d,d,0,train,{other}\n"
    )
    assert run(table, tmp_path / "out", "--steps", "standardise") == 2
    errors = capsys.readouterr().err
    assert "failed: a: FLAIR: all voxels have the value 0" in errors
    assert "failed: b: " in errors
    assert [case.case for case in read_cohort(tmp_path / "out" / "cohort.csv").cases] == ["c", "d"]
    rows = (tmp_path / "out" / "quality.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["failed", "failed", "done", "done"]


def test_bad_options(raw_cohort, tmp_path, capsys):
    assert run(raw_cohort, tmp_path, "--steps", "wash") == 2
    assert "step 'wash'" in capsys.readouterr().err
    assert run(raw_cohort, tmp_path, "--jobs", "0") == 2
    assert "jobs 0" in capsys.readouterr().err
