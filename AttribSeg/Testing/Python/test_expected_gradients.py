"""Expected gradients and IEG: closed forms, Captum's GradientShap, and their relations."""

import pytest
import torch
from AttribSegLib.attribution.expected_gradients import expected_gradients
from AttribSegLib.attribution.integrated_expected_gradients import (
    ZERO_PROBABILITY,
    integrated_expected_gradients,
)
from AttribSegLib.attribution.integrated_gradients import integrated_gradients
from AttribSegLib.errors import InputError
from AttribSegLib.networks.patchgan import PatchGAN
from captum.attr import GradientShap

SHAPES = {2: (13, 12), 3: (12, 11, 11)}


def network_of(dimensions=2, **parameters):
    torch.manual_seed(3)
    defaults = {"width": 0.06, "strides": (2, 1, 1, 1), "in_channels": 2, "norm": "none"}
    defaults["activation"] = "softplus"
    return PatchGAN(dimensions=dimensions, **{**defaults, **parameters}).double().eval()


def images_of(dimensions=2, count=2, *, seed=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, *SHAPES[dimensions], generator=generator, dtype=torch.float64)


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def runs_of(function, count):
    """Mean and standard error, voxel by voxel, of independent runs."""
    values = torch.stack([function(seed) for seed in range(count)])
    return values.mean(0), values.std(0) / count**0.5


def assert_same_mean(first, second, *, errors=5.0):
    """Two (mean, standard error) pairs agree, and are known well enough to be told apart."""
    error = (first[1] ** 2 + second[1] ** 2).sqrt()
    assert ((first[0] - second[0]).abs() <= errors * error + 1e-12).all()
    assert error.mean() < 0.2 * second[0].abs().mean()


def exactly(value):
    return value, torch.zeros_like(value)


@pytest.mark.parametrize("norm", ["none", "instance"])
def test_expectation_is_that_of_captums_gradient_shap(norm):
    network, x, references = network_of(norm=norm), images_of(), images_of(count=3, seed=5)

    def theirs(seed):
        torch.manual_seed(seed)
        shap = GradientShap(network, multiply_by_inputs=True)
        return shap.attribute(x, baselines=references, n_samples=100, stdevs=0.0)

    def ours(seed):
        return expected_gradients(network, x, references=references, samples=100, seed=seed)

    assert_same_mean(runs_of(ours, 20), runs_of(theirs, 20), errors=5.5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_of_a_linear_score_it_is_the_weight_times_the_mean_difference(dimensions):
    x, references = images_of(dimensions), images_of(dimensions, 4, seed=5)
    weight = images_of(dimensions, 1, seed=6)

    def score(image):
        return (image * weight).flatten(1).sum(1)

    expected = (x - references.mean(0)) * weight
    runs = runs_of(
        lambda seed: expected_gradients(score, x, references=references, seed=seed, samples=20), 50
    )
    assert_same_mean(runs, exactly(expected))
    local = expected_gradients(score, x, references=references, local=True, samples=3)
    torch.testing.assert_close(local, weight.expand_as(x))


def test_of_a_squared_score_it_is_the_difference_of_squares():
    """F = sum of x^2, IG = x^2 - x'^2, and its mean over references."""
    x, references = images_of(), images_of(count=4, seed=5)
    expected = x**2 - (references**2).mean(0)
    runs = runs_of(
        lambda seed: expected_gradients(
            lambda image: (image**2).flatten(1).sum(1), x, references=references, seed=seed
        ),
        50,
    )
    assert_same_mean(runs, exactly(expected))


@pytest.mark.parametrize("local", [False, True])
def test_one_reference_gives_its_integrated_gradients(local):
    network, x, reference = network_of(), images_of(), images_of(count=1, seed=5)
    expected = integrated_gradients(network, x, reference=reference, steps=100, local=local)
    errors = [
        relative(
            expected_gradients(network, x, references=reference, samples=samples, local=local),
            expected,
        )
        for samples in (4, 50, 600)
    ]
    assert errors[2] < 1e-3 < errors[0]
    # Stratified positions: faster than the 1 / 12 that independent ones would gain.
    assert errors[2] < errors[0] / 50


@pytest.mark.parametrize("function", [expected_gradients, integrated_expected_gradients])
def test_with_the_zero_reference_alone_it_is_integrated_gradients(function):
    network, x, references = network_of(), images_of(), images_of(count=3, seed=5)
    expected = integrated_gradients(network, x, steps=100)
    found = function(network, x, references=references, zero_probability=1.0, samples=400)
    assert relative(found, expected) < 2e-3


def test_ieg_is_a_mixture_of_both():
    network, x, references = network_of(), images_of(), images_of(count=2, seed=5)
    from_zero = integrated_gradients(network, x, steps=60)
    from_data = sum(
        integrated_gradients(network, x, reference=each[None], steps=60) / 2 for each in references
    )
    for probability in (0.25, 0.6):
        runs = runs_of(
            lambda seed, p=probability: integrated_expected_gradients(
                network, x, references=references, zero_probability=p, samples=60, seed=seed
            ),
            30,
        )
        assert_same_mean(runs, exactly(probability * from_zero + (1 - probability) * from_data))


def test_ieg_takes_zero_in_a_quarter_of_the_draws():
    assert ZERO_PROBABILITY == 0.25
    x, references = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)

    def score(image):
        return image.flatten(1).sum(1)

    # From 1 to 0 the difference is -1, from 0 to 0 nothing.
    found = integrated_expected_gradients(score, x, references=references, samples=4000)
    assert float(found.mean()) == pytest.approx(-0.75, abs=0.03)
    default = integrated_expected_gradients(score, x, references=references, seed=3)
    named = expected_gradients(score, x, references=references, seed=3, zero_probability=0.25)
    assert torch.equal(default, named)


