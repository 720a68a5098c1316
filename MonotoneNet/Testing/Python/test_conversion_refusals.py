"""What cannot be monotone is refused, and the message names it."""

import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks import build_network
from MonotoneNetLib.certificate import NotMonotone, certify
from MonotoneNetLib.conversion import conversion_report, monotone, monotone_forward
from torch import nn
from torch.nn import functional as F

MODULES = {
    "GELU": nn.GELU(),
    "SiLU": nn.SiLU(),
    "Mish": nn.Mish(),
    "Hardswish": nn.Hardswish(),
    "PReLU": nn.PReLU(),
    "RReLU": nn.RReLU(),
    "ReLU6": nn.ReLU6(),
    "Sigmoid": nn.Sigmoid(),
    "Softplus": nn.Softplus(),
    "Tanh": nn.Tanh(),
    "Softmax": nn.Softmax(1),
    "MultiheadAttention": nn.MultiheadAttention(2, 1),
    "Bilinear": nn.Bilinear(2, 2, 2),
    "LSTM": nn.LSTM(2, 2),
    "LPPool2d": nn.LPPool2d(2, 2),
    "AlphaDropout": nn.AlphaDropout(),
    "FractionalMaxPool2d": nn.FractionalMaxPool2d(2, 2),
    "Upsample": nn.Upsample(scale_factor=2, mode="bicubic"),
    "ConstantPad2d": nn.ConstantPad2d(1, 1.0),
    "MaxPool2d": nn.MaxPool2d(2, return_indices=True),
    "LazyLinear": nn.LazyLinear(2),
    "Embedding": nn.Embedding(2, 2),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    network = nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"bad": MODULES[name]}))
    with pytest.raises(InputError, match=rf"1\.bad \({name}\)"):
        monotone(network)
    with pytest.raises(NotMonotone, match=name):
        certify(MODULES[name])


