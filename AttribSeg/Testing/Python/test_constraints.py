import math

import pytest
import torch
from AttribSegLib.attribution.gradient import gradient
from AttribSegLib.constraints import UNSUP_AT_ZERO, scale_attribution, unsup
from AttribSegLib.errors import InputError


def test_unsup_by_hand():
    maps = torch.tensor([[[[0.0, 1.0], [-1.0, 2.0]]]], dtype=torch.float64)
    by_hand = sum(math.log(1 + math.exp(a)) for a in (0.0, 1.0, -1.0, 2.0)) / 4
    assert float(unsup(maps)) == pytest.approx(by_hand, rel=1e-12)


def test_unsup_is_the_cross_entropy_against_healthy(rng):
    maps = torch.from_numpy(rng.normal(size=(2, 1, 4, 5, 3)))
    expected = torch.nn.functional.binary_cross_entropy(maps.sigmoid(), torch.zeros_like(maps))
    torch.testing.assert_close(unsup(maps), expected)


def test_unsup_of_nothing_is_log_two():
    assert float(unsup(torch.zeros(2, 1, 3, 3, dtype=torch.float64))) == UNSUP_AT_ZERO
    assert pytest.approx(math.log(2)) == UNSUP_AT_ZERO


def test_unsup_falls_with_the_attribution_and_does_not_overflow():
    values = [float(unsup(torch.full((1, 1, 2, 2), a))) for a in (-1e4, -5.0, 0.0, 5.0, 1e4)]
    assert values == sorted(values)
    assert values[0] == 0.0
    assert values[-1] == pytest.approx(1e4)


def test_brain_region_counts_only_its_voxels(rng):
    maps = torch.from_numpy(rng.normal(size=(2, 3, 4, 5)))
    brain = torch.from_numpy(rng.random((2, 1, 4, 5)) < 0.4)
    pieces = [maps[b, c][brain[b, 0]] for b in range(2) for c in range(3)]
    expected = torch.nn.functional.softplus(torch.cat(pieces)).mean()
    torch.testing.assert_close(unsup(maps, brain), expected)
    # What lies outside has no influence, however large.
    changed = torch.where(brain, maps, 1e3)
    torch.testing.assert_close(unsup(changed, brain), expected)
    everywhere = torch.ones_like(brain)
    torch.testing.assert_close(unsup(maps, everywhere), unsup(maps))


def test_empty_brain_is_zero_and_not_nan():
    maps = torch.ones(1, 1, 3, 3, requires_grad=True)
    value = unsup(maps, torch.zeros(1, 1, 3, 3, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert maps.grad.abs().max() == 0


@pytest.mark.parametrize("masked", [False, True])
def test_derivatives(rng, masked):
    maps = torch.from_numpy(rng.normal(size=(2, 1, 3, 4))).requires_grad_(True)
    brain = torch.from_numpy(rng.random((2, 1, 3, 4)) < 0.6) if masked else None
    assert torch.autograd.gradcheck(lambda a: unsup(a, brain), (maps,))
    assert torch.autograd.gradgradcheck(lambda a: unsup(a, brain), (maps,))


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (32, 16), (8, 8, 8), (16, 16, 16)])
def test_voxel_scale_means_the_same_on_any_grid(size):
    """Where F is a mean over the grid of a function of each voxel, N dF/dx is its derivative."""
    x = torch.randn(2, 1, *size, dtype=torch.float64)
    maps = gradient(lambda image: torch.sin(image).flatten(1).mean(1), x)
    torch.testing.assert_close(scale_attribution(maps, "voxels"), torch.cos(x))
    torch.testing.assert_close(scale_attribution(maps, "raw"), torch.cos(x) / x[0].numel())


def test_voxel_scale_counts_voxels_and_not_channels():
    maps = torch.ones(2, 3, 4, 5)
    assert torch.equal(scale_attribution(maps, "voxels"), 20 * maps)


def test_voxel_scale_counts_patches_of_a_convolution():
    """The mean of patch logits has attributions of one size whatever the number of patches."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(1, 1, 4, stride=2, padding=1)
    sizes = []
    for n in (16, 32, 64):
        maps = gradient(lambda x: convolution(x).flatten(1).mean(1), torch.randn(1, 1, n, n))
        inside = scale_attribution(maps, "voxels")[..., 2:-2, 2:-2]
        sizes.append(float(inside.abs().mean()))
    assert sizes == pytest.approx([sizes[0]] * 3, rel=1e-4)


def test_unknown_scale_is_refused():
    with pytest.raises(InputError, match="alpha scale 'rsm'"):
        scale_attribution(torch.zeros(1, 1, 2, 2), "rsm")
