"""Post-processing of maps, step by step."""

import json

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry
from AttribSegLib.map_processing import (
    RAW,
    MapProcessing,
    positive_part,
    smooth,
    standard_candidates,
    times_input,
    within_brain,
    without_small_components,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

SIZE = (14, 12, 9)
GRID = Geometry(SIZE, (2.0, 1.0, 4.0))
NOMINAL = Geometry(SIZE, (1.0, 1.0, 1.0), nominal=True)


def ball():
    places = np.meshgrid(*[np.linspace(-1, 1, n) for n in SIZE], indexing="ij")
    return sum(place**2 for place in places) < 0.8


def test_smooth_is_scipys_where_everything_is_brain(rng):
    values = rng.normal(size=SIZE).astype(np.float32)
    found = smooth(values, np.ones(SIZE, dtype=bool), (1.5, 0.7, 2.0))
    np.testing.assert_allclose(found, gaussian_filter(values, (1.5, 0.7, 2.0)), atol=1e-6)
    assert found.dtype == np.float32


def test_smooth_is_a_weighted_mean_over_the_brain(rng):
    """Voxel by voxel, with weights written out."""
    values, brain = rng.normal(size=(7, 6, 1)), rng.random((7, 6, 1)) < 0.6
    found = smooth(values, brain, (1.0, 0.8, 3.0))
    for i, j, _ in np.argwhere(brain):
        place = np.zeros((7, 6, 1))
        place[i, j] = 1  # the filter is symmetric: these are the weights of the others
        weights = gaussian_filter(place, (1.0, 0.8, 0.0))
        expected = (weights * values)[brain].sum() / weights[brain].sum()
        if 2 < i < 4:  # away from the border, where reflection breaks the symmetry
            assert found[i, j, 0] == pytest.approx(expected, abs=1e-5)
    assert (found[~brain] == 0).all()


@pytest.mark.parametrize("sigma", [0.5, 1.5, 4.0])
def test_smooth_does_not_darken_the_rim(sigma):
    brain = ball()
    found = smooth(np.full(SIZE, 3.0), brain, (sigma,) * 3)
    np.testing.assert_allclose(found[brain], 3.0, rtol=1e-5)
    assert (found[~brain] == 0).all()


def test_smooth_ignores_what_lies_outside(rng):
    brain, values = ball(), rng.normal(size=SIZE)
    changed = np.where(brain, values, 1e6)
    np.testing.assert_array_equal(smooth(changed, brain, (2,) * 3), smooth(values, brain, (2,) * 3))
    unknown = np.where(brain, values, np.nan)
    np.testing.assert_array_equal(smooth(unknown, brain, (2,) * 3), smooth(values, brain, (2,) * 3))


def test_smooth_keeps_within_the_range_and_calms(rng):
    brain, values = ball(), rng.normal(size=SIZE)
    found = smooth(values, brain, (1.0,) * 3)
    inside = values[brain]
    assert inside.min() <= found[brain].min() <= found[brain].max() <= inside.max()
    assert found[brain].std() < 0.5 * inside.std()
    # A voxel deep inside keeps its mass.
    spot = np.zeros(SIZE)
    spot[7, 6, 4] = 1
    assert smooth(spot, np.ones(SIZE, dtype=bool), (1.0,) * 3).sum() == pytest.approx(1, rel=1e-3)


def test_smooth_leaves_axes_of_one_voxel_alone(rng):
    values = rng.normal(size=(9, 8, 1))
    found = smooth(values, np.ones((9, 8, 1), dtype=bool), (1.0, 1.0, 50.0))
    np.testing.assert_allclose(found[..., 0], gaussian_filter(values[..., 0], 1.0), atol=1e-6)


def test_simple_steps(rng):
    values, image, brain = rng.normal(size=SIZE), rng.normal(size=SIZE), ball()
    np.testing.assert_allclose(times_input(values, image), values * image, rtol=1e-6)
    np.testing.assert_allclose(positive_part(values), values * (values > 0), rtol=1e-6)
    inside = within_brain(values, brain)
    np.testing.assert_allclose(inside[brain], values[brain], rtol=1e-6)
    assert (inside[~brain] == 0).all()
    for result in (times_input(values, image), positive_part(values), inside):
        assert result.dtype == np.float32


def test_steps_run_in_the_stated_order(rng):
    values, image, brain = rng.normal(size=SIZE), rng.normal(size=SIZE), ball()
    processing = MapProcessing(times_input=True, positive=True, smoothing_mm=3.0)
    expected = smooth(np.maximum(values * image, 0), brain, (1.5, 3.0, 0.75))
    np.testing.assert_allclose(
        processing.map(values, image, brain, GRID), expected, rtol=1e-4, atol=1e-6
    )
    found = MapProcessing(smoothing_voxels=1.2).map(values, image, brain, NOMINAL)
    np.testing.assert_allclose(found, smooth(values, brain, (1.2,) * 3), atol=1e-6)


def test_raw_does_nothing(rng):
    values = rng.normal(size=SIZE).astype(np.float32)
    before = values.copy()
    assert RAW.does_nothing
    assert not RAW.changes_map
    np.testing.assert_array_equal(RAW.map(values, values, ball(), GRID), before)
    mask = values > 0
    np.testing.assert_array_equal(RAW.mask(mask, GRID), mask)
    # Nor does a step change what it is given.
    MapProcessing(times_input=True, positive=True).map(values, values, ball(), GRID)
    np.testing.assert_array_equal(values, before)
    assert MapProcessing(minimum_ml=1).does_nothing is False
    assert MapProcessing(minimum_ml=1).changes_map is False
    assert MapProcessing(positive=True).changes_map is True


def shapes():
    """Components of 5 (by corners), 3 and 1 voxels."""
    mask = np.zeros(SIZE, dtype=bool)
    for n in range(5):
        mask[n, n, n] = True
    mask[10, 8, 6:9] = True
    mask[13, 0, 0] = True
    return mask


@pytest.mark.parametrize(
    ("least", "left"), [(0, 9), (1, 9), (2, 8), (3, 8), (4, 5), (5, 5), (6, 0)]
)
def test_small_components_go_and_corners_connect(least, left):
    found = without_small_components(shapes(), least)
    assert found.dtype == bool
    assert found.sum() == left
    assert not (found & ~shapes()).any()


def test_small_components_of_a_plane_connect_by_corners_too():
    found = without_small_components(np.eye(4, dtype=bool), 4)
    np.testing.assert_array_equal(found, np.eye(4, dtype=bool))
    assert not without_small_components(np.zeros((3, 3, 3), dtype=bool), 1).any()


@given(st.integers(2, 40), st.floats(0.3, 3.0), st.floats(0.3, 3.0), st.floats(0.3, 3.0))
def test_exactly_the_minimum_stays(count, a, b, c):
    """Whatever the rounding of the spacing."""
    grid = Geometry((40, 3, 3), (a, b, c))
    mask = np.zeros(grid.size, dtype=bool)
    mask[:count, 1, 1] = True
    volume = count * a * b * c / 1000
    assert MapProcessing(minimum_ml=volume).mask(mask, grid).sum() == count
    assert MapProcessing(minimum_ml=volume * 1.01).mask(mask, grid).sum() == 0
    assert MapProcessing(minimum_ml=volume * 0.99).mask(mask, grid).sum() == count


def test_the_larger_of_two_minima_counts():
    # A voxel is 0.008 mL.
    assert MapProcessing(minimum_ml=0.024, minimum_voxels=5).mask(shapes(), GRID).sum() == 5
    assert MapProcessing(minimum_ml=0.04, minimum_voxels=2).mask(shapes(), GRID).sum() == 5
    assert MapProcessing(minimum_voxels=2).mask(shapes(), NOMINAL).sum() == 8


@pytest.mark.parametrize(
    ("options", "what"),
    [({"smoothing_mm": 2.0}, "smoothing in mm"), ({"minimum_ml": 0.1}, "in mL")],
)
def test_millimetres_need_a_known_spacing(options, what):
    processing, values = MapProcessing(**options), np.zeros(SIZE)
    with pytest.raises(InputError, match=what):
        processing.mask(processing.map(values, values, ball(), NOMINAL) > 0, NOMINAL)
    processing.mask(processing.map(values, values, ball(), GRID) > 0, GRID)


@pytest.mark.parametrize(
    "processing",
    [
        RAW,
        MapProcessing(times_input=True, positive=True, chosen_by="labels"),
        MapProcessing(smoothing_mm=2.5, minimum_ml=0.05, chosen_by="user"),
        MapProcessing(smoothing_voxels=1.0, minimum_voxels=4, chosen_by="masks"),
        *standard_candidates(nominal=True),
        *standard_candidates(nominal=False),
    ],
)
def test_round_trip_through_json(processing):
    content = json.loads(json.dumps(processing.to_dict()))
    assert MapProcessing.from_dict(content) == processing


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"smoothing": 2}, "'smoothing' is unknown"),
        ({"smoothing_mm": -1.0}, "smoothing_mm -1"),
        ({"smoothing_mm": float("nan")}, "smoothing_mm nan"),
        ({"smoothing_voxels": "2"}, "smoothing_voxels '2'"),
        ({"minimum_ml": float("inf")}, "minimum_ml inf"),
        ({"minimum_voxels": True}, "minimum_voxels True"),
        ({"chosen_by": "me"}, "chosen_by 'me'"),
        ([1, 2], "names and values"),
        ("raw", "names and values"),
    ],
)
def test_bad_content_is_refused(content, named):
    with pytest.raises(InputError, match=named) as caught:
        MapProcessing.from_dict(content)
    assert "\n" not in str(caught.value)


def test_describes_itself():
    assert RAW.describe() == "raw"
    everything = MapProcessing(True, True, 2.0, 1.5, 0.05, 3)
    assert everything.describe() == (
        "times input, positive part, smoothed by 2 mm, smoothed by 1.5 voxels, "
        "lesions from 0.05 mL, lesions from 3 voxels"
    )


@pytest.mark.parametrize("nominal", [False, True])
def test_candidates_are_different_and_fit_their_spacing(nominal):
    candidates = standard_candidates(nominal=nominal)
    assert candidates[0] == RAW
    assert len({each.describe() for each in candidates}) == len(candidates) > 3
    values, grid = np.ones(SIZE), NOMINAL if nominal else GRID
    for each in candidates:
        assert each.map(values, values, ball(), grid).shape == SIZE
