import copy

import pytest
import torch
from AttribSegLib.attribution.gradient import gradient
from AttribSegLib.attribution.lrp import lrp
from AttribSegLib.errors import InputError
from AttribSegLib.networks.patchgan import PatchGAN
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
from monai.networks.nets import DenseNet, SEResNet50, resnet18
from torch import nn
from torch.nn import functional

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
SIZES = {2: (2, 1, 19, 18), 3: (2, 1, 17, 16, 15)}


def without_biases(network: nn.Module) -> nn.Module:
    """Zero biases, in double precision and evaluation mode."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return network.double().eval()


def assert_conserved(network, x, rtol=1e-4, **options):
    found = lrp(network, x, **options)
    assert found.shape == x.shape
    assert found.isfinite().all()
    logits = network(x).detach().flatten()
    assert logits.abs().min() > 1e-6
    torch.testing.assert_close(found.flatten(1).sum(1), logits, rtol=rtol, atol=0)


class Small(nn.Module):
    """Convolutions, every kind of pooling and a linear head; no module serves twice."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, bias=bias),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, stride=2, dilation=2, padding=2, groups=2, bias=bias),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 5, 2, bias=bias),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(5, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).flatten(1))


def captum(network, x, make_rule):
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.rule = make_rule()
        elif type(module).__name__.find("Pool") >= 0:
            module.rule = EpsilonRule()
    return LRP(network).attribute(x.clone().requires_grad_(True), target=0).detach()


