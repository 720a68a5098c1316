import copy

import pytest
import torch
from AttribSegLib.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from MonotoneNetLib.positivity import (
    POSITIVITIES,
    PublishedPositivity,
    ThesisPositivity,
    make_positivity,
)
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils import parametrize

MAPS = [ThesisPositivity(), PublishedPositivity(), PublishedPositivity(0.01)]
numbers = st.floats(-1e4, 1e4)


@given(v=numbers)
def test_values_are_those_of_the_formulas(v):
    V = torch.tensor([v], dtype=torch.float64)
    assert ThesisPositivity()(V).item() == pytest.approx(v**2 / (1 + v**2) ** 0.5, rel=1e-14)
    published = PublishedPositivity(0.3)(V).item()
    assert published == pytest.approx(v**2 / ((v**2 + 0.09) ** 0.5 + 0.3), rel=1e-14)


@pytest.mark.parametrize("phi", MAPS, ids=str)
@given(a=numbers, b=numbers)
def test_it_is_even_and_increasing(phi, a, b):
    small, large = sorted((abs(a), abs(b)))
    values = phi(torch.tensor([small, large, -large], dtype=torch.float64))
    assert 0 <= values[0] <= values[1] == values[2]


@pytest.mark.parametrize("phi", MAPS, ids=str)
@pytest.mark.parametrize(
    ("dtype", "largest", "rounding"), [(torch.float32, 1e37, 1e-6), (torch.float64, 1e300, 1e-14)]
)
def test_the_inverse_is_one_for_tiny_and_large_weights(phi, dtype, largest, rounding):
    W = torch.logspace(-30, 0, 40, dtype=torch.float64)
    W = torch.cat([torch.zeros(1), W, W.reciprocal() * (largest / 1e30), W * largest]).to(dtype)
    V = phi.right_inverse(W)
    assert bool((V >= 0).all())
    assert bool(V.isfinite().all())
    torch.testing.assert_close(phi(V), W, rtol=rounding, atol=1e-44)
    # The other way round, where v^2 does not vanish in the rounding.
    back = phi.right_inverse(phi(-V))
    torch.testing.assert_close(back, V, rtol=rounding, atol=1e-18)


@pytest.mark.parametrize("phi", MAPS, ids=str)
def test_derivatives(phi):
    V = torch.tensor([-30.0, -1, -0.01, 0, 0.02, 0.7, 5], dtype=torch.float64, requires_grad=True)
    assert gradcheck(phi, (V,))
    assert gradgradcheck(phi, (V,))


@pytest.mark.parametrize("phi", MAPS, ids=str)
@pytest.mark.parametrize("value", [-1e-30, float("nan"), float("inf")])
def test_no_inverse_of_what_is_not_positive(phi, value):
    with pytest.raises(InputError, match="1 of 2 entries are negative"):
        phi.right_inverse(torch.tensor([1.0, value]))


@pytest.mark.parametrize("name", POSITIVITIES)
def test_weights_of_a_layer_go_through_it_both_ways(name):
    layer = nn.Linear(3, 2)
    layer.weight.data.abs_()
    before = layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", make_positivity(name))
    torch.testing.assert_close(layer.weight, before)
    layer.weight = before + 1
    torch.testing.assert_close(layer.weight, before + 1)
    torch.testing.assert_close(copy.deepcopy(layer).weight, before + 1)
    with pytest.raises(InputError):
        layer.weight = -before


@pytest.mark.parametrize("b", [0.0, -1.0, float("inf"), float("nan")])
def test_b_is_positive(b):
    with pytest.raises(InputError, match="positive number"):
        PublishedPositivity(b)


def test_unknown_names_are_refused_and_objects_taken():
    with pytest.raises(InputError, match="softplus"):
        make_positivity("softplus")
    assert make_positivity(MAPS[1]) is MAPS[1]
