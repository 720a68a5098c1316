"""All attributions by name: the grid, the logits, and what they leave behind."""

import pytest
import torch
from AttribSegLib.attribution import EXPLANATIONS, METHODS, NEEDS_REFERENCES, explain
from AttribSegLib.attribution.gradient import gradient
from AttribSegLib.attribution.input_times_gradient import input_times_gradient
from AttribSegLib.attribution.memory import batch_within, bytes_for_gradient
from AttribSegLib.errors import InputError
from AttribSegLib.networks.patchgan import PatchGAN
from captum.attr import InputXGradient

SHAPES = {2: (15, 14), 3: (13, 12, 11)}
#: What makes the costly ones a matter of a moment.
FEW = {
    "integrated_gradients": {"steps": 3},
    "expected_gradients": {"samples": 3},
    "integrated_expected_gradients": {"samples": 3},
    "smooth_grad": {"samples": 3},
    "lime": {"samples": 30},
    "kernel_shap": {"samples": 30},
}
ONE_CHANNEL = ("grad_cam", "grad_cam_signed")


def network_of(dimensions, **parameters):
    torch.manual_seed(3)
    defaults = {"width": 0.06, "strides": (2, 1, 1, 1), "in_channels": 2}
    return PatchGAN(dimensions=dimensions, **{**defaults, **parameters})


def images_of(dimensions, count=2, *, seed=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, *SHAPES[dimensions], generator=generator)


def options_of(method, dimensions):
    options = dict(FEW.get(method, {}))
    if method in NEEDS_REFERENCES:
        options["references"] = images_of(dimensions, 3, seed=5)
    return options


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_by_name_and_leaves_no_trace(method, dimensions):
    network, x = network_of(dimensions).eval(), images_of(dimensions)
    network.layers[0].train()  # whatever the modes are, they stay
    modes = [module.training for module in network.modules()]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    hooks = [len(module._forward_hooks) for module in network.modules()]
    copy = x.clone()
    logits, maps = explain(method, network, x, **options_of(method, dimensions))
    channels = 1 if method in ONE_CHANNEL else 2
    assert maps.shape in ((2, channels, *SHAPES[dimensions]), (2, 1, *SHAPES[dimensions]))
    assert torch.isfinite(maps).all()
    assert maps.abs().max() > 0
    assert not maps.requires_grad
    assert not logits.requires_grad
    torch.testing.assert_close(logits, network(x).detach())
    assert torch.equal(x, copy)
    assert not x.requires_grad
    assert [module.training for module in network.modules()] == modes
    assert [len(module._forward_hooks) for module in network.modules()] == hooks
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("method", METHODS)
def test_frozen_weights_stay_frozen(method):
    network, x = network_of(2).eval(), images_of(2, 1)
    options = options_of(method, 2)
    _, expected = explain(method, network, x, **options)
    network.requires_grad_(False)
    with torch.no_grad():
        _, found = explain(method, network, x, **options)
    torch.testing.assert_close(found, expected)
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_an_image_equals_itself_in_a_batch(method):
    network, x = network_of(2, norm="none").eval(), images_of(2, 2)
    options = options_of(method, 2)
    together = explain(method, network, x, **options)[1]
    alone = torch.cat([explain(method, network, each[None], **options)[1] for each in x])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize("method", ["saliency", "", "Gradient", "lrp_gamma"])
def test_unknown_names_are_refused(method):
    with pytest.raises(InputError, match="one of gradient") as caught:
        explain(method, network_of(2), images_of(2))
    assert repr(method) in str(caught.value)


@pytest.mark.parametrize("method", NEEDS_REFERENCES)
def test_missing_references_are_refused(method):
    with pytest.raises(InputError, match=f"{method} needs references"):
        explain(method, network_of(2), images_of(2))


def test_explanations_need_nothing_else():
    assert set(EXPLANATIONS) | set(NEEDS_REFERENCES) == set(METHODS)
    assert not set(EXPLANATIONS) & set(NEEDS_REFERENCES)
    assert len(set(METHODS)) == len(METHODS)


