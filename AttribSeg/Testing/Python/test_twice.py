import itertools

import pytest
import torch
from AttribSegLib.networks.twice import (
    Conv2d,
    Conv3d,
    InstanceNorm,
    _Normalise,
    input_gradients_only,
    weight_gradients_only,
)
from torch import nn
from torch.autograd import grad, gradcheck, gradgradcheck

OURS = {2: Conv2d, 3: Conv3d}
THEIRS = {2: nn.Conv2d, 3: nn.Conv3d}

#: dimensions, channels in, out, kernel, stride, padding, size. Kernel 4, stride 2, padding 1 onto
#: at most four channels takes the upsampled path.
CASES = [
    (2, 1, 2, 4, 2, 1, (5, 6)),
    (2, 2, 1, 4, 2, 1, (4, 7)),
    (2, 3, 1, 4, 2, 1, (4, 4)),
    (2, 4, 1, 4, 2, 1, (5, 5)),
    (2, 5, 1, 4, 2, 1, (5, 4)),
    (2, 1, 2, 4, 1, 1, (5, 4)),
    (2, 2, 2, 3, 2, 0, (5, 6)),
    (2, 1, 1, 3, 3, 1, (7, 5)),
    (3, 1, 1, 4, 2, 1, (4, 5, 2)),
    (3, 2, 1, 4, 1, 1, (3, 2, 3)),
    (3, 2, 2, 3, 2, 1, (3, 2, 3)),
]


def pair(dimensions, channels, filters, kernel, stride, padding, options=None):
    """One of our layers and PyTorch's with the same weights, in double."""
    torch.manual_seed(5)
    arguments = (channels, filters, kernel)
    options = {"stride": stride, "padding": padding} | (options or {})
    ours = OURS[dimensions](*arguments, **options).double()
    theirs = THEIRS[dimensions](*arguments, **options).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("case", CASES)
def test_convolution_passes_gradcheck(case):
    *layer, size = case
    ours, _ = pair(*layer)
    x = torch.randn(2, layer[1], *size, dtype=torch.float64, requires_grad=True)

    def function(x, weight, bias):
        return torch.func.functional_call(ours, {"weight": weight, "bias": bias}, (x,))

    # `functional_call` swaps the weights in; the custom functions see them as inputs.
    inputs = (x, ours.weight.detach().requires_grad_(True), ours.bias.detach().requires_grad_(True))
    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("case", CASES)
def test_convolution_equals_pytorchs(case):
    *layer, size = case
    ours, theirs = pair(*layer)
    x = torch.randn(2, layer[1], *size, dtype=torch.float64)
    for found, expected in zip(derivatives(ours, x), derivatives(theirs, x), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_input_gradient_for_all_parities_and_channel_counts(dimensions, channels):
    ours, theirs = pair(dimensions, channels, 3, 4, 2, 1)
    lengths = (2, 3, 6, 7) if dimensions == 2 else (4, 5)
    for size in itertools.product(lengths, repeat=dimensions):
        x = torch.randn(1, channels, *size, dtype=torch.float64, requires_grad=True)
        weights = torch.randn_like(theirs(x))
        (found,) = grad((ours(x) * weights).sum(), x)
        (expected,) = grad((theirs(x) * weights).sum(), x)
        torch.testing.assert_close(found, expected)
        assert found.is_contiguous()


@pytest.mark.parametrize("size", [(3, 4), (5, 1), (2, 3, 2)])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_instance_norm_passes_gradcheck(size, eps):
    layer = InstanceNorm(eps)
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer, (x,), fast_mode=True)
    assert gradgradcheck(layer, (x,), fast_mode=True)
    # And where everything else is differentiated with it.
    assert gradgradcheck(lambda x: layer(x.sin()) ** 2, (x,), fast_mode=True)


def test_instance_norm_is_right_also_in_the_deviation():
    """Derivatives beyond the second lead through both outputs, xhat and r."""
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: _Normalise.apply(x, 0.1), (x,))
    assert gradgradcheck(lambda x: _Normalise.apply(x, 0.1), (x,))


