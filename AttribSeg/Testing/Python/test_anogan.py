import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from AttribSegLib.cases import PreparedCase
from AttribSegLib.cohort import Case
from AttribSegLib.errors import Cancelled, InputError
from AttribSegLib.image import Geometry
from AttribSegLib.networks.anogan import AnoGAN, gradient_penalty, only_trained
from AttribSegLib.networks.twice import plain_layers, weight_gradients_only
from AttribSegLib.recipes import Batch
from AttribSegLib.recipes.anogan import AnoGANRecipe
from AttribSegLib.training.trainer import Trainer

BACKGROUND = -3.0
SIZES = {2: (45, 53), 3: (13, 22, 17)}
SMALL = AnoGANRecipe(width=0.1, strides=(2, 2, 1), filters=(32, 64, 64), latent=5)
PARTS = ("critic", "generator", "encoder")
#: Step and progress at which each part is trained.
TURNS = {"critic": (0, 0.0), "generator": (5, 0.1), "encoder": (5, 0.6)}


def discs(count, size=(32, 36), *, seed=0):
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


def batch_of(healthy, *, step=0, progress=0.0, seed=0):
    none = healthy[:0, :1].bool()
    return Batch(
        healthy=healthy,
        pathological=healthy[:0],
        healthy_brain=healthy[:, :1] != BACKGROUND,
        pathological_brain=none,
        lesions=none,
        has_mask=torch.zeros(0, dtype=torch.bool),
        step=step,
        progress=progress,
        seed=seed,
    )


def turn_of(part, healthy, *, seed=0):
    step, progress = TURNS[part]
    return batch_of(healthy, step=step, progress=progress, seed=seed)


def built(recipe, *, dimensions=2, channels=1, size=None, seed=0):
    torch.manual_seed(seed)
    return recipe.build(in_channels=channels, dimensions=dimensions, size=size or SIZES[dimensions])


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("channels", [1, 2])
def test_shapes_on_awkward_grids(dimensions, channels):
    network = built(SMALL, dimensions=dimensions, channels=channels)
    x = torch.randn(2, channels, *SIZES[dimensions])
    x[:, :, :4] = BACKGROUND
    scores, maps = SMALL.explain(network, x)
    assert scores.shape == (2,)
    assert maps.shape == x.shape
    assert not scores.requires_grad
    assert not maps.requires_grad
    assert bool((maps[:, :, :4] == 0).all())
    torch.testing.assert_close(maps, (x - network.reconstruct(x)).abs() * network.brain(x))
    for part in PARTS:
        loss = SMALL.batch_loss(network, turn_of(part, x))
        loss.total.backward()
        assert np.isfinite(loss.terms["loss"])


def test_penalty_of_a_linear_critic_is_its_closed_form():
    torch.manual_seed(0)
    real, generated = torch.randn(2, 4, 2, 6, 5)
    weight = torch.randn(2, 6, 5, requires_grad=True)

    def critic(u):
        return (weight * u).sum((1, 2, 3)) + 7.0

    penalty = gradient_penalty(critic, real, generated, torch.rand(4))
    norm = weight.detach().norm()
    torch.testing.assert_close(penalty.detach(), (norm - 1) ** 2)
    (slope,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(slope, 2 * (norm - 1) * weight.detach() / norm)


def test_penalty_is_taken_between_the_images():
    real, generated, mix = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.rand(3)
    share = mix.reshape(3, 1, 1, 1)
    slopes = share * real + (1 - share) * generated  # of the half of the square
    found = gradient_penalty(lambda u: u.square().sum((1, 2, 3)) / 2, real, generated, mix)
    expected = (slopes.flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(found.detach(), expected)


def test_penalty_has_the_gradient_of_plain_layers():
    network = built(SMALL, size=(16, 16)).double()
    real, generated = torch.randn(2, 3, 1, 16, 16, dtype=torch.float64)
    mix = torch.rand(3, dtype=torch.float64)
    weights = [network.critic.features[0].weight, network.critic.linear.weight]

    def gradients():
        network.zero_grad()
        penalty = gradient_penalty(network.criticise, real, generated, mix)
        with weight_gradients_only():
            penalty.backward()
        return [weight.grad.clone() for weight in weights]

    cheap = gradients()
    with plain_layers():
        torch.testing.assert_close(cheap, gradients())


@pytest.mark.parametrize("part", PARTS)
def test_only_the_part_whose_turn_it_is_gets_gradients(part):
    network = built(SMALL)
    x = torch.randn(2, 1, *SIZES[2])
    assert SMALL.part(turn_of(part, x)) == part
    loss = SMALL.batch_loss(network, turn_of(part, x))
    assert all(parameter.requires_grad for parameter in network.parameters())
    loss.total.backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == name.startswith(f"{part}."), name
    assert {"loss", part} <= set(loss.terms)


def test_a_step_moves_one_network_and_leaves_the_others_alone():
    network = built(SMALL)
    x = torch.randn(2, 1, *SIZES[2])
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.9))
    for part in (*PARTS, *PARTS):  # with moments left from earlier steps
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        optimiser.zero_grad()
        SMALL.batch_loss(network, turn_of(part, x)).total.backward()
        optimiser.step()
        moved = {n.split(".")[0] for n, p in network.named_parameters() if (p != before[n]).any()}
        assert moved == {part}


