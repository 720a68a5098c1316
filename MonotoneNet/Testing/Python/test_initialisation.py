import copy
import json
import math

import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks import build_network, twice
from hypothesis import given, settings
from hypothesis import strategies as st
from MonotoneNetLib.certificate import certify
from MonotoneNetLib.conversion import monotone
from MonotoneNetLib.initialisation import draw_standard_init_, propagate_variance_
from MonotoneNetLib.positivity import POSITIVITIES
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOL = {1: nn.AvgPool1d, 2: nn.MaxPool2d, 3: nn.AvgPool3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Graph(nn.Module):
    """Steps on a list of features; a step may call a layer that another one calls too."""

    def __init__(self, dimensions, steps, *, bias, positivity):
        super().__init__()
        self.steps, width = steps, 4
        conv, up = CONV[dimensions], TRANSPOSED[dimensions]
        self.first = conv(2, width, 3, padding=1, bias=bias)
        self.shared = conv(width, width, 3, padding=1, bias=bias)
        self.never = conv(width, width, 1)
        self.layers = nn.ModuleDict()
        for number, step in enumerate(steps):
            if step in ("conv", "residual"):
                layer = conv(width, width, 3, padding=1, bias=bias, groups=1 + number % 2)
            elif step == "concatenation":
                layer = conv(2 * width, width, 1, bias=bias)
            elif step == "up":
                layer = up(width, width, 2, stride=2, groups=1 + number % 2, bias=bias)
            elif step == "norm":
                layer = NORM[dimensions](width)
            elif step == "pool":
                layer = POOL[dimensions](2)
            elif step == "activation":
                layer = nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Dropout(0.5))
            else:
                continue
            self.layers[str(number)] = layer
        self.last = nn.Linear(width, 2, bias=bias)
        if positivity:
            for layer in linear(self):
                layer.weight.detach().abs_()
                parametrize.register_parametrization(layer, "weight", POSITIVITIES[positivity]())
        if bias:
            for layer in linear(self):
                nn.init.normal_(layer.bias)

    def forward(self, x):
        x = self.first(x)
        for number, step in enumerate(self.steps):
            layer = self.layers[str(number)] if step != "shared" else self.shared
            if step == "residual":
                x = x + layer(x)
            elif step == "concatenation":
                x = layer(torch.cat([x, -x.abs()], 1))
            elif not (step == "pool" and x.shape[2] < 4) and not (step == "up" and x.shape[2] > 8):
                x = layer(x)
        return self.last(x.flatten(2).mean(2))


STEPS = ("conv", "residual", "concatenation", "up", "norm", "pool", "activation", "shared")


@st.composite
def graphs(draw, **fixed):
    dimensions = draw(st.integers(1, 3))
    steps = draw(st.lists(st.sampled_from(STEPS), max_size=6))
    options = {
        "bias": draw(st.booleans()),
        "positivity": draw(st.sampled_from([None, "thesis", "published"])),
    } | fixed
    torch.manual_seed(draw(st.integers(0, 10**6)))
    return Graph(dimensions, steps, **options), torch.randn(16, 2, *(6,) * dimensions)


def linear(module):
    kinds = (nn.Linear, *CONV.values(), *TRANSPOSED.values())
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def outputs(module, noise):
    """The first output of every layer, with dropout off and batch norm as in training."""
    found, hooks = {}, []
    network = copy.deepcopy(module).eval()
    for name, layer in network.named_modules():
        if isinstance(layer, nn.modules.batchnorm._NormBase):
            layer.train()
        if layer in linear(network):

            def keep(layer, args, y, name=name):
                found.setdefault(name, y.clone())

            hooks.append(layer.register_forward_hook(keep))
    with torch.no_grad():
        network(noise)
    return found


def snapshot(module):
    state = {name: value.clone() for name, value in module.state_dict().items()}
    flags = [p.requires_grad for p in module.parameters()], [m.training for m in module.modules()]
    hooks = [len(m._forward_hooks) for m in module.modules()]
    return state, (*flags, hooks)


