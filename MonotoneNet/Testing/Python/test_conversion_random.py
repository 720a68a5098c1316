"""Random architectures: the conversion of what is admissible is monotone, whatever its shape."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from MonotoneNetLib.certificate import certify
from MonotoneNetLib.conversion import conversion_report, monotone
from MonotoneNetLib.numerical_check import check_monotone
from torch import nn
from torch.nn import functional as F

ACTIVATIONS = [
    nn.ReLU,
    lambda: nn.ReLU(inplace=True),
    lambda: nn.LeakyReLU(0.2),
    nn.ELU,
    lambda: nn.CELU(0.5),
    nn.SELU,
    nn.Identity,
]
FUNCTIONS = [
    F.relu,
    torch.relu,
    lambda x: x.relu(),
    lambda x: x.clamp(min=0),
    lambda x: F.leaky_relu(x, 0.3),
    lambda x: F.elu(x, alpha=0.5),
    F.selu,
    lambda x: F.celu(x, 2.0),
    lambda x: x * 0.5 + x / 4,
    lambda x: torch.maximum(x, 0.5 * x),
    lambda x: x + x.mean(dim=1, keepdim=True),
    lambda x: x + x.amax(dim=1, keepdim=True),
    lambda x: F.dropout(x, 0.2, False),
    lambda x: F.layer_norm(x, x.shape[1:]),
]


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        out = self.inner(x)
        out += x
        return out


class Concatenation(nn.Module):
    """Channels of two branches, brought back by a linear layer."""

    def __init__(self, first, second, back):
        super().__init__()
        self.first, self.second, self.back = first, second, back

    def forward(self, x):
        return self.back(torch.cat([self.first(x), self.second(x)], 1))


class Functional(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def layer(dimensions, before, after, bias):
    if dimensions == 0:
        return nn.Linear(before, after, bias=bias)
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    return kind(before, after, 3, padding=1, bias=bias)


def norm(dimensions, channels):
    if dimensions == 0:
        return nn.LayerNorm(channels)
    return (nn.BatchNorm1d, nn.InstanceNorm2d, nn.BatchNorm3d)[dimensions - 1](channels)


def resampling(dimensions, number):
    """Down and up again, so that shapes stay."""
    if dimensions == 0:
        return nn.Dropout(0.1)
    pool = [nn.MaxPool1d, nn.AvgPool2d, nn.MaxPool3d][dimensions - 1](2)
    if number % 3 == 0:
        pad = (nn.ReflectionPad1d, nn.ReplicationPad2d, nn.ZeroPad3d)[dimensions - 1]
        return nn.Sequential(
            pad(1), (nn.AvgPool1d, nn.MaxPool2d, nn.AvgPool3d)[dimensions - 1](3, 1)
        )
    mode = "nearest" if number % 3 == 1 else ("linear", "bilinear", "trilinear")[dimensions - 1]
    return nn.Sequential(pool, nn.Upsample(scale_factor=2, mode=mode))


@st.composite
def networks(draw):
    """A network on (B, 3) or (B, 3, 4[, 4[, 4]]) inputs."""
    dimensions = draw(st.integers(0, 3))

    def block(depth):
        kind = draw(st.sampled_from(["plain"] if depth == 0 else ["plain", "residual", "cat"]))
        parts = []
        for _ in range(draw(st.integers(1, 2))):
            parts.append(layer(dimensions, 3, 3, draw(st.booleans())))
            if draw(st.booleans()):
                parts.append(norm(dimensions, 3))
            if draw(st.booleans()):
                parts.append(draw(st.sampled_from(ACTIVATIONS))())
            else:
                parts.append(Functional(draw(st.sampled_from(FUNCTIONS))))
        if draw(st.booleans()):
            parts.append(resampling(dimensions, draw(st.integers(0, 2))))
        if kind == "residual":
            parts = [Residual(nn.Sequential(*parts, block(depth - 1)))]
        elif kind == "cat":
            back = layer(dimensions, 6, 3, draw(st.booleans()))
            parts = [Concatenation(nn.Sequential(*parts), block(depth - 1), back)]
        return nn.Sequential(*parts)

    torch.manual_seed(draw(st.integers(0, 10**6)))
    head = [layer(dimensions, 3, 2, True)]
    if dimensions and draw(st.booleans()):
        head += [
            (nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool3d)[dimensions - 1](1)
        ]
        head += [nn.Flatten()]
    network = nn.Sequential(block(draw(st.integers(0, 2))), *head)
    return network, torch.randn(3, 3, *(4,) * dimensions)


@settings(max_examples=40, deadline=None)
@given(drawn=networks(), form=st.sampled_from(["thesis", "published"]))
def test_conversions_are_monotone_and_certified(drawn, form):
    given_one, x = drawn
    network = monotone(given_one, positivity=form)
    certificate = certify(network)
    assert certificate.by_construction
    assert certificate.smallest_weight >= 0
    check = check_monotone(network, x, directions=4, generator=torch.Generator().manual_seed(0))
    assert check.ok, check
    network = network.double().eval()
    x = x.double()
    with torch.no_grad():
        assert not network(torch.zeros_like(x)).any()
        assert bool((network(x.abs()) >= 0).all())
        assert bool((network(-x.abs()) <= 0).all())


@settings(max_examples=20, deadline=None)
@given(drawn=networks())
def test_conversions_are_idempotent_and_their_states_round_trip(drawn):
    given_one, x = drawn
    network = monotone(given_one).eval()
    again = monotone(network)
    assert conversion_report(again).changes == ()
    other = monotone(copy.deepcopy(given_one)).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    other.load_state_dict(network.state_dict())
    expected = network(x)
    for each in (again, other, copy.deepcopy(network)):
        assert torch.equal(each(x), expected)


@settings(max_examples=20, deadline=None)
@given(drawn=networks(), data=st.data())
def test_one_bad_weight_anywhere_is_refused_with_its_name(drawn, data):
    network = monotone(drawn[0])
    layers = [(n, m) for n, m in network.named_modules() if hasattr(m, "parametrizations")]
    name, chosen = data.draw(st.sampled_from(layers))
    nn.utils.parametrize.remove_parametrizations(chosen, "weight")
    assert not certify(network).by_construction
    chosen.weight.data.view(-1)[0] = -1e-3
    with pytest.raises(ValueError, match=rf"^{name} \("):
        certify(network)
