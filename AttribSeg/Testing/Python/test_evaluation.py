import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.evaluation import (
    ALL_CASES,
    PATHOLOGICAL,
    EvaluatedCase,
    Summary,
    evaluate,
)
from AttribSegLib.image import Geometry
from AttribSegLib.metrics.voxel import dice, hausdorff_distance
from AttribSegLib.thresholds import Threshold

sklearn_metrics = pytest.importorskip("sklearn.metrics")

SIZE = (7, 8, 6)
THRESHOLDS = {
    "attribution": Threshold(1e-6, "healthy-false-positive-volume", {"allowed_ml": 1.0}, "val"),
    "FLAIR intensity": Threshold(1.5, "precision-recall", {}, "val"),
}


def make_case(index, label, *, mask=True, nominal=False, maps=("attribution", "FLAIR intensity")):
    rng = np.random.default_rng(index)
    brain = np.zeros(SIZE, bool)
    brain[1:6, 1:7, 1:5] = True
    lesions = np.zeros(SIZE, bool)
    if label:
        lesions[2:4, 2:5, 1 : 3 + index % 2] = True
        lesions[0, 0, 0] = True  # outside the brain
    scale = {"attribution": 1e-6, "FLAIR intensity": 1.0}
    scores = {
        name: (scale[name] * (rng.normal(size=SIZE) + 2 * lesions)).astype(np.float32)
        for name in maps
    }
    logit = float(rng.normal(3 * (2 * label - 1), 2))
    return EvaluatedCase(
        case=f"case-{index}",
        patient=f"patient-{index // 2}",
        label=label,
        probability=float(1 / (1 + np.exp(-logit))),
        logit=logit,
        maps=scores,
        brain=brain,
        lesions=lesions if mask and label else None,
        geometry=Geometry(size=SIZE, spacing=(1.0, 2.0, 3.0), nominal=nominal),
    )


