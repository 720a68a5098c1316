"""Integrated gradients against Captum's, and against completeness worked out by the test."""

import math

import pytest
import torch
from AttribSegLib.attribution.gradient import gradient
from AttribSegLib.attribution.integrated_gradients import (
    integrated_gradients,
    integrated_gradients_with_report,
)
from AttribSegLib.errors import InputError
from AttribSegLib.networks.patchgan import PatchGAN
from captum.attr import IntegratedGradients

SHAPES = {2: (15, 14), 3: (13, 12, 11)}


def network_of(dimensions, *, seed=3, **parameters):
    torch.manual_seed(seed)
    defaults = {"width": 0.06, "strides": (2, 1, 1, 1), "in_channels": 2, "norm": "none"}
    return PatchGAN(dimensions=dimensions, **{**defaults, **parameters}).double().eval()


def brains_of(dimensions):
    """Smooth on a background of zero, with a little noise, at three brightnesses."""
    axes = [torch.linspace(-1, 1, n, dtype=torch.float64) for n in SHAPES[dimensions]]
    places = torch.meshgrid(*axes, indexing="ij")
    inside = sum(place**2 for place in places) < 1
    noise = 0.2 * images_of(dimensions, 3)
    levels = torch.tensor([0.5, 1.5, 2.5], dtype=torch.float64)
    smooth = levels.reshape(3, *[1] * (dimensions + 1)) + places[0]
    return torch.where(inside, smooth + noise, 0.0)


def images_of(dimensions, count=2, *, seed=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, *SHAPES[dimensions], generator=generator, dtype=torch.float64)


def captum(network, x, reference, steps):
    return IntegratedGradients(network, multiply_by_inputs=True).attribute(
        x, baselines=reference, n_steps=steps, method="gausslegendre"
    )


