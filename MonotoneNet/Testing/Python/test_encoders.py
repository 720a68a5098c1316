"""Encoders keep the grid and have no biases."""

import pytest
import torch
from AttribSegLib.errors import InputError
from MonotoneNetLib.encoders import ENCODERS, ConvolutionalEncoder, UNetEncoder
from torch import nn

SIZES = {2: (13, 10), 3: (9, 12, 7)}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", ["all", "inner", "none"])
def test_the_grid_is_kept_and_nothing_is_added(name, dimensions, norm):
    encoder = ENCODERS[name](dimensions=dimensions, in_channels=2, features=4, norm=norm)
    x = torch.randn(3, 2, *SIZES[dimensions])
    assert encoder(x).shape == (3, 4, *SIZES[dimensions])
    assert all(parameter.ndim > 1 for parameter in encoder.parameters())  # weights only
    assert torch.equal(encoder(torch.zeros_like(x)), torch.zeros(3, 4, *SIZES[dimensions]))


def test_the_published_encoder():
    """Two convolutions of kernels 7 and 3 with 8 channels, instance norm and LeakyReLU."""
    encoder = ConvolutionalEncoder(dimensions=2, in_channels=1)
    x = torch.randn(2, 1, 16, 15)
    expected = x
    for layer, padding in ((encoder[0], 3), (encoder[3], 1)):
        expected = nn.functional.conv2d(expected, layer.weight, padding=padding)
        expected = nn.functional.instance_norm(expected)
        expected = nn.functional.leaky_relu(expected, 0.2)
    assert encoder[0].weight.shape == (8, 1, 7, 7)
    assert encoder[3].weight.shape == (8, 8, 3, 3)
    torch.testing.assert_close(encoder(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("norm", "possible"), [("all", False), ("none", True)])
def test_without_norm_all_features_can_be_negative(norm, possible):
    """The last normalisation makes every feature's mean zero before the rectifier."""
    x = torch.rand(1, 1, 16, 16) + 1.0
    encoder = ConvolutionalEncoder(dimensions=2, in_channels=1, features=1, norm=norm)
    convolutions = [m for m in encoder if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        convolutions[0].weight.copy_(convolutions[0].weight.abs())
        convolutions[1].weight.copy_(-convolutions[1].weight.abs())
    assert bool((encoder(x) < 0).all()) == possible


def test_a_unet_sees_far():
    """A voxel's features depend on voxels that two plain convolutions do not reach."""
    torch.manual_seed(0)
    for encoder, far in (
        (ConvolutionalEncoder(dimensions=2, in_channels=1, norm="none"), False),
        (UNetEncoder(dimensions=2, in_channels=1, norm="none"), True),
    ):
        x = torch.randn(1, 1, 32, 32, requires_grad=True)
        encoder(x)[0, :, 16, 16].sum().backward()
        reached = (x.grad[0, 0] != 0).nonzero() - 16
        assert (reached.abs().amax() > 4) == far


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": 4}, "dimensions 4"),
        ({"features": 0}, "features 0"),
        ({"norm": "batch"}, "'batch'"),
        ({"kernels": (4, 3)}, "odd"),
        ({"kernels": ()}, "odd"),
    ],
)
@pytest.mark.parametrize("name", ENCODERS)
def test_bad_options_are_named(name, options, message):
    with pytest.raises(InputError, match=message):
        ENCODERS[name](**{"dimensions": 2, "in_channels": 1, **options})


def test_a_unet_refuses_images_it_cannot_halve():
    encoder = UNetEncoder(dimensions=2, in_channels=1)
    with pytest.raises(InputError, match="at least 4"):
        encoder(torch.zeros(1, 1, 3, 8))
