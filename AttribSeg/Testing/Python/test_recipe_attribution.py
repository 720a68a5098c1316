import json
import math
from dataclasses import replace

import pytest
import torch
from AttribSegLib.attribution.gradient import gradient
from AttribSegLib.constraints import UNSUP_AT_ZERO
from AttribSegLib.errors import InputError
from AttribSegLib.recipes import REGISTER, Batch, recipe_from_dict
from AttribSegLib.recipes.attribution import AttributionRecipe
from AttribSegLib.training.augmentation import AugmentationOptions
from torch.nn import functional

SIZE = (14, 12)
SMALL = AttributionRecipe(width=0.06, strides=(2, 1, 1, 1), batch_size=4)


def problem(recipe, *, dimensions=2, channels=1, seed=0):
    """A network, healthy noise, the same with a bright box, and brain masks."""
    torch.manual_seed(seed)
    network = recipe.build(in_channels=channels, dimensions=dimensions)
    size = (*SIZE, 11)[:dimensions]
    healthy, pathological = (torch.randn(3, channels, *size) for _ in range(2))
    pathological[(slice(None), slice(None), *[slice(4, 8)] * dimensions)] += 3
    brain = torch.rand(3, 1, *size) < 0.7
    return network, healthy, pathological, brain


def batch_of(healthy, pathological, brain, lesions=None, has_mask=None, **entries):
    if lesions is None:
        lesions, has_mask = torch.zeros_like(brain), torch.zeros(len(brain), dtype=torch.bool)
    return Batch(healthy, pathological, brain, brain, lesions, has_mask, **entries)


def loss_of(recipe, network, healthy, pathological, brain, mixed_precision=False, **entries):
    batch = batch_of(healthy, pathological, brain, **entries)
    return recipe.batch_loss(network, batch, mixed_precision=mixed_precision)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("region", ["image", "brain"])
