"""The U-Net of the supervised ceiling."""

import math

import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.unet import UNet
from monai.networks.blocks.squeeze_and_excitation import ChannelSELayer
from safetensors.torch import load, save


def built(dimensions=2, channels=1, seed=0, **options):
    torch.manual_seed(seed)
    return UNet(
        dimensions=dimensions, in_channels=channels, width=0.1, filters=(32, 64, 64), **options
    )


@pytest.mark.parametrize("shape", [(2, 1, 24, 24), (1, 3, 19, 26), (1, 2, 11, 14, 9)])
def test_logits_lie_on_the_grid_of_the_image_whatever_its_size(shape):
    network = built(len(shape) - 2, shape[1])
    x = torch.randn(shape)
    assert network.voxel_logits(x).shape == (shape[0], 1, *shape[2:])
    assert network(x).shape == (shape[0],)


def test_images_of_a_batch_do_not_know_of_each_other():
    network, x = built(), torch.randn(3, 1, 20, 22)
    alone = torch.cat([network.voxel_logits(each[None]) for each in x])
    torch.testing.assert_close(network.voxel_logits(x), alone, atol=1e-5, rtol=1e-5)


def test_every_block_but_the_last_convolution_is_gated():
    network = built()
    gates = [m for m in network.modules() if isinstance(m, ChannelSELayer)]
    assert len(gates) == 5  # three levels down, two up
    x = torch.randn(1, 1, 24, 24)
    before = network.voxel_logits(x).detach()
    with torch.no_grad():
        for gate in gates[-1:]:
            gate.fc[2].bias += 10  # opens the gate of the last block
    assert not torch.allclose(before, network.voxel_logits(x))


def test_the_untrained_network_expects_few_lesions():
    found = built().voxel_logits(torch.randn(4, 1, 32, 32)).sigmoid().median().detach()
    assert 0.001 < float(found) < 0.1
    assert float(built().last.bias.detach()) == pytest.approx(math.log(0.01 / 0.99))


def test_score_is_the_mean_of_the_highest_logits_less_the_offset():
    network = built(score_share=0.01)
    logits = torch.arange(400.0).reshape(1, 1, 20, 20)
    assert network.score(logits).tolist() == [397.5]  # of 396, 397, 398 and 399
    network.offset += 7.5
    assert network.score(logits).tolist() == [390.0]
    one = built(score_share=1e-9)
    assert one.score(logits).tolist() == [399.0]


def test_state_goes_through_safetensors_with_the_offset():
    network, other = built(), built(seed=1)
    network.offset += 0.25
    x = torch.randn(2, 1, 16, 16)
    assert not torch.equal(network(x), other(x))
    other.load_state_dict(load(save(network.state_dict())))
    assert torch.equal(network(x), other(x))


def test_receptive_field_spans_the_coarsest_grid():
    network = built().eval()
    x = torch.randn(1, 1, 48, 48, requires_grad=True)
    network.voxel_logits(x)[0, 0, 24, 24].backward()
    assert x.grad is not None
    assert bool((x.grad[0, 0, 12:36, 12:36] != 0).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": 4}, "dimensions 4"),
        ({"in_channels": 0}, "in_channels 0"),
        ({"width": 0.0}, "width 0.0"),
        ({"filters": (8,)}, "filters"),
        ({"filters": (8, 0)}, "filters"),
        ({"score_share": 0.0}, "score_share 0.0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        UNet(**{"dimensions": 2, "in_channels": 1, **options})


def test_bad_images_are_refused():
    network = built(channels=2)
    assert network.minimum_size == 8
    network(torch.randn(1, 2, 8, 8))
    with pytest.raises(InputError, match="at least 8"):
        network(torch.randn(1, 2, 8, 7))
    with pytest.raises(InputError, match=r"\(B, 2, ...\)"):
        network(torch.randn(1, 1, 16, 16))