@pytest.mark.parametrize("size", [(5, 6), (4, 3, 5)])
def test_instance_norm_equals_pytorchs(size):
    x = 3 * torch.randn(2, 3, *size, dtype=torch.float64) + 50
    ours = nn.Sequential(nn.Identity(), InstanceNorm(), nn.Tanh())
    theirs = nn.Sequential(
        nn.Identity(), (nn.InstanceNorm2d if len(size) == 2 else nn.InstanceNorm3d)(3), nn.Tanh()
    )
    torch.testing.assert_close(ours(x), theirs(x))
    for found, expected in zip(derivatives(ours, x), derivatives(theirs, x), strict=True):
        torch.testing.assert_close(found, expected)


def derivatives(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, input gradient, and second derivatives with respect to input and weights."""
    torch.manual_seed(11)
    leaf = x.clone().requires_grad_(True)
    y = network(leaf)
    (gx,) = grad((y * torch.randn_like(y)).sum(), leaf, create_graph=True)
    penalty = (gx * torch.randn_like(gx)).tanh().sum() + (y**2).mean()
    sources = [leaf, *network.parameters()]
    second = grad(penalty, sources, allow_unused=True)
    filled = [torch.zeros_like(s) if g is None else g for s, g in zip(sources, second, strict=True)]
    return [y.detach(), gx.detach(), *filled]


def random_pair(dimensions: int, seed: int, dtype=torch.float64) -> tuple[nn.Module, nn.Module]:
    """The same random network of our layers and of PyTorch's."""
    torch.manual_seed(seed)
    norms = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
    channels = torch.randint(1, 7, (4,)).tolist()
    ours: list[nn.Module] = []
    theirs: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        kernel = int(torch.randint(2, 5, ()))
        options = {"stride": int(torch.randint(1, 3, ())), "padding": 1}
        bias = bool(torch.randint(0, 2, ()))
        ours += [OURS[dimensions](before, after, kernel, **options, bias=bias), InstanceNorm()]
        theirs += [THEIRS[dimensions](before, after, kernel, **options, bias=bias)]
        theirs += [norms[dimensions](after)]
        for layers in (ours, theirs):
            layers.append(nn.Softplus() if seed % 2 else nn.LeakyReLU(0.2))
    pair = nn.Sequential(*ours).to(dtype), nn.Sequential(*theirs).to(dtype)
    pair[1].load_state_dict(pair[0].state_dict())
    return pair


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dimensions", [2, 3])
def test_whole_networks_equal_pytorchs(dimensions, seed):
    ours, theirs = random_pair(dimensions, seed)
    size = (21, 18) if dimensions == 2 else (17, 14, 15)
    x = torch.randn(2, ours[0].in_channels, *size, dtype=torch.float64)
    for found, expected in zip(derivatives(ours, x), derivatives(theirs, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_single_precision_stays_close():
    ours, theirs = random_pair(2, 1, torch.float32)
    x = torch.randn(2, ours[0].in_channels, 21, 18)
    for found, expected in zip(derivatives(ours, x), derivatives(theirs, x), strict=True):
        assert found.dtype == torch.float32
        largest = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 + 1e-3 * largest)


def test_input_gradients_only_skips_weights_and_keeps_the_graph():
    ours, theirs = random_pair(2, 2)
    x = torch.randn(1, ours[0].in_channels, 15, 14, dtype=torch.float64, requires_grad=True)
    with input_gradients_only():
        (ours(x) ** 2).sum().backward()
    assert x.grad is not None
    assert all(p.grad is None for n, p in ours.named_parameters() if n.endswith("weight"))
    (expected,) = grad((theirs(x) ** 2).sum(), x)
    torch.testing.assert_close(x.grad, expected)
    # The second derivative, taken outside, has the weights' gradients.
    with input_gradients_only():
        (gx,) = grad((ours(x) ** 2).sum(), x, create_graph=True)
    (gt,) = grad((theirs(x) ** 2).sum(), x, create_graph=True)
    weights = [list(network.parameters()) for network in (ours, theirs)]
    found = grad(gx.sin().sum(), weights[0], allow_unused=True, materialize_grads=True)
    expected = grad(gt.sin().sum(), weights[1], allow_unused=True, materialize_grads=True)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_weight_gradients_only_skips_the_input():
    ours, theirs = random_pair(2, 2)
    x = torch.randn(1, ours[0].in_channels, 15, 14, dtype=torch.float64, requires_grad=True)
    with weight_gradients_only():
        (ours(x) ** 2).sum().backward()
    assert x.grad is None
    (theirs(x.detach()) ** 2).sum().backward()
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)


def test_weight_gradients_only_through_an_attribution():
    """What a training step does: the penalty's own path leads through the input gradient."""
    networks = random_pair(2, 3)
    x = torch.randn(1, networks[0][0].in_channels, 15, 14, dtype=torch.float64)
    for number, network in enumerate(networks):
        leaf = x.clone().requires_grad_(True)
        (gx,) = grad((network(leaf) ** 2).sum(), leaf, create_graph=True)
        if number == 0:
            with weight_gradients_only():
                gx.sigmoid().mean().backward()
            assert leaf.grad is None
        else:
            gx.sigmoid().mean().backward()
    for found, expected in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad)


