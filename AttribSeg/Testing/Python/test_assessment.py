"""A split assessed is what one computes by hand from its files."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from AttribSegLib.assessment import assess
from AttribSegLib.cohort import Cohort, read_cohort
from AttribSegLib.errors import InputError
from AttribSegLib.evaluation import ALL_CASES, PATHOLOGICAL
from AttribSegLib.image import Geometry
from AttribSegLib.image_io import read_image
from AttribSegLib.thresholds import PRECISION_RECALL, Threshold


@pytest.fixture(scope="module")
def cohort(tiny_table):
    return read_cohort(tiny_table, check_images=False)


def by_hand(bundle, case):
    """Logit, and each map with the lesion mask, over the brain of a skull-stripped image."""
    volume = read_image(case.channels["FLAIR"]).array.astype(np.float64)
    brain = volume != 0
    values = (volume - volume[brain].mean()) / volume[brain].std()
    x = torch.from_numpy(np.where(brain, values, 0).astype(np.float32))[None, None]
    x.requires_grad_(True)
    logit = bundle.network(x)
    (gradient,) = torch.autograd.grad(logit.sum(), x)
    maps = {
        "attribution": gradient[0, 0].numpy()[brain] * gradient[0, 0].numel(),
        "FLAIR intensity": values[brain],
    }
    truth = np.zeros(brain.sum(), bool)
    if case.lesions:
        truth = read_image(case.lesions).array[brain] != 0
    return float(logit.detach()), maps, truth


def test_every_row_is_as_computed_by_hand(tiny_bundle, cohort):
    bundle = tiny_bundle()
    cases = cohort.in_split("test")
    hand = {case.case: by_hand(bundle, case) for case in cases}
    attributions = np.concatenate([maps["attribution"] for _, maps, _ in hand.values()])
    cuts = {"attribution": float(np.quantile(attributions, 0.9)), "FLAIR intensity": 1.5}
    bundle.thresholds["attribution"] = Threshold(cuts["attribution"], "user")
    events = []
    found = assess(bundle, cohort, on_event=events.append)
    assert [event["case"] for event in events] == [case.case for case in cases]
    assert {event["event"] for event in events} == {"case"}
    assert found.counts == {"cases": 4, "healthy": 2, "pathological": 2, "patients": 4}
    assert [row.case for row in found.rows if row.map == "attribution"] == list(hand)
    voxel = bundle.geometry.voxel_volume_ml
    dices = {name: [] for name in cuts}
    for row in found.rows:
        logit, maps, truth = hand[row.case]
        values = maps[row.map]
        mask = values > cuts[row.map]
        assert row.logit == pytest.approx(logit, rel=1e-3, abs=1e-5)
        assert row.probability == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-4)
        assert row.brain_voxels == values.size
        assert row.lesion_voxels == truth.sum()
        assert row.threshold == cuts[row.map]
        # A voxel at the threshold may fall on either side by rounding.
        assert row.segmented_voxels == pytest.approx(mask.sum(), abs=3)
        assert row.segmented_ml == pytest.approx(row.segmented_voxels * voxel)
        if truth.any():
            expected = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
            assert row.dice == pytest.approx(expected, abs=0.005)
            above = (values[truth][:, None] > values[~truth]).mean()
            assert row.auroc == pytest.approx(above, abs=1e-3)
            dices[row.map].append(expected)
        else:
            assert row.false_positive_fraction == pytest.approx(mask.mean(), abs=1e-3)
    labels = np.array([case.label for case in cases])
    said = np.array([hand[case.case][0] > 0 for case in cases])
    balanced = np.mean([(said[labels == k] == k).mean() for k in (0, 1)])
    assert balanced in [estimate.value for estimate in found.image.values()]
    population = found.populations[PATHOLOGICAL]
    for name, values in dices.items():
        assert len(values) == 2
        assert population.maps[name].per_case["dice"].mean == pytest.approx(
            np.mean(values), abs=0.005
        )


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_the_intensity_is_always_beside(tiny_bundle, cohort, split):
    found = assess(tiny_bundle(), cohort, split=split)
    names = {"attribution", "FLAIR intensity"}
    assert found.split == split
    assert {row.map for row in found.rows} == names
    assert set(found.thresholds) == names
    for population in (PATHOLOGICAL, ALL_CASES):
        assert set(found.populations[population].maps) == names
    assert set(found.healthy) == names
    # Lesions of these cohorts are bright: the plain intensity finds them.
    intensity = found.populations[PATHOLOGICAL].maps["FLAIR intensity"]
    assert intensity.pooled["auroc"] > 0.95


def test_channels_are_taken_by_name(tiny_bundle, tmp_path, volume_cohort):
    """The order of the cohort's columns does not count, and others are not used."""
    bundle = tiny_bundle(channels=("FLAIR", "T1"))
    table = volume_cohort(tmp_path, channels=("T2", "T1", "FLAIR"))
    found = assess(bundle, read_cohort(table, check_images=False))
    columns = table.read_text(encoding="utf-8").splitlines()[0].split(",")
    order = [columns.index(name) for name in (*columns[:4], "FLAIR", "T1", "lesions")]
    other = tmp_path / "other.csv"
    lines = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()]
    other.write_text(
        "\n".join(",".join(cells[i] for i in order) for cells in lines), encoding="utf-8"
    )
    expected = assess(bundle, read_cohort(other, check_images=False))
    assert [row.logit for row in found.rows] == [row.logit for row in expected.rows]
    assert found.rows[1].map == "FLAIR intensity"