@pytest.mark.parametrize("bias", [True, False])
def test_epsilon_rule_equals_captum(bias):
    torch.manual_seed(1)
    network, x = Small(bias).double(), torch.randn(3, 2, 20, 22).double()
    expected = captum(network, x, lambda: EpsilonRule(1e-9))
    assert expected.abs().max() > 0
    found = lrp(network, x, epsilon=1e-9)
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_a_large_epsilon_equals_captum_without_pooling():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 4)).double()
    x = torch.randn(2, 1, 6, 6).double()
    expected = captum(FlatOutput(network), x, lambda: EpsilonRule(0.1))
    found = lrp(network, x, epsilon=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(lrp(network, x, epsilon=0.09), expected, rtol=1e-3)


class FlatOutput(nn.Module):
    """Logits of shape (B, 1) from (B, 1, 1, 1); Captum knows no rule for nn.Flatten."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x).flatten(1)


def test_alpha_one_beta_zero_equals_captum():
    torch.manual_seed(1)
    network, x = Small(bias=False).double(), torch.rand(3, 2, 20, 22).double()  # positive, as
    expected = captum(network, x, Alpha1_Beta0_Rule)  # Captum takes no care of the input's sign
    found = lrp(network, x, rule="alpha-beta", alpha=1.0, beta=0.0, epsilon=1e-9)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


def two_layers() -> nn.Module:
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1), nn.Flatten(0)
    )
    network[1].weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
    network[1].bias = nn.Parameter(torch.tensor([1.0, 0.0]))
    network[3].weight = nn.Parameter(torch.tensor([[2.0, 4.0]]))
    network[3].bias = nn.Parameter(torch.tensor([-4.0]))
    return network


def test_two_layers_by_hand():
    x = torch.tensor([[[[2.0, 1.0]]]])
    # Hidden: 2 + 2 + 1 = 5 and 6 - 1 = 5. Logit: 10 + 20 - 4 = 26.
    found = lrp(two_layers(), x, epsilon=1e-9)
    # Epsilon: hidden relevances 10 and 20, of which input 1 gets 2/5 10 + 6/5 20.
    torch.testing.assert_close(found, torch.tensor([[[[28.0, 0.0]]]]), rtol=1e-6, atol=1e-5)
    found = lrp(two_layers(), x, rule="alpha-beta", alpha=2.0, beta=1.0, epsilon=1e-9)
    # Positive parts 10 and 20 of 30, the negative one is the bias: 2 (10, 20) 26 / 30.
    first, second = 2 * 26 / 3, 2 * 26 * 2 / 3
    # Neuron 1 has parts 2, 2 and 1 of 5; neuron 2 has 6 of 6 and -1 of -1.
    expected = [2 * first * 2 / 5 + 2 * second, 2 * first * 2 / 5 - second]
    torch.testing.assert_close(found.flatten(), torch.tensor(expected), rtol=1e-6, atol=1e-5)


def test_alpha_beta_with_inputs_of_either_sign_by_hand():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False), nn.Flatten(0))
    network[1].weight = nn.Parameter(torch.tensor([[1.0, -1.0, 2.0, -2.0]]))
    x = torch.tensor([[[[3.0, 1.0, -1.0, -1.0]]]])
    # Products 3, -1, -2 and 2: positive sum 5, negative sum -3, logit 2.
    expected = torch.tensor([2 * 3 / 5, -1 / 3, -2 / 3, 2 * 2 / 5]) * 2
    found = lrp(network, x, rule="alpha-beta", epsilon=1e-9).flatten()
    torch.testing.assert_close(found, expected)


def test_a_bias_counts_with_its_own_sign_by_hand():
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.Flatten(0))
    network[1].weight = nn.Parameter(torch.tensor([[1.0, -1.0]]))
    x = torch.tensor([[[[3.0, 1.0]]]])
    for bias, expected in ((-1.0, [2.0, -1 / 2]), (1.0, [2 * 3 * 3 / 4, -3.0])):
        nn.init.constant_(network[1].bias, bias)
        found = lrp(network, x, rule="alpha-beta", epsilon=1e-9).flatten()
        torch.testing.assert_close(found, torch.tensor(expected))


def test_a_rectified_network_without_biases_gives_gradient_times_input():
    torch.manual_seed(1)
    network, x = Small(bias=False).double(), torch.randn(2, 2, 20, 22).double()
    expected = gradient(lambda x: network(x)[:, 0], x) * x
    found = lrp(network, x, epsilon=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("inplace", [True, False])
def test_sequential_conserves(dimensions, inplace):
    torch.manual_seed(1)
    convolution = CONVOLUTIONS[dimensions]
    pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[dimensions]
    network = nn.Sequential(
        convolution(1, 4, 3, padding=1, bias=False, padding_mode="reflect"),
        nn.LeakyReLU(0.1, inplace=inplace),
        pool(2),
        nn.Dropout(0.5, inplace=inplace),
        convolution(4, 3, 3, padding="same", bias=False),
        nn.ELU(inplace=inplace),
        nn.Upsample(scale_factor=2),
        convolution(3, 3, 3, bias=False),
        nn.Softplus(),
        convolution(3, 1, 3, bias=False),
        nn.Flatten(),
        nn.LazyLinear(1, bias=False),
        nn.Flatten(0),
    )
    x = torch.randn(SIZES[dimensions]).double()
    network.double().eval()(x)
    assert_conserved(network, x, epsilon=1e-9)
    assert_conserved(network, x, rule="alpha-beta", alpha=1.0, beta=0.0, epsilon=1e-9)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", ["instance", "group", "layer", "batch", "none"])
@pytest.mark.parametrize("activation", ["leaky_relu", "relu", "elu", "softplus"])
def test_patchgan_conserves(dimensions, norm, activation):
    torch.manual_seed(2)
    options = {"width": 0.06, "strides": (2, 1, 1, 1), "norm": norm, "activation": activation}
    network = without_biases(PatchGAN(dimensions=dimensions, **options))
    x = torch.randn(SIZES[dimensions]).double()
    assert_conserved(network, x, epsilon=1e-12, rtol=1e-3)
    assert_conserved(network, x, rule="alpha-beta", alpha=1.0, beta=0.0, epsilon=1e-12)


def networks_of_monai(dimensions: int) -> dict[str, nn.Module]:
    torch.manual_seed(2)
    dense = {"init_features": 8, "growth_rate": 4, "block_config": (2, 2, 2)}
    return {
        "resnet": resnet18(spatial_dims=dimensions, n_input_channels=1, num_classes=1),
        "densenet": DenseNet(spatial_dims=dimensions, in_channels=1, out_channels=1, **dense),
    }


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", ["resnet", "densenet"])
def test_networks_of_monai_conserve(dimensions, name):
    network = without_biases(networks_of_monai(dimensions)[name])
    x = torch.randn(1, 1, *(16,) * dimensions).double()
    assert_conserved(network, x, epsilon=1e-9)
    if dimensions == 2:
        assert_conserved(network, x, rule="alpha-beta", alpha=1.0, beta=0.0, epsilon=1e-9)


class Branches(nn.Module):
    """All in one: operators, operations in place, concatenation, constants."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.one = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.two = nn.Conv2d(4, 2, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.one(x)
        if self.in_place:
            b = torch.zeros_like(a)
            b += a
            functional.relu_(b)
            b *= 3
            a.add_(b, alpha=0.5).div_(2)
        else:
            b = a.relu() * 3
            a = (a + 0.5 * b) / 2
        c = self.two(torch.cat([a, b], 1))[:, :, 1:, ::2]
        c = functional.pad(c, (1, 1, 0, 2)).permute(0, 2, 3, 1).reshape(x.shape[0], -1)
        return c.sum(1) - c.max(1).values


def test_operations_in_place_change_nothing():
    torch.manual_seed(1)
    network, x = Branches(in_place=True).double(), torch.randn(2, 1, 8, 9).double()
    assert_conserved(network, x, epsilon=1e-10)
    found = lrp(network, x, epsilon=1e-12)
    network.in_place = False
    expected = lrp(network, x, epsilon=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_merged_batch_norm_is_that_of_the_merged_network():
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 6), nn.Flatten(0)
    )
    x = torch.randn(16, 1, 8, 8)
    network(3 + 2 * x)
    nn.init.normal_(network[1].bias)
    network.double().eval()
    merged = nn.Sequential(nn.utils.fusion.fuse_conv_bn_eval(network[0], network[1]), *network[2:])
    found = lrp(network, x.double(), epsilon=1e-10, merge_batch_norm=True)
    expected = lrp(merged, x.double(), epsilon=1e-10)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(found, lrp(network, x.double(), epsilon=1e-10), rtol=0.1)


