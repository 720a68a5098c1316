import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.twice import plain_layers
from AttribSegLib.recipes import Batch
from AttribSegLib.recipes.autoencoder import VariationalAutoencoderRecipe
from AttribSegLib.recipes.silva_rodriguez import SilvaRodriguezRecipe, extended_log_barrier
from torch.nn import functional

BACKGROUND = -3.0
SIZES = {2: (45, 53), 3: (13, 22, 17)}
LAYERS = {"width": 0.1, "strides": (2, 2, 1), "filters": (32, 64, 64), "latent": 5}
SMALL = SilvaRodriguezRecipe(**LAYERS)


def discs(count, size=(40, 44), *, seed=0):
    """Smooth discs on a background, in one channel."""
    source = np.random.default_rng(seed)
    axes = np.meshgrid(*[(np.arange(n) - n / 2) / n for n in size], indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    images = []
    for _ in range(count):
        values = np.cos(8 * radius + source.uniform()) + source.normal(0, 0.05, size)
        values[radius > 0.4] = BACKGROUND
        images.append(values[None])
    return torch.tensor(np.stack(images), dtype=torch.float32)


def batch_of(healthy, *, seed=0):
    none = healthy[:0, :1].bool()
    return Batch(
        healthy=healthy,
        pathological=healthy[:0],
        healthy_brain=healthy[:, :1] != BACKGROUND,
        pathological_brain=none,
        lesions=none,
        has_mask=torch.zeros(0, dtype=torch.bool),
        seed=seed,
    )


def built(recipe, *, dimensions=2, channels=1, size=None, seed=0):
    torch.manual_seed(seed)
    return recipe.build(in_channels=channels, dimensions=dimensions, size=size or SIZES[dimensions])


@pytest.mark.parametrize("t", [1.5, 5.0, 20.0])
def test_barrier_is_its_closed_form(t):
    z = torch.linspace(-2, 2, 401, dtype=torch.float64)
    expected = [
        -math.log(-v) / t if v <= -1 / t**2 else t * v - math.log(1 / t**2) / t + 1 / t
        for v in z.tolist()
    ]
    found = extended_log_barrier(z, t)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert bool((found.diff() > 0).all())


def test_barrier_and_its_slope_are_continuous():
    t = 20.0
    z = torch.tensor([-1 / t**2 - 1e-9, -1 / t**2 + 1e-9], dtype=torch.float64).requires_grad_()
    values = extended_log_barrier(z, t)
    (slopes,) = torch.autograd.grad(values.sum(), z)
    torch.testing.assert_close(values[0], values[1], atol=1e-6, rtol=0)
    torch.testing.assert_close(slopes, torch.full_like(slopes, t), atol=1e-3, rtol=0)


def test_barrier_has_finite_slopes_everywhere():
    z = torch.tensor([-1.0, -1e-9, 0.0, 1.0], requires_grad=True)
    (slopes,) = torch.autograd.grad(extended_log_barrier(z).sum(), z)
    torch.testing.assert_close(slopes, torch.tensor([0.05, 20.0, 20.0, 20.0]))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_on_awkward_grids(dimensions, channels):
    network = built(SMALL, dimensions=dimensions, channels=channels).eval()
    x = torch.randn(2, channels, *SIZES[dimensions])
    scores, maps = SMALL.explain(network, x)
    assert maps.shape == (2, 1, *SIZES[dimensions])
    assert scores.shape == (2,)
    assert not scores.requires_grad
    assert not maps.requires_grad
    assert torch.equal(scores, network(x).detach())
    assert float(maps.abs().min(dim=2).values.max()) > 0


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("scale", ["raw", "voxels"])
def test_attention_is_gradcam_of_the_summed_latent_mean(layer, scale):
    """Against a plain calculation with shifted features instead of derivatives."""
    recipe = replace(SMALL, attention_layer=layer, attention_scale=scale)
    network = built(recipe, size=(16, 24)).double().eval()
    x = torch.randn(1, 1, 16, 24, dtype=torch.float64)
    with torch.no_grad():
        features = network.encode(x, layer)[2]
        rest = list(network.net.encode)[layer + 1 :]

        def summed_mean(values):
            for block in rest:
                values = block(values)
            return network.net.mu(values.flatten(1)).sum()

        step, voxels, expected = 1e-5, features[0, 0].numel(), 0.0
        for k in range(features.shape[1]):
            shift = torch.zeros_like(features)
            shift[:, k] = step
            slope = (summed_mean(features + shift) - summed_mean(features - shift)) / (2 * step)
            alpha = slope / voxels if scale == "raw" else slope
            expected = expected + alpha * features[:, k : k + 1]
        expected = functional.interpolate(expected, (16, 24), mode="bilinear")
    found = recipe.attention(network, x).maps
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)
    assert float(found.abs().max()) > 1e-6


