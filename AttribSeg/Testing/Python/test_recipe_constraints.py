"""Every constraint on every attribution: the loss written plainly, and that it trains."""

import itertools
from dataclasses import replace

import pytest
import torch
from AttribSegLib.attribution import LOSS_ATTRIBUTIONS
from AttribSegLib.attribution.expected_gradients import expected_gradients
from AttribSegLib.attribution.gradient import gradient
from AttribSegLib.constraints import CONSTRAINTS, UNSUP_AT_ZERO, scale_attribution
from AttribSegLib.errors import InputError
from AttribSegLib.networks.twice import plain_layers
from AttribSegLib.recipes import Batch
from AttribSegLib.recipes.attribution import AttributionRecipe
from torch.nn import functional

SIZE = (14, 12)
SEED = 11
SMALL = AttributionRecipe(width=0.06, strides=(2, 1, 1, 1), batch_size=6, alpha_scale="voxels")
CONSTRAINED = [name for name in CONSTRAINTS if name != "none"]
COMBINATIONS = list(itertools.product(CONSTRAINED, LOSS_ATTRIBUTIONS))
#: Share of the zero reference; the gradient has no reference.
PROBABILITY = {
    "integrated_gradients": 1.0,
    "expected_gradients": 0.0,
    "integrated_expected_gradients": 0.4,
}


def recipe_of(constraint, attribution, **options):
    entries = {"alpha": 0.7, "zero_probability": 0.4, "tv_weight": 0.3, **options}
    return replace(SMALL, constraint=constraint, attribution=attribution, **entries)


def problem(recipe, *, size=SIZE, channels=1, seed=0, double=False, drawn=(True, False, True)):
    """A network, and a batch whose pathological images have a bright box, partly drawn."""
    torch.manual_seed(seed)
    network = recipe.build(in_channels=channels, dimensions=len(size))
    healthy, pathological, others = (torch.randn(3, channels, *size) for _ in range(3))
    lesions = torch.zeros(3, 1, *size, dtype=torch.bool)
    lesions[(slice(None), slice(None), *[slice(4, 8)] * len(size))] = True
    pathological = torch.where(lesions, pathological + 3, pathological)
    brains = torch.rand(2, 3, 1, *size) < 0.7
    references = torch.cat([others, healthy]) if recipe.needs_references else None
    if double:
        network, healthy, pathological = network.double(), healthy.double(), pathological.double()
        references = None if references is None else references.double()
    has_mask = torch.tensor(drawn)
    lesions = lesions & has_mask.reshape(3, *[1] * (1 + len(size)))
    batch = Batch(
        healthy, pathological, *brains, lesions, has_mask, references=references, seed=SEED
    )
    return network, batch


def chosen_of(constraint, batch):
    """Images the constraint looks at, healthy ones first, and their masks and brains."""
    images = torch.cat([batch.healthy, batch.pathological])
    lesions = torch.cat([torch.zeros_like(batch.lesions), batch.lesions])
    brains = torch.cat([batch.healthy_brain, batch.pathological_brain])
    keep = [True] * 3
    keep += {"erion": [True] * 3, "sup": batch.has_mask.tolist()}.get(constraint, [False] * 3)
    rows = [row for row, each in enumerate(keep) if each]
    return images[rows], lesions[rows], brains[rows]


def maps_of(recipe, network, batch, images):
    """Differentiable maps by the functions of the library."""
    if recipe.attribution == "gradient":
        return gradient(network, images, differentiable=True)
    references = batch.references if recipe.needs_references else torch.zeros_like(images)
    return expected_gradients(
        network,
        images,
        references=references,
        samples=1,
        zero_probability=PROBABILITY[recipe.attribution],
        local=True,
        seed=SEED,
        common_draws=False,
        differentiable=True,
    )


def plain_penalty(constraint, maps, lesions, brain=None, tv_weight=0.3):
    """L_A by PyTorch's own losses, over all voxels or those of the brain."""
    target = torch.zeros_like(maps)
    inside = torch.ones_like(maps, dtype=torch.bool)
    if brain is not None:
        inside = brain.expand_as(maps)
    if constraint == "sup":
        target = lesions.to(maps).expand_as(maps)
    if constraint == "ross":
        # Of scaled maps, the mean over voxels instead of the sum.
        return (maps * inside).square().sum() / len(maps) / maps[0].numel()
    variation = 0.0
    for axis in range(2, maps.ndim):
        length = maps.shape[axis] - 1
        both = inside.narrow(axis, 0, length) & inside.narrow(axis, 1, length)
        variation = variation + maps.diff(dim=axis)[both].abs().sum() / inside.sum()
    if constraint == "erion":
        return variation
    entropy = functional.binary_cross_entropy_with_logits(maps[inside], target[inside])
    return entropy + (tv_weight * variation if constraint == "unsup_tv" else 0.0)


