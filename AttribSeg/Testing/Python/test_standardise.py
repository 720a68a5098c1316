import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.preprocessing.standardise import standardise
from hypothesis import given, settings
from hypothesis import strategies as st


def test_by_hand():
    array = np.array([[2.0, 4.0], [6.0, 100.0]])
    brain = np.array([[True, True], [True, False]])
    deviation = np.sqrt(8 / 3)
    expected = np.array([[-2 / deviation, 0], [2 / deviation, -7]])
    np.testing.assert_allclose(standardise(array, brain, background=-7), expected, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 1e3), st.floats(-1e3, 1e3), st.sampled_from(["int16", "float32", "uint8"]))
def test_zero_mean_unit_variance_whatever_the_scanner(scale, shift, kind):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (6, 5, 4)).astype(kind)
    brain = rng.random(array.shape) < 0.6
    found = standardise(array, brain, background=-3.0)
    assert found.dtype == np.float32
    assert found[brain].mean(dtype=np.float64) == pytest.approx(0, abs=1e-6)
    assert found[brain].std(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert (found[~brain] == -3).all()
    moved = standardise(array.astype(np.float64) * scale + shift, brain, background=-3.0)
    np.testing.assert_allclose(moved, found, atol=1e-4)


def test_what_lies_outside_has_no_influence():
    rng = np.random.default_rng(0)
    array, brain = rng.random((5, 5, 5)), rng.random((5, 5, 5)) < 0.5
    changed = np.where(brain, array, 1e9)
    np.testing.assert_array_equal(standardise(array, brain), standardise(changed, brain))


def test_leaves_its_input_alone():
    array, brain = np.arange(8.0).reshape(2, 2, 2), np.ones((2, 2, 2), dtype=bool)
    standardise(array, brain)
    np.testing.assert_array_equal(array, np.arange(8.0).reshape(2, 2, 2))


def test_no_or_constant_brain_is_refused():
    array = np.arange(8.0).reshape(2, 2, 2)
    with pytest.raises(InputError, match="empty"):
        standardise(array, np.zeros((2, 2, 2), dtype=bool))
    with pytest.raises(InputError, match="have the value 5"):
        standardise(np.full((2, 2, 2), 5), np.ones((2, 2, 2), dtype=bool))
    for size in (3, 6, 7):  # a mean that is not exact must not turn rounding into an image
        with pytest.raises(InputError, match=r"have the value 0\.1"):
            standardise(np.full(size, 0.1), np.ones(size, dtype=bool))


def test_clip_limits_outliers_and_nothing_else():
    rng = np.random.default_rng(0)
    array = rng.normal(size=(8, 8, 8))
    array[0, 0, 0] = 100.0
    brain = np.ones(array.shape, dtype=bool)
    free, clipped = standardise(array, brain), standardise(array, brain, clip=3.0)
    assert free[0, 0, 0] > 3
    np.testing.assert_array_equal(clipped, np.clip(free, -3, 3))
    np.testing.assert_array_equal(standardise(array, brain, clip=0.0), free)
