"""How well images are classified as healthy (0) or pathological (1), with confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

#: A statistic of labels and of predictions (or scores).
Statistic = Callable[[NDArray[np.bool_], NDArray[Any]], float]
#: To whom each case belongs.
Patients = Sequence[str] | NDArray[np.str_]


class Interval(NamedTuple):
    """Confidence limits; NaN where none can be given."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % confidence interval and the name of how that was obtained."""

    value: float
    low: float
    high: float
    interval: str


def true_positive_rate(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Share of pathological images found (sensitivity); NaN without a pathological image.

    Parameters
    ----------
    labels, predictions : array_like of shape (n,)
        0 healthy, 1 pathological.

    Examples
    --------
    >>> true_positive_rate([1, 1, 1, 1, 0], [1, 1, 1, 0, 1])
    0.75
    """
    truth, predicted = _binary(labels), _binary(predictions)
    return float(predicted[truth].mean()) if truth.any() else float("nan")


def true_negative_rate(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Share of healthy images recognised (specificity); NaN without a healthy image.

    Examples
    --------
    >>> true_negative_rate([0, 0, 1], [0, 1, 1])
    0.5
    """
    return true_positive_rate(~_binary(labels), ~_binary(predictions))


def class_weighted_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Accuracy in which both classes weigh the same: the mean of both rates.

    NaN with one class only: a plain accuracy there would be mistaken for this one.

    Examples
    --------
    Nine of ten healthy and one of two pathological images: (0.9 + 0.5) / 2

    >>> class_weighted_accuracy([0] * 10 + [1] * 2, [0] * 9 + [1] + [1, 0])
    0.7
    """
    rates = true_positive_rate(labels, predictions), true_negative_rate(labels, predictions)
    return float(np.mean(rates))


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a pathological image outscores a healthy one.

    Ties count one half. NaN with one class only.

    Examples
    --------
    >>> auroc([0, 1, 0, 1], [-2.0, -0.5, 0.1, 3.0])
    0.75
    """
    truth, values = _binary(labels), np.asarray(scores, dtype=np.float64).ravel()
    positive, negative = values[truth], np.sort(values[~truth])
    if not positive.size or not negative.size:
        return float("nan")
    # Mann and Whitney's count of pairs, ties once with and once without: quick to resample.
    below = np.searchsorted(negative, positive, side="left").sum()
    up_to = np.searchsorted(negative, positive, side="right").sum()
    return float(below + up_to) / (2 * positive.size * negative.size)


def wilson_interval(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a rate of independent trials; NaN without a trial.

    References
    ----------
    E. B. Wilson, J. Am. Stat. Assoc. 22:209-212, 1927.

    Examples
    --------
    >>> [round(limit, 3) for limit in wilson_interval(8, 10)]
    [0.49, 0.943]
    """
    if trials == 0:
        return Interval(float("nan"), float("nan"))
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, spread = successes / trials, z * z / trials
    centre = rate + spread / 2
    half = float(np.sqrt(rate * (1 - rate) * spread + spread * spread / 4))
    # Exact at the ends, where rounding would leave 1 - 1e-16.
    low = 0.0 if successes == 0 else (centre - half) / (1 + spread)
    high = 1.0 if successes == trials else (centre + half) / (1 + spread)
    return Interval(low, high)


def bootstrap_interval(
    statistic: Statistic,
    labels: ArrayLike,
    values: ArrayLike,
    patients: Patients,
    *,
    confidence: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap that resamples patients within classes.

    All cases of a patient are drawn together, since they are not independent. Patients are drawn
    within strata (those with healthy cases, with pathological ones, with both), so that no
    replicate loses a class.

    Parameters
    ----------
    statistic : callable
        ``statistic(labels, values) -> float``.
    labels : array_like of shape (n,)
        0 healthy, 1 pathological.
    values : array_like of shape (n,)
        Predictions or scores.
    patients : sequence of str, length n
        To whom each case belongs.
    confidence, replicates, seed
        Level, number of resamplings and seed of the generator.

    Returns
    -------
    Interval
        NaN if the statistic is, or if a class present comes from a single patient: nothing is
        known then of how patients differ.

    References
    ----------
    B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap, 1993, ch. 8 and 13.

    Notes
    -----
    Where no replicate differs (a perfect score), both limits are that score. This is no proof of
    certainty: read it together with the number of patients.
    """
    truth, scores = _binary(labels), np.asarray(values)
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if not truth.shape == scores.shape == owner.shape:
        raise InputError(
            f"{truth.size} labels, {scores.size} values and {owner.size} patients: "
            "as many of each were expected"
        )
    undefined = Interval(float("nan"), float("nan"))
    if truth.size == 0 or np.isnan(statistic(truth, scores)):
        return undefined
    if any(np.unique(owner[truth == kind]).size == 1 for kind in (False, True)):
        return undefined
    members = np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])
    strata: dict[tuple[bool, bool], list[int]] = {}
    for patient in range(len(names)):
        own = truth[members[patient]]
        strata.setdefault((bool(own.any()), bool(own.all())), []).append(patient)
    groups = [np.array(stratum) for stratum in strata.values()]
    generator = np.random.default_rng(seed)
    results = np.empty(replicates)
    for replicate in range(replicates):
        drawn = [
            members[patient]
            for group in groups
            for patient in group[generator.integers(0, group.size, group.size)]
        ]
        index = np.concatenate(drawn)
        results[replicate] = statistic(truth[index], scores[index])
    tail = (1 - confidence) / 2
    return Interval(*(float(limit) for limit in np.quantile(results, [tail, 1 - tail])))


