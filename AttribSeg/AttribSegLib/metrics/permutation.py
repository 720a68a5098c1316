"""Whether two methods differ on the same cases: paired permutation test, corrected by Bonferroni.

The thesis compares methods in this way (ch. 5): 10,000 permutations, Bonferroni over comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

#: Permutations held in memory at a time.
_BATCH = 1000


@dataclass(frozen=True)
class PermutationTest:
    """Outcome of a paired permutation test.

    Parameters
    ----------
    difference : float
        Mean of the paired differences a - b, each group counting once; NaN without a pair.
    p : float
        Two-sided; NaN without a pair.
    count : int
        Independent differences: pairs, or groups of pairs.
    """

    difference: float
    p: float
    count: int


def paired_permutation_test(
    a: ArrayLike,
    b: ArrayLike,
    groups: Sequence[str] | NDArray[np.str_] | None = None,
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> PermutationTest:
    """Two-sided sign-flip test of the mean difference of paired values (thesis ch. 5).

    If both methods were alike, a pair could as well have come the other way round: the mean
    difference is compared with those after random flips of signs.

    Parameters
    ----------
    a, b : array_like of shape (n,)
        Values of two methods on the same cases. Pairs with a value that is not finite are left
        out.
    groups : sequence of str, length n, optional
        To whom each case belongs. Differences are averaged within a group first, and groups are
        flipped as one: cases of one patient are not independent.
    permutations : int
        Number of random flips. With few enough pairs or groups, 2^count at most this number, all
        flips are enumerated instead and the p-value is exact.
    seed : int
        Seed of the generator.

    Returns
    -------
    PermutationTest

    Raises
    ------
    InputError
        If the lengths differ or there is no permutation to draw.

    References
    ----------
    E. S. Edgington, P. Onghena, Randomization Tests, 4th ed., 2007, ch. 6.

    Examples
    --------
    Three differences of one sign: 2 of the 8 flips are as far from zero.

    >>> paired_permutation_test([3.0, 5.0, 4.0], [2.0, 3.0, 1.0])
    PermutationTest(difference=2.0, p=0.25, count=3)
    """
    first, second = (np.asarray(values, dtype=np.float64).ravel() for values in (a, b))
    owners = np.arange(first.size).astype(str) if groups is None else np.asarray(groups, dtype=str)
    if not first.shape == second.shape == owners.shape:
        raise InputError(
            f"{first.size} values, {second.size} values and {owners.size} groups: "
            "as many of each were expected"
        )
    if permutations < 1:
        raise InputError(f"permutations {permutations}: a positive number was expected")
    paired = np.isfinite(first) & np.isfinite(second)
    if not paired.any():
        return PermutationTest(math.nan, math.nan, 0)
    _, owner = np.unique(owners[paired], return_inverse=True)
    sums = np.bincount(owner, weights=first[paired] - second[paired])
    differences = sums / np.bincount(owner)
    p = 1.0 if differences.size == 1 else _flip(differences, permutations, seed)
    return PermutationTest(float(differences.mean()), p, int(differences.size))


def _flip(differences: NDArray[np.float64], permutations: int, seed: int) -> float:
    """Share of flips of which the mean is as far from zero as the observed one."""
    from scipy.stats import permutation_test

    def distance(values: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.abs(values.mean(axis=axis))

    result = permutation_test(
        (differences,),
        distance,
        permutation_type="samples",
        vectorized=True,
        n_resamples=permutations,
        batch=_BATCH,
        alternative="greater",
        random_state=seed,
    )
    return float(result.pvalue)


def bonferroni(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for the number of tests made, at most 1.

    NaN stays NaN and does not count: no test was made.

    Examples
    --------
    >>> bonferroni([0.01, float("nan"), 0.7])
    [0.02, nan, 1.0]
    """
    tests = sum(not math.isnan(p) for p in p_values)
    return [p if math.isnan(p) else min(1.0, tests * p) for p in p_values]