def test_references_are_drawn_evenly_and_for_every_image_apart():
    seen = []
    references = torch.arange(5.0).reshape(5, 1, 1, 1)

    def score(image):
        return image.flatten(1).sum(1)

    x = torch.full((2, 1, 1, 1), 10.0)
    for seed in range(400):
        # One sample of a linear score gives x - x'.
        found = expected_gradients(
            score, x, references=references, samples=1, seed=seed, common_draws=False
        )
        seen.append((10 - found).flatten())
    drawn = torch.stack(seen).round().long()
    for column in drawn.T:
        counts = torch.bincount(column, minlength=5)
        assert counts.min() > 40  # 80 each on average, with a deviation of 8
        assert counts.max() < 120
    assert 0.1 < float((drawn[:, 0] == drawn[:, 1]).double().mean()) < 0.3


@pytest.mark.parametrize("function", [expected_gradients, integrated_expected_gradients])
def test_the_seed_decides(function):
    network, x, references = network_of(), images_of(), images_of(count=3, seed=5)
    options = {"references": references, "samples": 7}
    torch.manual_seed(1)
    first = function(network, x, seed=2, **options)
    torch.manual_seed(99)  # the global generator must not matter, nor be touched
    state = torch.random.get_rng_state()
    second = function(network, x, seed=2, **options)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, second)
    assert not torch.allclose(first, function(network, x, seed=3, **options))


@pytest.mark.parametrize("norm", ["none", "instance"])
def test_memory_and_graph_change_nothing(norm):
    network, x, references = network_of(norm=norm), images_of(count=3), images_of(count=3, seed=5)
    options = {"references": references, "samples": 9, "zero_probability": 0.3}
    expected = expected_gradients(network, x, memory=2**34, **options)
    for other in ({"memory": 1}, {"memory": 2**20}, {"differentiable": True}):
        found = expected_gradients(network, x, **other, **options)
        torch.testing.assert_close(found.detach(), expected, rtol=1e-9, atol=1e-15)


