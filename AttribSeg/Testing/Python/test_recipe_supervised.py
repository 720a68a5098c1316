"""The supervised ceiling: its loss, which images it learns from, and training with it."""

import json

import numpy as np
import pytest
import torch
from AttribSegLib.assessment import assess
from AttribSegLib.bundle import load_bundle
from AttribSegLib.comparison.entries import kind_of, methods_of, primary_of
from AttribSegLib.errors import InputError
from AttribSegLib.recipes import Batch, recipe_from_dict
from AttribSegLib.recipes.supervised import (
    SupervisedRecipe,
    generalised_dice,
    hausdorff_distance,
)
from AttribSegLib.training.run import train_bundle
from scipy.ndimage import distance_transform_edt

SMALL = SupervisedRecipe(filters=(32, 64), width=0.15)


def built(recipe=SMALL, dimensions=2, channels=1, seed=0):
    torch.manual_seed(seed)
    return recipe.build(in_channels=channels, dimensions=dimensions)


def batch_of(count=3, size=(16, 18), *, usable=(True, True, True), seed=0):
    """Noise; the pathological images have a bright box."""
    torch.manual_seed(seed)
    healthy = torch.randn(count, 1, *size)
    pathological = torch.randn(count, 1, *size)
    lesions = torch.zeros(count, 1, *size, dtype=torch.bool)
    for index in range(count):
        box = [slice(3 + index, 8 + index) for _ in size]
        lesions[(index, 0, *box)] = True
    pathological[lesions] += 4
    has_mask = torch.tensor(usable)
    return Batch(
        healthy=healthy,
        pathological=pathological,
        healthy_brain=torch.ones_like(lesions),
        pathological_brain=torch.ones_like(lesions),
        lesions=lesions & has_mask.reshape(-1, *(1,) * (lesions.ndim - 1)),
        has_mask=has_mask,
    )


def test_generalised_dice_is_its_formula():
    generator = np.random.default_rng(0)
    p = generator.uniform(size=(2, 1, 5, 6)).astype(np.float32)
    m = (generator.uniform(size=p.shape) < 0.2).astype(np.float32)
    expected = []
    for each, truth in zip(p, m, strict=True):
        above = below = 0.0
        for score, mask in ((each, truth), (1 - each, 1 - truth)):
            weight = 1 / mask.sum() ** 2
            above += 2 * weight * (score * mask).sum()
            below += weight * (score + mask).sum()
        expected.append(1 - above / below)
    found = generalised_dice(torch.from_numpy(p), torch.from_numpy(m))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (64, 64, 48)])
def test_generalised_dice_of_a_healthy_image_is_its_mean_probability_on_any_grid(size):
    p = torch.rand(2, 1, *size)
    found = generalised_dice(p, torch.zeros_like(p))
    torch.testing.assert_close(found, p.flatten(1).mean(1), rtol=1e-3, atol=0)


def test_generalised_dice_ends_at_zero_and_one():
    lesions = torch.zeros(1, 1, 10, 10)
    lesions[..., 2:5, 3:7] = 1
    assert float(generalised_dice(lesions, lesions)) == pytest.approx(0)
    assert float(generalised_dice(1 - lesions, lesions)) == pytest.approx(1)


@pytest.mark.parametrize("size", [(20, 12), (9, 11, 10)])
def test_hausdorff_loss_is_its_formula_in_image_sides(size):
    generator = np.random.default_rng(1)
    p = np.clip(generator.normal(0.4, 0.3, (2, 1, *size)), 0, 1).astype(np.float32)
    m = np.zeros_like(p)
    m[(0, 0, *(slice(2, 5) for _ in size))] = 1  # the second image has no lesion

    def distances(mask):
        if not mask.any():
            return np.zeros(mask.shape)
        return distance_transform_edt(mask) + distance_transform_edt(~mask)

    expected = [
        np.mean((each - truth) ** 2 * (distances(each > 0.5) ** 2 + distances(truth > 0.5) ** 2))
        / np.mean(size) ** 2
        for each, truth in zip(p[:, 0], m[:, 0], strict=True)
    ]
    found = hausdorff_distance(torch.from_numpy(p), torch.from_numpy(m))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_hausdorff_loss_grows_with_the_distance_of_a_wrong_voxel():
    lesions = torch.zeros(1, 1, 32, 32)
    lesions[..., 4:8, 4:8] = 1
    found = []
    for place in (10, 20, 30):
        p = lesions.clone()
        p[..., place, place] = 0.4
        found.append(float(hausdorff_distance(p, lesions)))
    assert 0 < found[0] < found[1] < found[2]
    assert float(hausdorff_distance(lesions, lesions)) == 0


def test_loss_is_the_weighted_sum_of_its_parts_each_kind_of_image_a_half():
    recipe = SMALL.varied(dice_weight=0.5, hausdorff_weight=3.0)
    network, batch = built(recipe), batch_of(usable=(True, False, False))
    loss = recipe.batch_loss(network, batch)
    terms = loss.terms
    whole = terms["classification"] + 0.5 * terms["dice"] + 3.0 * terms["hausdorff"]
    assert float(loss.total.detach()) == pytest.approx(whole, rel=1e-6)
    assert terms["loss"] == pytest.approx(whole, rel=1e-6)
    halves = []
    kinds = ((batch.healthy, torch.zeros_like(batch.lesions)),)
    kinds += ((batch.pathological[:1], batch.lesions[:1]),)
    for images, lesions in kinds:
        p = network.voxel_logits(images).double().sigmoid()
        halves.append(-torch.where(lesions, p.log(), (1 - p).log()).mean())
    assert terms["classification"] == pytest.approx(sum(halves).item() / 2, rel=1e-5)


