import json

import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks import build_network
from MonotoneNetLib.activations import SplitActivation
from MonotoneNetLib.certificate import NotMonotone, certify
from MonotoneNetLib.conversion import monotone
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize


def body(**options):
    return monotone(
        build_network("patchgan", dimensions=2, in_channels=2, width=0.05, norm="none"), **options
    )


def mlp():
    return monotone(nn.Sequential(nn.Linear(2, 4), nn.LeakyReLU(0.2), nn.Linear(4, 1)))


def test_what_it_says():
    network = body(positivity="published")
    found = certify(network)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert found.layers == len(layers) == 5
    assert found.weights == sum(layer.weight.numel() for layer in layers)
    assert found.smallest_weight == min(layer.weight.min().item() for layer in layers)
    assert found.by_construction
    assert found.positivity == ("PublishedPositivity(b=1)",)
    assert found.activations == ("split LeakyReLU(negative_slope=0.2)",)
    assert found.vouched == ()
    text = str(found)
    assert text.startswith("Monotone by construction: 5 layers")
    assert len(text.splitlines()) == 1 + len(found.parts)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["weights"] == found.weights
    assert plain["parts"][2]["name"] == "layers.0"
    assert certify(network) == found  # and it leaves the network alone


def test_weights_that_happen_to_be_positive_are_not_by_construction():
    network = mlp()
    parametrize.remove_parametrizations(network[0], "weight")
    found = certify(network)
    assert not found.by_construction
    assert set(found.positivity) == {"none", "ThesisPositivity()"}
    network = mlp()
    network[2].bias.requires_grad_(True)
    assert not certify(network).by_construction


def test_a_network_without_weights_has_plain_numbers():
    plain = json.dumps(certify(nn.MaxPool2d(2)).to_dict(), allow_nan=False)
    assert json.loads(plain)["smallest_weight"] is None


def set_bias(network):
    network[0].bias.data.fill_(1.0)


def negative_weight(network):
    parametrize.remove_parametrizations(network[2], "weight")
    network[2].weight.data[0, 1] = -1e-6


def not_finite(network):
    network[0].parametrizations.weight.original.data[0, 0] = float("nan")


class Negating(nn.Module):
    def forward(self, V):
        return -V.abs()


def other_parametrization(network):
    parametrize.register_parametrization(network[0], "weight", Negating())


def broken_positivity(network):
    network[0].parametrizations.weight[0].forward = lambda V: V


def swap(position, module):
    def change(network):
        network[position] = module

    return change


def gelu_inside(network):
    network[1].activation = nn.GELU()


def tanh_inside(network):
    network[1].activation = nn.Tanh()


def negative_slope(network):
    network[1].activation.negative_slope = -0.5


def patched_split(network):
    network[1].forward = lambda x: -x


def hook(network):
    network[1].register_forward_hook(lambda module, args, output: -output)


def pre_hook(network):
    network.register_forward_pre_hook(lambda module, args: (-args[0],))


def set_on(position, name):
    def change(network):
        setattr(network[position], name, lambda *arguments: arguments[0])

    return change


class Odd(SplitActivation):
    def forward(self, x):
        return -x


