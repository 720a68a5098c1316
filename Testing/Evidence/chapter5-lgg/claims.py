"""The published claims, as questions to the figures of this comparison."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from AttribSegLib.evaluation_report import markdown_table
from AttribSegLib.metrics.permutation import paired_permutation_test
from comparing import entries_of

UNSUP, ROBUST, SUP = "Unsup, G", "Unsup, IEG", "Sup, 10 patients"
#: Constrained alike, on other attributions; baselines are what is left.
RELATED = ("Unsup, EG", "Unsup, IG", ROBUST, SUP)
WAYS = ("gradient", "integrated_gradients", "expected_gradients")


def per_case(comparison: dict[str, Any], entry: str, name: str, rule: str) -> dict[str, float]:
    """AUPRC of every masked case, averaged over seeds; the entry's main map without a name."""
    found: dict[str, list[float]] = defaultdict(list)
    for run in comparison["runs"]:
        for each in run["maps"]:
            wanted = each["name"] == (name or run["primary"]) and each["rule"] == rule
            if run["entry"] == entry and wanted:
                for case, value in zip(run["cases"], each["per_case"]["auprc"], strict=True):
                    found[case].append(float("nan") if value is None else value)
    return {case: float(np.mean(values)) for case, values in found.items()}


def compared(
    comparison: dict[str, Any], first: tuple[str, str], second: tuple[str, str], rule: str
) -> dict[str, Any]:
    """Difference of two maps, tested over patients."""
    a, b = (per_case(comparison, *each, rule) for each in (first, second))
    patients = {
        case: patient
        for run in comparison["runs"]
        for case, patient in zip(run["cases"], run["patients"], strict=True)
    }
    cases = [case for case in a if case in b]
    test = paired_permutation_test(
        [a[c] for c in cases], [b[c] for c in cases], [patients[c] for c in cases]
    )
    return {"difference": test.difference, "p": test.p, "patients": test.count}


def worst_way(comparison: dict[str, Any], entry: str, rule: str) -> tuple[str, float]:
    """The attribution, of those read from every classifier, with the lowest mean AUPRC."""
    means = {
        way: float(np.nanmean(list(found.values())))
        for way in WAYS
        if (found := per_case(comparison, entry, way, rule))
    }
    return min(means.items(), key=lambda item: item[1])


def claims_table(
    comparison: dict[str, Any], attributions: dict[str, Any]
) -> tuple[list[dict[str, Any]], str]:
    """Every claim with the difference, its p-value and whether it holds; and as Markdown.

    The claims are tested on AUPRC per case, averaged over seeds and within patients, raw and with
    the post-processing that labels alone chose for each map, the plain intensity's as well.
    """
    claims: list[dict[str, Any]] = []
    others = [e for e in entries_of(comparison) if e not in (UNSUP, *RELATED)]
    for rule, how in (("none", "raw"), ("labels", "post-processed by labels")):
        pairs = [
            (f"{unsup} above {other}", (unsup, ""), (other, ""))
            for unsup in (UNSUP, ROBUST)
            for other in others
        ]
        pairs.append((f"{SUP} above {UNSUP}", (SUP, ""), (UNSUP, "")))
        tested = [compared(comparison, first, second, rule) for _, first, second in pairs]
        words = [each[0] for each in pairs]
        own, _ = worst_way(attributions, ROBUST, rule)
        for entry in ("Unsup, EG", "Unsup, IG"):
            other, _ = worst_way(attributions, entry, rule)
            words.append(f"worst of {ROBUST} ({own}) above worst of {entry} ({other})")
            tested.append(compared(attributions, (ROBUST, own), (entry, other), rule))
        claims += [
            {"claim": claim, "maps": how, **found}
            for claim, found in zip(words, tested, strict=True)
        ]
    count = len(claims)
    for claim in claims:
        claim["p_corrected"] = min(1.0, claim["p"] * count)
        claim["holds"] = verdict(claim["difference"], claim["p_corrected"])
    rows = [
        [
            claim["claim"],
            claim["maps"],
            f"{claim['difference']:+.3f}",
            f"{claim['p']:.4f}",
            f"{claim['p_corrected']:.3f}",
            claim["holds"],
        ]
        for claim in claims
    ]
    head = ["Claim", "Maps", "Difference of AUPRC", "p", "p, corrected", "Holds"]
    note = (
        f"AUPRC per case, averaged over seeds, over {claims[0]['patients']} test patients: paired "
        f"permutation test that flips whole patients (10,000), corrected for the {count} claims "
        "(Bonferroni). The worst attribution is the one of gradient, integrated and expected "
        "gradients that is lowest here; its choice is part of the claim, not of a method."
    )
    return claims, f"{markdown_table(head, rows)}\n\n{note}"


def verdict(difference: float, p: float) -> str:
    """A difference in words.

    >>> verdict(0.1, 0.01), verdict(-0.1, 0.01), verdict(0.1, 0.2)
    ('yes', 'no, the opposite', 'not shown')
    """
    if not p < 0.05:
        return "not shown"
    return "yes" if difference > 0 else "no, the opposite"
