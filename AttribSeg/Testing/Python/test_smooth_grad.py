import pytest
import torch
from AttribSegLib.attribution.gradient import gradient
from AttribSegLib.attribution.smooth_grad import smooth_grad
from AttribSegLib.errors import InputError
from AttribSegLib.networks.patchgan import PatchGAN

SHAPES = {2: (2, 2, 15, 14), 3: (2, 2, 13, 12, 11)}


def network_of(dimensions: int) -> PatchGAN:
    torch.manual_seed(3)
    return PatchGAN(dimensions=dimensions, width=0.06, strides=(2, 1, 1, 1), in_channels=2)


def sum_of_cubes(x: torch.Tensor) -> torch.Tensor:
    return (x**3).flatten(1).sum(1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_without_noise_it_is_the_gradient(dimensions):
    network, x = network_of(dimensions), torch.randn(SHAPES[dimensions])
    found = smooth_grad(network, x, samples=3, noise=0.0)
    torch.testing.assert_close(found, gradient(network, x))
    torch.testing.assert_close(smooth_grad(network, x, noise=0.0, times_input=True), found * x)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_quadratic_gives_its_slope_at_the_mean_of_the_noise(dimensions):
    x = torch.randn(SHAPES[dimensions], dtype=torch.float64)
    spread = (x.flatten(1).amax(1) - x.flatten(1).amin(1)).reshape(-1, *(1,) * (x.ndim - 1))
    noise = (smooth_grad(lambda x: (x**2).flatten(1).sum(1), x, samples=16) / 2 - x) / spread
    # The mean of 16 draws of deviation 0.15, the same for both images.
    torch.testing.assert_close(noise[0], noise[1])
    assert abs(noise.mean()) < 4 * 0.15 / 4 / noise[0].numel() ** 0.5
    torch.testing.assert_close(noise.std(), torch.tensor(0.15 / 4).double(), rtol=0.15, atol=0)


def test_a_cubic_gains_the_variance_of_the_noise():
    x = torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]], dtype=torch.float64)
    found = smooth_grad(sum_of_cubes, x, samples=40_000, noise=0.2)
    # E 3 (x + e)^2 = 3 x^2 + 3 s^2, here with s = 0.2 * 5; deviation 6 x s / 200 + ...
    torch.testing.assert_close(found, 3 * x**2 + 3, rtol=0, atol=0.6)
    wrong = smooth_grad(sum_of_cubes, x, samples=40_000, noise=0.1)
    torch.testing.assert_close(wrong, 3 * x**2 + 0.75, rtol=0, atol=0.3)


def test_depends_on_the_seed_only():
    network, x = network_of(2), torch.randn(SHAPES[2])
    found = smooth_grad(network, x, samples=5, seed=7)
    torch.manual_seed(99)
    torch.testing.assert_close(smooth_grad(network, x, samples=5, seed=7), found, rtol=0, atol=0)
    alone = smooth_grad(network, x[1:], samples=5, seed=7, memory=1)  # one at a time
    torch.testing.assert_close(alone, found[1:])
    assert not torch.allclose(smooth_grad(network, x, samples=5, seed=8), found)


def test_the_budget_bounds_the_batches():
    sizes = []

    def score(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return sum_of_cubes(x)

    smooth_grad(score, torch.randn(1, 1, 8, 8), samples=10, memory=1)
    assert set(sizes) == {1}
    sizes.clear()
    smooth_grad(score, torch.randn(1, 1, 8, 8), samples=10)
    assert max(sizes) == 10


def test_leaves_no_trace():
    network, x = network_of(2), torch.randn(SHAPES[2])
    state = torch.get_rng_state()
    with torch.no_grad():
        found = smooth_grad(network, x, samples=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert not found.requires_grad
    assert not x.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("options", [{"samples": 0}, {"noise": -0.1}, {"noise": float("nan")}])
def test_bad_input(options):
    with pytest.raises(InputError, match=next(iter(options))):
        smooth_grad(sum_of_cubes, torch.randn(1, 1, 4, 4), **options)