def by_channel(y, name):
    return y.flatten(1) if y.ndim == 2 else y.transpose(0, 1).flatten(1).T


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_unit_variance_wherever_noise_passes_and_nothing_else_changes(case):
    network, noise = case
    before, flags = snapshot(network)
    report = propagate_variance_(network, noise)
    found = outputs(network, noise)
    assert [layer.name for layer in report.layers] == list(found)
    for y in found.values():
        assert abs(float(y.double().std()) - 1) < 1e-3
    after, same_flags = snapshot(network)
    assert flags == same_flags
    rescaled = tuple(layer.name for layer in report.layers)
    for name, value in after.items():
        if not name.startswith(rescaled):
            assert torch.equal(value, before[name]), name
    assert "never" in report.unreached
    assert set(report.unreached) | set(rescaled) == {
        name for name, layer in network.named_modules() if layer in linear(network)
    }


@settings(max_examples=25, deadline=None)
@given(graphs(), st.booleans())
def test_per_channel_and_by_root_mean_square(case, centred):
    network, noise = case
    propagate_variance_(network, noise, per="channel", centred=centred)
    for name, y in outputs(network, noise).items():
        values = by_channel(y.double(), name)
        size = values.std(0) if centred else values.square().mean(0).sqrt()
        assert float((size - 1).abs().max()) < 1e-3, name


@settings(max_examples=15, deadline=None)
@given(graphs())
def test_features_seen_in_the_pass_are_those_of_the_next(case):
    network, noise = case
    seen = {}
    for name, layer in network.named_modules():
        if layer in linear(network):

            def keep(layer, args, y, name=name):
                seen.setdefault(name, y.clone())

            layer.register_forward_hook(keep)
    propagate_variance_(network, noise)
    for layer in linear(network):
        layer._forward_hooks.clear()
    for name, y in outputs(network, noise).items():
        torch.testing.assert_close(seen[name], y, rtol=1e-4, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(graphs(bias=False, positivity="thesis"))
def test_it_does_not_matter_how_large_the_weights_were(case):
    network, noise = case
    other = copy.deepcopy(network)
    with torch.no_grad():
        for number, layer in enumerate(linear(other)):
            layer.weight = layer.weight * 3.0 ** (number - 2)
    propagate_variance_(network, noise)
    propagate_variance_(other, noise)
    found, same = outputs(network, noise), outputs(other, noise)
    assert list(found) == list(same)
    for name, y in found.items():
        torch.testing.assert_close(y, same[name], rtol=1e-3, atol=1e-3)


def test_every_channel_of_a_transposed_convolution_in_groups():
    torch.manual_seed(0)
    layer, noise = nn.ConvTranspose2d(9, 6, 2, groups=3, bias=False), torch.randn(20, 9, 4, 4)
    layer.weight.data[3:6] *= torch.tensor([5.0, 50.0]).view(1, 2, 1, 1)
    spread = propagate_variance_(layer, noise, per="channel").layers[0].spread
    # The second of three groups makes channels 2 and 3.
    assert sorted(range(6), key=spread.__getitem__)[-2:] == [2, 3]
    y = layer(noise).detach().transpose(0, 1).flatten(1)
    torch.testing.assert_close(y.std(1), torch.ones(6))


def test_report_tells_what_was_divided_how_often_called_and_what_was_not_reached():
    torch.manual_seed(0)
    network = Graph(2, ["shared", "activation", "shared"], bias=True, positivity=None)
    noise = torch.randn(8, 2, 6, 6)
    weight, bias = network.first.weight.clone(), network.first.bias.clone()
    sigma = float(network.first(noise).detach().double().std())
    report = propagate_variance_(network, noise)
    first, shared, _ = report.layers
    assert first.spread == pytest.approx((sigma,), rel=1e-5)
    assert first.factors == pytest.approx((1 / sigma,), rel=1e-5)
    torch.testing.assert_close(network.first.weight, weight / sigma)
    torch.testing.assert_close(network.first.bias, bias / sigma)
    assert (shared.name, shared.calls) == ("shared", 2)
    text = str(report)
    assert "called 2 times" in text
    assert text.endswith("not reached, left alone: never")
    assert json.loads(json.dumps(report.to_dict()))["unreached"] == ["never"]


def test_calls_after_the_first_see_the_rescaled_layer():
    torch.manual_seed(0)
    layer = nn.Linear(3, 3)
    network, noise = nn.Sequential(layer, layer, nn.Linear(3, 3)), torch.randn(50, 3)
    propagate_variance_(network, noise)
    with torch.no_grad():
        assert float(layer(noise).std()) == pytest.approx(1, abs=1e-5)
        assert float(network(noise).detach().std()) == pytest.approx(1, abs=1e-5)


def tied():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(), nn.Linear(4, 4), nn.Linear(4, 1))
    network[2].weight = network[0].weight
    return network, torch.randn(60, 4)