def both_wanted() -> tuple[bool, bool]:
    """Whether a plain backward pass gives gradients of (input, weights)."""
    layer, x = Conv2d(1, 1, 4), torch.ones(1, 1, 5, 5, requires_grad=True)
    layer(x).sum().backward()
    return x.grad is not None, layer.weight.grad is not None


def test_contexts_undo_themselves():
    assert both_wanted() == (True, True)
    with input_gradients_only():
        assert both_wanted() == (True, False)
        with input_gradients_only():
            assert both_wanted() == (True, False)
        assert both_wanted() == (True, False)
    with weight_gradients_only():
        assert both_wanted() == (False, True)
    assert both_wanted() == (True, True)


@pytest.mark.parametrize("context", [input_gradients_only, weight_gradients_only])
def test_contexts_undo_themselves_after_an_error(context):
    with pytest.raises(ZeroDivisionError), context():
        raise ZeroDivisionError
    assert both_wanted() == (True, True)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_no_grad_and_autocast(dimensions):
    ours, theirs = random_pair(dimensions, 4, torch.float32)
    x = torch.randn(2, ours[0].in_channels, *(17, 16, 15)[:dimensions])
    with torch.no_grad():
        y = ours(x)
        assert not y.requires_grad
        torch.testing.assert_close(y, theirs(x))
    torch.testing.assert_close(ours(x).detach(), y, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        lower, expected = ours(x), theirs(x)
    assert lower.dtype == expected.dtype
    torch.testing.assert_close(lower, expected)
    assert ours[0](x).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert ours[0](x).dtype == torch.bfloat16


def test_frozen_layers_pass_gradients_on():
    ours, theirs = random_pair(2, 2)
    ours.requires_grad_(False)
    x = torch.randn(1, ours[0].in_channels, 15, 14, dtype=torch.float64, requires_grad=True)
    (found,) = grad((ours(x) ** 2).sum(), x)
    (expected,) = grad((theirs(x) ** 2).sum(), x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"dilation": 2},
        {"groups": 2},
        {"padding": "same", "stride": 1},
        {"padding_mode": "reflect"},
    ],
)
def test_what_they_do_not_know_is_left_to_pytorch(options):
    ours, theirs = pair(2, 2, 2, 3, 2, 1, options)
    x = torch.randn(1, 2, 9, 8, dtype=torch.float64)
    for found, expected in zip(derivatives(ours, x), derivatives(theirs, x), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_state_dictionaries_are_pytorchs(dimensions, bias):
    ours = OURS[dimensions](2, 3, 4, bias=bias)
    theirs = THEIRS[dimensions](2, 3, 4, bias=bias)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert not InstanceNorm().state_dict()
