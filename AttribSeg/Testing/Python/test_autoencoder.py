import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.autoencoder import Autoencoder, VariationalAutoencoder
from AttribSegLib.recipes import Batch
from AttribSegLib.recipes.autoencoder import (
    AutoencoderRecipe,
    VariationalAutoencoderRecipe,
    kl_to_standard_normal,
)
from torch.distributions import Normal, kl_divergence

BACKGROUND = -3.0
RECIPES = (AutoencoderRecipe, VariationalAutoencoderRecipe)
SIZES = {2: (45, 53), 3: (13, 22, 17)}
SMALL = {"width": 0.1, "strides": (2, 2, 1), "filters": (32, 64, 64), "latent": 5}


def discs(count, size=(40, 44), *, seed=0, blob=False):
    """Smooth discs on a background, in one channel, and masks of a bright blob in them."""
    source = np.random.default_rng(seed)
    axes = np.meshgrid(*[(np.arange(n) - n / 2) / n for n in size], indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    images, masks = [], []
    for _ in range(count):
        values = np.cos(8 * radius + source.uniform()) + source.normal(0, 0.05, size)
        mask = np.sqrt(sum((axis - 0.15) ** 2 for axis in axes)) < 0.08
        if blob:
            values[mask] = 3.0
        values[radius > 0.4] = BACKGROUND
        images.append(values[None])
        masks.append(mask[None])
    return torch.tensor(np.stack(images), dtype=torch.float32), torch.tensor(np.stack(masks))


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


def trained(recipe, images, steps):
    """A network after some steps on random batches of 8, and the loss of every step."""
    network = built(recipe, size=tuple(images.shape[2:]))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    source, losses = torch.Generator().manual_seed(1), []
    for step in range(steps):
        chosen = images[torch.randint(len(images), (8,), generator=source)]
        optimiser.zero_grad()
        loss = recipe.batch_loss(network, batch_of(chosen, seed=step))
        loss.total.backward()
        optimiser.step()
        losses.append(loss.terms["loss"])
    return network.eval(), losses


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_background_on_awkward_grids(recipe, dimensions, channels):
    recipe = recipe(**SMALL)
    network = built(recipe, dimensions=dimensions, channels=channels)
    x = torch.randn(2, channels, *SIZES[dimensions])
    x[:, :, :4] = BACKGROUND
    x[:, 0, 4:6] = BACKGROUND  # one channel alone makes no background
    scores, maps = recipe.explain(network, x)
    assert scores.shape == (2,)
    assert maps.shape == x.shape
    assert not scores.requires_grad
    assert not maps.requires_grad
    assert bool((maps >= 0).all())
    assert bool((maps[:, :, :4] == 0).all())
    brain = network.brain(x)
    assert not brain[:, :, :4].any()
    assert brain[:, :, 4:6].all() == (channels > 1)
    values = maps.square()[brain.expand_as(maps)].reshape(-1)
    torch.testing.assert_close(scores.mean(), values.mean())
    assert torch.equal(network(x), scores)
    torch.testing.assert_close(maps, (x - network.reconstruct(x)).abs() * brain)


def test_padding_is_undone_and_background_becomes_zero():
    network = built(AutoencoderRecipe(**SMALL))
    x = torch.randn(2, 1, *SIZES[2])
    padded = network.pad(x)
    assert padded.shape == (2, 1, 48, 56)
    assert not padded[:, :, 45:].any()
    assert not padded[:, :, :, 53:].any()
    torch.testing.assert_close(network.unpad(padded), x)


def test_an_image_without_brain_scores_zero():
    network = built(AutoencoderRecipe(**SMALL))
    x = torch.full((1, 1, *SIZES[2]), BACKGROUND)
    assert float(network(x).detach()) == 0.0


def test_the_score_of_an_image_does_not_depend_on_its_neighbours():
    for recipe in RECIPES:
        network = built(recipe(**SMALL))
        x = torch.randn(3, 1, *SIZES[2])
        torch.testing.assert_close(network(x)[1:2], network(x[1:2]))


def test_even_a_coarsest_grid_of_one_voxel_can_be_trained():
    recipe = AutoencoderRecipe(width=0.1)
    network = built(recipe, size=(32, 20))
    assert network.coarse_size == (1, 1)
    recipe.batch_loss(network, batch_of(torch.randn(2, 1, 32, 20))).total.backward()


def test_autoencoder_loss_is_the_mean_square_over_the_brain():
    recipe = AutoencoderRecipe(**SMALL)
    x, _ = discs(3)
    network = built(recipe, size=(40, 44))
    loss = recipe.batch_loss(network, batch_of(x))
    difference = (x - network.reconstruct(x)).detach().numpy()
    inside = x.numpy() != BACKGROUND
    expected = np.mean([np.mean(d[i] ** 2) for d, i in zip(difference, inside, strict=True)])
    assert loss.terms["reconstruction"] == pytest.approx(expected, rel=1e-5)
    assert loss.terms["loss"] == loss.total.item() == loss.terms["reconstruction"]


def test_kl_is_that_of_torch_distributions():
    mean, log_variance = torch.randn(4, 7), torch.randn(4, 7)
    normal = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(normal, Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)


def test_variational_loss_is_reconstruction_plus_weighted_kl():
    recipe = VariationalAutoencoderRecipe(**SMALL, kl_weight=0.3)
    x, _ = discs(3)
    network = built(recipe, size=(40, 44))
    loss = recipe.batch_loss(network, batch_of(x, seed=11))
    mean, log_variance, _ = network.encode(x)
    noise = torch.randn(3, 5, generator=torch.Generator().manual_seed(11))
    decoded = network.decode(mean + noise * (0.5 * log_variance).exp())
    reconstruction = network.error(x, decoded).mean()
    kl = kl_to_standard_normal(mean, log_variance).mean()
    torch.testing.assert_close(loss.total, reconstruction + 0.3 * kl)
    assert loss.terms["kl"] == pytest.approx(float(kl.detach()))
    assert loss.terms["reconstruction"] == pytest.approx(float(reconstruction.detach()))


def test_the_seed_of_the_batch_decides_what_is_drawn():
    recipe = VariationalAutoencoderRecipe(**SMALL)
    x, _ = discs(2)
    network = built(recipe, size=(40, 44))
    losses = [recipe.batch_loss(network, batch_of(x, seed=s)).terms["loss"] for s in (5, 5, 6)]
    assert losses[0] == losses[1] != losses[2]


def test_variational_scores_are_the_same_in_either_mode():
    network = built(VariationalAutoencoderRecipe(**SMALL))
    x = torch.randn(2, 1, *SIZES[2])
    assert torch.equal(network.train()(x), network.eval()(x))


@pytest.mark.parametrize("recipe", RECIPES)
def test_training_lowers_the_loss_and_a_blob_stands_out(recipe):
    recipe = recipe(**{**SMALL, "latent": 8}, **{"kl_weight": 1e-4} if recipe is RECIPES[1] else {})
    healthy, _ = discs(32)
    network, losses = trained(recipe, healthy, 80)
    assert np.mean(losses[-10:]) < 0.3 * losses[0]
    new, _ = discs(6, seed=1)
    ill, mask = discs(6, seed=1, blob=True)
    scores, maps = recipe.explain(network, ill)
    outside = network.brain(ill) & ~mask
    assert maps[mask].mean() > 2 * maps[outside].mean()
    assert scores.min() > network(new).max()


def test_mixed_precision_stays_close():
    for recipe in RECIPES:
        recipe = recipe(**SMALL)
        x, _ = discs(2)
        network = built(recipe, size=(40, 44))
        exact = recipe.batch_loss(network, batch_of(x)).terms["loss"]
        loss = recipe.batch_loss(network, batch_of(x), mixed_precision=True)
        loss.total.backward()
        assert loss.total.dtype == torch.float32
        assert loss.terms["loss"] == pytest.approx(exact, rel=0.05)


def test_calibration_moves_the_scores():
    recipe = AutoencoderRecipe(**SMALL)
    network = built(recipe)
    x = torch.randn(4, 1, *SIZES[2]) * torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1, 1)
    labels = [0, 0, 1, 1]
    for _ in range(2):  # once more changes nothing
        recipe.calibrate(network, network(x).tolist(), labels)
        assert (network(x) > 0).tolist() == [False, False, True, True]