def test_layers_with_one_weight_have_one_divisor_and_biases_of_their_own():
    network, noise = tied()
    old = [network[0].bias.clone(), network[2].bias.clone()]
    first, last = propagate_variance_(network, noise).layers
    assert (first.tied, first.calls) == (("2",), 2)
    for bias, before in zip((network[0].bias, network[2].bias), old, strict=True):
        torch.testing.assert_close(bias, before / first.spread[0])
    with torch.no_grad():
        assert float(network[0](noise).std()) == pytest.approx(1, abs=1e-5)
        assert float(network(noise).detach().std()) == pytest.approx(1, abs=1e-5)
    assert last.name == "3"


def test_ties_that_one_divisor_cannot_serve_are_refused():
    network, noise = tied()
    network[3].bias = None
    network.append(nn.Linear(1, 4))
    network[4].bias = network[0].bias
    with pytest.raises(InputError, match=r"'0' and '4' have the same bias"):
        propagate_variance_(network, noise)
    down, up = nn.Conv2d(2, 3, 2, bias=False), nn.ConvTranspose2d(3, 2, 2, bias=False)
    up.weight = down.weight
    network, noise = nn.Sequential(down, up), torch.randn(9, 2, 5, 5)
    with pytest.raises(InputError, match=r"'0' and '1' .* use per='layer'"):
        propagate_variance_(network, noise, per="channel")
    propagate_variance_(network, noise)
    assert float(down(noise).detach().std()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("broken", ["dead", "infinite", "raises"])
def test_an_error_leaves_everything_as_it_was(broken):
    torch.manual_seed(0)
    network = Graph(2, ["conv", "norm", "conv"], bias=True, positivity="thesis")
    network.train()
    second = network.layers["2"]
    if broken == "dead":
        second.parametrizations.weight.original.data.zero_()
        second.bias.data.zero_()
    elif broken == "infinite":
        second.bias.data[0] = math.inf
    else:
        network.last = nn.Linear(5, 2)
    before, flags = snapshot(network)
    with pytest.raises(RuntimeError if broken == "raises" else InputError) as caught:
        propagate_variance_(network, torch.randn(4, 2, 6, 6))
    if broken != "raises":
        assert "layer 'layers.2'" in str(caught.value)
    after, same_flags = snapshot(network)
    assert flags == same_flags
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert torch.is_grad_enabled()


def test_a_dead_channel_is_named():
    network = nn.Conv2d(1, 4, 3)
    network.weight.data[2].zero_()
    noise = torch.randn(8, 1, 6, 6)
    with pytest.raises(InputError, match="channel 2 of layer 'Conv2d'"):
        propagate_variance_(network, noise, per="channel")
    propagate_variance_(network, noise)


def test_what_cannot_be_rescaled_is_refused():
    noise = torch.randn(9, 4)
    with pytest.raises(InputError, match="nothing to initialise"):
        propagate_variance_(nn.ReLU(), noise)
    with pytest.raises(InputError, match="more noise images"):
        propagate_variance_(nn.Linear(4, 1), noise[:1])
    with pytest.raises(InputError, match="per 'image'"):
        propagate_variance_(nn.Linear(4, 1), noise, per="image")
    with pytest.raises(InputError, match="eps nan"):
        propagate_variance_(nn.Linear(4, 1), noise, eps=math.nan)
    spectral = nn.Sequential(nn.Linear(4, 4), parametrizations.spectral_norm(nn.Linear(4, 2)))
    before = copy.deepcopy(spectral.state_dict())
    with pytest.raises(InputError, match=r"'1': its weight is parametrised by _SpectralNorm"):
        propagate_variance_(spectral, noise)
    assert all(torch.equal(v, before[k]) for k, v in spectral.state_dict().items())
    pruned = prune.l1_unstructured(nn.Linear(4, 2), "weight", 0.5)
    with pytest.raises(InputError, match="computed by a hook"):
        propagate_variance_(pruned, noise)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_other_parametrizations_that_follow_are_served(name):
    torch.manual_seed(0)
    network = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3), name), nn.Linear(3, 2))
    noise = torch.randn(40, 4)
    propagate_variance_(network, noise)
    for y in outputs(network, noise).values():
        assert float(y.std()) == pytest.approx(1, abs=1e-4)


