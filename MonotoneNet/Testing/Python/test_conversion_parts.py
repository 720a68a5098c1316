"""Parts of layers, norms and leaves that do more than their class is known for."""

import pytest
import torch
from AttribSegLib.errors import InputError
from MonotoneNetLib.activations import SplitActivation
from MonotoneNetLib.certificate import NotMonotone, certify
from MonotoneNetLib.conversion import monotone
from torch import nn


class Gated(nn.Linear):
    """A layer with a part that its own forward does not use."""

    def __init__(self):
        super().__init__(3, 3)
        self.gate = nn.Softmin(1)


class Split(nn.Module):
    def __init__(self, parts):
        super().__init__()
        self.layer, self.act, self.parts = Gated(), SplitActivation(nn.ReLU()), parts

    def forward(self, x):
        return self.get_submodule(self.parts)(self.layer(x))


@pytest.mark.parametrize("part", ["layer.gate", "act.activation"])
def test_parts_of_layers_and_activations_are_not_called(part):
    monotone(Split("act"))
    with pytest.raises(InputError, match=f"calls {part}: a part of a layer or activation"):
        monotone(Split(part))


def test_a_positive_map_is_not_called():
    network = monotone(Split("act"))
    network.parts = "layer.parametrizations.weight.0"
    with pytest.raises(NotMonotone, match="a part of a layer or activation"):
        certify(network)


def test_zero_padding_pads_with_zeros():
    for padding in (nn.ZeroPad1d(1), nn.ZeroPad2d(1), nn.ZeroPad3d(1)):
        monotone(padding)
        padding.value = 3.0
        with pytest.raises(InputError, match=r"0 \(ZeroPad\dd\): pads with 3.0"):
            monotone(nn.Sequential(padding))


def test_a_norm_with_a_forward_of_its_own_is_not_just_removed():
    class Upside(nn.GroupNorm):
        def forward(self, x):
            return -super().forward(x)

    class Plain(nn.GroupNorm):
        pass

    with pytest.raises(InputError, match=r"0 \(Upside\): calls neg"):
        monotone(nn.Sequential(Upside(1, 2)))
    assert isinstance(monotone(nn.Sequential(Plain(1, 2)))[0], nn.Identity)


def test_lazy_modules_and_torchscript_are_called_so():
    for lazy in (nn.LazyLinear(2), nn.LazyConv2d(2, 3)):
        with pytest.raises(InputError, match=r"0 \(\w+\): a lazy module"):
            monotone(nn.Sequential(lazy))
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2)))
    for function in (monotone, certify):
        with pytest.raises(InputError, match="TorchScript"):
            function(scripted)