def plain_loss(recipe, network, batch, *, region="image"):
    images = torch.cat([batch.healthy, batch.pathological])
    target = torch.tensor([0.0] * 3 + [1.0] * 3).to(images)
    classification = functional.binary_cross_entropy_with_logits(network(images), target)
    looked_at, lesions, brains = chosen_of(recipe.constraint, batch)
    maps = maps_of(recipe, network, batch, looked_at) * images[0, 0].numel()
    brain = brains if region == "brain" else None
    penalty = plain_penalty(recipe.constraint, maps, lesions, brain)
    return classification + recipe.alpha * penalty, classification, penalty


@pytest.mark.parametrize("region", ["image", "brain"])
@pytest.mark.parametrize(("constraint", "attribution"), COMBINATIONS)
def test_loss_is_classification_plus_alpha_times_the_penalty(constraint, attribution, region):
    recipe = recipe_of(constraint, attribution, constraint_region=region)
    network, batch = problem(recipe)
    loss = recipe.batch_loss(network, batch)
    total, classification, penalty = plain_loss(recipe, network, batch, region=region)
    torch.testing.assert_close(loss.total, total)
    assert penalty.item() != 0
    assert loss.terms["classification"] == pytest.approx(classification.item(), rel=1e-5)
    assert loss.terms["constraint"] == pytest.approx(penalty.item(), rel=1e-5)
    assert loss.terms["loss"] == pytest.approx(loss.total.item())
    if constraint in ("unsup", "sup"):
        gain = loss.terms["constraint"] - UNSUP_AT_ZERO
        assert loss.terms["constraint_gain"] == pytest.approx(gain)
    else:
        assert "constraint_gain" not in loss.terms


@pytest.mark.parametrize("attribution", LOSS_ATTRIBUTIONS)
def test_three_dimensions_and_two_channels(attribution):
    recipe = recipe_of("unsup_tv", attribution)
    network, batch = problem(recipe, size=(12, 11, 11), channels=2)
    total, _, _ = plain_loss(recipe, network, batch)
    torch.testing.assert_close(recipe.batch_loss(network, batch).total, total)


@pytest.mark.parametrize("norm", ["instance", "none"])
@pytest.mark.parametrize(("constraint", "attribution"), COMBINATIONS)
def test_gradients_are_those_of_the_plain_loss_and_plain_layers(constraint, attribution, norm):
    recipe = recipe_of(constraint, attribution, norm=norm, activation="softplus")
    network, batch = problem(recipe, double=True)
    recipe.batch_loss(network, batch).total.backward()
    found = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    with plain_layers():
        plain_loss(recipe, network, batch)[0].backward()
    for a, parameter in zip(found, network.parameters(), strict=True):
        # The classification loss is in single precision.
        torch.testing.assert_close(a, parameter.grad, rtol=2e-5, atol=1e-7)
    assert max(float(each.abs().max()) for each in found) > 1e-3


@pytest.mark.parametrize("attribution", LOSS_ATTRIBUTIONS)
def test_the_seed_of_the_batch_decides_the_draws(attribution):
    recipe = recipe_of("unsup", attribution)
    network, batch = problem(recipe)
    values = [
        recipe.batch_loss(network, replace(batch, seed=seed)).terms["constraint"]
        for seed in (1, 1, 2)
    ]
    assert values[0] == values[1]
    assert (values[0] == values[2]) == (attribution == "gradient")


def test_zero_probability_leads_from_eg_to_ig():
    losses = {}
    for attribution, probability in [
        ("integrated_gradients", 0.3),
        ("integrated_expected_gradients", 1.0),
        ("expected_gradients", 0.3),
        ("integrated_expected_gradients", 0.0),
    ]:
        recipe = recipe_of("unsup", attribution, zero_probability=probability)
        network, batch = problem(recipe_of("unsup", "expected_gradients"))
        losses[attribution, probability] = recipe.batch_loss(network, batch).terms["constraint"]
    ig, ieg_one, eg, ieg_zero = losses.values()
    assert eg == ieg_zero
    assert ig == pytest.approx(ieg_one, rel=1e-9)
    assert ig != eg