class Calls(nn.Module):
    """Its forward is the given function of itself and x."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3)
        self.relu = nn.ReLU(inplace=True)
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("offset", torch.ones(3))


def calling(function):
    class Bad(Calls):
        forward = function

    return nn.ModuleDict({"inner": Bad()})


REFUSED = {
    "sub": lambda self, x: x - self.layer(x),
    "neg": lambda self, x: -x,
    "product": lambda self, x: x * self.layer(x),
    "division by activations": lambda self, x: 1 / x,
    "x / x": lambda self, x: x / self.layer(x),
    "negative factor": lambda self, x: x * -2,
    "division by negative": lambda self, x: x / -2,
    "infinite factor": lambda self, x: x * float("inf"),
    "added constant": lambda self, x: x + 1,
    "added parameter": lambda self, x: x + self.scale,
    "added buffer": lambda self, x: x + self.offset,
    "negative alpha": lambda self, x: torch.add(x, self.layer(x), alpha=-1),
    "times parameter": lambda self, x: x * self.scale,
    "subtraction of sizes as factor": lambda self, x: x * (1 - x.shape[0]),
    "functional linear": lambda self, x: F.linear(x, self.layer.weight),
    "matmul with a computed weight": lambda self, x: x @ (self.scale * 2).diag(),
    "softmax": lambda self, x: x.softmax(1),
    "functional softmax": lambda self, x: F.softmax(x, dim=1),
    "attention": lambda self, x: F.scaled_dot_product_attention(x, x, x),
    "gelu": lambda self, x: F.gelu(x),
    "sigmoid": lambda self, x: torch.sigmoid(x),
    "tanh": lambda self, x: x.tanh(),
    "abs": lambda self, x: x.abs(),
    "pow": lambda self, x: x**2,
    "exp": lambda self, x: x.exp(),
    "std": lambda self, x: x.std(1),
    "normalize": lambda self, x: F.normalize(x),
    "clamp on both sides": lambda self, x: x.clamp(-1, 1),
    "clamp above zero": lambda self, x: x.clamp(min=1),
    "leaky slope": lambda self, x: F.leaky_relu(x, -0.1),
    "bicubic": lambda self, x: F.interpolate(x[:, None, None], scale_factor=2, mode="bicubic"),
    "padding": lambda self, x: F.pad(x, (1, 1), value=2.0),
    "indices": lambda self, x: x.max(1)[1],
    "sorted indices": lambda self, x: x.sort(1)[1],
    "comparison": lambda self, x: x > 0,
    "where": lambda self, x: torch.where(x > 0, x, self.layer(x)),
    "detach": lambda self, x: x.detach(),
    "data": lambda self, x: x.data,
    "bits": lambda self, x: x.view(torch.int32),
    "whole numbers": lambda self, x: x.to(torch.int32),
    "decides by values": lambda self, x: x if x.sum() > 0 else -x,
    "any number of arguments": lambda self, *x: x[0],
    "returns a shape": lambda self, x: (self.layer(x), x.shape),
    "returns a parameter": lambda self, x: self.scale,
    "only in training": lambda self, x: -x if self.training else x,
    "only in evaluation": lambda self, x: x if self.training else -x,
    "in place and used again": lambda self, x: self.relu(x) + x,
    "in place and not used": lambda self, x: (self.relu(x), x)[1],
    "functional in place": lambda self, x: F.relu(x, inplace=True) + x,
    "module of two activations": lambda self, x: self.layer(x, x),
    "module of nothing": lambda self, x: self.layer(),
    "only where a child is trained": lambda self, x: -x if self.layer.training else x,
    "only where a child is not trained": lambda self, x: x if self.norm.training else -x,
    "numbers of a buffer": lambda self, x: x * float(self.offset[0]),
    "whole numbers by the type of zeros": lambda self, x: x.to(
        torch.zeros_like(x, dtype=torch.int32).dtype
    ),
    "whole numbers by the type of a buffer": lambda self, x: x.to(self.offset.dtype),
    "powers of two": lambda self, x: x.to(torch.float8_e8m0fnu),
    "bits by the type of an activation": lambda self, x: x.view(x.half().dtype),
    "dropout in evaluation": lambda self, x: F.dropout(x, 0.5),
    "dropout in evaluation, by name": lambda self, x: torch.dropout(x, p=0.5, train=True),
    "maximum with a constant": lambda self, x: torch.maximum(x, torch.zeros_like(x)),
    "max with a constant": lambda self, x: torch.max(x.new_zeros(3)[None], x),
    "index given a name": lambda self, x: tuple(x.max(1))[1],
    "index of the index": lambda self, x: x.max(1)[1][0],
    "index as a factor": lambda self, x: x * x.max(1, keepdim=True)[1],
}


@pytest.mark.parametrize("name", REFUSED)
def test_forwards(name):
    network = calling(REFUSED[name])
    with pytest.raises(InputError, match=r"inner \(Bad\): .*"):
        monotone(network)
    with pytest.raises(NotMonotone):
        certify(network["inner"])


def test_a_functional_activation_that_only_one_mode_has():
    network = calling(lambda self, x: F.relu(x) if self.training else F.elu(x))
    with pytest.raises(InputError, match=r"inner \(Bad\): .*training and evaluation"):
        monotone(network)


def test_a_functional_activation_whose_options_differ_between_the_modes():
    network = calling(lambda self, x: F.leaky_relu(x, 0.1 if self.training else 0.5))
    with pytest.raises(InputError, match=r"inner \(Bad\): .*training and evaluation"):
        monotone(network)


def test_all_faults_are_told_up_to_a_few():
    with pytest.raises(InputError, match=r"0 \(GELU\).*4 \(Mish\).*and 2 more"):
        monotone(nn.Sequential(*[nn.GELU() for _ in range(4)], nn.Mish(), nn.Mish(), nn.GELU()))


def test_options_of_a_container_are_its_defaults():
    class Optional(nn.Module):
        def forward(self, x, sign=1):
            return x if sign > 0 else -x

    class Caller(nn.Module):
        def __init__(self, *options):
            super().__init__()
            self.inner, self.options = Optional(), options

        def forward(self, x):
            return self.inner(x, *self.options)

    monotone(Caller())
    with pytest.raises(InputError, match="calls inner"):
        monotone(Caller(-1))


def test_hooks_and_forwards_of_an_instance():
    layer = nn.Linear(2, 2)
    layer.register_forward_hook(lambda *arguments: None)
    with pytest.raises(InputError, match=r"0 \(Linear\): has forward hooks"):
        monotone(nn.Sequential(layer))
    other = nn.Linear(2, 2)
    other.forward = lambda x: -x
    with pytest.raises(InputError, match="forward of its own"):
        monotone(nn.Sequential(other))


def test_other_parametrizations():
    network = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    with pytest.raises(InputError, match=r"0 \(\w+\): parametrised already"):
        monotone(network)


def test_weights_that_are_no_numbers():
    network = nn.Sequential(nn.Linear(2, 2))
    network[0].weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        monotone(network)


def test_smooth_leaky_relu_is_refused():
    with pytest.raises(InputError, match=r"SmoothLeakyReLU\): calls softplus: not zero"):
        monotone(build_network("patchgan", dimensions=2, in_channels=1, activation="softplus"))


class Checked(nn.Module):
    """A forward that cannot be traced."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        if x.ndim != 2:
            raise ValueError("shape")
        return self.layer(x)


def test_a_user_vouches_by_name_or_class():
    network = nn.Sequential(Checked(), nn.ReLU())
    with pytest.raises(InputError, match=r"cannot be traced.*allow=\['Checked'\]"):
        monotone(network)
    for allow in (["0"], ["Checked"], [Checked]):
        made = monotone(network, allow=allow)
        # The children of what is vouched for are converted nevertheless.
        assert bool((made[0].layer.weight >= 0).all())
        assert conversion_report(made).vouched == ("0 (Checked)",)
        with pytest.raises(NotMonotone, match="cannot be traced"):
            certify(made)
        assert certify(made, allow=allow).vouched == ("0 (Checked)",)
    # It does not cover other modules.
    with pytest.raises(InputError, match=r"1 \(GELU\)"):
        monotone(nn.Sequential(Checked(), nn.GELU()), allow=[Checked])
    kept = monotone(nn.Sequential(nn.GELU(), nn.ReLU()), allow=["0"])
    assert isinstance(kept[0], nn.GELU)
    with pytest.raises(InputError, match="Chequed"):
        monotone(network, allow=["Chequed", Checked])


def test_an_author_vouches_for_a_class_but_not_its_subclasses():
    @monotone_forward
    class Known(Checked):
        pass

    class Changed(Known):
        def forward(self, x):
            return -super().forward(x) if x.ndim == 2 else x

    assert certify(monotone(Known())).layers == 1
    with pytest.raises(InputError, match="Changed"):
        monotone(Changed())


def test_a_list_with_a_forward_is_looked_at():
    class Blocks(nn.ModuleList):
        def forward(self, x):
            return -self[0](x)

    with pytest.raises(InputError, match=r"Blocks\): calls neg"):
        monotone(Blocks([nn.Linear(2, 2)]))