@pytest.mark.parametrize("method", ["integrated_gradients", *NEEDS_REFERENCES])
def test_local_unless_asked_otherwise(method):
    """Of a linear score the local map is the weight everywhere."""
    weight = torch.randn(1, 2, 5, 4)

    def score(image):
        return (image * weight).flatten(1).sum(1)

    x, options = torch.randn(2, 2, 5, 4), dict(FEW[method])
    if method in NEEDS_REFERENCES:
        options["references"] = torch.randn(3, 2, 5, 4)
    torch.testing.assert_close(explain(method, score, x, **options)[1], weight.expand_as(x))
    whole = explain(method, score, x, local=False, **options)[1]
    assert not torch.allclose(whole, weight.expand_as(x))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_input_times_gradient_is_captums(dimensions):
    network, x = network_of(dimensions), images_of(dimensions)
    expected = InputXGradient(network).attribute(x.clone().requires_grad_(True))
    torch.testing.assert_close(input_times_gradient(network, x), expected.detach())


def test_input_times_gradient_of_a_homogeneous_score_is_complete():
    """sum x_i dF/dx_i = n F where F is of degree n."""
    x = torch.randn(3, 1, 4, 5, dtype=torch.float64)

    def score(image):
        return (image**3).flatten(1).sum(1)

    maps = input_times_gradient(score, x)
    torch.testing.assert_close(maps, 3 * x**3)
    torch.testing.assert_close(maps.flatten(1).sum(1), 3 * score(x))


def test_input_times_gradient_can_be_trained_through():
    network, x = network_of(2), images_of(2)
    input_times_gradient(network, x, differentiable=True).square().sum().backward()
    found = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    (x * gradient(network, x, differentiable=True)).square().sum().backward()
    expected = [p.grad for p in network.parameters() if p.grad is not None]
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_batches_grow_with_the_budget(dimensions):
    network, x = network_of(dimensions), images_of(dimensions)
    each = bytes_for_gradient(network, x)
    counts = [batch_within(network, x, budget) for budget in (0, 1, each, 2 * each, 7 * each + 1)]
    assert counts == [1, 1, 1, 2, 7]
    assert batch_within(network, x, 2 * each - 1) == 1
    assert batch_within(network, x, 10**15) == batch_within(network, x, 10**18) < 1000


def test_bytes_of_one_layer_by_hand():
    """A convolution saves its input; twice that and the image covers the backward pass."""
    convolution = torch.nn.Conv2d(1, 4, 3, padding=1, bias=False)

    def score(image):
        return convolution(image).flatten(1).sum(1)

    x = torch.randn(5, 1, 20, 30)
    # The sum saves nothing, weights do not count.
    assert bytes_for_gradient(score, x) == 2 * (20 * 30 * 4 + 20 * 30 * 4)

    def squared(image):
        return (convolution(image) ** 2).flatten(1).sum(1)

    # The square saves what comes out of the convolution, four channels of it.
    assert bytes_for_gradient(squared, x) == 2 * (20 * 30 * 4 + 4 * 20 * 30 * 4 + 20 * 30 * 4)
    assert bytes_for_gradient(squared, x[:1]) == bytes_for_gradient(squared, x)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_bytes_grow_with_the_image(dimensions):
    # Few filters: the weights must not count, however large.
    network = network_of(dimensions, in_channels=1)
    small, large = (32, 32, 16)[:dimensions], (64, 64, 32)[:dimensions]
    sizes = [bytes_for_gradient(network, torch.randn(1, 1, *size)) for size in (small, large)]
    assert sizes[1] / sizes[0] == pytest.approx(2**dimensions, rel=0.35)
    twice = bytes_for_gradient(network.double(), torch.randn(1, 1, *small).double())
    assert twice == pytest.approx(2 * sizes[0], rel=0.01)


def test_bytes_do_not_count_weights():
    sizes = []
    for filters in (1, 200):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, filters))
        x = torch.randn(1, 1, 3, 4)
        sizes.append(bytes_for_gradient(lambda x, n=network: n(x).sum(1), x))
    assert sizes[0] == sizes[1]
