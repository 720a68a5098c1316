"""Table of permutation tests: the reference entry against each other entry (thesis ch. 5)."""

from __future__ import annotations

from ..metrics.permutation import PermutationTest, bonferroni, paired_permutation_test
from .results import Comparison
from .summaries import ABSENT, case_values, patients_of, primary_map
from .table import Table

_METRICS = {
    "auprc": "AUPRC",
    "dice": "Dice (label-only threshold)",
    "tuned_dice": "Dice (mask-tuned on validation)",
}


def permutation_table(
    comparison: Comparison, *, permutations: int = 10_000, seed: int = 0
) -> Table | None:
    """Paired permutation tests on raw maps, corrected over all comparisons of the table.

    Per-case values are averaged over seeds, paired by case and averaged per patient.

    Parameters
    ----------
    comparison : Comparison
    permutations, seed
        As in :func:`.paired_permutation_test`.

    Returns
    -------
    Table or None
        None where the reference is not among the entries.
    """
    if comparison.reference not in comparison.entries:
        return None
    found: list[tuple[str, str, PermutationTest]] = []
    for entry in comparison.entries:
        if entry == comparison.reference:
            continue
        for metric, name in _METRICS.items():
            result = _test(comparison, entry, metric, permutations, seed)
            if result.count:
                found.append((entry, name, result))
    corrected = bonferroni([result.p for _, _, result in found])
    rows = [
        [entry, name, f"{result.difference:+.3f}", str(result.count), _p(result.p), _p(p)]
        for (entry, name, result), p in zip(found, corrected, strict=True)
    ]
    legend = (
        f"{comparison.reference} minus the entry: mean difference over patients of per-case values "
        "averaged over seeds, raw maps. Two-sided paired permutation test that flips whole "
        f"patients, {permutations} permutations (all of them where there are fewer); corrected "
        f"p-values for the {len(found)} comparisons of this table (Bonferroni)."
    )
    head = ["Entry", "Metric", "Difference", "Patients", "p", "p, corrected"]
    return Table(f"{comparison.reference} against the others", head, rows, legend)


def _test(
    comparison: Comparison, entry: str, metric: str, permutations: int, seed: int
) -> PermutationTest:
    """Reference against one entry on the cases that both have."""
    reference = case_values(comparison, comparison.reference, metric, primary_map)
    other = case_values(comparison, entry, metric, primary_map)
    cases = [case for case in reference if case in other]
    patients = patients_of(comparison)
    return paired_permutation_test(
        [reference[case] for case in cases],
        [other[case] for case in cases],
        [patients[case] for case in cases],
        permutations=permutations,
        seed=seed,
    )


def _p(value: float) -> str:
    """A p-value with two digits."""
    return ABSENT if value != value else "1" if value == 1 else f"{value:.2g}"
