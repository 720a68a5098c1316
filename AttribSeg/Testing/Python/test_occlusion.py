import itertools

import pytest
import torch
from AttribSegLib.attribution.occlusion import FILLS, occlusion
from AttribSegLib.attribution.occlusion_local import LocalNetwork
from AttribSegLib.errors import InputError
from AttribSegLib.networks.patchgan import PatchGAN
from captum.attr import Occlusion
from torch import nn

SIZES = {2: (37, 29), 3: (21, 20, 23)}


def patchgan(dimensions, norm="none", strides=(2, 2, 1, 2), **options):
    torch.manual_seed(0)
    network = PatchGAN(
        dimensions=dimensions, width=0.06, norm=norm, strides=strides, in_channels=2, **options
    )
    return network.eval()


def image(dimensions, count=2, seed=1):
    return torch.randn(count, 2, *SIZES[dimensions], generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", ["none", "instance"])
@pytest.mark.parametrize(("patch", "stride"), [(8, 8), (7, 4), (5, 5)])
def test_agrees_with_captum(dimensions, norm, patch, stride):
    network = patchgan(dimensions, norm).double()
    x = image(dimensions, count=1).double()
    found = occlusion(network, x, patch=patch, stride=stride, value=0.3)
    expected = Occlusion(network).attribute(
        x,
        sliding_window_shapes=(2, *(patch,) * dimensions),
        strides=(2, *(stride,) * dimensions),
        baselines=0.3,
    )
    torch.testing.assert_close(found, expected[:, :1].double(), rtol=1e-5, atol=1e-9)


class Whole(nn.Module):
    """A network that is not recognised as a chain, so that whole images go through it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_local_recomputation_is_exact(dimensions, fill):
    network, x = patchgan(dimensions).double(), image(dimensions).double()
    assert LocalNetwork.of(network) is not None
    assert LocalNetwork.of(Whole(network)) is None
    options = {"patch": 6, "fill": fill, "seed": 3}
    found, whole = (occlusion(each, x, **options) for each in (network, Whole(network)))
    assert found.abs().max() > 0
    torch.testing.assert_close(found, whole, rtol=1e-9, atol=1e-15)


def chains():
    yield nn.Conv2d(2, 3, 3, padding=2, dilation=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 2)
    yield nn.ReLU(), nn.Conv2d(2, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ELU(), nn.Conv2d(4, 2, 1)
    yield nn.MaxPool2d(3, 2, padding=1), nn.Sequential(nn.Conv2d(2, 2, 3), nn.Tanh())
    yield nn.AvgPool2d(3, 2, padding=1), nn.Conv2d(2, 2, 4, stride=5), nn.Dropout()
    # Voxels between the strides are never looked at.
    yield nn.Conv2d(2, 2, 1, stride=4), nn.LeakyReLU()
    yield nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Conv2d(4, 2, 1)


@pytest.mark.parametrize("layers", chains(), ids=lambda layers: type(layers[0]).__name__)
@pytest.mark.parametrize("patch", [1, 2, 9])
def test_other_chains(layers, patch):
    network = nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)
    )
    network = network.double().eval()
    x = image(2, count=1).double()[:, :, :17, :14]
    assert LocalNetwork.of(network) is not None

    def score(x):
        return network(x)[:, 0]

    found = occlusion(network, x, patch=patch)
    torch.testing.assert_close(found, occlusion(score, x, patch=patch), rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(2, 2, 3), nn.InstanceNorm2d(2), nn.AdaptiveAvgPool2d(1)),
        nn.Sequential(nn.Conv2d(2, 2, 3), nn.GroupNorm(1, 2), nn.AdaptiveAvgPool2d(1)),
        nn.Sequential(nn.Conv2d(2, 1, 3), nn.Flatten(), nn.Linear(4, 1)),
        nn.Sequential(nn.Conv2d(2, 2, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        nn.Sequential(nn.Conv2d(2, 2, 3, padding_mode="circular"), nn.AdaptiveAvgPool2d(1)),
        nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.AdaptiveAvgPool2d(1)),
    ],
)
def test_other_networks_are_seen_whole(network):
    assert LocalNetwork.of(network.eval()) is None


def test_batch_norm_is_local_only_when_it_does_not_mix():
    network = patchgan(2, "batch")
    assert LocalNetwork.of(network) is not None
    assert LocalNetwork.of(network.train()) is None


def test_memory_changes_nothing():
    network, x = patchgan(2).double(), image(2).double()
    for each in (network, Whole(network)):
        a, b = (occlusion(each, x, patch=5, memory=memory) for memory in (1, 2**30))
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-15)


def test_permutation_keeps_what_a_patch_holds():
    x = image(2, count=1).double()

    def total(x):
        return x.flatten(1).sum(1)

    assert occlusion(total, x, patch=5, fill="permutation").abs().max() < 1e-12
    squares = occlusion(lambda x: (x[:, 0] * x[:, 1]).flatten(1).sum(1), x, fill="permutation")
    assert squares.abs().max() < 1e-12  # channels are shuffled together


def test_noise_has_the_moments_of_the_image():
    x = 3.0 + 2.0 * image(2, count=1).double()
    found = occlusion(lambda x: x.flatten(1).sum(1), x, patch=(37, 29), fill="noise")
    # The sum of 2146 draws differs from the image's own by about 2 sqrt(2146) = 93.
    assert 0 < found.abs().max() < 400
    again = occlusion(lambda x: x.flatten(1).sum(1), x, patch=(37, 29), fill="noise", seed=1)
    assert not torch.equal(found, again)
    spread = occlusion(lambda x: x.flatten(1).var(1), x, patch=(37, 29), fill="noise")
    assert spread.abs().max() < 0.6  # of a variance of 4


def test_blur_of_a_constant_changes_nothing():
    x = torch.full((1, 1, 20, 20), 2.5)
    assert occlusion(lambda x: x.flatten(1).sum(1), x, fill="blur").abs().max() < 1e-3


def test_patches_may_leave_gaps_and_be_unequal():
    x = torch.ones(1, 1, 6, 7)
    found = occlusion(lambda x: x.flatten(1).sum(1), x, patch=(2, 3), stride=(3, 4))
    covered = {(i, j) for i, j in itertools.product(range(6), range(7)) if i % 3 < 2 and j % 4 < 3}
    for i, j in itertools.product(range(6), range(7)):
        assert float(found[0, 0, i, j] > 0) == ((i, j) in covered), (i, j)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 0}, "patch 0"),
        ({"patch": (3, 3, 3)}, "patch"),
        ({"patch": 40}, "no larger than the image"),
        ({"stride": 0}, "stride 0"),
        ({"fill": "zeros"}, "fill 'zeros'"),
        ({"fill": "blur", "blur": 0.0}, "blur 0.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        occlusion(lambda x: x.flatten(1).sum(1), torch.ones(1, 1, 20, 20), **options)