TAMPERED = {
    "bias": (set_bias, r"^0 \(Linear\): its bias"),
    "negative weight": (negative_weight, r"^2 \(Linear\): 1 of 4 weights are negative"),
    "not finite": (not_finite, r"^0 \(Linear\): a weight is not finite"),
    "second parametrization": (other_parametrization, r"^0 \(Linear\): .* negative"),
    "changed parametrization": (broken_positivity, r"^0 \(Linear\): .* negative"),
    "GELU": (swap(1, nn.GELU()), r"^1 \(GELU\): GELU is not increasing"),
    "Tanh": (swap(1, nn.Tanh()), r"^1 \(Tanh\): Tanh on all channels is bounded"),
    "ReLU": (swap(1, nn.ReLU()), r"^1 \(ReLU\): ReLU on all channels is bounded"),
    "norm": (swap(1, nn.BatchNorm1d(4)), r"^1 \(BatchNorm1d\): a normalisation"),
    "GELU inside": (gelu_inside, r"^1 \(SplitActivation\): GELU"),
    "Tanh inside": (tanh_inside, r"^1 \(SplitActivation\): Tanh alone"),
    "negative slope": (negative_slope, r"^1 \(SplitActivation\): LeakyReLU of slope -0.5"),
    "patched": (patched_split, r"^1 \(SplitActivation\): has a forward of its own"),
    "convolution": (
        lambda network: set_on(0, "_conv_forward")(network.insert(0, monotone(nn.Conv1d(2, 2, 1)))),
        r"^0 \(Conv1d\): has a _conv_forward of its own",
    ),
    "call": (set_on(0, "_call_impl"), r"^0 \(\w+\): has a _call_impl of its own"),
    "compiled": (set_on(2, "_compiled_call_impl"), "has a _compiled_call_impl of its own"),
    "hook": (hook, r"^1 \(SplitActivation\): has forward hooks"),
    "hook before": (pre_hook, r"^the network \(Sequential\): has forward hooks"),
    "subclass": (swap(1, Odd(nn.ReLU())), r"^1 \(Odd\): .*"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_refused(name):
    change, message = TAMPERED[name]
    network = mlp()
    certify(network)
    change(network)
    with pytest.raises(NotMonotone, match=message):
        certify(network)


class Difference(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = body(), body()

    def forward(self, x):
        return self.first(x) - self.second(x)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = monotone(nn.Linear(2, 2))

    def forward(self, x):
        return F.leaky_relu(self.layer(x), 0.1)


class FunctionalNorm(Functional):
    def forward(self, x):
        return F.layer_norm(self.layer(x), (2,))


class FunctionalReLU(Functional):
    def forward(self, x):
        return F.relu(self.layer(x))


def test_wrappers():
    with pytest.raises(NotMonotone, match=r"Difference\): calls sub: a subtraction"):
        certify(Difference())
    with pytest.raises(NotMonotone, match="calls layer_norm, a normalisation"):
        certify(FunctionalNorm())
    with pytest.raises(NotMonotone, match="calls relu: ReLU on all channels is bounded below"):
        certify(FunctionalReLU())
    # Unbounded below and increasing: monotone although it is not split.
    assert certify(Functional()).activations == ("LeakyReLU(negative_slope=0.1)",)
    assert certify(monotone(FunctionalReLU())).activations == ("split ReLU()",)


def test_a_subclass_of_a_known_network_is_not_known():
    class Changed(type(body())):
        def forward(self, x):
            return -super().forward(x)

    network = body()
    network.__class__ = Changed
    with pytest.raises(NotMonotone, match="Changed"):
        certify(network)


def test_a_layer_with_a_forward_of_its_own_is_not_known():
    class Sneaky(nn.Linear):
        def forward(self, x):
            return -super().forward(x)

    with pytest.raises(NotMonotone, match="Sneaky"):
        certify(monotone(nn.Sequential(nn.Linear(2, 2))).append(Sneaky(2, 2)))


def test_pairs_with_tanh():
    network = mlp()
    network[1] = SplitActivation(nn.Tanh(), nn.ReLU())
    assert certify(network).activations == ("split Tanh() and ReLU()",)


def test_methods_of_known_networks_and_graph_modules_are_their_own():
    network = body()
    network.patch_logits = lambda x: -x
    with pytest.raises(NotMonotone, match="has a patch_logits of its own"):
        certify(network)
    network = monotone(FunctionalReLU())
    certify(network)
    network._wrapped_call = lambda self, x: -self.forward(x)
    with pytest.raises(NotMonotone, match="has a _wrapped_call of its own"):
        certify(network)


def test_a_call_of_a_class_is_that_of_pytorch():
    class Upside(nn.Sequential):
        def _call_impl(self, *arguments):
            return -super()._call_impl(*arguments)

    with pytest.raises(NotMonotone, match="called in a way of its own"):
        certify(Upside(nn.Identity()))


def test_what_is_vouched_for_is_not_by_construction():
    network = mlp()
    assert certify(network).by_construction
    assert not certify(network, allow=["2"]).by_construction


class Counting(nn.Module):
    """Counts its calls past the graph."""

    def __init__(self):
        super().__init__()
        self.layer = monotone(nn.Linear(2, 2))
        self.layer.eval()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self._buffers["calls"].add_(1)
        return self.layer(x)


def test_looking_at_a_network_leaves_its_buffers_and_modes():
    network = Counting()
    certify(network)
    assert network.calls == 0
    assert network.training
    assert not network.layer.training


def test_allow_must_fit():
    with pytest.raises(InputError, match="nobody"):
        certify(mlp(), allow=["nobody"])