def test_features_far_from_zero_are_measured_to_all_digits():
    network, noise = nn.Linear(1, 1, bias=False), 1000 + torch.randn(500, 1)
    expected = float(network(noise).detach().double().std())
    assert propagate_variance_(network, noise).layers[0].spread[0] == pytest.approx(
        expected, rel=1e-6
    )


def test_layers_with_cheap_second_derivatives_count_too():
    torch.manual_seed(0)
    network = nn.Sequential(twice.Conv3d(1, 4, 3), nn.ReLU(), twice.Conv3d(4, 2, 3))
    noise = torch.randn(4, 1, 9, 8, 7)
    assert len(propagate_variance_(network, noise).layers) == 2
    assert float(network(noise).detach().std()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("monotone_body", [False, True])
def test_another_batch_of_noise_has_unit_variance_in_a_resnet(monotone_body):
    torch.manual_seed(3)
    network = build_network(
        "resnet18", dimensions=2, in_channels=3, width=0.25, norm="batch", activation="relu"
    )
    network = monotone(network) if monotone_body else network
    draw_standard_init_(network)
    raw = [float(y.std()) for y in outputs(network, torch.randn(100, 3, 32, 32)).values()]
    assert not all(0.8 <= each <= 1.25 for each in raw)
    propagate_variance_(network, torch.randn(200, 3, 32, 32))
    if monotone_body:
        certify(network)
    for name, y in outputs(network, torch.randn(200, 3, 32, 32)).items():
        assert 0.8 <= float(y.std()) <= 1.25, name


def test_standard_init_is_drawn_for_v_of_parametrised_and_w_of_plain_layers():
    network = nn.Sequential(nn.Conv2d(32, 64, 3), nn.Linear(300, 200))
    positive = monotone(nn.Sequential(nn.Conv2d(32, 64, 3), nn.Linear(300, 200)))
    drawn = {}
    for scheme, slope in (("kaiming", 0.0), ("kaiming", 0.2), ("xavier", 0.0), ("default", 0.0)):
        for module in (network, positive):
            draw_standard_init_(
                module, scheme=scheme, slope=slope, generator=torch.Generator().manual_seed(5)
            )
        for plain, layer in zip(network, positive, strict=True):
            V = layer.parametrizations.weight.original
            assert torch.equal(V, plain.weight)
            assert not plain.bias.any()
            assert not layer.bias.any()
        drawn[scheme, slope] = [float(layer.weight.detach().std()) for layer in network]
    fan_in, fan_out = (32 * 9, 300), (64 * 9, 200)
    for key, variances in {
        ("kaiming", 0.0): [2 / n for n in fan_in],
        ("kaiming", 0.2): [2 / 1.04 / n for n in fan_in],
        ("xavier", 0.0): [2 / (n + m) for n, m in zip(fan_in, fan_out, strict=True)],
        # Uniform up to the root of 1 / n.
        ("default", 0.0): [1 / 3 / n for n in fan_in],
    }.items():
        assert drawn[key] == pytest.approx([v**0.5 for v in variances], rel=0.03)
    with pytest.raises(InputError, match="scheme 'he'"):
        draw_standard_init_(network, scheme="he")


def test_standard_init_reaches_weight_norm_and_leaves_norm_layers():
    network = nn.Sequential(parametrizations.weight_norm(nn.Linear(100, 80)), nn.BatchNorm1d(80))
    network[1].weight.data.fill_(7.0)
    draw_standard_init_(network)
    assert float(network[0].weight.detach().std()) == pytest.approx(0.02**0.5, rel=0.05)
    assert (network[1].weight == 7).all()
