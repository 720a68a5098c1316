import math

import pytest
import torch
from AttribSegLib.attribution.gradient import gradient
from AttribSegLib.constraints import (
    UNSUP_AT_ZERO,
    ross,
    scale_attribution,
    sup,
    total_variation,
    unsup,
)
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


def test_sup_by_hand():
    maps = torch.tensor([[[[0.0, 1.0], [-1.0, 2.0]]]], dtype=torch.float64)
    lesions = torch.tensor([[[[True, True], [False, False]]]])
    # log(1 + exp(-a)) where there is a lesion, log(1 + exp(a)) elsewhere.
    by_hand = sum(math.log(1 + math.exp(a)) for a in (0.0, -1.0, -1.0, 2.0)) / 4
    assert float(sup(maps, lesions)) == pytest.approx(by_hand, rel=1e-12)
    brain = torch.tensor([[[[True, True], [False, True]]]])
    by_hand = sum(math.log(1 + math.exp(a)) for a in (0.0, -1.0, 2.0)) / 3
    assert float(sup(maps, lesions, brain)) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_sup_is_the_cross_entropy_against_the_mask_in_every_channel(rng, channels):
    maps = torch.from_numpy(rng.normal(size=(2, channels, 4, 5, 3)))
    lesions = torch.from_numpy(rng.random((2, 1, 4, 5, 3)) < 0.3)
    pieces = [
        torch.nn.functional.binary_cross_entropy(maps[:, c : c + 1].sigmoid(), lesions.double())
        for c in range(channels)
    ]
    torch.testing.assert_close(sup(maps, lesions), torch.stack(pieces).mean())


@pytest.mark.parametrize("masked", [False, True])
def test_sup_with_empty_masks_is_unsup(rng, masked):
    maps = torch.from_numpy(rng.normal(size=(2, 2, 4, 5)))
    brain = torch.from_numpy(rng.random((2, 1, 4, 5)) < 0.6) if masked else None
    nothing = torch.zeros(2, 1, 4, 5, dtype=torch.bool)
    torch.testing.assert_close(sup(maps, nothing, brain), unsup(maps, brain), rtol=0, atol=1e-15)


def test_sup_wants_lesions_up_and_the_rest_down():
    maps = torch.zeros(1, 1, 2, 2, requires_grad=True)
    lesions = torch.tensor([[[[True, False], [False, False]]]])
    sup(maps, lesions).backward()
    assert torch.equal(maps.grad < 0, lesions)
    far = torch.where(lesions, 1e4, -1e4)
    assert float(sup(far, lesions)) == 0.0
    assert float(sup(-far, lesions)) == pytest.approx(1e4)


def test_balanced_sup_by_hand():
    maps = torch.tensor([[[[0.0, 1.0, -1.0, 2.0]]], [[[1.0, 1.0, 1.0, 3.0]]]], dtype=torch.float64)
    lesions = torch.tensor([[[[True, False, False, False]]], [[[False] * 4]]])

    def penalty(value, sign):
        return math.log(1 + math.exp(sign * value))

    rest = sum(penalty(a, 1) for a in (1.0, -1.0, 2.0)) / 3
    healthy = sum(penalty(a, 1) for a in (1.0, 1.0, 1.0, 3.0)) / 4
    by_hand = ((penalty(0.0, -1) + rest) / 2 + healthy) / 2
    assert float(sup(maps, lesions, balanced=True)) == pytest.approx(by_hand, rel=1e-12)
    # Only the brain counts: of the first image the lesion and one other voxel, nothing of the next.
    brain = torch.tensor([[[[True, True, False, False]]], [[[False] * 4]]])
    by_hand = (penalty(0.0, -1) + penalty(1.0, 1)) / 2 / 2
    found = sup(maps, lesions, brain, balanced=True)
    assert float(found) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_balanced_sup_has_derivatives_and_without_lesions_is_unsup(rng, masked):
    maps = torch.from_numpy(rng.normal(size=(2, 2, 3, 4))).requires_grad_()
    lesions = torch.from_numpy(rng.random((2, 1, 3, 4)) < 0.2)
    brain = torch.from_numpy(rng.random((2, 1, 3, 4)) < 0.7) if masked else None
    if brain is not None:
        brain[1] = False  # an image of which nothing counts
    assert torch.autograd.gradcheck(lambda a: sup(a, lesions, brain, balanced=True), (maps,))
    nothing = torch.zeros_like(lesions)
    if brain is None:
        torch.testing.assert_close(sup(maps, nothing, balanced=True), unsup(maps))


def test_balanced_sup_does_not_forgive_healthy_everywhere(rng):
    maps = torch.full((1, 1, 20, 20), -4.0)
    lesions = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    lesions[..., :2, :2] = True
    right = torch.where(lesions, 4.0, -4.0)
    assert float(sup(maps, lesions)) < 0.1 * float(sup(maps, lesions, balanced=True))
    assert float(sup(right, lesions, balanced=True)) < 0.02