@pytest.mark.parametrize("attribution", LOSS_ATTRIBUTIONS)
def test_sup_uses_masks_only_of_images_that_have_one(attribution):
    recipe = recipe_of("sup", attribution)
    network, batch = problem(recipe, drawn=(True, False, True))
    first = recipe.batch_loss(network, batch).terms["constraint"]

    def after(lesions=None, pathological=None):
        changed = replace(
            batch,
            lesions=batch.lesions if lesions is None else lesions,
            pathological=batch.pathological if pathological is None else pathological,
        )
        return recipe.batch_loss(network, changed).terms["constraint"]

    for row, matters in enumerate((True, False, True)):
        lesions, pathological = batch.lesions.clone(), batch.pathological.clone()
        lesions[row] = ~lesions[row]
        assert (after(lesions=lesions) != first) == matters
        pathological[row] *= -2
        assert (after(pathological=pathological) != first) == matters


@pytest.mark.parametrize("attribution", LOSS_ATTRIBUTIONS)
def test_sup_without_masks_is_unsup(attribution):
    losses = []
    for constraint in ("sup", "unsup"):
        recipe = recipe_of(constraint, attribution)
        network, batch = problem(recipe, drawn=(False, False, False))
        loss = recipe.batch_loss(network, batch)
        loss.total.backward()
        losses.append((loss.terms, [p.grad for p in network.parameters()]))
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-7, abs=1e-9)
    for a, b in zip(losses[0][1], losses[1][1], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("attribution", LOSS_ATTRIBUTIONS)
@pytest.mark.parametrize("constraint", CONSTRAINED)
def test_who_is_looked_at(constraint, attribution):
    """Only "erion" looks at pathological images without a mask; all look at healthy ones."""
    recipe = recipe_of(constraint, attribution)
    network, batch = problem(recipe, drawn=(False, False, False))
    before = recipe.batch_loss(network, batch).terms["constraint"]
    other = replace(batch, pathological=1 - 2 * batch.pathological)
    after = recipe.batch_loss(network, other).terms["constraint"]
    assert (before != after) == (constraint == "erion")
    other = replace(batch, healthy=1 - 2 * batch.healthy)
    assert recipe.batch_loss(network, other).terms["constraint"] != before


@pytest.mark.parametrize(
    ("constraint", "attribution"),
    [("unsup", "gradient"), ("sup", "gradient"), ("erion", "gradient")],
)
def test_batch_norm_differentiates_the_whole_batch(constraint, attribution):
    recipe = recipe_of(constraint, attribution, norm="batch", activation="softplus")
    with pytest.warns(UserWarning, match="batch norm mixes images"):
        network, batch = problem(recipe, double=True)
    loss = recipe.batch_loss(network, batch)
    loss.total.backward()
    found = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    x = torch.cat([batch.healthy, batch.pathological]).requires_grad_(True)
    with plain_layers():
        logits = network(x)
        (maps,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        rows = {"unsup": [0, 1, 2], "sup": [0, 1, 2, 3, 5], "erion": list(range(6))}[constraint]
        lesions = torch.cat([torch.zeros_like(batch.lesions), batch.lesions])[rows]
        penalty = plain_penalty(constraint, maps[rows] * x[0, 0].numel(), lesions)
        target = torch.tensor([0.0] * 3 + [1.0] * 3).to(x)
        total = functional.binary_cross_entropy_with_logits(logits, target) + 0.7 * penalty
        total.backward()
    torch.testing.assert_close(loss.total, total, rtol=1e-5, atol=0)
    for a, parameter in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(a, parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("attribution", LOSS_ATTRIBUTIONS)
@pytest.mark.parametrize("constraint", CONSTRAINED)
def test_batch_norm_works_with_all(constraint, attribution):
    recipe = recipe_of(constraint, attribution, norm="batch")
    with pytest.warns(UserWarning, match="batch norm"):
        network, batch = problem(recipe)
    loss = recipe.batch_loss(network, batch)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("attribution", LOSS_ATTRIBUTIONS)
def test_a_registered_network_with_batch_norm_sees_whole_batches_of_images(attribution):
    """Whatever the recipe's norm says; points between images do not count as images."""
    from AttribSegLib.networks import register_network

    seen = []

    @register_network("with-batch-norm")
    def make(*, dimensions, in_channels, **options):
        norm = torch.nn.BatchNorm2d(3)
        norm.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
        return torch.nn.Sequential(
            torch.nn.Conv2d(in_channels, 3, 3),
            norm,
            torch.nn.Softplus(),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(3, 1),
        )

    recipe = recipe_of("unsup", attribution, network="with-batch-norm")
    with pytest.warns(UserWarning, match="batch norm mixes images"):
        network, batch = problem(recipe)
    recipe.batch_loss(network, batch).total.backward()
    assert seen == ([6] if attribution == "gradient" else [6, 3])
    (norm,) = (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert norm.momentum == 0.1
    assert int(norm.num_batches_tracked) == 1
    images = torch.cat([batch.healthy, batch.pathological])
    mean = network.body[0](images).mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)


@pytest.mark.parametrize("attribution", LOSS_ATTRIBUTIONS)
@pytest.mark.parametrize("constraint", CONSTRAINED)
def test_the_constraint_alone_moves_the_weights(constraint, attribution):
    """The gradient of L_A is not zero: the total less its classification part."""
    recipe = recipe_of(constraint, attribution, alpha=1.0, activation="softplus")
    network, batch = problem(recipe, double=True)
    loss = recipe.batch_loss(network, batch)
    images = torch.cat([batch.healthy, batch.pathological])
    signs = torch.tensor([1.0] * 3 + [-1.0] * 3)
    penalty = loss.total - functional.softplus(signs * network(images).float()).mean()
    assert penalty.item() == pytest.approx(loss.terms["constraint"], rel=1e-5)
    gradients = torch.autograd.grad(penalty, list(network.parameters()), allow_unused=True)
    weights = [g for g in gradients if g is not None and g.ndim > 1]
    assert len(weights) == 5
    assert all(float(each.abs().max()) > 1e-5 for each in weights)


@pytest.mark.parametrize("attribution", LOSS_ATTRIBUTIONS)
@pytest.mark.parametrize("constraint", CONSTRAINED)
def test_training_lowers_the_constraint(constraint, attribution):
    recipe = recipe_of(constraint, attribution, alpha=1.0)
    network, batch = problem(recipe, seed=1)

    def mean_penalty():
        """Over many draws of references and positions, with the weights as they are."""
        values = [
            recipe.batch_loss(network, replace(batch, seed=seed)).terms["constraint"]
            for seed in range(1000, 1015)
        ]
        return sum(values) / len(values)

    before = mean_penalty()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(25):
        optimiser.zero_grad()
        recipe.batch_loss(network, replace(batch, seed=step)).total.backward()
        optimiser.step()
    after = mean_penalty()
    assert after < before - 0.01
    if constraint == "unsup" and attribution in ("gradient", "expected_gradients"):
        # Near the zero reference gradients are large: there it takes more than 25 steps.
        assert after < UNSUP_AT_ZERO


@pytest.mark.parametrize("attribution", LOSS_ATTRIBUTIONS)
@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_other_networks_have_finite_gradients(name, attribution):
    recipe = recipe_of("unsup", attribution, network=name, width=0.12)
    network, batch = problem(recipe, size=(64, 64) if name == "densenet121" else (32, 32))
    loss = recipe.batch_loss(network, batch)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(torch.isfinite(each).all() for each in gradients)
    assert sum(bool(each.abs().max() > 0) for each in gradients) > 0.9 * len(gradients)
    assert loss.terms["constraint_gain"] != 0


def test_masks_and_references_are_asked_for_only_where_they_serve():
    for constraint, attribution in itertools.product(CONSTRAINTS, LOSS_ATTRIBUTIONS):
        recipe = recipe_of(constraint, attribution, masks=3)
        drawn = attribution in ("expected_gradients", "integrated_expected_gradients")
        assert recipe.needs_references == (drawn and constraint != "none")
        assert recipe.masked_patients == (3 if constraint == "sup" else 0)
        shared = recipe.varied(masked_share=0.4)
        assert shared.least_masked == (0.4 if constraint == "sup" else 0.0)
    assert recipe_of("sup", "gradient").masked_patients is None
    for name, value in (("masked_share", 1.5), ("masked_share", "half"), ("balanced", 1)):
        with pytest.raises(InputError, match=name):
            recipe_of("sup", "gradient", **{name: value})


@pytest.mark.parametrize("region", ["image", "brain"])
def test_balanced_is_the_constraint_that_weighs_lesions_and_the_rest_alike(region):
    recipe = recipe_of("sup", "gradient", balanced=True, constraint_region=region)
    network, batch = problem(recipe, double=True)
    images, lesions, brains = chosen_of("sup", batch)
    maps = scale_attribution(maps_of(recipe, network, batch, images), recipe.alpha_scale)
    rows = []
    for each, lesion, brain in zip(maps, lesions, brains, strict=True):
        counted = brain if region == "brain" else torch.ones_like(brain)
        kinds = [(1.0, lesion & counted), (0.0, ~lesion & counted)]
        means = [
            functional.binary_cross_entropy_with_logits(
                each[kind.expand_as(each)], torch.full_like(each[kind.expand_as(each)], target)
            )
            for target, kind in kinds
            if kind.any()
        ]
        rows.append(torch.stack(means).mean())
    found = recipe.batch_loss(network, batch).terms["constraint"]
    assert found == pytest.approx(torch.stack(rows).mean().item(), rel=1e-9)
    plain = recipe.varied(balanced=False).batch_loss(network, batch).terms["constraint"]
    assert abs(found - plain) > 1e-3
