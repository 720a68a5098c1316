import copy

import pytest
import torch
from AttribSegLib.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from MonotoneNetLib.initialisation import propagate_variance_
from MonotoneNetLib.lsuv import lsuv_
from MonotoneNetLib.positivity import ThesisPositivity
from torch import nn
from torch.nn.utils import parametrize


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one, self.two = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in "ab")

    def forward(self, x):
        return x + self.two(torch.relu(self.one(x)))


def network(seed, *, positive=False, bias=False):
    torch.manual_seed(seed)
    made = nn.Sequential(
        nn.Conv2d(2, 6, 3, bias=bias),
        nn.LeakyReLU(0.2),
        Block(6),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(6),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(6 * 9, 3, bias=bias),
    )
    if positive:
        for layer in made.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.weight.detach().abs_()
                parametrize.register_parametrization(layer, "weight", ThesisPositivity())
    return made, torch.randn(20, 2, 8, 8)


def weights(module):
    return [m.weight.detach() for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_without_biases_one_pass_comes_to_the_same_weights(seed, positive):
    ours, noise = network(seed, positive=positive)
    theirs = copy.deepcopy(ours)
    before = [w.clone() for w in weights(ours)]
    report = propagate_variance_(ours, noise)
    lsuv_(theirs, noise, tolerance=1e-5, orthonormal=False)
    for w, v, old, layer in zip(weights(ours), weights(theirs), before, report.layers, strict=True):
        torch.testing.assert_close(w, v, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(w, old * layer.factors[0], rtol=1e-4, atol=1e-7)


def test_it_runs_the_whole_network_for_every_layer_and_reports_it():
    made, noise = network(1)
    calls = []
    made.register_forward_hook(lambda *_: calls.append(1))
    report = lsuv_(made, noise)
    names = [layer.name for layer in report.layers]
    assert names == ["0", "2.one", "2.two", "7"]
    assert report.passes == len(calls) == 1 + sum(1 + each.divisions for each in report.layers)
    assert all(abs(each.after**2 - 1) < 0.1 for each in report.layers)
    assert report.to_dict()["layers"][0]["name"] == "0"
    assert made.training


def test_weights_are_orthonormal_first_but_for_scale():
    made, noise = network(2)
    lsuv_(made, noise)
    w = made[0].weight.detach().flatten(1)
    gram = w @ w.T
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(6), atol=1e-5, rtol=1e-5)


def test_biases_stay_and_variance_still_becomes_one():
    made, noise = network(3, bias=True)
    bias = made[0].bias.detach().clone()
    report = lsuv_(made, noise, tolerance=0.01, max_trials=50)
    assert torch.equal(made[0].bias, bias)
    assert all(abs(each.after**2 - 1) < 0.01 for each in report.layers)


def test_trials_are_limited():
    made, noise = network(3, bias=True)
    assert max(e.divisions for e in lsuv_(made, noise, tolerance=1e-12, max_trials=2).layers) == 2


def test_a_layer_that_two_places_share_is_done_once():
    torch.manual_seed(0)
    layer = nn.Linear(3, 3)
    tied = nn.Linear(3, 3)
    tied.weight = layer.weight
    report = lsuv_(nn.Sequential(layer, layer, tied), torch.randn(30, 3))
    assert [each.name for each in report.layers] == ["0"]


def test_bad_input_is_refused():
    made, noise = network(0)
    with pytest.raises(InputError, match="tolerance 0"):
        lsuv_(made, noise, tolerance=0)
    with pytest.raises(InputError, match="no Linear"):
        lsuv_(nn.ReLU(), noise)
    made[7].weight.data.zero_()
    with pytest.raises(InputError, match="layer '7'"):
        lsuv_(made, noise, orthonormal=False)
