"""Counterfactuals against closed forms, and against the properties that monotonicity gives."""

import math

import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.patchgan import PatchGAN
from hypothesis import given, settings
from hypothesis import strategies as st
from MonotoneNetLib.conversion import monotone
from MonotoneNetLib.counterfactuals import METHODS, STARTS, counterfactual
from MonotoneNetLib.initialisation import draw_standard_init_, propagate_variance_
from torch import nn
from torch.nn.utils import parametrize

SHAPES = {1: (17,), 2: (9, 11), 3: (6, 5, 7)}


class Network(nn.Module):
    """Two convolutions with pooling and a rectifier; the score is a scaled mean."""

    def __init__(self, dimensions=2, rectifier=None, channels=3):
        super().__init__()
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
        pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[dimensions - 1]
        self.layers = nn.Sequential(
            convolution(channels, 6, 3, padding=1),
            rectifier or nn.LeakyReLU(0.2),
            pool(2, stride=1),
            convolution(6, 4, 3),
        )

    def forward(self, x):
        return self.layers(x).flatten(1).mean(1)


class Linear(nn.Module):
    """M(f) = <w, f>."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x):
        return (x * self.w).flatten(1).sum(1)


def monotone_network(dimensions=2, *, seed=0, **options):
    torch.manual_seed(seed)
    return monotone(Network(dimensions, **options)).double()


def features_of(dimensions=2, count=3, *, seed=1, channels=3):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, *SHAPES[dimensions])
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def below(body, features, fall):
    """A margin that lies under the scores of all images."""
    with torch.no_grad():
        return float(body(features).min()) - fall


class Counted(nn.Module):
    """A body that counts images, and keeps what it was given last."""

    def __init__(self, body):
        super().__init__()
        self.body, self.sizes, self.in_training = body, [], []

    def forward(self, x):
        self.sizes.append(len(x))
        self.in_training.append(self.body.training)
        return self.body(x)


@settings(max_examples=25, deadline=None)
@given(
    dimensions=st.sampled_from([1, 2, 3]),
    rectifier=st.sampled_from([nn.LeakyReLU(0.2), nn.ReLU(), nn.ELU(), nn.Identity()]),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    fall=st.sampled_from([0.1, 1.0, 30.0]),
    sparsity=st.sampled_from([0.0, 1e-4, 1.0]),
    start=st.sampled_from(STARTS),
)
def test_a_monotone_network_is_always_brought_under_the_margin(
    dimensions, rectifier, seed, scale, fall, sparsity, start
):
    body = monotone_network(dimensions, seed=seed, rectifier=rectifier)
    features = features_of(dimensions, seed=seed) * scale
    with torch.no_grad():
        before = body(features)
    margin = float(before.min()) - fall * scale
    found = counterfactual(body, features, margin=margin, sparsity=sparsity, start=start)
    with torch.no_grad():
        after = body(features - found.alpha)
    assert found.reached.all()
    assert found.missed == []
    assert (after < margin).all()
    assert (found.alpha >= 0).all()
    torch.testing.assert_close(found.score, after)
    torch.testing.assert_close(found.score_before, before)
    # Landing is just under it: no more is taken away than is asked for.
    assert (after > margin - 0.011 * (before - margin)).all()
    norm = found.alpha.flatten(1).sum(1)
    torch.testing.assert_close(found.objective, after + sparsity * norm)


@pytest.mark.parametrize("margin", [0.0, -2.0])
def test_features_without_a_gradient_are_left_together(margin):
    body = monotone_network(rectifier=nn.ReLU())
    features = torch.zeros_like(features_of())
    leaf = features.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(body(leaf).sum(), leaf)
    assert not gradient.any()
    found = counterfactual(body, features, margin=margin)
    assert found.reached.all()


@pytest.mark.parametrize("method", METHODS)
def test_without_penalty_a_linear_body_loses_along_its_weights(method):
    w = torch.tensor([[[3.0, 1.0, 0.5]]], dtype=torch.float64)
    features = torch.tensor([[[1.0, 2.0, 2.0]], [[4.0, 0.0, 2.0]]], dtype=torch.float64)
    found = counterfactual(
        Linear(w), features, margin=-4.0, sparsity=0.0, method=method, start="zero"
    )
    fall = found.score_before - found.score
    if method == "proximal":
        expected = fall[:, None, None] * w / (w * w).sum()
        # Linear models are right about a linear body: it lands where it aims.
        torch.testing.assert_close(found.score, -4.0 - 0.005 * (found.score_before + 4.0))
        assert found.evaluations.tolist() == [7, 7]
    else:
        # Adam goes equally fast wherever there is a gradient at all.
        expected = (fall / w.sum())[:, None, None].expand_as(features)
    torch.testing.assert_close(found.alpha, expected, rtol=1e-6, atol=1e-6)


def test_with_penalty_a_linear_body_loses_where_its_weight_is_above_the_threshold():
    w = torch.tensor([[[3.0, 1.0, 0.5, 0.06]]], dtype=torch.float64)
    options = {"margin": -4.0, "start": "zero"}
    found = counterfactual(Linear(w), torch.ones_like(w), sparsity=0.08, **options)
    expected = (w - 0.08).clamp(min=0)
    expected = expected * (found.score_before - found.score) / (w * expected).sum()
    torch.testing.assert_close(found.alpha, expected)
    # However large the penalty, the margin comes first: a tenth of the mean weight counts.
    strict = counterfactual(Linear(w), torch.ones_like(w), sparsity=1e6, **options)
    expected = (w - 0.1 * w.mean()).clamp(min=0)
    expected = expected * (strict.score_before - strict.score) / (w * expected).sum()
    torch.testing.assert_close(strict.alpha, expected)
    assert strict.alpha.sum() < found.alpha.sum()


def test_positive_features_go_first():
    w = torch.tensor([[[1.0, 1.0, 1.0, 1.0]]], dtype=torch.float64)
    features = torch.tensor([[[4.0, 2.0, -1.0, -3.0]]], dtype=torch.float64)
    found = counterfactual(Linear(w), features, margin=-3.0, sparsity=0.0)
    # A share of the closed form keeps the proportions of the positive features.
    assert found.alpha[0, 0, 0] / found.alpha[0, 0, 1] == pytest.approx(2, rel=0.02)
    assert (found.alpha[0, 0, 2:] < 0.03 * found.alpha[0, 0, 1]).all()
    torch.testing.assert_close(found.alpha[0, 0, 2], found.alpha[0, 0, 3])
    # The margin asks for more than they hold: then all others go, at one pace.
    more = counterfactual(Linear(w), features, margin=-300.0, sparsity=0.0)
    assert more.reached
    evenly = counterfactual(Linear(w), features, margin=-3.0, sparsity=0.0, start="zero")
    assert evenly.alpha.flatten().tolist() == pytest.approx([evenly.alpha.mean().item()] * 4)


def test_with_both_signs_a_linear_body_loses_by_the_signs_of_its_weights():
    w = torch.tensor([[[3.0, -1.0, 0.5]]], dtype=torch.float64)
    found = counterfactual(Linear(w), torch.ones_like(w), margin=-4.0, sparsity=0.0, signed=True)
    expected = (found.score_before - found.score) * w / (w * w).sum()
    torch.testing.assert_close(found.alpha, expected)
    one_sided = counterfactual(
        Linear(w), torch.ones_like(w), margin=-4.0, sparsity=0.0, start="zero"
    )
    assert one_sided.alpha[0, 0, 1] == 0
    assert one_sided.reached


@pytest.mark.parametrize("method", METHODS)
def test_an_image_is_the_same_alone_and_in_a_batch(method):
    body = monotone_network(3)
    features = features_of(3, count=4) * torch.tensor([0.3, 1.0, 2.0, 4.0]).reshape(4, 1, 1, 1, 1)
    options = {"margin": below(body, features, 1.0), "method": method, "learning_rate": 0.5}
    together = counterfactual(body, features, **options)
    for number in range(4):
        alone = counterfactual(body, features[number : number + 1], **options)
        torch.testing.assert_close(together.alpha[number], alone.alpha[0])
        assert together.iterations[number] == alone.iterations[0]
        assert together.evaluations[number] == alone.evaluations[0]
    assert len(together.iterations.unique()) > 1 or method == "proximal"


def test_a_homogeneous_body_has_homogeneous_counterfactuals():
    body = monotone_network()
    features = features_of()
    margin = below(body, features, 1.0)
    found = counterfactual(body, features, margin=margin, sparsity=0.0)
    scaled = counterfactual(body, 7 * features, margin=7 * margin, sparsity=0.0)
    torch.testing.assert_close(scaled.alpha, 7 * found.alpha)
    torch.testing.assert_close(scaled.score, 7 * found.score)


@pytest.mark.parametrize("method", METHODS)
def test_images_under_the_margin_already_keep_their_features(method):
    body = monotone_network()
    features = features_of()
    with torch.no_grad():
        scores = body(features)
    margin = float(scores.median()) - 0.1 * float(scores.std())
    found = counterfactual(body, features, margin=margin, method=method)
    done = scores < margin
    assert done.sum() == 1
    assert not found.alpha[done].any()
    assert found.iterations[done].tolist() == [0]
    assert found.evaluations[done].tolist() == [1]
    assert (found.iterations[~done] > 0).all()
    assert found.reached.all()


def test_a_score_right_at_the_margin_still_falls():
    body = monotone_network()
    features = features_of(count=1)
    with torch.no_grad():
        margin = float(body(features))
    found = counterfactual(body, features, margin=margin)
    assert found.reached
    assert found.iterations > 0
    assert found.alpha.sum() < 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_finished_images_leave_the_batch(method):
    body = Counted(monotone_network())
    features = features_of(count=4) + torch.tensor([0.0, 1.0, 2.0, -9.0]).reshape(4, 1, 1, 1)
    margin = below(body, features[:3], 0.01)
    body.sizes.clear()
    found = counterfactual(body, features, margin=margin, method=method, learning_rate=0.05)
    assert found.iterations[3] == 0
    assert sum(body.sizes) == int(found.evaluations.sum())
    assert body.sizes[0] == 4
    assert max(body.sizes[1:]) == 3
    # A forward for every step, and one before the first; searches and Adam's start are on top.
    assert (found.evaluations >= found.iterations + 1).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("signed", [False, True])
def test_nothing_is_taken_outside_the_region(method, signed):
    body = monotone_network()
    features = features_of()
    region = torch.zeros(3, 1, *SHAPES[2], dtype=torch.bool)
    region[:, :, 2:6, 3:8] = True
    found = counterfactual(
        body,
        features,
        margin=below(body, features, 0.5),
        region=region,
        method=method,
        learning_rate=0.1,
        signed=signed,
    )
    assert found.reached.all()
    assert not found.alpha[~region.expand_as(features)].any()
    assert found.alpha[region.expand_as(features)].any()


@pytest.mark.parametrize("method", METHODS)
def test_an_ordinary_network_has_a_counterfactual_of_both_signs(method):
    torch.manual_seed(2)
    body = Network().double()
    features = features_of()
    margin = below(body, features, 1.0)
    found = counterfactual(
        body, features, margin=margin, signed=True, method=method, learning_rate=0.1
    )
    with torch.no_grad():
        after = body(features - found.alpha)
    assert found.reached.all()
    assert (after < margin).all()
    assert (found.alpha > 0).any()
    assert (found.alpha < 0).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("signed", [False, True])
def test_a_margin_that_cannot_be_reached_is_reported(method, signed):
    class Bounded(nn.Module):
        def forward(self, x):
            return x.flatten(1).sum(1).sigmoid()

    features = features_of(count=2)
    found = counterfactual(
        Bounded(), features, margin=-1.0, method=method, signed=signed, max_iterations=12
    )
    assert found.missed == [0, 1]
    assert not found.reached.any()
    assert found.iterations.tolist() == [12, 12]
    assert (found.score >= -1.0).all()


def test_a_step_that_would_rise_is_shortened():
    class Distance(nn.Module):
        def forward(self, x):
            return x.flatten(1).sum(1).abs()

    features = torch.full((1, 1, 2, 2), 2.0)
    found = counterfactual(Distance(), features, margin=-1.0, sparsity=0.0)
    # Steps towards the margin fly over the bottom of the valley, and are halved until they do not.
    assert found.missed == [0]
    assert found.score < 1e-3


def test_the_reference_is_no_better_after_many_more_steps():
    torch.manual_seed(0)
    body = monotone(PatchGAN(dimensions=2, in_channels=3, width=0.06, norm="none"))
    draw_standard_init_(body)
    propagate_variance_(body, torch.randn(4, 3, 48, 48))
    features = torch.rand(2, 3, 48, 48)
    options = {"margin": below(body, features, 0.5), "sparsity": 1e-5}
    fast = counterfactual(body, features, start="zero", **options)
    slow = counterfactual(body, features, method="adam", learning_rate=0.01, **options)
    assert fast.reached.all()
    assert slow.reached.all()
    assert (slow.evaluations > 5 * fast.evaluations).all()
    # Both end at the margin, so the 1-norm tells them apart.
    assert (fast.alpha.flatten(1).sum(1) < slow.alpha.flatten(1).sum(1)).all()
    assert (fast.objective < slow.objective + 0.02 * slow.objective.abs()).all()


def test_steps_of_the_reference_are_those_of_torch():
    """Adam on softplus(v), worked out with autograd for one image."""
    w = torch.tensor([[[0.3, 1.0, 0.5]]], dtype=torch.float64)
    features = torch.ones_like(w)
    v = torch.full_like(w, -7.0, requires_grad=True)
    optimiser = torch.optim.Adam([v], lr=0.5, eps=1e-30)
    for _ in range(5):
        optimiser.zero_grad()
        alpha = nn.functional.softplus(v)
        (((features - alpha) * w).sum() + 0.4 * alpha.sum()).backward()
        optimiser.step()
    found = counterfactual(
        Linear(w),
        features,
        margin=-100.0,
        sparsity=0.4,
        method="adam",
        learning_rate=0.5,
        max_iterations=5,
    )
    torch.testing.assert_close(found.alpha, nn.functional.softplus(v.detach()))
    assert found.missed == [0]


def test_the_body_is_left_as_it_was():
    body = Counted(monotone_network())
    body.train()
    body.body.layers[0].eval()
    before = {name: value.clone() for name, value in body.state_dict().items()}
    features = features_of().requires_grad_(True)
    wanted = [p.requires_grad for p in body.parameters()]
    with torch.no_grad():
        margin = below(body.body, features, 1.0)
        found = counterfactual(body, features, margin=margin)
    assert found.reached.all()
    assert not any(body.in_training)
    assert body.training
    assert not body.body.layers[0].training
    assert body.body.layers[3].training
    assert all(p.grad is None for p in body.parameters())
    assert [p.requires_grad for p in body.parameters()] == wanted
    assert features.grad is None
    for name, value in body.state_dict().items():
        assert torch.equal(value, before[name])
    assert not found.alpha.requires_grad
    with torch.inference_mode():
        again = counterfactual(body, features_of(), margin=margin)
    assert torch.equal(again.alpha, found.alpha)


def test_modes_come_back_after_an_error():
    body = monotone_network().train()
    with torch.no_grad():
        body.layers[0].parametrizations.weight.original.fill_(math.nan)
    with pytest.raises(InputError, match=r"images \[0, 1, 2\] is not finite"):
        counterfactual(body, features_of())
    assert body.training
    assert body.layers[3].training


@pytest.mark.parametrize("method", METHODS)
def test_positive_weights_are_worked_out_once(method):
    body = monotone_network()
    calls = []
    for module in body.modules():
        if parametrize.is_parametrized(module):
            module.parametrizations.weight[0].register_forward_hook(lambda *_: calls.append(1))
    features = features_of()
    margin = below(body, features, 1.0)
    calls.clear()
    found = counterfactual(body, features, margin=margin, method=method, learning_rate=0.1)
    assert found.iterations.min() > 1
    assert len(calls) == 2


def test_weights_that_a_caller_had_cached_still_train():
    body = monotone_network()
    features = features_of()
    with parametrize.cached():
        counterfactual(body, features, margin=-1.0)
        body(features).sum().backward()
    assert body.layers[0].parametrizations.weight.original.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": math.nan}, "margin nan"),
        ({"margin": -math.inf}, "margin -inf"),
        ({"sparsity": -1.0}, "sparsity -1"),
        ({"method": "newton"}, "method 'newton'"),
        ({"start": "one"}, "start 'one'"),
        ({"max_iterations": -1}, "max_iterations -1"),
        ({"learning_rate": 0.0}, "learning_rate 0"),
        ({"region": torch.ones(3, 3, 9, 11, dtype=torch.bool)}, "region of shape"),
        ({"region": torch.ones(3, 1, 9, 11)}, "region of shape"),
        ({"region": torch.zeros(3, 1, 9, 11, dtype=torch.bool)}, r"empty for images \[0, 1, 2\]"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        counterfactual(monotone_network(), features_of(), **options)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.ones(3), "features of shape"),
        (torch.ones(3, 3, 9, 11, dtype=torch.int64), "int64"),
        (torch.ones(0, 3, 9, 11), "features of shape"),
        (torch.full((1, 3, 9, 11), math.nan), "features: hold NaN"),
    ],
)
def test_features_that_do_not_fit_are_refused(features, message):
    with pytest.raises(InputError, match=message):
        counterfactual(monotone_network().float(), features)


def test_a_body_without_one_score_per_image_is_refused():
    with pytest.raises(InputError, match="one score per image"):
        counterfactual(nn.Conv2d(3, 1, 3).double(), features_of())
    column = nn.Sequential(monotone_network(), nn.Unflatten(0, (-1, 1)))
    assert counterfactual(column, features_of(), margin=-1.0).reached.all()
