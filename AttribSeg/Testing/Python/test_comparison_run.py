"""A whole comparison of tiny recipes on tiny slices, and its figures against independent ones."""

import json
from dataclasses import replace

import numpy as np
import pytest
from AttribSegLib.assessment import assess
from AttribSegLib.bundle import load_bundle
from AttribSegLib.cases import load_cases
from AttribSegLib.cli import main
from AttribSegLib.comparison.plan import Plan
from AttribSegLib.comparison.report import write_comparison
from AttribSegLib.comparison.run import compare
from AttribSegLib.comparison.sources import NetworkMaps, reference_images
from AttribSegLib.errors import Cancelled, InputError
from AttribSegLib.evaluation import PATHOLOGICAL
from AttribSegLib.metrics.voxel import dice, pearson_correlation
from sklearn.metrics import average_precision_score

COMMON = {
    "epochs": 2,
    "batch_size": 4,
    "background": 0.0,
    "clip": 0.0,
    "width": 0.06,
    "augmentation": {"brightness": [1, 1], "flip": 0, "elastic": 0, "affine": 0},
}
SMALL = {"strides": [2, 1, 1, 1], "alpha_warmup": 0.0, "alpha": 0.1}
CONTENT = {
    "common": COMMON,
    "recipes": {
        "Unsup": SMALL,
        "Unsup EG": {**SMALL, "attribution": "expected_gradients"},
        "None": {**SMALL, "constraint": "none"},
        "AE": {"recipe": "autoencoder", "filters": [8, 8], "strides": [2, 2], "latent": 4},
    },
    "inference": ["gradient", "integrated_gradients"],
    "post_processing": ["labels", "masks"],
    "allowance": {"ml": 3.0, "fraction": 0.05},
    "references": 3,
    "examples": 2,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A comparison, its cohort, its folder and the events of its run."""
    from AttribSegLib.cohort import read_cohort

    folder = tmp_path_factory.mktemp("comparison")
    table = write_slices(folder / "cohort")
    cohort = read_cohort(table)
    events = []
    plan = Plan.from_dict(CONTENT)
    out = folder / "out"
    return compare(cohort, plan, out, on_event=events.append), cohort, out, events


def write_slices(folder):
    """Slices with a bright box in the pathological ones, as `small_cohort` writes them."""
    from AttribSegLib.image import Geometry, Image
    from AttribSegLib.image_io import write_image

    folder.mkdir()
    rng = np.random.default_rng(0)
    size, grid = (14, 12, 3), Geometry((14, 12, 3), (4.0,) * 3)
    x, y, _ = np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij")
    brain = x**2 + y**2 < 0.95
    lines = ["case,patient,label,split,FLAIR,lesions,slice"]
    for split, count in (("train", 8), ("validation", 6), ("test", 8)):
        for number in range(count):
            case, label = f"{split}{number}", number % 2
            array = np.where(brain, 100 + 10 * rng.standard_normal(size), 0.0)
            mask = np.zeros(size, dtype=np.uint8)
            if label:
                i, j = rng.integers(4, 7, 2)
                mask[i : i + 2 + number // 3, j : j + 3] = 1
                mask &= brain
                array[mask > 0] += 60
            write_image(Image(array.astype(np.float32), grid), folder / f"{case}.nii")
            write_image(Image(mask, grid), folder / f"{case}_m.nii")
            cells = [case, f"p{number // 2}-{split}", label, split, f"{case}.nii"]
            lines.append(",".join(map(str, [*cells, f"{case}_m.nii" if label else "", 1])))
    table = folder / "cohort.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def test_entries_maps_and_order(finished):
    comparison, _, _, _ = finished
    assert comparison.entries == ["FLAIR intensity", "Unsup", "Unsup EG", "None", "AE"]
    assert [run.kind for run in comparison.runs] == ["intensity", *["classifier"] * 3, "baseline"]
    primary = [run.primary for run in comparison.runs]
    own = ["gradient", "expected_gradients", "gradient", "residual"]
    assert primary == ["FLAIR intensity", *own]
    for run in comparison.runs:
        rules = [scored.rule for scored in run.maps]
        assert rules == sorted(rules, key=["none", "labels", "masks"].index)  # raw maps first
        assert run.cases == [f"test{n}" for n in (1, 3, 5, 7)]
    assert comparison.counts == {
        "cases": 8,
        "healthy": 4,
        "pathological": 4,
        "patients": 4,
        "masked": 4,
    }
    names = [scored.name for scored in comparison.runs[2].maps if scored.rule == "none"]
    assert names == ["expected_gradients", "gradient", "integrated_gradients"]
    assert comparison.runs[4].budget["epochs"] == 2


def test_raw_figures_are_those_of_evaluate(finished):
    comparison, cohort, out, _ = finished
    bundle = load_bundle(out / "models" / "unsup-0")
    found = assess(bundle, cohort)
    tuned = assess(bundle, cohort, mask_tuned=True)
    run = comparison.runs_of("Unsup")[0]
    for name, of in (("gradient", "attribution"), ("FLAIR intensity", "FLAIR intensity")):
        where = run if name == "gradient" else comparison.runs[0]
        scored = where.map(name)
        population = found.populations[PATHOLOGICAL].maps[of]
        for metric in ("auprc", "auroc", "auroc10", "oracle_dice", "dice"):
            assert scored.pooled[metric] == pytest.approx(population.pooled[metric]), metric
        expected = tuned.populations[PATHOLOGICAL].maps[of].pooled["dice"]
        assert scored.pooled["tuned_dice"] == pytest.approx(expected)
        rows = {r.case: r for r in tuned.rows if r.map == of}
        assert scored.per_case["tuned_dice"] == [rows[case].dice for case in where.cases]
        assert scored.threshold == pytest.approx(bundle.thresholds[of].value)
    assert run.image["auroc"] == pytest.approx(found.image["auroc"].value)


def test_expected_gradients_correlations_and_average_precision_by_hand(finished):
    comparison, cohort, out, _ = finished
    bundle = load_bundle(out / "models" / "unsup-eg-0")
    references = reference_images(bundle, cohort.in_split("train"), 3)
    methods = ["expected_gradients", "gradient"]
    source = NetworkMaps(bundle, methods, references=references)
    correlations, scores, truth = [], [], []
    for case in load_cases(cohort.in_split("test")):
        (maps,) = source.maps([case], methods)
        a, b = (maps[name].attribution[case.brain] for name in methods)
        correlations.append(pearson_correlation(a, b))
        if case.case.label:
            scores.append(a)
            truth.append(case.lesions[case.brain])
    run = comparison.runs_of("Unsup EG")[0]
    found = run.correlations["expected_gradients"]
    assert found["gradient"] == pytest.approx(np.mean(correlations), rel=1e-6)
    assert found["expected_gradients"] == 1.0
    expected = average_precision_score(np.concatenate(truth), np.concatenate(scores))
    assert run.map("expected_gradients").pooled["auprc"] == pytest.approx(expected, rel=1e-6)


def test_post_processed_maps_have_their_own_thresholds(finished):
    comparison, _, _, _ = finished
    for run in comparison.runs:
        for scored in run.maps:
            raw = run.map(scored.name)
            if scored.processing == "raw":
                assert scored.pooled == pytest.approx(raw.pooled, nan_ok=True)
        masks = [scored for scored in run.maps if scored.rule == "masks"]
        assert len(masks) == len([scored for scored in run.maps if scored.rule == "none"])


def test_histograms_are_densities_of_known_voxels(finished):
    comparison, _, _, _ = finished
    histogram = comparison.runs_of("None")[0].map("gradient").histogram
    width = np.diff(histogram["edges"])
    for part in ("healthy", "lesion", "rest"):
        assert np.dot(histogram[part], width) == pytest.approx(1.0)
    assert comparison.runs_of("None")[0].map("gradient", "labels").histogram == {}


def test_examples_are_slices_with_maps_of_every_entry(finished):
    comparison, _, _, _ = finished
    assert len(comparison.examples) == 2
    sizes = [example.lesions.sum() for example in comparison.examples]
    assert sizes == sorted(sizes)
    for example in comparison.examples:
        assert list(example.maps) == comparison.entries
        run = comparison.runs_of("Unsup")[0]
        place = run.cases.index(example.case)
        mask = (example.maps["Unsup"] > example.thresholds["Unsup"])[example.brain]
        found = dice(mask, example.lesions[example.brain])
        assert found == pytest.approx(run.map("gradient").per_case["dice"][place])


def test_a_second_run_trains_and_scores_nothing(finished):
    comparison, cohort, out, _ = finished
    events = []
    again = compare(cohort, Plan.from_dict(CONTENT), out, on_event=events.append)
    assert {"step", "epoch", "case", "load"}.isdisjoint(event["event"] for event in events)
    for one, other in zip(comparison.runs, again.runs, strict=True):
        left, right = (json.dumps(run.to_dict()) for run in (one, other))
        assert left == right
    first, second = comparison.examples[0], again.examples[0]
    np.testing.assert_array_equal(first.maps["AE"], second.maps["AE"])


def test_one_more_recipe_leaves_the_others_alone(finished):
    comparison, cohort, out, _ = finished
    recipes = {**CONTENT["recipes"], "Ross": {**SMALL, "constraint": "ross"}}
    events = []
    plan = Plan.from_dict({**CONTENT, "recipes": recipes})
    more = compare(cohort, plan, out, on_event=events.append)
    assert more.entries == [*comparison.entries, "Ross"]
    assert sum(event["event"] == "start" for event in events) == 1


def test_a_bundle_from_elsewhere_is_scored_not_trained(finished, tmp_path):
    comparison, cohort, out, _ = finished
    recipes = {"Ours": {"bundle": str(out / "models" / "unsup-0")}}
    plan = Plan.from_dict({**CONTENT, "recipes": recipes, "inference": [], "seeds": [0, 1]})
    events = []
    found = compare(cohort, plan, tmp_path / "out", on_event=events.append)
    assert "start" not in {event["event"] for event in events}
    assert found.entries == ["FLAIR intensity", "Ours"]
    assert "trained elsewhere" in found.notes[0]
    ours, theirs = found.runs[1].map("gradient"), comparison.runs_of("Unsup")[0].map("gradient")
    assert ours.pooled == theirs.pooled
    with pytest.raises(InputError, match=r"recipe 'Gone': .*no such bundle folder"):
        Plan.from_dict({"recipes": {"Gone": {"bundle": str(tmp_path / "gone")}}})


def test_a_sweep_over_alpha(finished, tmp_path):
    _, cohort, _, _ = finished
    recipes = {"Unsup": CONTENT["recipes"]["Unsup"]}
    sweep = {"recipe": "Unsup", "alphas": [0.01, 1.0], "cohorts": {"4 mm": None}}
    plan = Plan.from_dict(
        {**CONTENT, "recipes": recipes, "inference": [], "post_processing": [], "sweep": sweep}
    )
    with pytest.raises(InputError, match="every resolution"):
        compare(cohort, plan, tmp_path / "out")
    found = compare(cohort, plan, tmp_path / "out", sweep_cohorts={"4 mm": cohort})
    assert [(p.resolution, p.alpha) for p in found.sweep] == [("4 mm", 0.01), ("4 mm", 1.0)]
    bundle = load_bundle(tmp_path / "out" / "models" / "sweep-4-mm-1-0")
    assert bundle.recipe.alpha == 1.0
    expected = assess(bundle, cohort)
    pooled = expected.populations[PATHOLOGICAL].maps["attribution"].pooled
    assert found.sweep[1].auprc == pytest.approx(pooled["auprc"])
    assert found.sweep[1].true_negative_rate == expected.image["true_negative_rate"].value


def test_a_recipe_that_fails_is_reported(finished, tmp_path):
    _, cohort, _, _ = finished
    # The network does not fit the slices.
    recipes = {"None": CONTENT["recipes"]["None"], "Large": {"constraint": "none"}}
    base = {**CONTENT, "inference": [], "post_processing": []}
    found = compare(cohort, Plan.from_dict({**base, "recipes": recipes}), tmp_path / "out")
    assert found.entries == ["FLAIR intensity", "None"]
    assert "Large, seed 0, failed" in found.notes[0]
    with pytest.raises(InputError, match="every recipe failed"):
        compare(cohort, Plan.from_dict({**base, "recipes": {"Large": {}}}), tmp_path / "other")


def test_it_stops_and_goes_on(finished, tmp_path):
    _, cohort, _, _ = finished
    plan = replace(Plan.from_dict(CONTENT), post_processing=(), inference=())
    events = []

    def stop():
        return sum(event["event"] == "epoch" for event in events) >= 3

    with pytest.raises(Cancelled):
        compare(cohort, plan, tmp_path / "out", on_event=events.append, should_stop=stop)
    events.clear()
    compare(cohort, plan, tmp_path / "out", on_event=events.append)
    epochs = [event for event in events if event["event"] == "epoch"]
    # Eight in all; three were done, one of them in a training that was begun.
    assert len(epochs) == 5


def test_command_line(finished, tmp_path, capsys):
    _, cohort, out, _ = finished
    file = tmp_path / "recipes.json"
    file.write_text(json.dumps(CONTENT), encoding="utf-8")
    assert main(["compare", cohort.source, "--recipes", str(file), "--out", str(out)]) == 0
    assert "index.html" in capsys.readouterr().out
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "Unsup EG" in page
    file.write_text(json.dumps({**CONTENT, "seeds": "x"}), encoding="utf-8")
    assert main(["compare", cohort.source, "--recipes", str(file), "--out", str(out)]) == 2
    assert "recipes.json: seeds" in capsys.readouterr().err


def test_report_of_a_real_comparison(finished, tmp_path):
    comparison, _, _, _ = finished
    written = write_comparison(comparison, tmp_path)
    text = written["markdown"].read_text(encoding="utf-8")
    assert text.index("Raw") < text.index("ost-process")
    for name in comparison.entries:
        assert name in text


def test_volumes_compare_too(volume_cohort, tmp_path):
    from AttribSegLib.cohort import read_cohort

    cohort = read_cohort(volume_cohort(tmp_path / "cohort"))
    recipes = {"Unsup": {"alpha_warmup": 0.0}, "AE": {"recipe": "autoencoder", "latent": 4}}
    plan = Plan.from_dict(
        {
            **CONTENT,
            "common": {**COMMON, "epochs": 1},
            "recipes": recipes,
            "inference": ["expected_gradients", "grad_cam"],
            "post_processing": ["labels"],
            "allowance": {"ml": 30},
        }
    )
    found = compare(cohort, plan, tmp_path / "out")
    assert found.entries == ["FLAIR intensity", "Unsup", "AE"]
    assert found.notes == []
    assert np.isfinite(found.runs[1].map("expected_gradients").pooled["auprc"])
    assert found.examples[0].image.ndim == 2
