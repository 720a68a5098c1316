"""Simulated subjects and cohorts: `AttribSegLib.simulation`."""

import csv
import json
from functools import cache

import numpy as np
import pytest
from AttribSegLib.cli import simulate as cli
from AttribSegLib.errors import InputError
from AttribSegLib.image import Image, mni152_geometry
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.simulation import simulate_cohort, simulate_subject
from AttribSegLib.simulation.anatomy import draw_deformation, jacobian
from AttribSegLib.simulation.fields import bspline_matrix, smooth_field
from AttribSegLib.simulation.signature import corner_mark
from AttribSegLib.simulation.template import load_template, ras_to_grid
from AttribSegLib.simulation.tumours import TumourSeed, mass_effect
from scipy import ndimage
from sklearn.metrics import average_precision_score

LESION_CASES = 5


@cache
def subject(label=1, seed=0, **options):
    return simulate_subject(label, seed=seed, **options)


def standardised(case):
    values = case.image.array[case.brain.array].astype(float)
    return (values - values.mean()) / values.std()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("cohort")
    events = []
    simulate_cohort(out, healthy=3, pathological=2, seed=7, on_event=events.append)
    return out, events


def rows(out):
    with (out / "cohort.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_bsplines_sum_to_one_and_agree_between_spacings():
    fine, coarse = bspline_matrix(182, 1, 20), bspline_matrix(182, 2, 20)
    np.testing.assert_allclose(fine.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(fine[::2], coarse, atol=1e-6)


def test_fields_have_unit_variance():
    field = smooth_field(np.random.default_rng(0), 2, 6)
    assert field.shape == mni152_geometry(2).size
    assert field.std() == pytest.approx(1, abs=0.05)


def test_template_ventricles_are_fluid():
    maps = load_template().maps
    body = tuple(ras_to_grid(14, -16, 22).astype(int))
    assert maps["ventricles"][body] > 200
    assert maps["grey"][body] < 40
    assert maps["white"][body] < 40


def test_deformations_are_invertible():
    for seed in range(4):
        coordinates = draw_deformation(np.random.default_rng(seed), 2)
        assert jacobian(coordinates, 2).min() > 0.1
    tumour = TumourSeed((60.0, 110.0, 100.0), 60.0, 0.45)
    assert jacobian(mass_effect(coordinates, tumour, 2), 2).min() > 0.1


def test_mass_effect_keeps_the_centre_and_pushes_the_rest_outwards():
    grid = 2 * np.indices(mni152_geometry(2).size, dtype=np.float32)
    tumour = TumourSeed((60.0, 110.0, 100.0), 30.0, 0.4)
    moved = mass_effect(grid, tumour, 2)
    np.testing.assert_allclose(moved[:, 30, 55, 50], tumour.centre, atol=1e-3)
    # What is seen 10 mm from the centre lay closer to it before.
    assert 60 < moved[0, 35, 55, 50] < 70


def test_geometry_background_and_masks():
    case = subject()
    assert case.image.geometry == mni152_geometry(2)
    image, brain, mask = case.image.array, case.brain.array, case.lesions.array
    assert image.dtype == np.int16
    assert (image[~brain] == 0).all()
    assert (image[brain] > 0).all()
    assert mask.any()
    assert (brain | ~mask).all()
    assert not subject(0).lesions.array.any()
    np.testing.assert_array_equal(mask, (case.fractions["lesion"] >= 0.5) & brain)
    filled = ndimage.binary_fill_holes(brain)
    np.testing.assert_array_equal(filled, brain)


def test_fractions_sum_to_one():
    parts = subject().fractions
    np.testing.assert_allclose(parts["grey"] + parts["white"] + parts["fluid"], 1, atol=1e-5)


def test_same_seed_same_subject_and_other_seed_another():
    again = simulate_subject(1, seed=0)
    np.testing.assert_array_equal(again.image.array, subject().image.array)
    np.testing.assert_array_equal(again.lesions.array, subject().lesions.array)
    assert (subject(1, 1).image.array != again.image.array).mean() > 0.1


def test_classes_differ_by_lesions_alone():
    healthy, pathological = subject(0), subject(1)
    np.testing.assert_array_equal(healthy.brain.array, pathological.brain.array)
    untouched = ndimage.gaussian_filter(pathological.fractions["lesion"], 1) < 1e-4
    difference = pathological.image.array.astype(int) - healthy.image.array
    assert abs(difference[untouched]).max() <= 1  # rounding
    assert difference[pathological.lesions.array].mean() > 10


@pytest.mark.parametrize(
    ("modality", "order"),
    [("FLAIR", ("fluid", "white", "grey", "lesion")), ("T1", ("fluid", "grey", "white"))],
)
def test_order_of_tissue_means(modality, order):
    case = subject(1, 0, modality=modality)
    clean = case.brain.array & (case.fractions["lesion"] < 0.01)
    means = []
    for name in order:
        where = case.brain.array if name == "lesion" else clean
        means.append(case.image.array[where & (case.fractions[name] > 0.9)].mean())
    assert means == sorted(means)


def test_lesions_are_brighter_than_what_they_replace():
    with_lesions, without = subject(1), subject(0)
    mask = with_lesions.lesions.array
    assert with_lesions.image.array[mask].mean() > 1.15 * without.image.array[mask].mean()


def test_plain_threshold_is_neither_useless_nor_sufficient():
    scores, truth, loads = [], [], []
    for seed in range(LESION_CASES):
        case = simulate_subject(1, seed=np.random.SeedSequence(0, spawn_key=(1, seed)))
        scores.append(standardised(case))
        truth.append(case.lesions.array[case.brain.array])
        loads.append(case.parameters["lesions_ml"])
    auprc = average_precision_score(np.concatenate(truth), np.concatenate(scores))
    assert 0.3 <= auprc <= 0.6
    assert min(loads) > 0.5
    assert max(loads) < 50


def test_tumour_is_one_large_lesion():
    case = subject(1, 0, lesions="tumour")
    pieces, count = ndimage.label(case.lesions.array)
    largest = np.bincount(pieces.ravel())[1:].max() * 0.008
    assert count >= 1
    assert 0.85 * case.parameters["lesions_ml"] < largest
    assert 5 < largest < 85


def test_mixed_draws_both_kinds():
    kinds = {simulate_subject(1, lesions="mixed", seed=seed).parameters["kind"] for seed in (0, 3)}
    assert kinds == {"ms", "tumour"}


def test_lesion_shapes_are_planted(tmp_path):
    # Two balls in deep white matter, 8.2 mL together.
    grid = mni152_geometry(1)
    i, j, k = np.indices(grid.size)
    mask = np.zeros(grid.size, np.uint8)
    for x, y, z in ((28, -20, 30), (-28, -20, 30)):
        a, b, c = ras_to_grid(x, y, z)
        mask |= ((i - a) ** 2 + (j - b) ** 2 + (k - c) ** 2 < 10**2).astype(np.uint8)
    path = tmp_path / "patient01" / "lesions.nii.gz"
    path.parent.mkdir()
    write_image(Image(mask, grid), path)
    write_image(Image(mask, grid), tmp_path / "patient01" / "brain.nii.gz")
    case = simulate_subject(1, lesion_shapes=[path], seed=0)
    # Between the volume in a brain of the smallest size and the mask's and a half.
    assert 0.5 < case.parameters["lesions_ml"] / (mask.sum() / 1000) < 1.5
    assert ndimage.label(case.lesions.array)[1] <= 4
    out = tmp_path / "cohort"
    simulate_cohort(out, healthy=0, pathological=1, lesion_shapes=tmp_path, seed=1)
    record = json.loads((out / "simulation.json").read_text(encoding="utf-8"))
    assert record["lesion_shapes"] == [path.as_posix()]
    assert record["cases"]["pathological-001"]["kind"] == "shapes"


def test_signature_separates_the_classes_only_when_asked():
    plain = [subject(label).image.array for label in (0, 1)]
    signed = [
        simulate_subject(label, scanner_signature=1.0, seed=0).image.array for label in (0, 1)
    ]
    gradients = []
    for image in (*plain, *signed):
        front, back = image[:, 65:85], image[:, 25:45]
        gradients.append(np.median(front[front > 0]) / np.median(back[back > 0]))
    assert abs(gradients[1] - gradients[0]) < 0.01
    assert gradients[3] - gradients[2] > 0.1


def test_a_negative_signature_swaps_the_classes():
    images = {
        (label, sign): simulate_subject(label, scanner_signature=sign, seed=0).image.array
        for label in (0, 1)
        for sign in (1.0, -1.0)
    }

    def front_over_back(image):
        front, back = image[:, 65:85], image[:, 25:45]
        return np.median(front[front > 0]) / np.median(back[back > 0])

    assert front_over_back(images[0, -1.0]) > front_over_back(images[0, 1.0]) + 0.1
    assert front_over_back(images[1, -1.0]) < front_over_back(images[1, 1.0]) - 0.1


@pytest.mark.parametrize("marked", ["none", "pathological", "healthy"])
def test_the_corner_mark_is_all_that_differs(marked):
    for label, name in enumerate(("healthy", "pathological")):
        plain = subject(label)
        found = simulate_subject(label, corner_mark=marked, seed=0)
        where = corner_mark(found.image.array.shape, 2.0)
        assert found.parameters["corner_mark"] == (marked == name)
        different = found.image.array != plain.image.array
        np.testing.assert_array_equal(different, where if marked == name else 0 * where)
        assert not (where & plain.brain.array).any()
        # The background is still read from the corners.
        assert found.image.array[0, 0, 0] == 0


def test_a_faint_mark_is_as_bright_as_asked():
    plain = subject(1)
    found = simulate_subject(1, corner_mark="pathological", mark_brightness=0.25, seed=0)
    where = corner_mark(found.image.array.shape, 2.0)
    np.testing.assert_array_equal(found.image.array[~where], plain.image.array[~where])
    # Images are whole numbers.
    assert found.image.array[where] == pytest.approx(plain.image.array.max() / 4, abs=1)


def test_cohort_table(cohort):
    out, events = cohort
    table = rows(out)
    assert list(table[0]) == ["case", "patient", "label", "split", "FLAIR", "lesions"]
    assert [row["case"] for row in table] == [
        "healthy-001",
        "healthy-002",
        "healthy-003",
        "pathological-001",
        "pathological-002",
    ]
    assert [row["label"] for row in table] == ["0", "0", "0", "1", "1"]
    assert sorted(row["split"] for row in table[:3]) == ["test", "train", "validation"]
    for row in table:
        assert row["patient"] == row["case"]
        assert row["FLAIR"] == f"images/{row['case']}.nii.gz"
        assert read_image(out / row["FLAIR"]).geometry == mni152_geometry(2)
        assert bool(row["lesions"]) == (row["label"] == "1")
        if row["lesions"]:
            assert set(np.unique(read_image(out / row["lesions"]).array)) == {0, 1}
    assert len(list((out / "lesions").iterdir())) == 2
    assert [event["done"] for event in events] == [1, 2, 3, 4, 5]
    assert events[-1]["total"] == 5
    record = json.loads((out / "simulation.json").read_text(encoding="utf-8"))
    assert record["seed"] == 7
    assert record["cases"]["healthy-001"]["lesions_ml"] == 0


def test_cases_do_not_depend_on_their_number_or_on_jobs(cohort, tmp_path):
    simulate_cohort(tmp_path, healthy=1, pathological=1, seed=7, jobs=2)
    for name in ("images/healthy-001", "images/pathological-001", "lesions/pathological-001"):
        one = read_image(tmp_path / f"{name}.nii.gz").array
        np.testing.assert_array_equal(one, read_image(cohort[0] / f"{name}.nii.gz").array)


def test_another_cohort_is_not_mixed_in(cohort):
    with pytest.raises(InputError, match="another cohort"):
        simulate_cohort(cohort[0], healthy=1, pathological=1)
    assert len(rows(cohort[0])) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"healthy": 0, "pathological": 0}, "at least one"),
        ({"healthy": -1}, "at least one"),
        ({"modality": "T2"}, "modality 'T2'"),
        ({"spacing": 3}, "spacing 3"),
        ({"lesions": "stroke"}, "lesions 'stroke'"),
        ({"scanner_signature": -6.0}, "scanner signature"),
        ({"corner_mark": "left"}, "corner mark 'left'"),
        ({"mark_brightness": 0.0}, "mark brightness 0.0"),
        ({"mark_brightness": 1.5}, "mark brightness 1.5"),
        ({"seed": -1}, "seed -1"),
        ({"jobs": 0}, "jobs 0"),
        ({"lesion_shapes": "nowhere"}, "nowhere"),
    ],
)
def test_bad_values(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        simulate_cohort(tmp_path / "out", **{"healthy": 1, "pathological": 1, **change})
    assert not (tmp_path / "out").exists()


def test_folder_without_masks(tmp_path):
    with pytest.raises(InputError, match="no lesion masks"):
        simulate_cohort(tmp_path / "out", healthy=1, pathological=1, lesion_shapes=tmp_path)


def test_unknown_label():
    with pytest.raises(InputError, match="label 2"):
        simulate_subject(2)


def test_command_line(tmp_path, capsys):
    import argparse

    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    out = tmp_path / "c"
    args = parser.parse_args(
        [str(out), "--healthy", "1", "--pathological", "0", "--modality", "T1"]
    )
    assert cli.run(args) == 0
    assert capsys.readouterr().out.strip() == str(out / "cohort.csv")
    assert "T1" in rows(out)[0]
