"""The monotone recipe, by itself and through the commands."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from AttribSegLib.bundle import load_bundle
from AttribSegLib.cli import main
from AttribSegLib.errors import InputError
from AttribSegLib.evaluation import PATHOLOGICAL
from AttribSegLib.image_io import read_image
from AttribSegLib.recipes import Batch, recipe_from_dict
from MonotoneNetLib.certificate import certify
from MonotoneNetLib.constraints import feature_divergence, feature_gradient, negative_features
from MonotoneNetLib.recipe import PARTS, MonotoneRecipe
from safetensors.torch import load_file, save_file
from torch.nn import functional

SMALL = {"features": 3, "filters": (8, 16), "strides": (2, 1), "width": 1.0}
SIZES = {2: (20, 18), 3: (14, 15, 13)}


def built(recipe, dimensions=2, channels=1, seed=0):
    torch.manual_seed(seed)
    return recipe.build(in_channels=channels, dimensions=dimensions, size=SIZES[dimensions])


def batch_of(dimensions=2, channels=1, *, healthy=3, pathological=2, seed=0):
    source = torch.Generator().manual_seed(seed)
    size = SIZES[dimensions]

    def images(count):
        return torch.randn(count, channels, *size, generator=source)

    return Batch(
        healthy=images(healthy),
        pathological=images(pathological) + 0.5,
        healthy_brain=torch.ones(healthy, 1, *size, dtype=torch.bool),
        pathological_brain=torch.ones(pathological, 1, *size, dtype=torch.bool),
        lesions=torch.zeros(pathological, 1, *size, dtype=torch.bool),
        has_mask=torch.zeros(pathological, dtype=torch.bool),
    )


def test_it_is_found_by_name_and_survives_its_plain_form():
    recipe = recipe_from_dict({"recipe": "monotone", "ablate": ["divergence"], **SMALL})
    assert isinstance(recipe, MonotoneRecipe)
    again = recipe_from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("network", ["patchgan", "resnet18"])
def test_the_body_is_certified_and_the_features_decide(dimensions, network):
    width = 1.0 if network == "patchgan" else 0.125
    recipe = MonotoneRecipe(**{**SMALL, "width": width}, network=network)
    model = built(recipe, dimensions, channels=2).eval()
    assert recipe.certificate(model) == certify(model.body).to_dict()
    x = batch_of(dimensions, channels=2).healthy
    features = model.features(x)
    assert features.shape == (3, 3, *SIZES[dimensions])
    with torch.no_grad():
        torch.testing.assert_close(model(x), model.body(features))
        assert (model.body(features.abs()) >= 0).all()
        assert (model.body(-features.abs()) <= 0).all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_loss_is_the_sum_of_its_parts(dimensions):
    recipe = MonotoneRecipe(
        **SMALL, negative_weight=0.7, divergence_weight=0.3, gradient_weight=0.05
    )
    model, batch = built(recipe, dimensions), batch_of(dimensions)
    found = recipe.batch_loss(model, batch)
    features = model.features(torch.cat([batch.healthy, batch.pathological]))
    healthy = features[:3]
    logits = torch.cat([model.body(healthy), model.body(features[3:])])
    target = torch.tensor([0.0, 0, 0, 1, 1])
    expected = functional.binary_cross_entropy_with_logits(logits, target)
    expected = expected + 0.7 * negative_features(healthy)
    expected = expected + 0.3 * feature_divergence(healthy, features[3:])
    expected = expected + 0.05 * feature_gradient(logits[:3], healthy)
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert found.terms["loss"] == pytest.approx(found.total.item())


@pytest.mark.parametrize("part", ["negative_features", "divergence", "feature_gradient"])
def test_a_part_left_out_is_left_out(part):
    weights = {"negative_weight": 1.0, "divergence_weight": 1.0, "gradient_weight": 0.1}
    recipe = MonotoneRecipe(**SMALL, **weights)
    model, batch = built(recipe), batch_of()
    whole = recipe.batch_loss(model, batch)
    without = recipe.varied(ablate=(part,)).batch_loss(model, batch)
    weight = {"negative_features": 1.0, "divergence": 1.0, "feature_gradient": 0.1}[part]
    assert part not in without.terms
    expected = without.total.item() + weight * whole.terms[part]
    assert whole.total.item() == pytest.approx(expected, rel=1e-5)


def test_every_part_moves_the_encoder_or_the_body():
    recipe = MonotoneRecipe(**SMALL)
    model, batch = built(recipe), batch_of()
    reached = {}
    for part in ("negative_features", "divergence", "feature_gradient"):
        others = tuple(p for p in PARTS[2:] if p != part)
        large = {"negative_weight": 1e6, "divergence_weight": 1e6, "gradient_weight": 1e6}
        model.zero_grad(set_to_none=True)
        recipe.varied(ablate=others, **large).batch_loss(model, batch).total.backward()
        reached[part] = {
            name: max(
                (float(p.grad.abs().max()) for p in module.parameters() if p.grad is not None),
                default=0.0,
            )
            for name, module in (("encoder", model.encoder), ("body", model.body))
        }
    assert reached["negative_features"]["encoder"] > 10
    assert reached["divergence"]["encoder"] > 10
    assert reached["feature_gradient"]["body"] > 10


def test_batch_norm_sees_the_whole_batch():
    """In an ordinary body with batch norm, healthy images are not normalised apart."""
    recipe = MonotoneRecipe(features=3, network="resnet18", width=0.125, norm="batch")
    recipe = recipe.varied(ablate=("monotone", "negative_features", "divergence"))
    model, batch = built(recipe).train(), batch_of()
    images = torch.cat([batch.healthy, batch.pathological])
    expected = functional.binary_cross_entropy_with_logits(
        model(images), torch.tensor([0.0, 0, 0, 1, 1])
    )
    counter = next(m for m in model.body.modules() if isinstance(m, torch.nn.BatchNorm2d))
    before = int(counter.num_batches_tracked)
    found = recipe.batch_loss(model, batch)
    assert found.terms["classification"] == pytest.approx(float(expected), rel=1e-4)
    assert "feature_gradient" in found.terms
    assert int(counter.num_batches_tracked) == before + 1


def test_training_steps_lower_the_constraints():
    recipe = MonotoneRecipe(**SMALL, encoder_norm="inner", negative_weight=1.0)
    model, batch = built(recipe), batch_of(healthy=6, pathological=6)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    history = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = recipe.batch_loss(model, batch)
        loss.total.backward()
        optimiser.step()
        history.append(loss.terms)
    assert history[-1]["negative_features"] < 0.5 * history[0]["negative_features"]
    assert history[-1]["classification"] < history[0]["classification"]
    assert recipe.certificate(model)  # still monotone


def test_ordinary_weights_and_plain_initialisation():
    ordinary = MonotoneRecipe(**SMALL, ablate="monotone")
    model = built(ordinary)
    assert ordinary.certificate(model) == {}
    assert any(bool((p < 0).any()) for p in model.body.parameters())
    with pytest.raises(InputError):
        certify(model.body)
    ours, kaiming = MonotoneRecipe(**SMALL), MonotoneRecipe(**SMALL, ablate=("initialisation",))
    noise = torch.randn(64, 1, *SIZES[2])
    size = []
    for recipe in (ours, kaiming):
        model = built(recipe)
        with torch.no_grad():
            size.append(float(model.body.layers[0](model.features(noise)).square().mean().sqrt()))
    assert size[0] == pytest.approx(1, abs=0.1)
    assert abs(size[1] - 1) > 0.2


@pytest.mark.parametrize("ablate", [(), ("monotone",)])
def test_counterfactuals_are_the_maps(ablate):
    recipe = MonotoneRecipe(**SMALL, ablate=ablate)
    model, x = built(recipe).eval(), batch_of().pathological
    logits, maps = recipe.explain(model, x)
    features = model.features(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(logits, model(x), rtol=1e-4, atol=1e-5)
        changed = model.body(features - maps)
    assert maps.shape == features.shape
    assert not maps.requires_grad
    if not ablate:
        assert (maps >= 0).all()
        assert (changed < -15).all()
    assert recipe.map_channels(["FLAIR"]) == ("feature1", "feature2", "feature3")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ablate": ["norm"]}, "ablate 'norm'"),
        ({"network": "vgg"}, "network 'vgg'"),
        ({"positivity": "exp"}, "positivity 'exp'"),
        ({"encoder": "vit"}, "encoder 'vit'"),
        ({"divergence": "js"}, "divergence 'js'"),
        ({"features": 0}, "features 0"),
        ({"bins": 1}, "bins 1"),
        ({"negative_weight": -1}, "negative_weight -1"),
        ({"sparsity": float("nan")}, "sparsity nan"),
        ({"unknown": 1}, "'unknown'"),
    ],
)
def test_bad_parameters_are_named(options, message):
    with pytest.raises(InputError, match=message):
        recipe_from_dict({"recipe": "monotone", **options})


@pytest.mark.parametrize("activation", ["softplus"])
def test_a_body_that_cannot_be_monotone_is_refused(activation):
    with pytest.raises(InputError, match="SmoothLeakyReLU"):
        built(MonotoneRecipe(**SMALL, activation=activation))


def test_another_network_is_refused():
    with pytest.raises(InputError, match="InterpretableMonotoneNet"):
        MonotoneRecipe().explain(torch.nn.Identity(), torch.zeros(1, 1, 4, 4))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, slice_table, small_recipe):
    """Folder of a bundle made by ``attribseg train``."""
    folder = tmp_path_factory.mktemp("monotone")
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps(small_recipe), encoding="utf-8")
    out = folder / "bundle"
    arguments = ["train", str(slice_table), "--out", str(out), "--recipe", str(recipe)]
    assert main([*arguments, "--reduction", "masks", "--json"]) == 0
    return out


def test_the_bundle_keeps_its_certificate_and_its_channel(trained):
    bundle = load_bundle(trained)
    config = json.loads((trained / "config.json").read_text(encoding="utf-8"))
    assert config["certificate"] == bundle.certificate == certify(bundle.network.body).to_dict()
    assert config["reduction"] == bundle.reduction
    assert bundle.reduction in ("channel 1", "channel 2", "channel 3")
    names = {"attribution", "attribution, mean over channels", "attribution, maximum over channels"}
    assert names | {"FLAIR intensity"} == set(bundle.thresholds)


def test_a_bundle_that_is_not_monotone_is_not_loaded(trained, tmp_path):
    """Somebody writes weights that break the promise: a bias that is not zero."""
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    weights = broken / "models" / "model.safetensors"
    tensors = load_file(weights)
    name = next(n for n in tensors if n.startswith("body.") and n.endswith("bias"))
    save_file({**tensors, name: torch.ones_like(tensors[name])}, weights)
    with pytest.raises(InputError, match="bias"):
        load_bundle(broken)


def test_the_best_channel_is_that_of_the_validation_masks(trained, slice_table):
    """By hand: pooled Dice at its best threshold, for each channel."""
    from AttribSegLib.cases import load_cases
    from AttribSegLib.cohort import read_cohort
    from AttribSegLib.inference import predict

    bundle = load_bundle(trained)
    cases = load_cases(read_cohort(slice_table).in_split("validation"))
    dice = []
    for channel in range(3):
        values, truth = [], []
        for case in (c for c in cases if c.case.label):
            map_ = predict(bundle, case.array[None])[0].channels[channel]
            values.append(map_[case.brain])
            truth.append(case.lesions[case.brain])
        order = np.argsort(-np.concatenate(values), kind="stable")
        hits = np.cumsum(np.concatenate(truth)[order])
        dice.append(float(np.max(2 * hits / (np.arange(1, len(hits) + 1) + hits[-1]))))
    chosen = int(bundle.reduction.split()[1]) - 1
    assert dice[chosen] == pytest.approx(max(dice), abs=0.02)


def test_evaluate_has_the_best_channel_the_mean_and_the_maximum(trained, slice_table, tmp_path):
    out = tmp_path / "evaluation"
    assert main(["evaluate", str(slice_table), "--bundle", str(trained), "--out", str(out)]) == 0
    found = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    maps = found["populations"][PATHOLOGICAL]["maps"]
    reduced = [f"attribution, {how} over channels" for how in ("mean", "maximum")]
    for name in ("attribution", *reduced, "FLAIR intensity"):
        assert 0 <= maps[name]["pooled"]["auprc"] <= 1
    # A box of five voxels in noise: the maps must know where it is.
    assert maps["attribution"]["pooled"]["auroc"] > 0.9


def test_compare_reads_it_thrice(trained, slice_table, tmp_path):
    plan = tmp_path / "plan.json"
    content = {"recipes": {"Monotone": {"bundle": str(trained)}}, "examples": 1}
    plan.write_text(json.dumps(content), encoding="utf-8")
    out = tmp_path / "comparison"
    assert main(["compare", str(slice_table), "--recipes", str(plan), "--out", str(out)]) == 0
    with (out / "table_auprc.csv").open(encoding="utf-8", newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["Entry"] == "Monotone")
    names = ["counterfactual", "counterfactual, mean", "counterfactual, maximum"]
    assert all(0 <= float(row[name]) <= 1 for name in names)
    assert len({row[name] for name in names}) > 1


def test_detect_writes_a_map_for_every_feature(trained, slice_table, tmp_path):
    image = slice_table.parent / "test1.nii"
    out = tmp_path / "detection"
    arguments = ["detect", str(image), "--bundle", str(trained), "--out", str(out)]
    arguments += ["--preprocess", "none"]
    assert main(arguments) == 0
    maps = [read_image(path).array for path in sorted(out.rglob("*_attribution_feature*.nii.gz"))]
    assert len(maps) == 3
    assert all((values >= 0).all() for values in maps)
    chosen = int(load_bundle(trained).reduction.split()[1]) - 1
    combined = read_image(next(out.rglob("*_attribution.nii.gz"))).array
    np.testing.assert_allclose(combined, maps[chosen], atol=1e-6)


def test_another_choice_of_the_channel_is_not_passed_over(trained, slice_table, capsys):
    recipe = trained.parent / "recipe.json"
    arguments = ["train", str(slice_table), "--out", str(trained), "--recipe", str(recipe)]
    assert main([*arguments, "--resume", "--reduction", "masks"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--resume", "--reduction", "mean"]) != 0
    assert "another reduction (masks)" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--reduction", "median"]) != 0
    assert "'median'" in capsys.readouterr().err


def test_masks_that_do_not_exist_are_missed_before_the_training(
    small_recipe, slice_table, tmp_path
):
    from AttribSegLib.cohort import read_cohort
    from AttribSegLib.training.run import train_bundle

    lines = slice_table.read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines]
    without = slice_table.with_name("without.csv")
    kept = [",".join([*row[:5], row[6]]) for row in rows]
    without.write_text("\n".join(kept) + "\n", encoding="utf-8")
    recipe = recipe_from_dict(small_recipe)
    events = []
    with pytest.raises(InputError, match="reduction by masks"):
        train_bundle(
            read_cohort(without), recipe, tmp_path, reduction="masks", on_event=events.append
        )
    assert "step" not in {event["event"] for event in events}