def test_draws_are_those_of_the_processor_in_any_precision():
    network, x, references = network_of(), images_of(), images_of(count=3, seed=5)
    double = expected_gradients(network, x, references=references, samples=9)
    single = expected_gradients(
        network.float(), x.float(), references=references.float(), samples=9
    )
    assert single.dtype == torch.float32
    assert relative(single.double(), double) < 1e-3
    if torch.cuda.is_available():
        there = expected_gradients(
            network.cuda(), x.float().cuda(), references=references.float(), samples=9
        )
        assert relative(there.cpu(), single) < 1e-3


def test_evaluates_every_sample_once():
    images = []
    network, x, references = network_of(), images_of(), images_of(count=3, seed=5)

    def score(image):
        images.append(len(image))
        return network(image)

    expected_gradients(score, x, references=references, samples=5)
    assert sum(images) == 2 * 5 + 1  # one to see how much memory it takes
    images.clear()
    expected_gradients(score, x, references=references, samples=1, differentiable=True)
    assert images == [2]


def test_leaves_no_trace():
    network, x, references = network_of(), images_of(), images_of(count=3, seed=5)
    before = references.clone()
    with torch.no_grad():
        found = expected_gradients(network, x, references=references, zero_probability=0.5)
    assert found.abs().max() > 0
    assert not found.requires_grad
    assert torch.equal(references, before)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("zero_probability", [0.0, 0.5, 1.0])
def test_passes_gradcheck_in_the_weights(local, zero_probability):
    x, references = torch.randn(2, 1, 3, 2).double(), torch.randn(4, 1, 3, 2).double()
    weight = torch.randn(1, 3, 2, dtype=torch.float64, requires_grad=True)

    def maps(weight):
        def score(image):
            return torch.tanh(image * weight).flatten(1).sum(1) ** 2

        return expected_gradients(
            score,
            x,
            references=references,
            samples=3,
            zero_probability=zero_probability,
            local=local,
            differentiable=True,
        )

    assert torch.autograd.gradcheck(maps, (weight,))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", ["none", "instance"])
@pytest.mark.parametrize("function", [expected_gradients, integrated_expected_gradients])
def test_can_be_trained_through(dimensions, norm, function):
    network, x = network_of(dimensions, norm=norm), images_of(dimensions)
    references = images_of(dimensions, 3, seed=5)

    def penalty(differentiable):
        maps = function(
            network,
            x,
            references=references,
            samples=2,
            local=True,
            seed=7,
            differentiable=differentiable,
        )
        return (100 * maps).sigmoid().mean()

    penalty(True).backward()
    checked = 0
    for name, parameter in network.named_parameters():
        if parameter.grad is None:  # behind the last rectifier a bias moves no gradient
            assert name.endswith("bias")
            continue
        direction = torch.randn_like(parameter)
        step = 1e-5
        with torch.no_grad():
            parameter += step * direction
            above = penalty(False)
            parameter -= 2 * step * direction
            below = penalty(False)
            parameter += step * direction
        found = (parameter.grad * direction).sum()
        torch.testing.assert_close(found, (above - below) / (2 * step), rtol=1e-4, atol=1e-9)
        checked += bool(parameter.grad.abs().max() > 0)
    assert checked >= 5


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"references": torch.zeros(3, 1, 13, 12)}, "references of shape"),
        ({"references": torch.zeros(3, 2, 13, 11)}, "references of shape"),
        ({"references": torch.zeros(2, 13, 12)}, "references of shape"),
        ({"references": torch.zeros(0, 2, 13, 12)}, "references of shape"),
        ({"samples": 0}, "samples 0"),
        ({"zero_probability": -0.1}, "zero_probability -0.1"),
        ({"zero_probability": 1.5}, "zero_probability 1.5"),
        ({"zero_probability": float("nan")}, "zero_probability nan"),
    ],
)
@pytest.mark.parametrize("function", [expected_gradients, integrated_expected_gradients])
def test_bad_options_are_refused(function, options, named):
    with pytest.raises(InputError, match=named) as caught:
        function(network_of(), images_of(), **{"references": images_of(), **options})
    assert "\n" not in str(caught.value)
