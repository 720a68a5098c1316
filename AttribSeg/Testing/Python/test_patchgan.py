import numpy as np
import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.patchgan import PatchGAN
from torch import nn

STRIDES = [(2, 2, 2, 2), (2, 2, 2, 1), (2, 1, 1, 1), (1, 1, 1, 1), (1, 2, 1, 2)]
NORMS = ("instance", "group", "layer", "batch", "none")


def support(gradient: torch.Tensor) -> list[tuple[int, int]]:
    """First and last index of the non-zero entries along each spatial axis."""
    places = np.argwhere(gradient[0, 0].numpy() != 0)
    return list(zip(places.min(axis=0).tolist(), places.max(axis=0).tolist(), strict=True))


@pytest.mark.parametrize("strides", STRIDES)
def test_receptive_field_is_the_support_of_a_patch_logits_gradient(strides):
    torch.manual_seed(0)
    network = PatchGAN(dimensions=2, width=0.02, strides=strides, norm="none", activation="elu")
    for parameter in network.parameters():  # no two paths may cancel
        parameter.data.abs_()
    field = network.receptive_field
    # Large enough that the middle patch does not touch the padding.
    size = 2 * field + 16
    x = torch.rand(1, 1, size, size, requires_grad=True)
    logits = network.patch_logits(x)
    middle = tuple(n // 2 for n in logits.shape[2:])
    (gradient,) = torch.autograd.grad(logits[0, 0][middle], x)
    for first, last in support(gradient):
        assert first > 0
        assert last < size - 1
        assert last - first + 1 == field


@pytest.mark.parametrize(("strides", "field"), [((2, 2, 2, 2), 94), ((2, 2, 2, 1), 70)])
def test_published_receptive_fields(strides, field):
    assert PatchGAN(width=0.02, strides=strides).receptive_field == field


def test_receptive_field_in_three_dimensions():
    network = PatchGAN(
        width=0.02, strides=(1, 1, 1, 1), norm="none", activation="elu", filters=(64, 64, 64, 64)
    )
    for parameter in network.parameters():
        parameter.data.abs_()
    x = torch.rand(1, 1, 40, 38, 36, requires_grad=True)
    logits = network.patch_logits(x)
    middle = tuple(n // 2 for n in logits.shape[2:])
    (gradient,) = torch.autograd.grad(logits[0, 0][middle], x)
    assert [last - first + 1 for first, last in support(gradient)] == [16] * 3


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("strides", STRIDES)
def test_minimum_size_is_exact(strides, norm):
    network = PatchGAN(dimensions=2, width=0.02, strides=strides, norm=norm)
    size = network.minimum_size
    assert network.patch_logits(torch.rand(2, 1, size, size)).shape == (2, 1, 1, 1)
    with torch.no_grad():
        assert torch.isfinite(network(torch.rand(2, 1, size, size + 1))).all()
    with pytest.raises(InputError, match=f"at least {size}"):
        network(torch.rand(2, 1, size, size - 1))
    # Without the check it is the layers that fail: nothing smaller would do.
    with pytest.raises((RuntimeError, ValueError)):
        network.layers(torch.rand(2, 1, size, size - 1))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_logit_is_the_mean_of_the_patch_logits(dimensions):
    network = PatchGAN(dimensions=dimensions, in_channels=2, width=0.05, strides=(2, 1, 1, 1))
    x = torch.rand(3, 2, *(14, 13, 12)[:dimensions])
    patches = network.patch_logits(x)
    assert patches.shape == (3, 1, *(3, 2, 2)[:dimensions])
    torch.testing.assert_close(network(x), patches.flatten(1).mean(1))
    assert network(x).shape == (3,)


@pytest.mark.parametrize("norm", ["instance", "group", "layer", "none"])
def test_an_image_does_not_depend_on_its_neighbours_in_the_batch(norm):
    network = PatchGAN(dimensions=2, width=0.05, strides=(2, 1, 1, 1), norm=norm)
    x = torch.rand(3, 1, 14, 14)
    torch.testing.assert_close(network(x)[1], network(x[1:2])[0])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_with_batch_norm_it_does(dimensions):
    network = PatchGAN(dimensions=dimensions, width=0.05, strides=(2, 1, 1, 1), norm="batch")
    x = torch.rand(2, 1, *(14,) * dimensions)
    with torch.no_grad():
        difference = network(x)[1] - network(torch.cat([x[:1] * 3, x[1:]]))[1]
    assert abs(float(difference)) > 1e-6


@pytest.mark.parametrize("norm", NORMS)
def test_the_logit_responds_to_a_local_change(norm):
    torch.manual_seed(1)
    network = PatchGAN(dimensions=2, width=0.1, strides=(2, 1, 1, 1), norm=norm)
    x = torch.randn(2, 1, 24, 24)
    changed = x.clone()
    changed[0, 0, 9:15, 9:15] += 3
    with torch.no_grad():
        difference = network(changed) - network(x)
    assert abs(float(difference[0])) > 1e-4
    assert abs(float(difference[1])) < 1e-7 or norm == "batch"


def test_full_width_has_the_published_filters():
    network = PatchGAN(dimensions=2)
    convolutions = [layer for layer in network.layers if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512, 1]
    assert [c.stride[0] for c in convolutions] == [2, 2, 2, 2, 1]
    assert {c.kernel_size for c in convolutions} == {(4, 4)}
    assert not isinstance(network.layers[2], (nn.BatchNorm2d, nn.GroupNorm))


@pytest.mark.parametrize("activation", ["leaky_relu", "relu", "elu", "softplus"])
def test_activations_increase(activation):
    network = PatchGAN(dimensions=2, width=0.02, activation=activation)
    x = torch.linspace(-3, 3, 101)
    y = network.layers[1](x)
    assert (y.diff() >= 0).all()
    assert float(y[-1]) == pytest.approx(3.0, abs=1e-3)
    if activation == "leaky_relu":
        assert float(y[0]) == pytest.approx(-0.6)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dimensions": 4}, "dimensions 4"),
        ({"norm": "spectral"}, "norm 'spectral'"),
        ({"activation": "gelu"}, "activation 'gelu'"),
        ({"strides": (2, 2, 2)}, "strides"),
        ({"strides": (2, 2, 2, 3)}, "strides"),
        ({"width": 0.0}, "width 0"),
        ({"width": -1.0}, "width -1"),
        ({"width": float("nan")}, "width nan"),
        ({"in_channels": 0}, "in_channels 0"),
    ],
)
def test_errors_name_the_parameter(parameters, message):
    with pytest.raises(InputError, match=message):
        PatchGAN(**parameters)


def test_input_of_another_shape_is_refused():
    network = PatchGAN(dimensions=2, width=0.02, strides=(2, 1, 1, 1))
    for shape in [(1, 2, 16, 16), (1, 1, 16, 16, 16), (1, 16, 16)]:
        with pytest.raises(InputError, match="input of shape"):
            network(torch.zeros(shape))
