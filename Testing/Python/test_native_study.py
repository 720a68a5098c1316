"""Agreement of two visits' maps, as the study native measures it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.errors import InputError

STUDY = Path(__file__).resolve().parents[1] / "Evidence" / "native"
sys.path.insert(0, str(STUDY))
from visit_agreement import (  # noqa: E402
    brightest,
    correlation,
    dice,
    largest_rise,
    mirrored,
    moved,
    rank_of,
    shifted_dice,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def ball(shape, centre, radius):
    grid = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (grid**2).sum(axis=0) <= radius**2


def test_the_brightest_voxels_are_so_many_inside_the_region_and_none_outside_is_brighter(rng):
    values = rng.normal(size=(9, 8, 7))
    region = rng.random(values.shape) < 0.5
    found = brightest(values, region, 40)
    assert found.sum() == 40
    assert not (found & ~region).any()
    assert values[found].min() >= values[region & ~found].max()


def test_of_equal_values_exactly_so_many_are_taken():
    assert brightest(np.zeros((4, 4, 4)), np.ones((4, 4, 4), bool), 5).sum() == 5


def test_more_voxels_than_the_region_has_are_refused():
    region = np.zeros((3, 3, 3), bool)
    region[0] = True
    with pytest.raises(InputError, match="10 voxels of a region that has 9"):
        brightest(np.ones(region.shape), region, 10)


def test_moving_agrees_with_rolling_where_nothing_enters(rng):
    array = np.zeros((10, 9, 8))
    array[4:6, 4:6, 3:5] = rng.normal(size=(2, 2, 2))
    assert np.array_equal(moved(array, (2, -3, 1)), np.roll(array, (2, -3, 1), (0, 1, 2)))
    assert not moved(array, (10, 0, 0)).any()
    assert not moved(array, (0, -25, 0)).any()


def test_a_symmetric_region_off_the_middle_is_its_own_mirror_image():
    region = ball((40, 20, 20), (12, 10, 10), 7)
    spot = ball(region.shape, (9, 10, 10), 1)
    assert np.array_equal(mirrored(region, region, 0), region)
    there = mirrored(spot, region, 0)
    assert np.array_equal(there, ball(region.shape, (15, 10, 10), 1))
    assert np.array_equal(mirrored(there, region, 0), spot)


def test_dice_and_correlation_of_a_map_with_itself_are_one(rng):
    values = rng.normal(size=(6, 6, 6))
    region = np.ones(values.shape, bool)
    mask = values > 1
    assert dice(mask, mask) == 1.0
    assert correlation(values, 3 * values + 2, region) == pytest.approx(1.0)
    assert np.isnan(dice(~region, ~region))


def test_far_shifts_of_a_small_mask_leave_nothing_in_common_and_repeat_with_their_seed():
    region = np.ones((40, 40, 40), bool)
    spot = ball(region.shape, (20, 20, 20), 2)
    options = {"count": 6, "between_mm": (10.0, 15.0), "seed": 3}
    far = shifted_dice(spot, spot, region, (1.0, 1.0, 1.0), **options)
    assert far == [0.0] * 6
    whole = np.ones_like(region)
    first = shifted_dice(whole, whole, region, (1.0, 2.0, 4.0), **options)
    assert first == shifted_dice(whole, whole, region, (1.0, 2.0, 4.0), **options)
    assert all(0 < value < 1 for value in first)


def test_the_largest_rise_is_found_whatever_the_images_scale(rng):
    region = ball((36, 36, 20), (18, 18, 10), 17)
    lesion = ball(region.shape, (14, 20, 10), 3)
    smaller = ball(region.shape, (25, 15, 10), 1)
    before = 100 + 10 * rng.normal(size=region.shape)
    after = 3 * (100 + 10 * rng.normal(size=region.shape) + 80 * lesion + 80 * smaller) - 50
    found = largest_rise(before, after, region, rise_sd=3.0)
    assert dice(found, lesion) > 0.8
    assert not (found & smaller).any()
    assert not largest_rise(before, before, region, rise_sd=3.0).any()


def test_a_rank_is_one_at_the_top_zero_at_the_bottom_and_a_half_for_a_flat_map(rng):
    region = np.ones((10, 10, 10), bool)
    part = ball(region.shape, (5, 5, 5), 1)
    values = rng.normal(size=region.shape)
    high, low = np.where(part, 10, values), np.where(part, -10, values)
    assert rank_of(high, part, region) > 0.99
    assert rank_of(low, part, region) < 0.01
    assert rank_of(np.zeros(region.shape), part, region) == 0.5
