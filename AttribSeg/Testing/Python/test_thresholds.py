import json

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.metrics.voxel import dice, oracle_dice
from AttribSegLib.thresholds import (
    Threshold,
    false_positive_fraction_threshold,
    false_positive_volume_threshold,
    precision_recall_threshold,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

quick = settings(max_examples=60, deadline=None)


@st.composite
def healthy(draw):
    """Maps of cases with differing sizes and voxel volumes; few or many distinct values."""
    count = draw(st.integers(1, 5))
    levels = draw(st.sampled_from([2, 5, 500]))
    maps = [
        draw(hnp.arrays(np.int16, draw(st.integers(2, 30)), elements=st.integers(0, levels)))
        for _ in range(count)
    ]
    volumes = draw(st.lists(st.sampled_from([0.1, 0.25, 1.0]), min_size=count, max_size=count))
    return [(values * 1e-6).astype(np.float32) for values in maps], volumes


def mean_above(maps, volumes, threshold):
    amounts = [v * (m > np.float64(threshold)).sum() for m, v in zip(maps, volumes, strict=True)]
    return np.mean(amounts)


@quick
@given(healthy(), st.floats(0, 0.999))
def test_volume_is_the_smallest_admissible_threshold(cases, share):
    maps, volumes = cases
    whole = np.mean([v * m.size for m, v in zip(maps, volumes, strict=True)])
    allowed = share * whole
    found = false_positive_volume_threshold(maps, volume_ml=allowed, voxel_volume_ml=volumes)
    reached = mean_above(maps, volumes, found.value)
    assert reached <= allowed + 1e-9
    assert found.detail["reached_ml"] == pytest.approx(reached)
    # Anything lower lets too much through.
    lower = np.nextafter(found.value, -np.inf)
    assert mean_above(maps, volumes, lower) > allowed


@quick
@given(healthy(), st.floats(0, 0.999))
def test_fraction_is_the_smallest_admissible_threshold(cases, share):
    maps, _ = cases
    shares = [1 / m.size for m in maps]
    found = false_positive_fraction_threshold(maps, fraction=share)
    assert mean_above(maps, shares, found.value) <= share + 1e-9
    assert mean_above(maps, shares, np.nextafter(found.value, -np.inf)) > share


def test_sums_that_round_do_not_cost_a_voxel():
    scores = np.arange(10, dtype=np.float32)
    # Three voxels of 0.1 mL are 0.30000000000000004 mL.
    found = false_positive_volume_threshold([scores], volume_ml=0.3, voxel_volume_ml=0.1)
    assert (scores > found.value).sum() == 3
    none = false_positive_volume_threshold([scores], volume_ml=0.0, voxel_volume_ml=0.1)
    assert none.value == 9.0


def test_only_the_brain_counts_and_the_detail_says_what_was_reached():
    maps = [np.array([[5.0, 1.0], [2.0, 9.0]]), np.array([[4.0, 3.0], [0.0, 9.0]])]
    brain = np.array([[True, True], [True, False]])
    found = false_positive_volume_threshold(
        maps, [brain, brain], volume_ml=1.0, voxel_volume_ml=1.0, population="fold 1, healthy"
    )
    assert found.value == 3.0
    assert found.rule == "healthy-false-positive-volume"
    assert found.population == "fold 1, healthy"
    assert found.detail["reached_ml"] == 1.0
    assert found.detail["largest_case_ml"] == 1.0
    assert found.detail["cases"] == 2
    assert not found.uses_masks


def test_rules_without_material_are_refused():
    with pytest.raises(InputError, match="no healthy validation images"):
        false_positive_volume_threshold([], volume_ml=1.0, voxel_volume_ml=1.0)
    with pytest.raises(InputError, match="no healthy validation images"):
        false_positive_fraction_threshold([], fraction=0.1)
    with pytest.raises(InputError, match="mask for each map"):
        precision_recall_threshold([np.ones(3)], [])
    with pytest.raises(InputError, match="masks are empty"):
        precision_recall_threshold([np.ones(3)], [np.zeros(3)])
    with pytest.raises(InputError, match="whole brain"):
        false_positive_volume_threshold([np.ones(3)], volume_ml=3.0, voxel_volume_ml=1.0)
    with pytest.raises(InputError, match="whole brain"):
        false_positive_fraction_threshold([np.ones(3)], fraction=-0.1)
    with pytest.raises(InputError, match="no brain voxel"):
        false_positive_fraction_threshold([np.ones(3)], [np.zeros(3)], fraction=0.1)
    with pytest.raises(InputError, match="NaN"):
        false_positive_fraction_threshold([np.array([np.nan, 1.0])], fraction=0.1)
    with pytest.raises(InputError, match="positive numbers"):
        false_positive_volume_threshold([np.ones(3)], volume_ml=1.0, voxel_volume_ml=0.0)
    with pytest.raises(InputError, match="its mask"):
        precision_recall_threshold([np.ones(3)], [np.ones(2)])


@quick
@given(st.integers(0, 1000))
def test_precision_recall_is_the_pooled_oracle(seed):
    rng = np.random.default_rng(seed)
    masks = [rng.random((4, 5)) < 0.3 for _ in range(3)]
    masks[0][0, 0] = True
    brains = [rng.random((4, 5)) < 0.8 for _ in range(3)]
    brains[0][0, 0] = True
    maps = [(rng.integers(0, 6, (4, 5)) + 2 * mask).astype(np.float32) for mask in masks]
    found = precision_recall_threshold(maps, masks, brains)
    scores = np.concatenate([m[b] for m, b in zip(maps, brains, strict=True)])
    truth = np.concatenate([m[b] for m, b in zip(masks, brains, strict=True)])
    best, value = oracle_dice(scores, truth)
    assert found.value == value
    assert found.detail["pooled_dice"] == pytest.approx(best)
    assert dice(found.mask(scores), truth) == pytest.approx(best)
    precision, recall = found.detail["precision"], found.detail["recall"]
    assert 2 * precision * recall / (precision + recall) == pytest.approx(best)
    assert found.uses_masks


def test_the_mask_is_strict_and_survives_single_precision():
    value = float(np.float32(0.1))
    threshold = Threshold(value, "precision-recall")
    scores = np.array([0.1, np.nextafter(np.float32(0.1), np.float32(1))], np.float32)
    assert threshold.mask(scores).tolist() == [False, True]
    # A value between two single-precision numbers is not rounded onto one of them.
    between = Threshold(np.nextafter(value, 0), "precision-recall")
    assert between.mask(scores).tolist() == [True, True]


def test_thresholds_survive_json():
    threshold = false_positive_fraction_threshold([np.arange(7.0) / 3], fraction=0.3)
    again = Threshold.from_dict(json.loads(json.dumps(threshold.to_dict())))
    assert again == threshold


@pytest.mark.parametrize(
    "content",
    [
        {"rule": "precision-recall"},
        {"value": None, "rule": "precision-recall"},
        {"value": 1.0, "rule": "best looking"},
        {"value": float("nan"), "rule": "precision-recall"},
        [],
    ],
)
def test_malformed_thresholds_are_refused(content):
    with pytest.raises(InputError, match="threshold"):
        Threshold.from_dict(content)