def test_freezing_is_undone_by_an_error_too():
    network = built(SMALL)
    frozen = network.encoder.linear.bias.requires_grad_(False)
    with pytest.raises(InputError, match="input of shape"):
        SMALL.batch_loss(network, batch_of(torch.zeros(1, 1, 3, 3)))
    with only_trained(network, network.critic):
        assert not network.generator[0].weight.requires_grad
        assert network.critic.linear.weight.requires_grad
    others = [p for p in network.parameters() if p is not frozen]
    assert all(parameter.requires_grad for parameter in others)
    assert not frozen.requires_grad  # as it was before


def test_turns_of_a_training():
    recipe = replace(SMALL, critic_steps=2, gan_share=0.5)
    x = torch.zeros(1, 1, 2, 2)
    turns = [recipe.part(batch_of(x, step=i, progress=i / 12)) for i in range(12)]
    assert turns == ["critic", "critic", "generator"] * 2 + ["encoder"] * 6


@pytest.mark.parametrize(
    ("epochs", "share", "first"), [(20, 0.6, 13), (10, 0.7, 8), (10, 0.65, 8), (1, 0.6, 1)]
)
def test_first_epoch_belongs_to_the_encoder(epochs, share, first):
    assert replace(SMALL, epochs=epochs, gan_share=share).first_epoch == first


def test_losses_written_plainly():
    x = discs(3)
    recipe = replace(SMALL, kappa=0.3, penalty_weight=2.0)
    network = built(recipe, size=(32, 36))
    real = x - BACKGROUND

    def draw():
        source = torch.Generator().manual_seed(9)
        return network.generator(torch.randn(3, 5, generator=source)), source

    critic = recipe.batch_loss(network, turn_of("critic", x, seed=9))
    generated, source = draw()
    mix = torch.rand(3, generator=source)
    distance = network.criticise(real).mean() - network.criticise(generated).mean()
    penalty = gradient_penalty(network.criticise, real, generated.detach(), mix)
    torch.testing.assert_close(critic.total, 2.0 * penalty - distance)
    assert critic.terms["distance"] == pytest.approx(distance.item(), rel=1e-4, abs=1e-6)
    assert critic.terms["penalty"] == pytest.approx(penalty.item(), rel=1e-5)

    generator = recipe.batch_loss(network, turn_of("generator", x, seed=9))
    torch.testing.assert_close(generator.total, -network.criticise(draw()[0]).mean())

    encoder = recipe.batch_loss(network, turn_of("encoder", x, seed=9))
    again = network.generator(network.encoder(real))
    image = ((real - again)[x != BACKGROUND] ** 2).mean()  # the discs are of one size
    features = (network.critic.features(real) - network.critic.features(again)).square().mean()
    torch.testing.assert_close(encoder.total, image + 0.3 * features)
    torch.testing.assert_close(encoder.total, network(x).mean())


