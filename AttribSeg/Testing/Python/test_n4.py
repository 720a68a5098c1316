"""N4 takes away a bias field that is known, and keeps the mean."""

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.preprocessing.n4 import correct_bias
from AttribSegLib.simulation import simulate_subject


@pytest.fixture(scope="module")
def subject():
    return simulate_subject(0, modality="T1", seed=3)


def variation(values):
    return float(values.std() / values.mean())


@pytest.fixture(scope="module")
def biased(subject):
    shape = subject.image.array.shape
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    field = np.exp(0.5 * i + 0.35 * j * k + 0.3 * k)
    return subject.image.with_array((subject.image.array * field).astype(np.float32)), field


def test_white_matter_becomes_even(subject, biased):
    image, field = biased
    done = correct_bias(image, subject.brain)
    white = (subject.fractions["white"] > 0.95) & subject.brain.array
    clean = variation(subject.image.array[white])
    before, after = variation(image.array[white]), variation(done.image.array[white])
    assert before > 2 * clean
    assert after < before / 2
    inside = subject.brain.array
    assert np.corrcoef(np.log(field[inside]), np.log(done.field.array[inside]))[0, 1] > 0.9


def test_mean_is_kept_and_field_divides(subject, biased):
    image, _ = biased
    done = correct_bias(image, subject.brain)
    inside = subject.brain.array & (image.array > 0)
    assert done.image.array[inside].mean() == pytest.approx(image.array[inside].mean(), rel=1e-4)
    assert np.allclose(done.image.array * done.field.array, image.array, rtol=1e-3, atol=0.05)
    assert (done.field.array > 0).all()
    assert done.quality["variation_after"] < done.quality["variation_before"]
    assert done.quality["field_range"] > 1.5


def test_bad_input(subject):
    image = subject.image
    with pytest.raises(InputError, match="positive"):
        correct_bias(image.with_array(-image.array), subject.brain)
    with pytest.raises(InputError, match="shrink_mm 0"):
        correct_bias(image, subject.brain, shrink_mm=0)
    coarse = subject.brain.reorient("RAS")
    with pytest.raises(InputError, match="another grid"):
        correct_bias(image, coarse)
