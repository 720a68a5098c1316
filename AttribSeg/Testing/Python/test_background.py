import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.preprocessing.background import brain_from_background


def ball(size=(12, 12, 12), radius=0.8):
    places = np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij")
    return sum(place**2 for place in places) < radius**2


@pytest.mark.parametrize("background", [0, -1024, 7])
@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_everything_but_the_background(rng, background, kind):
    brain = ball()
    array = np.where(brain, 100 + rng.integers(0, 50, brain.shape), background).astype(kind)
    np.testing.assert_array_equal(brain_from_background(array), brain)


def test_holes_are_filled():
    brain = ball()
    array = np.where(brain, 100, 0)
    array[5:7, 5:7, 5:7] = 0
    np.testing.assert_array_equal(brain_from_background(array), brain)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_holes_of_a_single_slice_are_filled(axis):
    brain = np.expand_dims(ball((12, 12)), axis)
    array = np.where(brain, 100, 0)
    hole = np.zeros((12, 12), dtype=bool)
    hole[5:7, 5:7] = True
    array[np.expand_dims(hole, axis)] = 0
    np.testing.assert_array_equal(brain_from_background(array), brain)


def test_a_bay_is_no_hole():
    brain = ball()
    array = np.where(brain, 100, 0)
    array[6:, 5:7, 5:7] = 0
    assert not brain_from_background(array)[8, 5, 5]


def test_one_corner_may_be_brain():
    brain = ball()
    brain[0, 0, 0] = True
    np.testing.assert_array_equal(brain_from_background(np.where(brain, 100, 0)), brain)


def test_empty_and_unstripped_images_are_refused(rng):
    with pytest.raises(InputError, match="empty"):
        brain_from_background(np.full((5, 5, 5), 3))
    with pytest.raises(InputError, match="no constant background"):
        brain_from_background(rng.random((8, 8, 8)))
