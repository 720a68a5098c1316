import math

import numpy as np
import pytest
import torch
from AttribSegLib.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from MonotoneNetLib.correlation import (
    measured_correlation,
    predicted_correlation,
    predicted_correlation_of_layer,
)
from torch import nn
from torch.nn.utils import parametrize


def inputs(rng, n):
    """Covariance and mean of correlated inputs, and a root of the covariance."""
    root = rng.standard_normal((n, n)) / n**0.5 + 0.5 / n**0.5
    return root @ root.T, rng.standard_normal(n), root


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("n", [5, 30])
def test_simulation_with_random_weights_and_inputs(n, positive):
    rng = np.random.default_rng(n)
    covariance, mean, root = inputs(rng, n)
    draws = 400_000
    x = mean + rng.standard_normal((draws, n)) @ root.T
    # Two outputs per draw, each with its own weights: both weights and inputs are random.
    y = []
    for _ in range(2):
        w = rng.standard_normal((draws, n))
        w = w**2 / np.sqrt(1 + w**2) if positive else 0.3 + w
        y.append((w * x).sum(1))
    sample = rng.standard_normal(4_000_000)
    w = sample**2 / np.sqrt(1 + sample**2) if positive else 0.3 + sample
    found = np.corrcoef(*y)[0, 1]
    expected = predicted_correlation(float(w.mean()), float(w.std()), covariance, mean)
    assert expected == pytest.approx(found, rel=0.02, abs=0.004)


def test_simulation_with_drawn_weights():
    rng = np.random.default_rng(3)
    n, outputs = 40, 4000
    covariance, _, _ = inputs(rng, n)
    w = np.abs(rng.standard_normal((outputs, n)))
    exact = w @ covariance @ w.T
    pairs = (exact.sum() - np.trace(exact)) / (outputs * (outputs - 1))
    found = pairs / np.diag(exact).mean()
    expected = predicted_correlation(float(w.mean()), float(w.std()), covariance)
    assert expected == pytest.approx(found, rel=0.02)


@given(st.floats(-3, 3), st.floats(0.01, 3), st.floats(0.1, 10))
def test_scales_of_inputs_and_weights_do_not_matter(mean, std, scale):
    rng = np.random.default_rng(0)
    covariance, centre, _ = inputs(rng, 6)
    value = predicted_correlation(mean, std, covariance, centre)
    assert 0 <= value <= 1
    scaled = predicted_correlation(scale * mean, scale * std, covariance, centre)
    assert scaled == pytest.approx(value)
    larger = predicted_correlation(mean, std, scale**2 * covariance, scale * centre)
    assert larger == pytest.approx(value)


def test_limits():
    eye = np.eye(4)
    assert predicted_correlation(1.0, 0.0, eye) == 1
    assert predicted_correlation(0.0, 1.0, eye) == 0
    # A common input alone: rho is 1 / n.
    assert predicted_correlation(1.0, 1.0, np.ones((4, 4))) == pytest.approx(4 / 5)
    assert math.isnan(predicted_correlation(1.0, 1.0, np.zeros((4, 4))))
    with pytest.raises(InputError, match=r"shape \(4, 4\), input mean of shape \(3,\)"):
        predicted_correlation(1.0, 1.0, eye, np.zeros(3))
    with pytest.raises(InputError, match="weight_std -1"):
        predicted_correlation(1.0, -1.0, eye)


LAYERS = [
    (nn.Linear(6, 5), (9, 6)),
    (nn.Conv1d(2, 5, 3, padding=1, stride=2), (7, 2, 9)),
    (nn.Conv2d(2, 5, 3, padding=2, dilation=2, padding_mode="circular"), (7, 2, 6, 5)),
    (nn.Conv3d(2, 5, (1, 2, 3), bias=False), (3, 2, 4, 4, 4)),
    (nn.ConvTranspose2d(2, 5, 3, stride=2, padding=1, output_padding=1), (7, 2, 4, 4)),
]


def windows(layer, x):
    """What the layer sees at every place, by one convolution per entry of its window."""
    weight = layer.weight.detach()
    inputs = (
        weight[0].numel()
        if not hasattr(layer, "output_padding")
        or isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        else weight[:, 0].numel()
    )
    seen = []
    transposed = isinstance(layer, nn.ConvTranspose2d)
    shape = weight[:, :1].shape if transposed else weight[:1].shape
    for i in range(inputs):
        one = torch.zeros(inputs)
        one[i] = 1
        full = one.view(shape).expand(weight.shape).contiguous()
        bias = {} if layer.bias is None else {"bias": torch.zeros_like(layer.bias)}
        y = torch.func.functional_call(layer, {"weight": full, **bias}, x)
        axis = -1 if isinstance(layer, nn.Linear) else 1
        seen.append(y.select(axis, 0).reshape(-1))
    return torch.stack(seen).double().numpy()


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: type(v).__name__)
def test_prediction_of_a_layer_is_the_formula_on_its_windows(layer, shape):
    torch.manual_seed(0)
    layer.weight.data.uniform_(0, 1)
    x = torch.randn(shape).cumsum(1) + 0.7
    seen = windows(layer, x)
    weight = layer.weight.detach().double()
    expected = predicted_correlation(
        float(weight.mean()), float(weight.std(correction=0)),
        np.cov(seen, bias=True), seen.mean(1),
    )  # fmt: skip
    assert predicted_correlation_of_layer(layer, x) == pytest.approx(expected, rel=1e-5)


def test_a_wide_layer_has_the_predicted_correlation():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 800, 3, bias=False)
    layer.weight.data = layer.weight.data.abs()
    x = torch.relu(torch.randn(40, 3, 12, 12) + 0.3)
    found = measured_correlation(layer(x), 1)
    assert predicted_correlation_of_layer(layer, x) == pytest.approx(found, rel=0.03)


def test_parametrised_weights_count_as_they_act():
    class Absolute(nn.Module):
        def forward(self, V):
            return V.abs()

    torch.manual_seed(0)
    layer = nn.Linear(20, 10)
    x = torch.randn(50, 20)
    before = predicted_correlation_of_layer(layer, x)
    parametrize.register_parametrization(layer, "weight", Absolute())
    assert before < 0.05 < 0.5 < predicted_correlation_of_layer(layer, x)


def test_groups_have_no_prediction():
    assert math.isnan(
        predicted_correlation_of_layer(nn.Conv1d(4, 4, 1, groups=2), torch.ones(1, 4, 3))
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 10**6))
def test_measured_correlation_is_the_mean_over_pairs(channels, images, seed):
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((images, channels, 3)) + rng.standard_normal((images, 1, 3))
    centred = np.moveaxis(y - y.mean(), 1, 0).reshape(channels, -1)
    moments = centred @ centred.T / centred.shape[1]
    pairs = moments[~np.eye(channels, dtype=bool)].mean()
    found = measured_correlation(torch.from_numpy(y), 1)
    assert found == pytest.approx(pairs / np.diag(moments).mean())


def test_equal_channels_are_correlated_and_one_channel_is_not_comparable():
    y = torch.randn(20, 1, 5)
    assert measured_correlation(y.expand(20, 7, 5), 1) == pytest.approx(1)
    assert math.isnan(measured_correlation(y, 1))
    assert math.isnan(measured_correlation(torch.zeros(4, 3), 1))
    assert math.isnan(measured_correlation(torch.full((4, 3), math.inf), 1))