def relative(found, expected):
    """Largest error of a map, in units of its largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def gap_of(network, x, x0, ig):
    """Gap of completeness, worked out from the map alone."""
    with torch.no_grad():
        difference = network(x) - network(x0.expand_as(x))
    return ((ig.flatten(1).sum(1) - difference) / difference).abs()


class Counted:
    """A score that counts the images passed through it."""

    def __init__(self, network):
        self.network, self.images = network, 0

    def __call__(self, x):
        self.images += len(x)
        return self.network(x)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", ["none", "instance"])
@pytest.mark.parametrize("reference", [0.0, 0.3, "image"])
def test_with_a_number_of_steps_it_is_captums(dimensions, norm, reference):
    network, x = network_of(dimensions, norm=norm), images_of(dimensions)
    if reference == "image":
        reference = images_of(dimensions, 1, seed=9)
        theirs = reference.expand_as(x)
    else:
        theirs = reference
    for steps in (1, 7):
        found = integrated_gradients(network, x, reference=reference, steps=steps)
        expected = captum(network, x, theirs, steps)
        assert expected.abs().max() > 0
        assert relative(found, expected) < 1e-5


@pytest.mark.parametrize("tolerance", [0.05, 0.01])
@pytest.mark.parametrize(
    "parameters",
    [
        {"dimensions": 2},
        {"dimensions": 3},
        {"dimensions": 2, "norm": "instance"},
        {"dimensions": 3, "norm": "instance"},
        {"dimensions": 2, "norm": "group", "activation": "softplus"},
        {"dimensions": 2, "norm": "instance", "activation": "elu"},
    ],
)
def test_adaptive_steps_are_complete_to_the_tolerance(parameters, tolerance):
    parameters = {"width": 0.1, **parameters}
    dimensions = parameters.pop("dimensions")
    network, x = network_of(dimensions, **parameters), brains_of(dimensions)
    ig, report = integrated_gradients_with_report(
        network, x, reference=0.0, tolerance=tolerance, maximum=2000
    )
    gap = gap_of(network, x, torch.zeros_like(x), ig)
    assert (gap <= tolerance * (1 + 1e-6)).all()
    assert report.gap == pytest.approx(gap.tolist(), rel=1e-3, abs=1e-6)
    assert all(bound <= 5 * tolerance for bound in report.bound)
    assert all(bound >= each - 1e-9 for bound, each in zip(report.bound, report.gap, strict=True))
    with torch.no_grad():
        difference = network(x) - network(torch.zeros_like(x))
    assert report.difference == pytest.approx(difference.tolist())


@pytest.mark.parametrize(("dimensions", "reference"), [(2, 0.0), (2, 0.7), (3, 0.0)])
def test_adaptive_steps_come_near_two_thousand_nodes(dimensions, reference):
    network, x = network_of(dimensions, activation="softplus"), images_of(dimensions, 1)
    expected = captum(network, x, reference, 2000)
    errors = []
    for tolerance in (1e-2, 1e-4, 1e-6):
        found = integrated_gradients(
            network, x, reference=reference, tolerance=tolerance, maximum=3000
        )
        errors.append(relative(found, expected))
    assert errors[0] < 0.05
    assert errors[1] < 2e-3
    assert errors[2] < 1e-4
    assert errors == sorted(errors, reverse=True)


def test_an_image_equals_itself_in_a_batch():
    network, x = network_of(2, norm="instance"), images_of(2, 4)
    x[2] = x[2] * 0.1 + 2  # needs another number of evaluations
    reference = images_of(2, 4, seed=8)
    together, report = integrated_gradients_with_report(network, x, reference=reference)
    for b in range(4):
        alone, each = integrated_gradients_with_report(
            network, x[b : b + 1], reference=reference[b : b + 1]
        )
        assert relative(together[b : b + 1], alone) < 1e-9
        assert each.evaluations == report.evaluations[b : b + 1]
    assert len(set(report.evaluations)) > 1


@pytest.mark.parametrize("steps", [None, 9])
@pytest.mark.parametrize("norm", ["none", "instance"])
def test_little_memory_costs_no_accuracy(steps, norm):
    network, x = network_of(2, norm=norm, activation="softplus"), images_of(2, 2)
    options = {"steps": steps, "tolerance": 1e-6, "maximum": 4000}
    plenty, first = integrated_gradients_with_report(network, x, memory=2**34, **options)
    little, second = integrated_gradients_with_report(network, x, memory=1, **options)
    assert relative(little, plenty) < 1e-9
    if steps is None:
        assert max(second.gap) <= 1e-6
        assert second.gap == pytest.approx(first.gap, rel=1e-6)
        # What was let go is computed again; without a norm, little is needed and nothing let go.
        if norm == "instance":
            assert sum(second.evaluations) > sum(first.evaluations)
        else:
            assert second.evaluations == first.evaluations


@pytest.mark.parametrize("memory", [1, 2**30])
def test_reports_what_was_evaluated(memory):
    score = Counted(network_of(2, norm="instance"))
    x = images_of(2, 3)
    _, report = integrated_gradients_with_report(score, x, memory=memory)
    assert all(count >= 3 for count in report.evaluations)
    assert score.images == sum(report.evaluations) + 1  # one to see how much memory it takes
    score.images = 0
    _, report = integrated_gradients_with_report(score, x, memory=memory, steps=6)
    assert report.evaluations == [6, 6, 6]
    assert score.images == 18 + 1 + 6  # and F at both ends
    assert all(math.isnan(bound) for bound in report.bound)


@pytest.mark.parametrize("maximum", [3, 6, 11])
def test_the_maximum_is_kept_and_the_gap_then_said(maximum):
    network, x = network_of(2, norm="instance"), images_of(2, 3)
    ig, report = integrated_gradients_with_report(network, x, tolerance=1e-8, maximum=maximum)
    assert all(maximum - 1 <= count <= maximum for count in report.evaluations)
    gap = gap_of(network, x, torch.zeros_like(x), ig)
    assert (gap > 1e-8).all()
    assert report.gap == pytest.approx(gap.tolist(), rel=1e-6)


def test_a_fixed_number_of_steps_reports_its_gap():
    network, x = network_of(2, norm="instance"), images_of(2, 3)
    ig, report = integrated_gradients_with_report(network, x, steps=3)
    gap = gap_of(network, x, torch.zeros_like(x), ig)
    assert report.gap == pytest.approx(gap.tolist(), rel=1e-6)


@pytest.mark.parametrize("steps", [None, 5])
@pytest.mark.parametrize("reference", [0.0, 0.5])
def test_local_is_global_without_the_difference(steps, reference):
    network, x = network_of(2), images_of(2)
    options = {"reference": reference, "steps": steps}
    whole = integrated_gradients(network, x, **options)
    local = integrated_gradients(network, x, local=True, **options)
    torch.testing.assert_close(local * (x - reference), whole)
    torch.testing.assert_close(local, whole / (x - reference))


def test_linear_score_has_its_weights():
    torch.manual_seed(0)
    weight = torch.randn(1, 2, 5, 4, dtype=torch.float64)
    x, reference = (torch.randn(3, 2, 5, 4, dtype=torch.float64) for _ in range(2))

    def score(image):
        return (image * weight).flatten(1).sum(1) + 0.7

    found, report = integrated_gradients_with_report(score, x, reference=reference)
    torch.testing.assert_close(found, weight * (x - reference))
    torch.testing.assert_close(
        integrated_gradients(score, x, reference=reference, local=True), weight.expand_as(x)
    )
    assert max(report.gap) < 1e-9


def test_nothing_to_explain_where_the_image_is_its_reference():
    network, x = network_of(2, norm="instance"), images_of(2, 1)
    found, report = integrated_gradients_with_report(network, x, reference=x)
    assert torch.isfinite(found).all()
    assert found.abs().max() == 0
    assert report.difference == [0.0]
    assert report.evaluations == [3]


@pytest.mark.parametrize("norm", ["none", "instance"])
def test_single_precision_is_complete_too(norm):
    network, x = network_of(3, norm=norm, activation="softplus").float(), brains_of(3).float()
    ig, report = integrated_gradients_with_report(network, x)
    assert ig.dtype == torch.float32
    gap = gap_of(network.double(), x.double(), torch.zeros_like(x).double(), ig.double())
    assert (gap < 0.011).all()
    assert max(report.gap) <= 0.01


def test_leaves_no_trace():
    network, x = network_of(2), images_of(2, 1)
    with torch.no_grad():
        found = integrated_gradients(network, x)
    assert not found.requires_grad
    assert x.grad is None
    assert not x.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("norm", ["none", "instance"])
@pytest.mark.parametrize("local", [False, True])
def test_can_be_trained_through(norm, local):
    network, x = network_of(2, norm=norm, activation="softplus"), images_of(2)

    def penalty(differentiable):
        maps = integrated_gradients(
            network, x, reference=0.3, steps=3, local=local, differentiable=differentiable
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


def test_passes_gradcheck_in_the_weights():
    x = torch.randn(2, 1, 3, 2, dtype=torch.float64)
    weight = torch.randn(1, 3, 2, dtype=torch.float64, requires_grad=True)

    def maps(weight):
        def score(image):
            return torch.tanh(image * weight).flatten(1).sum(1) ** 2

        return integrated_gradients(score, x, steps=3, differentiable=True)

    assert torch.autograd.gradcheck(maps, (weight,))


def test_one_step_is_the_gradient_in_the_middle():
    network, x = network_of(2), images_of(2)
    expected = gradient(network, (x + 0.4) / 2)
    found = integrated_gradients(network, x, reference=0.4, steps=1, local=True)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tolerance": 0}, "tolerance 0"),
        ({"tolerance": 1.0}, "tolerance 1"),
        ({"tolerance": math.nan}, "tolerance nan"),
        ({"maximum": 2}, "maximum 2"),
        ({"steps": 0}, "steps 0"),
        ({"differentiable": True}, "number of steps"),
        ({"reference": torch.zeros(3, 2, 15, 14)}, "reference of shape"),
        ({"reference": torch.zeros(2, 3, 15, 14)}, "reference of shape"),
        ({"reference": torch.zeros(15, 13)}, "reference of shape"),
    ],
)
def test_bad_options_are_refused(options, named):
    with pytest.raises(InputError, match=named) as caught:
        integrated_gradients(network_of(2), images_of(2), **options)
    assert "\n" not in str(caught.value)