def test_attention_needs_no_trainable_weights():
    network = built(SMALL)
    x = torch.randn(1, 1, *SIZES[2])
    expected = SMALL.attention(network, x).maps
    network.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(SMALL.attention(network, x).maps, expected)


def test_loss_is_that_of_the_vae_plus_the_barrier():
    recipe = replace(SMALL, attention_weight=0.7, barrier=5.0, kl_weight=0.2)
    x = discs(3)
    network = built(recipe, size=(40, 44))
    loss = recipe.batch_loss(network, batch_of(x, seed=4))
    plain = VariationalAutoencoderRecipe(**LAYERS, kl_weight=0.2)
    vae = plain.batch_loss(network, batch_of(x, seed=4))
    inside = x[:, 0] != BACKGROUND
    attention = recipe.attention(network, x).maps.sigmoid()[:, 0]
    covered = torch.stack([a[i].mean() for a, i in zip(attention, inside, strict=True)])
    penalty = extended_log_barrier(1 - covered, 5.0).mean()
    torch.testing.assert_close(loss.total, vae.total + 0.7 * penalty)
    assert loss.terms["barrier"] == pytest.approx(penalty.item(), rel=1e-5)
    assert loss.terms["attention"] == pytest.approx(covered.mean().item(), rel=1e-5)
    for name in ("reconstruction", "kl"):
        assert loss.terms[name] == pytest.approx(vae.terms[name], rel=1e-5)
    assert loss.terms["loss"] == pytest.approx(loss.total.item())


def test_attention_is_trained_through():
    """The loss's slope along a random direction, by differences.

    Not to more digits: a rectifier's kink that is crossed makes the attention jump.
    """
    # On the published scale the attention's part of the slope is smaller than a kink's.
    recipe = replace(SMALL, attention_weight=1.0, attention_scale="voxels")
    network = built(recipe, size=(40, 44)).double()
    x = discs(2).double()
    weight = network.net.encode[1].conv.weight
    direction = torch.randn_like(weight)

    def loss():
        return recipe.batch_loss(network, batch_of(x)).total

    loss().backward()
    slope = float((weight.grad * direction).sum())
    values, step = [], 1e-6
    for sign in (1, -2):
        with torch.no_grad():
            weight += sign * step * direction
        values.append(loss().item())
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=5e-3)


def test_cheap_second_derivatives_are_those_of_pytorch():
    network = built(SMALL, size=(40, 44)).double()
    x = discs(2).double()
    SMALL.batch_loss(network, batch_of(x)).total.backward()
    cheap = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    with plain_layers():
        SMALL.batch_loss(network, batch_of(x)).total.backward()
    for found, parameter in zip(cheap, network.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad)


def test_training_covers_the_brain_and_lowers_the_loss():
    recipe = replace(SMALL, attention_weight=0.5)
    images = discs(16)
    network = built(recipe, size=(40, 44))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    history = []
    for step in range(60):
        optimiser.zero_grad()
        loss = recipe.batch_loss(network, batch_of(images[step % 2 :: 2], seed=step))
        loss.total.backward()
        optimiser.step()
        history.append(loss.terms)
    assert history[-1]["loss"] < 0.4 * history[0]["loss"]
    assert history[-1]["reconstruction"] < 0.7 * history[0]["reconstruction"]
    assert history[-1]["attention"] > 0.9


def test_the_seed_of_the_batch_decides_what_is_drawn():
    x = discs(2)
    network = built(SMALL, size=(40, 44))
    losses = [SMALL.batch_loss(network, batch_of(x, seed=s)).terms["loss"] for s in (5, 5, 6)]
    assert losses[0] == losses[1] != losses[2]


def test_plain_form_round_trip():
    recipe = replace(SMALL, barrier=10.0, attention_layer=1)
    plain = json.loads(json.dumps(recipe.to_dict()))
    assert plain.pop("recipe") == "silva_rodriguez"
    assert SilvaRodriguezRecipe.from_dict(plain) == recipe
    assert recipe.selection == "reconstruction"
    with pytest.raises(InputError, match="unknown"):
        SilvaRodriguezRecipe.from_dict({"barier": 3})


@pytest.mark.parametrize(
    "wrong",
    [
        {"attention_weight": -1},
        {"barrier": 0},
        {"attention_layer": 5},
        {"attention_layer": 0.5},
        {"attention_scale": "log"},
        {"kl_weight": -1},
    ],
)
def test_wrong_parameters_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        SilvaRodriguezRecipe(**wrong)