def test_total_variation_by_hand():
    flat = torch.tensor([[1.0, 4.0, 2.0], [0.0, 4.0, 7.0]], dtype=torch.float64)
    along_i, along_j = 1 + 0 + 5, 3 + 2 + 4 + 3
    assert float(total_variation(flat[None, None])) == (along_i + along_j) / 6
    deep = torch.stack([flat, flat + 2], dim=-1)  # a third axis with a step of 2 everywhere
    expected = (2 * (along_i + along_j) + 6 * 2) / 12
    assert float(total_variation(deep[None, None])) == pytest.approx(expected)
    # A mean over images and channels: copies change nothing.
    copies = flat[None, None].expand(3, 2, 2, 3)
    assert float(total_variation(copies)) == pytest.approx((along_i + along_j) / 6)


@pytest.mark.parametrize("size", [(4, 5), (3, 4, 3)])
def test_total_variation_in_the_brain_counts_pairs_inside(rng, size):
    maps = torch.from_numpy(rng.normal(size=(2, 3, *size)))
    brain = torch.from_numpy(rng.random((2, 1, *size)) < 0.6)
    total = 0.0
    for b in range(2):
        inside = {tuple(place.tolist()) for place in brain[b, 0].nonzero()}
        for place in inside:
            for axis in range(len(size)):
                other = tuple(n + (d == axis) for d, n in enumerate(place))
                if other in inside:
                    for c in range(3):
                        total += abs(float(maps[b, c][other] - maps[b, c][place]))
    expected = total / (3 * int(brain.sum()))
    assert float(total_variation(maps, brain)) == pytest.approx(expected)
    # What lies outside has no influence.
    changed = torch.where(brain, maps, 1e3)
    assert float(total_variation(changed, brain)) == pytest.approx(expected)
    everywhere = torch.ones_like(brain)
    torch.testing.assert_close(total_variation(maps, everywhere), total_variation(maps))


def test_total_variation_of_a_constant_and_of_no_brain_is_zero():
    maps = torch.full((2, 1, 3, 4, 5), 7.0)
    assert float(total_variation(maps)) == 0.0
    nothing = torch.zeros(2, 1, 3, 4, 5, dtype=torch.bool)
    value = total_variation(torch.randn(2, 1, 3, 4, 5), nothing)
    assert float(value) == 0.0


def test_ross_by_hand():
    maps = torch.tensor([[[[1.0, -2.0], [3.0, 0.5]]], [[[0.0, 1.0], [1.0, 1.0]]]])
    assert float(ross(maps)) == pytest.approx(((1 + 4 + 9 + 0.25) + 3) / 2)
    mask = torch.tensor([[[[True, False], [True, False]]], [[[False, False], [False, True]]]])
    assert float(ross(maps, mask)) == pytest.approx(((1 + 9) + 1) / 2)
    both = torch.cat([maps, 2 * maps], dim=1)  # the sum over channels
    assert float(ross(both)) == pytest.approx(5 * float(ross(maps)))


def test_rms_scale_gives_one_and_is_held_constant(rng):
    maps = torch.from_numpy(rng.normal(size=(3, 2, 4, 5)) * 1e-6).requires_grad_(True)
    scaled = scale_attribution(maps, "rms")
    assert float(scaled.detach().square().mean()) == pytest.approx(1)
    torch.testing.assert_close(scale_attribution(1e5 * maps, "rms"), scaled)
    scaled.sum().backward()
    rms = float(maps.detach().square().mean().sqrt())
    # Were it not constant, the gradient would depend on the map.
    torch.testing.assert_close(maps.grad, torch.full_like(maps, 1 / rms))


def test_rms_scale_keeps_its_digits_in_single_precision(rng):
    maps = torch.from_numpy(rng.normal(size=(2, 1, 30, 30)))
    tiny = (1e-25 * maps).float()  # whose squares are zero in single precision
    scaled = scale_attribution(tiny, "rms")
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.double(), scale_attribution(maps, "rms"), rtol=1e-5, atol=0)
    assert torch.equal(scale_attribution(torch.zeros(1, 1, 2, 2), "rms"), torch.zeros(1, 1, 2, 2))


LESIONS = torch.tensor([[[[True, False, False, True]] * 3]] * 2)
LOSSES = {
    "unsup": unsup,
    "sup": lambda maps, brain: sup(maps, LESIONS, brain),
    "total_variation": total_variation,
    "ross": ross,
    "rms": lambda maps, brain: unsup(maps / 0.7, brain),
    "voxels": lambda maps, brain: unsup(scale_attribution(maps, "voxels"), brain),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_first_and_second_derivatives(rng, name, masked):
    maps = torch.from_numpy(rng.normal(size=(2, 2, 3, 4))).requires_grad_(True)
    brain = torch.from_numpy(rng.random((2, 1, 3, 4)) < 0.6) if masked else None
    assert torch.autograd.gradcheck(lambda a: LOSSES[name](a, brain), (maps,))
    assert torch.autograd.gradgradcheck(lambda a: LOSSES[name](a, brain), (maps,))
