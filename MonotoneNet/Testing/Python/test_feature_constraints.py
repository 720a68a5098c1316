"""Constraints on features against histograms and divergences computed otherwise."""

import numpy as np
import pytest
import torch
from AttribSegLib.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from MonotoneNetLib.constraints import (
    feature_divergence,
    feature_gradient,
    negative_features,
    parzen_histogram,
)
from scipy.special import rel_entr
from torch import nn

SHAPE = (3, 2, 6, 5)


def features(seed=0, shift=0.0, shape=SHAPE):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) + shift


def parzen_by_hand(values, low, bins):
    """The kernel density at the bin centres, from its definition."""
    values = values[values < 0]
    centres = np.linspace(low, 0.0, bins)
    width = centres[1] - centres[0]
    kernel = np.maximum(0, 1 - np.abs(values[:, None] - centres) / width)
    return kernel.sum(0) / len(values)


def test_negative_features_counts_the_positive_part():
    f = torch.tensor([[[-1.0, 2.0], [0.0, 1.0]]])
    assert negative_features(f) == pytest.approx(3 / 4)
    assert negative_features(-f.abs()) == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), bins=st.integers(2, 60), low=st.floats(-9.0, -4.5))
def test_the_histogram_is_the_kernel_density(seed, bins, low):
    values = features(seed, shape=(2, 200))
    found = parzen_histogram(values, torch.full((2,), low, dtype=torch.float64), bins=bins)
    for row, expected in zip(found, values.numpy(), strict=True):
        np.testing.assert_allclose(row, parzen_by_hand(expected, low, bins), atol=1e-12)


def test_the_histogram_has_its_derivative():
    values = features(1, shape=(2, 40)).requires_grad_()
    low = torch.tensor([-5.0, -6.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: parzen_histogram(v, low, bins=7), (values,))


def test_nothing_negative_gives_an_empty_histogram():
    values = features(2, shape=(1, 30)).abs()
    assert parzen_histogram(values, torch.tensor([-1.0], dtype=torch.float64)).sum() == 0


@pytest.mark.parametrize("divergence", ["kl", "hellinger"])
def test_divergences_by_their_definitions(divergence):
    a, b, bins = features(3), features(4, shift=-0.7), 20
    per_channel = []
    for channel in range(SHAPE[1]):
        x, y = (f[:, channel].numpy().ravel() for f in (a, b))
        low = min(x.min(), y.min())
        p, q = (parzen_by_hand(v, low, bins) for v in (x, y))
        if divergence == "kl":
            per_channel.append(rel_entr(p + 1e-6, q + 1e-6).sum())
        else:
            per_channel.append(np.sqrt(0.5 * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum()))
    found = feature_divergence(a, b, divergence=divergence, bins=bins)
    assert float(found) == pytest.approx(np.mean(per_channel), rel=5e-3)


@pytest.mark.parametrize("divergence", ["kl", "hellinger"])
def test_divergences_vanish_only_between_equals(divergence):
    a = features(5)
    assert float(feature_divergence(a, a.flip(0), divergence=divergence)) == pytest.approx(
        0, abs=1e-5
    )
    options = {"divergence": divergence, "bins": 8}
    near = feature_divergence(a, features(6), **options)
    far = feature_divergence(a, features(6, shift=-2.0), **options)
    assert 0 < float(near) < float(far)


@pytest.mark.parametrize("divergence", ["kl", "hellinger"])
def test_positive_features_do_not_matter(divergence):
    a, b = features(7), features(8)
    changed = torch.where(b > 0, b * 5 + 1, b).requires_grad_()
    found = feature_divergence(a, changed, divergence=divergence)
    assert torch.allclose(found, feature_divergence(a, b, divergence=divergence))
    (gradient,) = torch.autograd.grad(found, changed)
    assert (gradient[changed > 0] == 0).all()
    assert (gradient[changed < 0] != 0).any()


@pytest.mark.parametrize("divergence", ["kl", "hellinger"])
def test_a_descent_brings_the_distributions_together(divergence):
    a, b = features(9), features(10, shift=-1.0).requires_grad_()
    options = {"divergence": divergence, "bins": 8}
    start = feature_divergence(a, b, **options).item()
    optimiser = torch.optim.Adam([b], lr=0.03)
    for _ in range(80):
        optimiser.zero_grad()
        feature_divergence(a, b, **options).backward()
        assert bool(b.grad.isfinite().all())
        optimiser.step()
    assert feature_divergence(a, b, **options).item() < 0.5 * start


def test_equal_histograms_have_a_finite_gradient():
    a = features(11).requires_grad_()
    feature_divergence(a.detach(), a, divergence="hellinger").backward()
    assert bool(a.grad.isfinite().all())


def test_a_channel_without_negative_features_counts_nothing():
    a, b = features(12), features(13)
    a[:, 0] = a[:, 0].abs()
    both = feature_divergence(a, b)
    assert float(both) == pytest.approx(float(feature_divergence(a[:, 1:], b[:, 1:])) / 2)


def test_the_gradient_term_by_hand_and_its_derivative():
    """A linear body's gradient is its weights; their sum is the term."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(60, 1, bias=False)).double()
    f = features(14).requires_grad_()
    term = feature_gradient(body(f).flatten(), f)
    assert term.item() == pytest.approx(body[1].weight.abs().sum().item())
    term.backward()
    torch.testing.assert_close(body[1].weight.grad, body[1].weight.sign())


def test_bad_options_are_named():
    with pytest.raises(InputError, match="'js'"):
        feature_divergence(features(), features(), divergence="js")
    with pytest.raises(InputError, match="bins 1"):
        feature_divergence(features(), features(), bins=1)


def test_features_that_are_not_finite_make_the_loss_so():
    """The trainer then says that it diverged."""
    broken = features()
    broken[0, 0, 0, 0] = torch.nan
    assert bool(feature_divergence(broken, features()).isnan())
