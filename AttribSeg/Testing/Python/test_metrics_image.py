import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.metrics.image import (
    auroc,
    bootstrap_interval,
    class_weighted_accuracy,
    image_metrics,
    true_negative_rate,
    true_positive_rate,
    wilson_interval,
)
from hypothesis import given, settings
from hypothesis import strategies as st

quick = settings(max_examples=40, deadline=None)

sklearn_metrics = pytest.importorskip("sklearn.metrics")

binary = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=40)


@quick
@given(binary)
def test_metrics_equal_scikit_learn(pairs):
    pairs = [*pairs, (0, 1), (1, 0)]
    labels, scores = (np.array(column) for column in zip(*pairs, strict=True))
    predicted = (scores > 0).astype(int)
    recall = sklearn_metrics.recall_score
    assert true_positive_rate(labels, predicted) == pytest.approx(recall(labels, predicted))
    expected = recall(labels, predicted, pos_label=0)
    assert true_negative_rate(labels, predicted) == pytest.approx(expected)
    expected = sklearn_metrics.balanced_accuracy_score(labels, predicted)
    assert class_weighted_accuracy(labels, predicted) == pytest.approx(expected)
    expected = sklearn_metrics.roc_auc_score(labels, scores)
    assert auroc(labels, scores) == pytest.approx(expected)


def test_one_class_is_undefined_not_perfect():
    assert np.isnan(class_weighted_accuracy([1, 1], [1, 1]))
    assert np.isnan(true_negative_rate([1, 1], [1, 1]))
    assert np.isnan(true_positive_rate([0], [0]))
    assert np.isnan(auroc([1, 1], [0.1, 0.2]))
    found = image_metrics([1, 1, 1], [1.0, 2.0, -1.0], ["a", "b", "c"])
    assert found["true_positive_rate"].value == pytest.approx(2 / 3)
    assert found["true_positive_rate"].low < 2 / 3 < found["true_positive_rate"].high
    for name in ("class_weighted_accuracy", "true_negative_rate", "auroc"):
        estimate = found[name]
        assert np.isnan([estimate.value, estimate.low, estimate.high]).all()


def test_labels_other_than_0_and_1_are_refused():
    with pytest.raises(InputError, match="0 \\(healthy\\) or 1"):
        true_positive_rate([1, 2], [1, 1])


@quick
@given(st.integers(0, 30), st.integers(1, 30))
def test_wilson_limits_solve_the_score_equation(successes, trials):
    successes = min(successes, trials)
    low, high = wilson_interval(successes, trials)
    rate = successes / trials
    assert 0 <= low <= rate <= high <= 1
    for limit in {low, high} - {0.0, 1.0}:
        # |p^ - p| = z sqrt(p (1 - p) / n) at both limits, by definition.
        z = abs(rate - limit) / np.sqrt(limit * (1 - limit) / trials)
        assert z == pytest.approx(1.959964, abs=1e-4)


def test_wilson_without_a_trial():
    assert np.isnan(wilson_interval(0, 0)).all()


def scores_of(patients, per_patient, seed):
    """Pathological and healthy patients whose cases share a patient effect."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(patients) % 2, per_patient)
    effect = np.repeat(rng.normal(size=patients), per_patient)
    names = np.repeat([f"p{index}" for index in range(patients)], per_patient)
    return labels, effect + 1.2 * labels, names


def test_bootstrap_is_seeded_contains_the_value_and_keeps_the_classes():
    labels, scores, names = scores_of(40, 1, 3)
    seen = []

    def statistic(truth, values):
        seen.append(truth.sum())
        return auroc(truth, values)

    first = bootstrap_interval(statistic, labels, scores, names, replicates=200, seed=4)
    assert set(seen) == {20}  # one case each: every replicate has as many pathological cases
    assert first == bootstrap_interval(auroc, labels, scores, names, replicates=200, seed=4)
    assert first != bootstrap_interval(auroc, labels, scores, names, replicates=200, seed=5)
    assert first.low < auroc(labels, scores) < first.high


def test_copies_of_a_patient_s_case_bring_no_certainty():
    labels, scores, names = scores_of(40, 1, 3)
    once = bootstrap_interval(auroc, labels, scores, names, replicates=300)
    many = bootstrap_interval(
        auroc, np.repeat(labels, 5), np.repeat(scores, 5), np.repeat(names, 5), replicates=300
    )
    assert many == pytest.approx(once)
    blind = [f"{index}" for index in range(200)]
    naive = bootstrap_interval(
        auroc, np.repeat(labels, 5), np.repeat(scores, 5), blind, replicates=300
    )
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


def test_patients_of_both_classes_stay_whole():
    labels = [0, 1] * 6
    names = np.repeat([f"p{index}" for index in range(6)], 2)
    values = np.repeat(np.arange(6), 2)

    def statistic(truth, drawn):
        # Each healthy case comes with its own patient's pathological case.
        return float((np.sort(drawn[truth]) == np.sort(drawn[~truth])).all())

    assert bootstrap_interval(statistic, labels, values, names, replicates=50) == (1.0, 1.0)


def test_bootstrap_coverage_is_near_its_level():
    truth_value = 0.8023  # Phi(1.2 / sqrt 2)
    inside = 0
    for seed in range(40):
        labels, scores, names = scores_of(80, 1, seed)
        low, high = bootstrap_interval(auroc, labels, scores, names, replicates=100, seed=seed)
        inside += low <= truth_value <= high
    assert inside >= 33


def test_a_class_from_one_patient_has_no_interval():
    labels, names = [0, 0, 0, 1, 1], ["a", "b", "c", "d", "d"]
    assert np.isnan(bootstrap_interval(auroc, labels, [0.0, 1.0, 2.0, 1.0, 3.0], names)).all()
    with pytest.raises(InputError, match="as many"):
        bootstrap_interval(auroc, labels, [0.0], names)


def test_intervals_by_situation():
    labels = np.repeat([0, 1], 20)
    logits = np.where(labels == 1, 1.0, -1.0)
    alone = [f"p{index}" for index in range(40)]
    perfect = image_metrics(labels, logits, alone)
    low, high = wilson_interval(20, 20)
    assert (perfect["true_positive_rate"].low, perfect["true_positive_rate"].high) == (low, high)
    # Two perfect rates: half of sqrt(2) times the error of one.
    accuracy = perfect["class_weighted_accuracy"]
    assert accuracy.low == pytest.approx(1 - (1 - low) / np.sqrt(2))
    assert accuracy.high == 1.0
    # The same cases from half as many patients: fewer independent trials, a wider interval.
    shared = [f"p{index // 2}" for index in range(40)]
    clustered = image_metrics(labels, logits, shared)
    assert clustered["true_positive_rate"].low == wilson_interval(10, 10).low
    assert clustered["class_weighted_accuracy"].low < accuracy.low
    # With errors, the clustered rate is bootstrapped and moves with the seed's draws only.
    logits[[0, 1, 25]] *= -1
    mixed = image_metrics(labels, logits, shared)
    for name in ("true_positive_rate", "true_negative_rate", "class_weighted_accuracy"):
        estimate = mixed[name]
        assert estimate.interval == "bootstrap over patients"
        assert estimate.low < estimate.value < estimate.high or estimate.high == 1.0
    assert mixed == image_metrics(labels, logits, shared)