@pytest.mark.parametrize("usable", [(True, False, True), (False, False, False)])
def test_images_without_a_usable_mask_are_not_learned_from(usable):
    network = built()
    first = batch_of(usable=usable)
    others = first.pathological.clone()
    others[~first.has_mask] = 100 * torch.randn_like(others[~first.has_mask])
    second = Batch(**{**vars(first), "pathological": others})
    gradients = []
    for batch in (first, second):
        network.zero_grad()
        SMALL.batch_loss(network, batch).total.backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert any(bool(g.any()) for g in gradients[0])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_tiny_set_is_learned_by_heart(dimensions):
    size = (16, 18, 8)[:dimensions]
    recipe, batch = SMALL, batch_of(size=size)
    network = built(recipe, dimensions)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(50):
        optimiser.zero_grad()
        recipe.batch_loss(network, batch).total.backward()
        optimiser.step()
    scores, maps = recipe.explain(network, torch.cat([batch.healthy, batch.pathological]))
    truth = torch.cat([torch.zeros_like(batch.lesions), batch.lesions])
    hits = int(((maps > 0.5) & truth).sum())
    assert 2 * hits / int((maps > 0.5).sum() + truth.sum()) > 0.9
    recipe.calibrate(network, scores.tolist(), [0, 0, 0, 1, 1, 1])
    scores, _ = recipe.explain(network, torch.cat([batch.healthy, batch.pathological]))
    assert (scores > 0).tolist() == [False] * 3 + [True] * 3


def test_explanation_is_the_networks_own_answer():
    network, x = built(channels=2), torch.randn(2, 2, 16, 16)
    scores, maps = SMALL.explain(network, x)
    assert maps.shape == (2, 1, 16, 16)
    assert not maps.requires_grad
    torch.testing.assert_close(maps, network.voxel_logits(x).detach().sigmoid())
    torch.testing.assert_close(scores, network(x).detach())
    assert SMALL.map_channels(("FLAIR", "T1")) == ("lesion probability",)


def test_comparisons_know_it_by_its_own_map():
    methods = methods_of(SMALL, ("gradient",))
    assert methods == []
    assert primary_of(SMALL, methods) == kind_of(SMALL, methods) == "lesion probability"


def test_goes_through_json_and_refuses_bad_parameters():
    recipe = SMALL.varied(masks=3)
    assert recipe.masked_patients == 3
    assert SMALL.masked_patients is None
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    bad = {
        "masks": 0,
        "dice_weight": -1,
        "hausdorff_weight": "much",
        "score_share": 2,
        "filters": [8],
    }
    for name, value in bad.items():
        with pytest.raises(InputError, match=name):
            recipe_from_dict({"recipe": "supervised", name: value})


def test_trains_saves_loads_and_is_assessed(small_cohort, tmp_path):
    cohort = small_cohort(slices=True, size=(18, 18, 4), test=4)
    recipe = SMALL.varied(epochs=8, batch_size=4, learning_rate=1e-2, average=0.5)
    folders = [tmp_path / name for name in ("one", "two")]
    bundles = [train_bundle(cohort, recipe, out, device="cpu") for out in folders]
    weights = [(out / "models" / "model.safetensors").read_bytes() for out in folders]
    assert weights[0] == weights[1]
    evaluation = assess(load_bundle(folders[0]), cohort)
    maps = next(iter(evaluation.populations.values())).maps
    assert maps["attribution"].pooled["auprc"] > 0.9
    assert bundles[0].record["history"][-1]["train_dice"] < 0.5


def test_few_masks_are_the_ones_the_constraint_takes_and_none_is_refused(small_cohort, tmp_path):
    from AttribSegLib.cases import load_cases
    from AttribSegLib.training.batch_maker import BatchMaker
    from AttribSegLib.training.distributed import Process

    def masked(recipe, cohort):
        training = load_cases(cohort.in_split("train"), background=-3.0, clip=3.0)
        maker = BatchMaker(recipe, training, seed=1, process=Process())
        shown = {case for _, chosen in maker.batches.epoch(1) for case in chosen}
        assert maker.masked <= shown
        # Of what says nothing about voxels, nothing is shown.
        assert (shown == maker.masked) == (recipe.name == "supervised")
        return maker.masked

    cohort = small_cohort(slices=True)
    both = [
        recipe_from_dict({"recipe": "attribution", "constraint": "sup", "masks": 2}),
        SMALL.varied(masks=2),
    ]
    found = [masked(recipe, cohort) for recipe in both]
    assert found[0] == found[1]
    assert len(found[0]) == 2
    with pytest.raises(InputError, match="no pathological training case has one"):
        masked(SMALL, small_cohort(slices=True, masks=False, name="none"))
