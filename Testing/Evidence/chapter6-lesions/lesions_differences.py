"""Which part of the method matters: differences between entries, and their permutation tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from AttribSegLib.evaluation import Summary
from AttribSegLib.metrics.permutation import bonferroni, paired_permutation_test
from comparing import entries_of, values_of

#: What the maps of all channels reduced by their mean are called, after the name of the map.
MEAN_MAP = ", mean"
#: Figures of single cases that are tested: metric, and map.
METRICS = {"auprc": ("auprc", ""), "dice": ("dice", ""), "mean_auprc": ("auprc", MEAN_MAP)}


def case_values(
    comparison: Mapping[str, Any],
    entry: str,
    metric: str,
    of: str = "",
    seeds: Sequence[int] | None = None,
) -> dict[str, float]:
    """A metric of an entry's raw map by test case, averaged over the seeds where it exists.

    ``of`` is what stands after the name of the entry's main map; empty where it has no such map.
    Of some seeds only, where they are named.
    """
    found: dict[str, list[float]] = {}
    for run in comparison["runs"]:
        if run["entry"] != entry or (seeds is not None and run["seed"] not in seeds):
            continue
        for scored in run["maps"]:
            if (scored["name"], scored["rule"]) == (run["primary"] + of, "none"):
                for case, value in zip(run["cases"], scored["per_case"][metric], strict=True):
                    found.setdefault(case, []).append(float("nan") if value is None else value)
    return {case: Summary.of(values).mean for case, values in found.items()}


def differences(
    comparison: Mapping[str, Any], against: Mapping[str, str], *, permutations: int = 10_000
) -> list[dict[str, Any]]:
    """The reference against every other entry, and the pairs named beside.

    Parameters
    ----------
    comparison : mapping
        Content of ``comparison.json``.
    against : mapping of str to str
        More pairs: the first minus the second.
    permutations : int
        Of the tests; patients are flipped as one.

    Returns
    -------
    list of dict
        "first", "second"; "by_seed" and "mean_by_seed": differences of the pooled AUPRC of runs
        with the same seed, of the main map and of the mean over channels; for each of
        :data:`METRICS` the mean "difference" over patients, "p" and "p_corrected" (Bonferroni over
        everything in this list), NaN where one of the two has no such map.
    """
    reference = comparison["reference"]
    entries = entries_of(dict(comparison))
    pairs = [(reference, name) for name in entries if name != reference]
    pairs += [(a, b) for a, b in against.items() if a in entries and b in entries]
    found = [
        {
            "first": first,
            "second": second,
            "by_seed": _by_seed(comparison, first, second, ""),
            "mean_by_seed": _by_seed(comparison, first, second, MEAN_MAP),
            **{m: _test(comparison, first, second, m, permutations) for m in METRICS},
        }
        for first, second in pairs
    ]
    tests: list[dict[str, float]] = [each[m] for each in found for m in METRICS]
    for test, p in zip(tests, bonferroni([t["p"] for t in tests]), strict=True):
        test["p_corrected"] = p
    return found


def mean_map_of(comparison: Mapping[str, Any], entry: str) -> str:
    """Name of an entry's map reduced by the mean over channels."""
    primary = next(run["primary"] for run in comparison["runs"] if run["entry"] == entry)
    return str(primary) + MEAN_MAP


def _by_seed(comparison: Mapping[str, Any], first: str, second: str, of: str) -> list[float]:
    """Differences of pooled AUPRC, seed by seed; an entry without seeds is the same for all."""
    names = [mean_map_of(comparison, entry) if of else "" for entry in (first, second)]
    a, b = (
        values_of(dict(comparison), entry, "auprc", name=name)
        for entry, name in zip((first, second), names, strict=True)
    )
    if not a or not b:
        return []
    if _is_plain(comparison, second):
        return [value - b[0] for value in a]
    seeds = [_seeds(comparison, name) for name in (first, second)]
    both = [seed for seed in seeds[0] if seed in seeds[1]]
    return [a[seeds[0].index(seed)] - b[seeds[1].index(seed)] for seed in both]


def _seeds(comparison: Mapping[str, Any], entry: str) -> list[int]:
    return [run["seed"] for run in comparison["runs"] if run["entry"] == entry]


def _is_plain(comparison: Mapping[str, Any], entry: str) -> bool:
    """Whether an entry is the plain intensity, which is the same for all seeds."""
    kinds = [run["kind"] for run in comparison["runs"] if run["entry"] == entry]
    return kinds == ["intensity"]


def _test(
    comparison: Mapping[str, Any], first: str, second: str, metric: str, permutations: int
) -> dict[str, float]:
    # Of seeds that both have: a training may have failed, and seeds differ.
    both = [seed for seed in _seeds(comparison, first) if seed in _seeds(comparison, second)]
    seeds = None if _is_plain(comparison, second) else both
    a, b = (case_values(comparison, name, *METRICS[metric], seeds) for name in (first, second))
    patients: dict[str, str] = {}
    for run in comparison["runs"]:
        patients |= dict(zip(run["cases"], run["patients"], strict=True))
    cases = [case for case in a if case in b]
    test = paired_permutation_test(
        np.array([a[case] for case in cases]),
        np.array([b[case] for case in cases]),
        [patients[case] for case in cases],
        permutations=permutations,
    )
    return {"difference": test.difference, "p": test.p, "patients": test.count}
