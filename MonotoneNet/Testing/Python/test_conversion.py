import copy
import json

import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks import build_network
from AttribSegLib.networks.twice import input_gradients_only, plain_layers, weight_gradients_only
from MonotoneNetLib.activations import SplitActivation
from MonotoneNetLib.conversion import conversion_report, monotone
from MonotoneNetLib.positivity import POSITIVITIES, PublishedPositivity, ThesisPositivity
from torch import nn
from torch.autograd import grad
from torch.nn import functional as F
from torch.nn.utils import parametrize


def patchgan(dimensions=2, norm="instance", **options):
    return build_network(
        "patchgan", dimensions=dimensions, in_channels=2, width=0.05, norm=norm, **options
    )


def monai_resnet(depth, width=1):
    from monai.networks.nets import ResNet

    layers = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 152: [3, 8, 36, 3]}[depth]
    block = "basic" if depth < 50 else "bottleneck"
    widths = [width * each for each in (4, 8, 8, 8)]
    return ResNet(block, layers, widths, spatial_dims=2, n_input_channels=2, num_classes=3)


def monai_densenet():
    from monai.networks.nets import DenseNet121

    return DenseNet121(2, 2, 3, init_features=8, growth_rate=4)


class UserBlock(nn.Module):
    """As in torchvision: in-place rectifiers, a functional one, a residual addition in place."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = F.dropout(self.conv2(out), 0.3, training=self.training)
        out += x
        return F.relu(out)


class UserNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.blocks = nn.Sequential(UserBlock(6), UserBlock(6))
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = F.leaky_relu(self.stem(x), 0.1)
        x = F.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=self.training)
        x = F.max_pool2d(self.blocks(x), 2)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


def mlp():
    return nn.Sequential(
        nn.Linear(2, 5), nn.BatchNorm1d(5), nn.ELU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1)
    )


NETWORKS = {
    "mlp": (mlp, (3, 2)),
    "patchgan 2D": (patchgan, (2, 2, 64, 64)),
    "patchgan 3D": (
        lambda: patchgan(3, "batch", filters=(20, 40), strides=(2, 1)),
        (1, 2, 16, 16, 16),
    ),
    "monai resnet18": (lambda: monai_resnet(18), (2, 2, 24, 24)),
    "monai resnet34": (lambda: monai_resnet(34), (2, 2, 24, 24)),
    "monai resnet50": (lambda: monai_resnet(50), (2, 2, 24, 24)),
    "monai resnet152": (lambda: monai_resnet(152), (1, 2, 24, 24)),
    "monai densenet": (monai_densenet, (2, 2, 32, 32)),
    "our resnet18": (
        lambda: build_network("resnet18", dimensions=3, in_channels=2, width=0.125),
        (1, 2, 16, 16, 16),
    ),
    "our densenet": (
        lambda: build_network("densenet121", dimensions=2, in_channels=2, width=0.25),
        (1, 2, 64, 64),
    ),
    "user": (UserNet, (2, 2, 12, 12)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_known_networks_become_monotone_and_keep_signs(name):
    torch.manual_seed(1)
    make, shape = NETWORKS[name]
    given = make()
    before = copy.deepcopy(given.state_dict())
    network = monotone(given).double()
    for key, value in given.state_dict().items():
        assert torch.equal(value, before[key]), key
    x = torch.randn(shape, dtype=torch.float64)
    network.eval()
    with torch.no_grad():
        low, high = network(x), network(x + torch.rand_like(x))
        assert bool((low <= high).all())
        assert bool((network(x.abs()) >= 0).all())
        assert bool((network(-x.abs()) <= 0).all())
        assert not network(torch.zeros_like(x)).any()
        # Not the trivial network that is zero, or blind to its input.
        assert bool((low < high).any())
    # In training, too, there is a gradient for all weights.
    network.train()
    network(x).sum().backward()
    for key, parameter in network.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key


@pytest.mark.parametrize("name", NETWORKS)
def test_conversion_is_idempotent_and_state_dicts_round_trip(name, tmp_path):
    from AttribSegLib.training.checkpoint import load_tensors, load_weights, save_tensors

    make, shape = NETWORKS[name]
    torch.manual_seed(1)
    network = monotone(make()).eval()
    again = monotone(network)
    assert conversion_report(again).changes == ()
    other = monotone(make()).eval()
    save_tensors(tmp_path / "weights.safetensors", network.state_dict(), {})
    load_weights(other, load_tensors(tmp_path / "weights.safetensors")[0], source=tmp_path)
    x = torch.randn(shape)
    with torch.no_grad(), parametrize.cached():
        expected = network(x)
        for each in (again, other, copy.deepcopy(network)):
            assert torch.equal(each(x), expected)


@pytest.mark.parametrize("positivity", [*POSITIVITIES, PublishedPositivity(0.1)])
def test_weights_of_each_form(positivity):
    given = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    W = given[0].weight.detach()
    raw = monotone(given, positivity=positivity)[0]
    phi = raw.parametrizations.weight[0]
    assert torch.equal(raw.parametrizations.weight.original, W)
    assert torch.equal(raw.weight, phi(W))
    absolute = monotone(given, positivity=positivity, signed="absolute")[0]
    torch.testing.assert_close(absolute.weight, W.abs())
    positive = copy.deepcopy(given)
    for layer in (positive[0], positive[2]):
        layer.weight.data.abs_()
    torch.testing.assert_close(
        monotone(positive, positivity=positivity, signed="refuse")[0].weight, W.abs()
    )
    with pytest.raises(InputError, match=r"0 \(Linear\): negative weights"):
        monotone(given, positivity=positivity, signed="refuse")


def test_biases_are_zero_and_frozen_and_stay_so_in_training():
    network = monotone(mlp())
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        network(torch.randn(4, 2)).square().sum().backward()
        optimiser.step()
    for layer in (network[0], network[3], network[5]):
        assert not layer.bias.any()
        assert not layer.bias.requires_grad
        assert bool((layer.weight >= 0).all())


def test_shared_modules_stay_shared_and_are_converted_once():
    layer, activation = nn.Linear(3, 3), nn.ReLU()
    given = nn.Sequential(layer, activation, layer, activation)
    network = monotone(given)
    assert network[0] is network[2]
    assert network[1] is network[3]
    assert len(network[0].parametrizations.weight) == 1
    assert torch.equal(network[0].parametrizations.weight.original, layer.weight)
    assert conversion_report(network).count("weight") == 1


@pytest.mark.parametrize("signed", ["raw", "absolute"])
def test_a_weight_that_two_layers_share(signed):
    given = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    given[2].weight = given[0].weight
    network = monotone(given, signed=signed)
    first, second = (network[i].parametrizations.weight.original for i in (0, 2))
    assert first is second
    W = given[0].weight.detach()
    expected = W.abs() if signed == "absolute" else ThesisPositivity()(W)
    torch.testing.assert_close(network[2].weight, expected)


def test_double_backward_through_the_layers_of_attribseg():
    """Gradients of an input gradient, with and without the contexts that spare some of them."""
    torch.manual_seed(2)
    network = monotone(patchgan(norm="none", filters=(40, 60), strides=(2, 2))).double()
    x = torch.randn(1, 2, 20, 20, dtype=torch.float64, requires_grad=True)
    weights = [p for p in network.parameters() if p.requires_grad]
    with input_gradients_only():
        (gradient,) = grad(network(x).sum(), x, create_graph=True)
    assert bool((gradient >= 0).all())
    with weight_gradients_only():
        found = grad(gradient.square().sum(), weights)
    for index, weight in enumerate(weights):
        probe = torch.zeros_like(weight).view(-1)
        probe[index] = 1.0
        step = 1e-6 * probe.view_as(weight)

        def penalty(change, weight=weight):
            with torch.no_grad():
                weight.add_(change)
            leaf = x.detach().requires_grad_(True)
            with plain_layers():
                value = grad(network(leaf).sum(), leaf)[0].square().sum()
            with torch.no_grad():
                weight.sub_(change)
            return float(value)

        difference = (penalty(step) - penalty(-step)) / 2e-6
        assert float(found[index].view(-1)[index]) == pytest.approx(difference, rel=1e-4, abs=1e-9)


def test_functional_dropout_follows_the_mode():
    network = monotone(UserNet())
    x = torch.randn(2, 2, 12, 12)
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))
    block = network.blocks[0]
    assert [type(m) for m in (block.relu, block.relu_0)] == [SplitActivation] * 2
    assert isinstance(network.leaky_relu_0.activation, nn.LeakyReLU)


def test_modes_of_the_given_network_are_kept():
    for training in (True, False):
        network = monotone(UserNet().train(training))
        assert {module.training for module in network.modules()} <= {training, True}
        assert network.training is network.blocks[0].relu.training is training


def test_report_tells_every_change():
    report = conversion_report(monotone(UserNet(), signed="absolute"))
    kinds = ("weight", "bias", "normalisation", "activation", "forward")
    assert [report.count(kind) for kind in kinds] == [6, 4, 3, 2, 3]
    text = str(report)
    assert "6 weights made positive" in text
    assert "blocks.0.relu  " in text
    assert "functional batch_norm, leaky_relu" in text
    assert json.loads(json.dumps(report.to_dict()))["changes"][0]["kind"]
    with pytest.raises(InputError, match="no conversion report"):
        conversion_report(mlp())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"signed": "square"}, "square"), ({"positivity": "exp"}, "exp"), ({"allow": "0"}, "a list")],
)
def test_unknown_options(options, message):
    with pytest.raises(InputError, match=message):
        monotone(mlp(), **options)


def test_single_modules():
    assert isinstance(monotone(nn.ReLU()), SplitActivation)
    assert isinstance(monotone(nn.BatchNorm2d(3)), nn.Identity)
    assert bool((monotone(nn.Conv3d(1, 2, 3)).weight >= 0).all())


def test_a_residual_addition_in_place_after_a_norm_that_is_gone():
    """The norm made a new tensor; now the addition changes what the rectifier returned."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.norm = nn.Conv1d(3, 3, 1), nn.ReLU(), nn.BatchNorm1d(3)

        def forward(self, x):
            out = self.norm(self.act(self.conv(x)))
            out += x
            return out

    torch.manual_seed(0)
    block = monotone(Block()).double()
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))