@pytest.mark.parametrize(
    ("mix", "name"),
    [
        (lambda x: x.softmax(3), "softmax"),
        (lambda x: x * x, "mul"),
        (lambda x: x * x.sigmoid(), "mul"),
        (lambda x: 1 / x, "truediv"),
        (lambda x: x.norm(dim=3), "norm"),
        (lambda x: x @ x.mT, "matmul"),
        (lambda x: functional.scaled_dot_product_attention(x, x, x), "scaled_dot_product"),
        (lambda x: functional.dropout(x), "dropout"),
        (lambda x: functional.batch_norm(x, None, None, training=True), "batch norm"),
    ],
)
def test_other_operations_are_refused_by_name(mix, name):
    with pytest.raises(InputError, match=name):
        lrp(lambda x: mix(x).flatten(1).sum(1), torch.rand(2, 1, 4, 4))


def assigned(x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros_like(x)
    y[:, :, 1:] = x[:, :, 1:]
    return y.flatten(1).sum(1)


def changed_view(x: torch.Tensor) -> torch.Tensor:
    y = 2 * x
    y[:, :, 1:].mul_(3)
    return y.flatten(1).sum(1)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (assigned, "setitem"),
        (changed_view, "a view"),
        (lambda x: Doubled.apply(x).flatten(1).sum(1), "Doubled"),
        (lambda x: torch.zeros(len(x)), "do not depend"),
        (lambda x: x.detach().flatten(1).sum(1), "do not depend"),
        (lambda x: x.flatten(1), "one per image"),
        (nn.Sequential(nn.Conv2d(1, 1, 4), nn.BatchNorm2d(1), nn.Flatten(0)), "training mode"),
        (SEResNet50(spatial_dims=2, in_channels=1, num_classes=1).eval(), "Tensor.*mul"),
    ],
)
def test_unfit_networks(network, message):
    with pytest.raises(InputError, match=message):
        lrp(network, torch.rand(2, 1, 4, 4))


def test_leaves_no_trace():
    network = networks_of_monai(2)["resnet"]
    x = torch.randn(2, 1, 32, 32)
    with pytest.raises(InputError, match="BatchNorm2d in training mode"):
        lrp(network, x)
    assert int(network.bn1.num_batches_tracked) == 0
    network.eval().fc.requires_grad_(False)
    before = [p.requires_grad for p in network.parameters()]
    state = copy.deepcopy(network.state_dict())
    logits = network(x)
    with torch.no_grad():
        found = lrp(network, x)
    assert found.abs().max() > 0
    assert not found.requires_grad
    assert x.grad is None
    assert [p.requires_grad for p in network.parameters()] == before
    assert all(p.grad is None for p in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])
    torch.testing.assert_close(network(x), logits)
    # An image's map does not depend on its neighbours.
    torch.testing.assert_close(lrp(network, x[1:]), found[1:], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "gamma"}, "rule 'gamma'"),
        ({"epsilon": 0.0}, "epsilon 0"),
        ({"alpha": 1.0, "beta": 1.0}, "alpha - beta"),
        ({"alpha": 0.5, "beta": -0.5}, "alpha - beta"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        lrp(lambda x: x.flatten(1).sum(1), torch.rand(1, 1, 4, 4), **options)


def test_batch_norm_passes_relevance():
    torch.manual_seed(1)
    for dimensions in (2, 3):
        norm = NORMS[dimensions](2).double().eval()
        nn.init.uniform_(norm.running_mean)
        x = torch.randn(2, 2, *(4,) * dimensions).double()
        score = norm(x)
        found = lrp(lambda x, norm=norm: norm(x).flatten(1).sum(1), x)
        torch.testing.assert_close(found, score.detach(), rtol=1e-4, atol=1e-6)
