import pytest
import torch
from AttribSegLib.attribution.gradient import gradient, score_and_gradient
from AttribSegLib.networks.patchgan import PatchGAN
from captum.attr import Saliency

SHAPES = {2: (15, 14), 3: (13, 12, 11)}


def network_of(dimensions: int, **parameters) -> PatchGAN:
    torch.manual_seed(3)
    defaults = {"width": 0.06, "strides": (2, 1, 1, 1), "in_channels": 2}
    return PatchGAN(dimensions=dimensions, **{**defaults, **parameters})


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", ["instance", "group", "none"])
def test_equals_captum(dimensions, norm):
    network = network_of(dimensions, norm=norm)
    x = torch.randn(2, 2, *SHAPES[dimensions])
    expected = Saliency(network).attribute(x.clone().requires_grad_(True), abs=False)
    found = gradient(network, x)
    assert found.abs().max() > 0
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_is_the_limit_of_finite_differences(dimensions):
    network = network_of(dimensions, activation="softplus").double()
    x = torch.randn(1, 2, *SHAPES[dimensions], dtype=torch.float64)
    found = gradient(network, x)
    direction = torch.randn_like(x)
    step = 1e-5
    slope = (network(x + step * direction) - network(x - step * direction)) / (2 * step)
    torch.testing.assert_close((found * direction).sum(), slope[0].detach(), rtol=1e-6, atol=1e-9)


def test_logits_come_from_the_same_pass():
    network, x = network_of(2), torch.randn(3, 2, *SHAPES[2])
    logits, _ = score_and_gradient(network, x)
    torch.testing.assert_close(logits, network(x).detach())
    assert not logits.requires_grad
    logits, maps = score_and_gradient(network, x, differentiable=True)
    assert logits.requires_grad
    assert maps.requires_grad
    torch.testing.assert_close(maps.detach(), gradient(network, x))


def test_leaves_no_trace():
    network, x = network_of(2), torch.randn(3, 2, *SHAPES[2])
    with torch.no_grad():  # asking for a map is allowed anywhere
        found = gradient(network, x)
    assert found.abs().max() > 0
    assert not found.requires_grad
    assert not x.requires_grad
    assert x.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())


def test_frozen_weights_change_nothing():
    network, x = network_of(2), torch.randn(1, 2, *SHAPES[2])
    expected = gradient(network, x)
    network.requires_grad_(False)
    torch.testing.assert_close(gradient(network, x), expected)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", ["instance", "group", "none"])
def test_can_be_trained_through(dimensions, norm):
    network = network_of(dimensions, norm=norm, activation="softplus").double()
    x = torch.randn(2, 2, *SHAPES[dimensions], dtype=torch.float64)

    def penalty(differentiable: bool) -> torch.Tensor:
        maps = gradient(network, x, differentiable=differentiable)
        return (100 * maps).sigmoid().mean()

    penalty(True).backward()
    for name, parameter in network.named_parameters():
        if parameter.grad is None:  # behind the last rectifier a bias moves no gradient
            assert name.endswith("bias")
            continue
        direction = torch.randn_like(parameter)
        step = 1e-5
        with torch.no_grad():
            parameter += step * direction
            above = penalty(False)
            parameter -= 2 * step * direction
            below = penalty(False)
            parameter += step * direction
        slope = (above - below) / (2 * step)
        found = (parameter.grad * direction).sum()
        torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-9)
        if name.endswith("weight"):
            assert parameter.grad.abs().max() > 0


def test_without_the_graph_it_cannot():
    network, x = network_of(2), torch.randn(1, 2, *SHAPES[2])
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient(network, x).sum().backward()
