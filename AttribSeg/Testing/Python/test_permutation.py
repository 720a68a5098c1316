import itertools
import math

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.metrics.permutation import bonferroni, paired_permutation_test
from scipy import stats


def enumerated(differences):
    """p-value from every flip, one by one."""
    observed = abs(sum(differences))
    flips = list(itertools.product((1, -1), repeat=len(differences)))
    reached = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= observed * (1 - 1e-12)
        for signs in flips
    ]
    return sum(reached) / len(flips)


@pytest.mark.parametrize("size", [2, 5, 9])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_few_pairs_are_enumerated(size, shift):
    rng = np.random.default_rng(size)
    a, b = rng.normal(size=size) + shift, rng.normal(size=size)
    result = paired_permutation_test(a, b)
    assert result.p == pytest.approx(enumerated(list(a - b)))
    assert result.difference == pytest.approx((a - b).mean())
    assert result.count == size


def test_ties_between_flips_count_as_reached():
    a = np.array([0.1, 0.2, 0.3, 0.4, -0.1])
    assert paired_permutation_test(a, np.zeros(5)).p == pytest.approx(enumerated(list(a)))


def test_drawn_flips_agree_with_all_of_them():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=13) + 0.4, rng.normal(size=13)
    drawn = paired_permutation_test(a, b, permutations=8000).p
    exact = paired_permutation_test(a, b, permutations=8192).p
    assert exact == pytest.approx(enumerated(list(a - b)))
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 8000))


def test_it_agrees_with_other_paired_tests_on_many_pairs():
    rng = np.random.default_rng(5)
    b = rng.normal(size=60)
    for shift in (0.05, 0.2, 0.35):
        a = b + shift + rng.normal(size=60)
        p = paired_permutation_test(a, b).p
        assert p == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.02)
        assert p == pytest.approx(stats.wilcoxon(a, b).pvalue, abs=0.15)
    far = paired_permutation_test(b + 1, b)
    assert far.p == pytest.approx(1 / 10_001)


def test_p_is_uniform_when_both_are_alike():
    rng = np.random.default_rng(11)
    values = [
        paired_permutation_test(*rng.normal(size=(2, 20)), permutations=400, seed=k).p
        for k in range(300)
    ]
    assert stats.kstest(values, "uniform").pvalue > 0.05
    # Cases of a patient that agree would deceive a test of single cases.
    patients = np.repeat(np.arange(12).astype(str), 6)
    alone, grouped = [], []
    for k in range(200):
        a = np.repeat(rng.normal(size=12), 6) + 0.1 * rng.normal(size=72)
        b = np.zeros(72)
        alone.append(paired_permutation_test(a, b, permutations=400, seed=k).p)
        grouped.append(paired_permutation_test(a, b, patients, permutations=400, seed=k).p)
    assert np.mean(np.array(alone) < 0.05) > 0.2
    assert np.mean(np.array(grouped) < 0.05) < 0.09


def test_groups_are_averaged_and_count_once():
    a = [1.0, 3.0, 10.0, 4.0]
    result = paired_permutation_test(a, [0.0] * 4, ["x", "x", "y", "z"])
    assert (result.difference, result.count) == (pytest.approx((2 + 10 + 4) / 3), 3)
    assert result.p == pytest.approx(enumerated([2.0, 10.0, 4.0]))


def test_pairs_without_a_finite_value_are_left_out():
    nan, inf = float("nan"), float("inf")
    a, b = [1.0, nan, 2.0, 3.0, inf, 5.0], [0.0, 0.0, nan, 1.0, 0.0, 2.0]
    assert paired_permutation_test(a, b) == paired_permutation_test([1, 3, 5], [0, 1, 2])
    empty = paired_permutation_test([nan], [1.0])
    assert math.isnan(empty.p)
    assert math.isnan(empty.difference)
    assert empty.count == 0


def test_equal_methods_and_a_single_pair_give_one():
    assert paired_permutation_test([1.0] * 30, [1.0] * 30).p == 1.0
    assert paired_permutation_test([1.0], [0.0]).p == 1.0


def test_the_seed_decides():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 40))
    first, again, other = (paired_permutation_test(a, b, seed=s).p for s in (0, 0, 1))
    assert first == again != other


def test_exchanging_the_methods_turns_the_sign_only():
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(2, 10))
    one, two = paired_permutation_test(a, b), paired_permutation_test(b, a)
    assert (one.p, one.difference) == (pytest.approx(two.p), pytest.approx(-two.difference))


def test_bad_input():
    with pytest.raises(InputError, match="as many of each"):
        paired_permutation_test([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="as many of each"):
        paired_permutation_test([1.0, 2.0], [1.0, 2.0], ["x"])
    with pytest.raises(InputError, match="positive"):
        paired_permutation_test([1.0], [1.0], permutations=0)


def test_bonferroni():
    assert bonferroni([0.01, 0.02, 0.5]) == pytest.approx([0.03, 0.06, 1.0])
    assert bonferroni([]) == []
    corrected = bonferroni([0.02, float("nan")])
    assert corrected[0] == 0.02
    assert math.isnan(corrected[1])