@pytest.mark.parametrize("part", ["critic", "generator"])
def test_the_seed_of_the_batch_decides_what_is_drawn(part):
    x = discs(2)
    network = built(SMALL, size=(32, 36))
    batches = [turn_of(part, x, seed=seed) for seed in (5, 5, 6)]
    losses = [SMALL.batch_loss(network, batch).terms["loss"] for batch in batches]
    assert losses[0] == losses[1] != losses[2]


def test_training_brings_the_images_closer_and_then_the_encoder():
    recipe = replace(SMALL, critic_steps=2, filters=(64, 64, 64))
    images, steps = discs(16), 400
    network = built(recipe, size=(32, 36))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.0, 0.9))
    seen = {part: [] for part in PARTS}
    for step in range(steps):
        batch = batch_of(images[step % 2 :: 2], step=step, progress=step / steps, seed=step)
        optimiser.zero_grad()
        loss = recipe.batch_loss(network, batch)
        with weight_gradients_only():
            loss.total.backward()
        optimiser.step()
        seen[recipe.part(batch)].append(loss.terms)
    assert [len(seen[part]) for part in PARTS] == [160, 80, 160]
    assert seen["critic"][-1]["critic"] < seen["critic"][0]["critic"]
    assert seen["encoder"][-1]["encoder"] < 0.7 * seen["encoder"][0]["encoder"]
    with torch.no_grad():  # generated images have the disc's dark outside
        drawn = network.generator(torch.randn(8, 5)) + BACKGROUND
    outside = (images[0] == BACKGROUND)[0]
    assert drawn[:, 0, outside].mean() < drawn[:, 0, ~outside].mean() - 1.0


def prepared(count, name):
    """Slices of a disc, every other one with a bright box."""
    grid, cases = Geometry((32, 36, 1)), []
    for number, image in enumerate(discs(count).numpy()):
        array = image[..., None].copy()
        array[:, 14:18, 14:18] += 3 * (number % 2)
        case = Case(f"{name}{number}", f"{name}{number}", number % 2, "train", {}, slice=0)
        cases.append(PreparedCase(case, array, array[0] != BACKGROUND, None, grid))
    return cases


@pytest.mark.parametrize("stop_after", [3, 7])
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path, stop_after):
    """In either stage; the encoder's moments do not exist while the first one lasts."""
    recipe = replace(SMALL, batch_size=4, epochs=4, critic_steps=1)
    asked = []

    def stop():
        asked.append(True)
        return len(asked) >= stop_after

    def trainer(folder, **options):
        return Trainer(recipe, prepared(6, "t"), prepared(4, "v"), folder=folder, **options)

    whole = trainer(tmp_path / "whole").run()
    with pytest.raises(Cancelled):
        trainer(tmp_path / "cut", should_stop=stop).run()
    resumed = trainer(tmp_path / "cut").run(resume=True)
    assert whole.best_epoch == resumed.best_epoch >= recipe.first_epoch
    expected = whole.network.state_dict()
    for name, tensor in resumed.network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_plain_form_round_trip():
    recipe = replace(SMALL, kappa=0.5, gan_share=0.4)
    plain = json.loads(json.dumps(recipe.to_dict()))
    assert plain.pop("recipe") == "f_anogan"
    assert AnoGANRecipe.from_dict(plain) == recipe
    assert recipe.selection == "reconstruction"
    assert recipe.average == 0.0
    assert not recipe.needs_references
    with pytest.raises(InputError, match="unknown"):
        AnoGANRecipe.from_dict({"kapa": 3})
    with pytest.raises(InputError, match="size None"):
        recipe.build(in_channels=1, dimensions=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"gan_share": 0},
        {"gan_share": 1},
        {"critic_steps": 0},
        {"critic_steps": 1.5},
        {"penalty_weight": -1},
        {"kappa": float("nan")},
        {"latent": 0},
    ],
)
def test_wrong_parameters_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        AnoGANRecipe(**wrong)


@pytest.mark.parametrize("wrong", [{"channels": (4,)}, {"latent": 0}, {"kappa": -1.0}])
def test_wrong_networks_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        AnoGAN(**{"dimensions": 2, "in_channels": 1, "size": (32, 32), **wrong})