@pytest.mark.parametrize("scale", ["voxels", "raw"])
def test_loss_is_cross_entropy_plus_alpha_times_the_constraint(dimensions, region, scale):
    recipe = replace(SMALL, alpha=0.7, constraint_region=region, alpha_scale=scale)
    network, healthy, pathological, brain = problem(recipe, dimensions=dimensions)
    loss = loss_of(recipe, network, healthy, pathological, brain)
    logits = torch.cat([network(healthy), network(pathological)])
    target = torch.tensor([0.0] * 3 + [1.0] * 3)
    classification = functional.binary_cross_entropy_with_logits(logits, target)
    maps = gradient(network, healthy) * (healthy[0, 0].numel() if scale == "voxels" else 1)
    inside = maps[brain] if region == "brain" else maps
    constraint = functional.binary_cross_entropy(inside.sigmoid(), torch.zeros_like(inside))
    torch.testing.assert_close(loss.total, classification + 0.7 * constraint)
    assert loss.terms["classification"] == pytest.approx(classification.item(), rel=1e-5)
    assert loss.terms["constraint"] == pytest.approx(constraint.item(), rel=1e-5)
    assert loss.terms["loss"] == pytest.approx(loss.total.item())
    assert loss.terms["tpr"] == float((logits[3:] > 0).double().mean())
    assert loss.terms["tnr"] == float((logits[:3] <= 0).double().mean())
    assert loss.terms["mean_attribution"] == pytest.approx(maps.mean().item(), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("norm", ["instance", "group", "none"])
def test_gradient_is_that_of_the_loss_written_plainly(norm):
    recipe = replace(SMALL, alpha=0.7, norm=norm, activation="softplus")
    network, healthy, pathological, brain = problem(recipe)
    network = network.double()
    healthy, pathological = healthy.double(), pathological.double()
    loss_of(recipe, network, healthy, pathological, brain).total.backward()
    found = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    x = healthy.clone().requires_grad_(True)
    logits = network(x)
    (maps,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    constraint = functional.softplus(maps * healthy[0, 0].numel()).mean()
    scores = torch.cat([logits, network(pathological)]).float()
    target = torch.tensor([0.0] * 3 + [1.0] * 3)
    plain = functional.binary_cross_entropy_with_logits(scores, target) + 0.7 * constraint
    plain.backward()
    for a, b in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("norm", ["instance", "group", "none"])
def test_pathological_images_do_not_influence_the_constraint(norm):
    recipe = replace(SMALL, norm=norm)
    network, healthy, pathological, brain = problem(recipe)
    first = loss_of(recipe, network, healthy, pathological, brain)
    second = loss_of(recipe, network, healthy, 5 * pathological + 1, brain)
    assert first.terms["constraint"] == second.terms["constraint"]
    assert first.terms["mean_attribution"] == second.terms["mean_attribution"]
    assert first.terms["classification"] != second.terms["classification"]


def test_batch_norm_sees_the_whole_batch_and_constrains_the_healthy_rows():
    recipe = replace(SMALL, norm="batch", alpha=0.7)
    network, healthy, pathological, brain = problem(recipe)
    loss = loss_of(recipe, network, healthy, pathological, brain)
    both = torch.cat([healthy, pathological])
    x = both.clone().requires_grad_(True)
    logits = network(x)
    (maps,) = torch.autograd.grad(logits.sum(), x)
    healthy_maps = maps[:3] * healthy[0, 0].numel()
    target = torch.tensor([0.0] * 3 + [1.0] * 3)
    expected = functional.binary_cross_entropy_with_logits(logits, target)
    expected = expected + 0.7 * functional.softplus(healthy_maps).mean()
    torch.testing.assert_close(loss.total, expected)
    # In evaluation the statistics are fixed, and the path is the ordinary one.
    network.eval()
    fixed = loss_of(recipe, network, healthy, pathological, brain)
    maps = gradient(network, healthy) * healthy[0, 0].numel()
    assert fixed.terms["constraint"] == pytest.approx(functional.softplus(maps).mean().item())


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_alpha_zero_equals_none(norm):
    losses = []
    for options in ({"alpha": 0.0}, {"constraint": "none"}, {"constraint": "none", "alpha": 3.0}):
        recipe = replace(SMALL, norm=norm, **options)
        network, *batch = problem(recipe)
        loss = loss_of(recipe, network, *batch)
        loss.total.backward()
        losses.append((loss.terms, [p.grad.clone() for p in network.parameters()]))
    for terms, gradients in losses[1:]:
        assert terms == losses[0][0]
        assert all(map(torch.equal, gradients, losses[0][1]))
    assert set(losses[0][0]) == {"classification", "tpr", "tnr", "loss"}


def test_constraint_gain_is_seen_in_double_where_single_precision_has_lost_it():
    recipe = replace(SMALL, alpha_scale="raw")
    network, healthy, pathological, brain = problem(recipe)
    with torch.no_grad():
        network.layers[-1].weight.mul_(1e-7)  # attributions far below float32's resolution at 1
    terms = loss_of(recipe, network, healthy, pathological, brain).terms
    maps = gradient(network, healthy).double()
    assert 0 < maps.abs().max() < 1e-7
    # log(1 + exp(a)) = log 2 + a / 2 + a^2 / 8 + ...
    assert terms["constraint_gain"] == pytest.approx(float(maps.mean()) / 2, rel=1e-3, abs=1e-15)
    assert terms["constraint_gain"] != 0
    assert terms["constraint"] == UNSUP_AT_ZERO + terms["constraint_gain"]


def test_lower_precision_leaves_the_attribution_alone():
    network, healthy, pathological, brain = problem(SMALL)
    full = loss_of(SMALL, network, healthy, pathological, brain)
    mixed = loss_of(SMALL, network, healthy, pathological, brain, mixed_precision=True)
    assert mixed.terms["constraint"] == full.terms["constraint"]
    assert mixed.terms["classification"] == pytest.approx(full.terms["classification"], abs=0.02)
    mixed.total.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_explains_with_the_scaled_gradient(dimensions, channels):
    network, healthy, _, _ = problem(SMALL, dimensions=dimensions, channels=channels)
    logits, maps = SMALL.explain(network.eval(), healthy)
    voxels = healthy[0, 0].numel()
    expected = voxels * gradient(network, healthy)
    torch.testing.assert_close(maps, expected)
    torch.testing.assert_close(logits, network(healthy).detach())
    assert not maps.requires_grad


def test_training_makes_the_attribution_of_healthy_images_negative():
    """And without the constraint it stays where it was."""
    means, losses = {}, {}
    for constraint in ("unsup", "none"):
        recipe = replace(SMALL, constraint=constraint, alpha=0.3)
        network, healthy, pathological, brain = problem(recipe, seed=1)
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
        history = []
        for _ in range(25):
            optimiser.zero_grad()
            loss = loss_of(recipe, network, healthy, pathological, brain)
            loss.total.backward()
            optimiser.step()
            history.append(loss.terms)
        losses[constraint] = history
        means[constraint] = float(SMALL.explain(network, healthy)[1].mean())
    constrained = losses["unsup"]
    assert constrained[-1]["constraint"] < constrained[0]["constraint"] - 0.01
    assert constrained[-1]["constraint_gain"] < 0
    assert constrained[-1]["mean_attribution"] < 0
    assert means["unsup"] < 0
    assert means["unsup"] < means["none"]
    # Both classify: that is what the constraint must not destroy.
    for history in losses.values():
        assert history[-1]["classification"] < history[0]["classification"]


def test_round_trip_through_json():
    recipe = AttributionRecipe(
        alpha=3.0,
        strides=(2, 2, 2, 1),
        schedule="constant",
        average=0.9,
        augmentation=AugmentationOptions(brightness=(0.7, 1.3), flip=0.0),
    )
    content = json.loads(json.dumps(recipe.to_dict()))
    assert content["recipe"] == "attribution"
    assert recipe_from_dict(content) == recipe
    assert recipe_from_dict({}) == AttributionRecipe()
    assert REGISTER["attribution"] is AttributionRecipe


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"recipe": "alchemy"}, "alchemy"),
        ({"recipe": ["attribution"]}, "attribution"),
        ({"alpa": 1.0}, "'alpa'"),
        ({"constraint": "supp"}, "constraint 'supp'"),
        ({"alpha": -1.0}, "alpha -1"),
        ({"alpha": math.nan}, "alpha nan"),
        ({"alpha": "much"}, "alpha"),
        ({"alpha": None}, "alpha"),
        ({"alpha_scale": "rsm"}, "alpha_scale 'rsm'"),
        ({"constraint_region": "skull"}, "constraint_region 'skull'"),
        ({"optimiser": "lion"}, "optimiser 'lion'"),
        ({"optimiser": ["adam"]}, "optimiser"),
        ({"schedule": "step"}, "schedule 'step'"),
        ({"learning_rate": 0}, "learning_rate 0"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"weight_decay": -0.1}, "weight_decay -0.1"),
        ({"width": 0}, "width 0"),
        ({"width": math.inf}, "width inf"),
        ({"epochs": 0}, "epochs 0"),
        ({"epochs": 2.5}, "epochs 2.5"),
        ({"batch_size": 7.5}, "batch_size 7.5"),
        ({"batch_size": "all"}, "batch_size"),
        ({"patience": -1}, "patience -1"),
        ({"average": 1.0}, "average 1"),
        ({"average": "no"}, "average"),
        ({"background": math.nan}, "background nan"),
        ({"background": "black"}, "background"),
        ({"strides": 2}, "strides"),
        ({"strides": ["a"]}, "strides"),
        ({"filters": 64}, "filters"),
        ({"augmentation": {"rotate": 3}}, "rotate"),
        ({"augmentation": 3}, "augmentation"),
        ({"augmentation": {"brightness": [0, 1]}}, "brightness"),
        ({"augmentation": {"brightness": [1]}}, "brightness"),
        ({"augmentation": {"brightness": 2}}, "brightness"),
        ({"augmentation": {"flip": 1.5}}, "flip 1.5"),
        ({"augmentation": {"flip": "often"}}, "flip"),
        ({"augmentation": {"elastic_amplitude": -1}}, "elastic_amplitude -1"),
    ],
)
def test_errors_name_the_parameter(content, named):
    with pytest.raises(InputError) as caught:
        recipe_from_dict(content)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("parameters", [{"norm": "x"}, {"activation": "x"}, {"strides": (2, 3)}])
def test_network_parameters_are_checked_when_it_is_built(parameters):
    with pytest.raises(InputError, match=next(iter(parameters))):
        AttributionRecipe(**parameters).build(in_channels=1, dimensions=2)


def test_alpha_waits_then_rises_then_stays():
    recipe = AttributionRecipe(alpha=0.2, alpha_delay=0.25, alpha_warmup=0.5, epochs=8)
    shares = [0.0, 0.2, 0.25, 0.5, 0.75, 0.9, 1.0]
    expected = [0.0, 0.0, 0.0, 0.1, 0.2, 0.2, 0.2]
    assert [recipe.alpha_at(share) for share in shares] == pytest.approx(expected)
    assert recipe.first_epoch == 6  # 6 of 8 epochs are over when alpha is all there
    assert AttributionRecipe(constraint="none", alpha=0.2).alpha_at(1.0) == 0.0
    at_once = AttributionRecipe(alpha=0.2, alpha_delay=0.0, alpha_warmup=0.0)
    assert at_once.alpha_at(0.0) == 0.2
    assert at_once.first_epoch == 1