def test_the_wrong_channel(tiny_bundle, cohort):
    with pytest.raises(InputError, match=r"cohort\.csv: the bundle expects channel T1, T2.*FLAIR"):
        assess(tiny_bundle(channels=("FLAIR", "T1", "T2")), cohort)


def test_mask_tuned_thresholds(tiny_bundle, cohort):
    with pytest.raises(InputError, match="no mask-tuned threshold"):
        assess(tiny_bundle(), cohort, mask_tuned=True)
    tuned = {
        name: Threshold(value, PRECISION_RECALL)
        for name, value in (("attribution", 0.125), ("FLAIR intensity", 2.25))
    }
    found = assess(replace(tiny_bundle(), alternatives=tuned), cohort, mask_tuned=True)
    assert found.thresholds == tuned
    assert {row.threshold for row in found.rows} == {0.125, 2.25}


def test_without_masks_images_are_still_assessed(tiny_bundle, tmp_path, volume_cohort):
    table = volume_cohort(tmp_path, masks=False)
    found = assess(tiny_bundle(), read_cohort(table, check_images=False))
    assert found.populations == {}
    assert len(found.rows) == 8
    assert set(found.healthy) == {"attribution", "FLAIR intensity"}
    assert any("Voxel metrics were skipped" in note for note in found.notes)


def test_an_empty_split(tiny_bundle, cohort):
    rest = cohort.select(lambda case: case.split != "test")
    with pytest.raises(InputError, match=r"cohort\.csv: no case in the test split"):
        assess(tiny_bundle(), rest)


def test_slices_and_volumes_do_not_mix(tiny_bundle, cohort, tiny_geometry):
    flat = Geometry((34, 36, 1), tiny_geometry.spacing)
    bundle = tiny_bundle(dimensions=2, geometry=flat)
    with pytest.raises(InputError, match="case p11: the bundle was trained on slices"):
        assess(bundle, cohort)
    cases = [replace(case, slice=15) for case in cohort.cases]
    sliced = Cohort(tuple(cases), cohort.channels, cohort.source)
    with pytest.raises(InputError, match="case p11: the bundle was trained on volumes"):
        assess(tiny_bundle(), sliced)
    found = assess(bundle, sliced)
    assert found.rows[0].brain_voxels < 34 * 36


def test_a_case_that_does_not_fit_is_named(tiny_bundle, cohort, tiny_geometry):
    moved = replace(tiny_geometry, origin=(1000.0, 0.0, 0.0))
    with pytest.raises(InputError, match=r"case p11: only 0% of the brain lies on the bundle's"):
        assess(tiny_bundle(geometry=moved), cohort)