@pytest.mark.parametrize("recipe", RECIPES)
def test_plain_form_round_trip(recipe):
    recipe = recipe(**SMALL, learning_rate=2e-3)
    plain = json.loads(json.dumps(recipe.to_dict()))
    assert plain.pop("recipe") == recipe.name
    assert type(recipe).from_dict(plain) == recipe
    assert recipe.selection == "reconstruction"
    assert not recipe.needs_references
    with pytest.raises(InputError, match="unknown"):
        type(recipe).from_dict({"latnet": 3})


@pytest.mark.parametrize(
    "wrong",
    [
        {"latent": 0},
        {"latent": 2.5},
        {"filters": ()},
        {"filters": (8, 0, 8), "strides": (2, 2, 2)},
        {"strides": (2, 2)},
        {"strides": "ab"},
        {"kl_weight": -1},
        {"kl_weight": "much"},
    ],
)
def test_wrong_parameters_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        VariationalAutoencoderRecipe(**wrong)


def test_width_scales_the_filters():
    recipe = AutoencoderRecipe(width=0.5)
    assert recipe.scaled_filters == (16, 32, 64, 64, 128)
    assert replace(recipe, width=1e-3).scaled_filters == (1,) * 5


@pytest.mark.parametrize("kind", [Autoencoder, VariationalAutoencoder])
@pytest.mark.parametrize(
    "wrong",
    [
        {"dimensions": 4},
        {"in_channels": 0},
        {"size": (8,)},
        {"size": (8, 0)},
        {"strides": ()},
        {"channels": (4,)},
        {"latent": 0},
        {"background": float("nan")},
    ],
)
def test_wrong_networks_are_refused_by_name(kind, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        kind(**{"dimensions": 2, "in_channels": 1, "size": (32, 32), **wrong})


def test_size_must_be_known_and_kept():
    recipe = AutoencoderRecipe(**SMALL)
    with pytest.raises(InputError, match="size None"):
        recipe.build(in_channels=1, dimensions=2)
    with pytest.raises(InputError, match=r"\(B, 1, 45, 53\)"):
        built(recipe)(torch.zeros(1, 1, 45, 54))