def image_metrics(
    labels: ArrayLike, scores: ArrayLike, patients: Patients, *, seed: int = 0
) -> dict[str, Estimate]:
    """Class-weighted accuracy, rates and AUROC with 95 % confidence intervals.

    Parameters
    ----------
    labels : array_like of shape (n,)
        0 healthy, 1 pathological.
    scores : array_like of shape (n,)
        Logits; an image is called pathological when its logit is positive (probability above
        one half). Logits rank better than probabilities, which saturate at 1 in float32.
    patients : sequence of str, length n
        To whom each case belongs.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    dict of str to Estimate
        Keys ``class_weighted_accuracy``, ``true_positive_rate``, ``true_negative_rate``,
        ``auroc``. Rates have Wilson intervals when every case is its own patient, and bootstrap
        intervals clustered by patient otherwise; where all cases are right or all wrong, the
        bootstrap is blind and Wilson's interval counts patients as the trials. Class-weighted
        accuracy combines the two rates' intervals in the same situations.

    References
    ----------
    G. Y. Zou, A. Donner, Statistics in Medicine 27:1693-1702, 2008 (combined intervals).
    """
    truth, logits, owners = _binary(labels), np.asarray(scores), np.asarray(patients, dtype=str)
    predicted = logits > 0
    sensitivity = _rate(predicted[truth], owners[truth], seed)
    specificity = _rate(~predicted[~truth], owners[~truth], seed)
    accuracy = float(np.mean([sensitivity.value, specificity.value]))
    limits, how = Interval(float("nan"), float("nan")), "bootstrap over patients"
    if np.unique(owners).size < owners.size:
        limits = bootstrap_interval(class_weighted_accuracy, truth, predicted, owners, seed=seed)
    if not limits.low < limits.high:
        # Half the sum of two independent rates: their one-sided errors add in quadrature.
        down = np.hypot(sensitivity.value - sensitivity.low, specificity.value - specificity.low)
        up = np.hypot(sensitivity.high - sensitivity.value, specificity.high - specificity.value)
        limits = Interval(float(accuracy - down / 2), float(accuracy + up / 2))
        how = "combined from both rates"
    area = auroc(truth, logits) if truth.size else float("nan")
    area_limits = bootstrap_interval(auroc, truth, logits, owners, seed=seed)
    return {
        "class_weighted_accuracy": Estimate(accuracy, *limits, how),
        "true_positive_rate": sensitivity,
        "true_negative_rate": specificity,
        "auroc": Estimate(area, *area_limits, "bootstrap over patients"),
    }


def _rate(correct: NDArray[np.bool_], patients: NDArray[np.str_], seed: int) -> Estimate:
    """Share of correct cases of one class with its interval."""
    if correct.size == 0:
        nan = float("nan")
        return Estimate(nan, nan, nan, "no case")
    rate, count = float(correct.mean()), np.unique(patients).size
    if count == correct.size:
        return Estimate(rate, *wilson_interval(int(correct.sum()), count), "Wilson")
    if rate in (0.0, 1.0):
        return Estimate(rate, *wilson_interval(int(rate) * count, count), "Wilson over patients")
    labels = np.ones(correct.size, dtype=bool)
    limits = bootstrap_interval(true_positive_rate, labels, correct, patients, seed=seed)
    return Estimate(rate, *limits, "bootstrap over patients")


def _binary(labels: ArrayLike) -> NDArray[np.bool_]:
    """Flat boolean labels; anything but 0 and 1 is refused."""
    values = np.asarray(labels).ravel()
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise InputError(f"labels {np.unique(values)[:5].tolist()}: 0 (healthy) or 1 was expected")
    return values.astype(bool)