def make_cases(count=12, **options):
    return [make_case(index, (index // 2) % 2, **options) for index in range(count)]


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(iter(make_cases()), thresholds=THRESHOLDS)


def pooled(cases, name):
    scores = np.concatenate([case.maps[name][case.brain] for case in cases])
    truth = np.concatenate(
        [
            np.zeros(case.brain.sum(), bool) if case.lesions is None else case.lesions[case.brain]
            for case in cases
        ]
    )
    return scores, truth


@pytest.mark.parametrize("name", ["attribution", "FLAIR intensity"])
@pytest.mark.parametrize("population", [PATHOLOGICAL, ALL_CASES])
def test_pooled_metrics_equal_scikit_learn(evaluation, name, population):
    cases = [case for case in make_cases() if case.label or population == ALL_CASES]
    scores, truth = pooled(cases, name)
    found = evaluation.populations[population]
    result = found.maps[name].pooled
    assert result["auroc"] == pytest.approx(sklearn_metrics.roc_auc_score(truth, scores))
    expected = sklearn_metrics.average_precision_score(truth, scores)
    assert result["auprc"] == pytest.approx(expected)
    mask = scores > np.float64(THRESHOLDS[name].value)
    assert result["dice"] == pytest.approx(sklearn_metrics.f1_score(truth, mask))
    assert result["dice"] <= result["oracle_dice"]
    best = scores > np.float64(result["oracle_threshold"])
    assert dice(best, truth) == pytest.approx(result["oracle_dice"])
    assert found.prevalence == pytest.approx(truth.mean())
    assert (found.cases, found.patients) == ((6, 3) if population == PATHOLOGICAL else (12, 6))
    point = found.maps[name].curves.operating
    assert point["recall"] == pytest.approx(sklearn_metrics.recall_score(truth, mask))
    assert point["precision"] == pytest.approx(sklearn_metrics.precision_score(truth, mask))
    assert point["selected"] == pytest.approx(mask.mean())


def test_rows_hold_the_metrics_of_each_case(evaluation):
    cases = {case.case: case for case in make_cases()}
    assert len(evaluation.rows) == 24
    for row in evaluation.rows:
        case = cases[row.case]
        values = case.maps[row.map]
        threshold = THRESHOLDS[row.map].value
        mask = (values > np.float64(threshold)) & case.brain
        assert row.segmented_voxels == mask.sum()
        assert row.segmented_ml == pytest.approx(mask.sum() * 6 / 1000)
        if case.label == 0:
            assert row.dice == float(not mask.any())
            assert row.false_positive_fraction == mask.sum() / case.brain.sum()
            assert row.false_positive_ml == row.segmented_ml
            assert np.isnan([row.auroc, row.oracle_dice, row.hausdorff_mm]).all()
            continue
        lesions = case.lesions & case.brain
        assert row.lesion_voxels_outside_brain == 1
        assert row.lesion_ml == pytest.approx(lesions.sum() * 6 / 1000)
        assert row.dice == pytest.approx(dice(mask, lesions))
        assert row.dice <= row.oracle_dice
        spacing = case.geometry.spacing
        assert row.hausdorff_mm == pytest.approx(hausdorff_distance(mask, lesions, spacing))
        robust = hausdorff_distance(mask, lesions, spacing, percentile=95)
        assert row.hausdorff95_mm == pytest.approx(robust)
        assert np.isnan(row.false_positive_ml)


def test_summaries_are_over_the_population_s_cases(evaluation):
    for name in THRESHOLDS:
        own = [row.dice for row in evaluation.rows if row.map == name and row.label]
        summary = evaluation.populations[PATHOLOGICAL].maps[name].per_case["dice"]
        assert summary == Summary(np.mean(own), pytest.approx(np.std(own, ddof=1)), 6, 0)
        everyone = evaluation.populations[ALL_CASES].maps[name].per_case
        # The oracle of a healthy case is always 1: it is never averaged in.
        assert list(everyone) == ["dice"]
        assert everyone["dice"].n == 12
        amounts = [r.false_positive_ml for r in evaluation.rows if r.map == name and not r.label]
        found = evaluation.healthy[name]["false_positive_ml"]
        assert found.mean == pytest.approx(np.mean(amounts))


def test_image_metrics_and_counts(evaluation):
    cases = make_cases()
    labels, logits = [c.label for c in cases], [c.logit for c in cases]
    expected = sklearn_metrics.roc_auc_score(labels, logits)
    assert evaluation.image["auroc"].value == pytest.approx(expected)
    assert evaluation.counts == {"cases": 12, "healthy": 6, "pathological": 6, "patients": 6}
    assert any("outside the brain" in note for note in evaluation.notes)
    again = evaluate(make_cases(), thresholds=THRESHOLDS)
    assert again.image == evaluation.image


def test_a_perfect_map_has_perfect_metrics():
    cases = [
        replace(case, maps={"map": (case.lesions if case.label else np.zeros(SIZE)) * 1.0})
        for case in make_cases()
    ]
    found = evaluate(cases, thresholds={"map": Threshold(0.5, "precision-recall")})
    for population in found.populations.values():
        result = population.maps["map"]
        for metric in ("dice", "oracle_dice", "auroc", "auroc10", "auprc"):
            assert result.pooled[metric] == pytest.approx(1.0)
        assert result.per_case["dice"].mean == 1.0
    per_case = found.populations[PATHOLOGICAL].maps["map"].per_case
    assert per_case["hausdorff_mm"].mean == 0.0
    assert found.healthy["map"]["free_of_false_positives"].mean == 1.0


def test_nominal_spacing_switches_off_everything_in_mm_and_ml():
    found = evaluate(make_cases(nominal=True), thresholds=THRESHOLDS)
    for row in found.rows:
        values = [row.lesion_ml, row.segmented_ml, row.false_positive_ml]
        assert np.isnan([*values, row.hausdorff_mm, row.hausdorff95_mm]).all()
    assert "false_positive_ml" not in found.healthy["attribution"]
    assert found.healthy["attribution"]["false_positive_fraction"].n == 6
    assert any("nominal" in note for note in found.notes)


def test_voxel_metrics_are_skipped_with_a_reason():
    without = evaluate(make_cases(mask=False), thresholds=THRESHOLDS)
    assert without.populations == {}
    assert any("no pathological case has a lesion mask" in note for note in without.notes)
    assert without.healthy["attribution"]["false_positive_ml"].n == 6
    mapless = evaluate(make_cases(maps=()), thresholds={})
    assert mapless.rows == []
    assert any("no score map" in note for note in mapless.notes)


def test_cases_without_a_usable_mask_are_left_out_and_counted():
    cases = make_cases()
    cases[2] = replace(cases[2], lesions=None)
    cases[3] = replace(cases[3], lesions=np.zeros(SIZE, bool))
    found = evaluate(cases, thresholds=THRESHOLDS)
    assert found.populations[PATHOLOGICAL].cases == 4
    assert found.populations[ALL_CASES].cases == 10
    assert any(note.startswith("1 pathological cases have no mask") for note in found.notes)
    assert any("empty lesion mask" in note for note in found.notes)


def test_nothing_segmented_is_counted_as_undefined_distance():
    high = {"attribution": Threshold(1.0, "precision-recall")}
    found = evaluate(make_cases(maps=("attribution",)), thresholds=high)
    per_case = found.populations[PATHOLOGICAL].maps["attribution"].per_case
    assert per_case["hausdorff_mm"].undefined == 6
    assert per_case["dice"].mean == 0.0
    assert np.isnan(
        found.populations[PATHOLOGICAL].maps["attribution"].curves.operating["precision"]
    )


def test_maps_without_a_threshold_have_threshold_free_metrics():
    found = evaluate(make_cases(), thresholds={"attribution": THRESHOLDS["attribution"]})
    result = found.populations[PATHOLOGICAL].maps["FLAIR intensity"]
    assert np.isnan(result.pooled["dice"])
    assert result.per_case["dice"].n == 0
    assert result.per_case["auroc"].n == 6
    assert result.curves.operating is None
    assert "FLAIR intensity" not in found.healthy
    assert all(r.segmented_voxels is None for r in found.rows if r.map == "FLAIR intensity")


def test_events_report_progress():
    events = []
    evaluate(make_cases(4), thresholds=THRESHOLDS, on_event=events.append)
    assert [event["done"] for event in events] == [1, 2, 3, 4]
    assert events[0] == {"event": "case", "case": "case-0", "done": 1}


def test_one_class_only():
    cases = [make_case(index, 1) for index in range(4)]
    found = evaluate(cases, thresholds=THRESHOLDS)
    assert np.isnan(found.image["auroc"].value)
    assert any("one class" in note for note in found.notes)
    assert found.populations[ALL_CASES].cases == 4
    assert found.healthy == {}


def test_faults_are_refused_by_name():
    case = make_case(2, 1)
    with pytest.raises(InputError, match="no case"):
        evaluate([], thresholds={})
    with pytest.raises(InputError, match="case-2 occurs twice"):
        evaluate([case, case], thresholds={})
    with pytest.raises(InputError, match="case-3 has the maps"):
        evaluate([case, make_case(3, 1, maps=("attribution",))], thresholds={})
    with pytest.raises(InputError, match=r"case-2: attribution of shape \(2, 2\)"):
        replace(case, maps={"attribution": np.ones((2, 2))})
    with pytest.raises(InputError, match="case-2: the brain mask is empty"):
        replace(case, brain=np.zeros(SIZE, bool))
    with pytest.raises(InputError, match="labelled healthy"):
        replace(case, label=0)
    with pytest.raises(InputError, match="label 2"):
        replace(case, label=2)
    with pytest.raises(InputError, match="logit nan"):
        replace(case, logit=float("nan"))
    with pytest.raises(InputError, match="m holds NaN"):
        replace(case, maps={"m": np.full(SIZE, np.nan)})
    with pytest.raises(InputError, match="lesion mask of shape"):
        replace(case, lesions=np.zeros((1, 1, 1), bool))


def test_importing_the_modules_pulls_in_nothing_heavy():
    code = (
        "import sys, AttribSegLib.evaluation_report, AttribSegLib.thresholds\n"
        "heavy = {'sklearn', 'scipy', 'matplotlib', 'torch', 'SimpleITK', 'slicer'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
