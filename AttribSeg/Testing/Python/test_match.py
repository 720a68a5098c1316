"""Histogram matching gives the reference's distribution and turns no contrast round."""

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.preprocessing.match import match_histogram
from scipy import stats


def make(values):
    array = np.asarray(values, np.float32).reshape(10, 10, -1)
    return Image(array, Geometry(array.shape))


@pytest.fixture
def pair(rng):
    image, reference = make(rng.normal(0, 1, 1000)), make(rng.gamma(3, 20, 2000))
    inside = image.with_array(rng.random(image.array.shape) < 0.7)
    return image, inside, reference, reference.with_array(np.ones(reference.array.shape, bool))


def test_distribution_and_order(pair):
    image, inside, reference, everywhere = pair
    matched = match_histogram(image, inside, reference, everywhere)
    new, old = matched.array[inside.array], image.array[inside.array]
    assert stats.ks_2samp(new, reference.array.ravel()).statistic < 0.01
    assert stats.ks_2samp(old, reference.array.ravel()).statistic > 0.5
    assert stats.spearmanr(new, old).statistic == pytest.approx(1)
    assert np.array_equal(matched.array[~inside.array], image.array[~inside.array])


def test_an_image_matched_to_itself_is_itself(pair):
    image, inside, _, _ = pair
    assert np.allclose(match_histogram(image, inside, image, inside).array, image.array, atol=1e-6)


def test_ties_stay_ties(pair):
    image, inside, reference, everywhere = pair
    rounded = image.with_array(np.round(image.array))
    matched = match_histogram(rounded, inside, reference, everywhere).array[inside.array]
    for value in np.unique(rounded.array[inside.array]):
        assert np.ptp(matched[rounded.array[inside.array] == value]) == 0


def test_bad_masks(pair):
    image, inside, reference, everywhere = pair
    with pytest.raises(InputError, match="reference is empty"):
        match_histogram(image, inside, reference, everywhere.with_array(~everywhere.array))
    with pytest.raises(InputError, match="image lies on another grid"):
        match_histogram(image, everywhere, reference, everywhere)
