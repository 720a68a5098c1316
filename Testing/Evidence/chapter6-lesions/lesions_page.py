"""Tables of the study's page and of its summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from AttribSegLib.evaluation import Summary
from AttribSegLib.evaluation_report import markdown_table
from comparing import entries_of, image_values, population_line, spread_text, values_of
from lesions_differences import METRICS, case_values, mean_map_of
from study import Study

#: Per-case figures of the main table, by their columns.
_PER_CASE = {
    "AUPRC per case": "auprc",
    "Dice (label-only threshold)": "dice",
    "Dice (mask-tuned on validation)": "tuned_dice",
    "Oracle Dice (upper bound)": "oracle_dice",
}
_CHOICES = (
    "Raw maps, no post-processing. The label-only threshold leaves false positives on 0.5 % of the "
    "brain in healthy validation slices, on average; the feature channel is the one that does best "
    "on validation slices by labels alone. Mask-tuned thresholds come from validation masks, "
    "oracle ones from the very masks they are measured on."
)


def population_of(
    study: Study, comparison: Mapping[str, Any], splits: Mapping[str, Mapping[str, int]]
) -> str:
    """Who was looked at, at which size, and how maps became masks."""
    train, validation = splits["train"], splits["validation"]
    size = "64 x 64 (blocks of 2 x 2 pixels averaged)" if study.settings["halved"] else "128 x 128"
    return (
        f"{population_line(study, dict(comparison))} Slices of {size}; trained on "
        f"{train['healthy']} healthy and {train['pathological']} pathological ones of "
        f"{train['patients']} patients, validated on {validation['healthy']} and "
        f"{validation['pathological']} of {validation['patients']}. {_CHOICES}"
    )


def figures_of(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of every entry, one value per seed; per-case ones are means over cases."""
    whole = dict(comparison)
    return {
        entry: {
            "auprc_pooled": values_of(whole, entry, "auprc"),
            "mean_of_channels": {
                "auprc_pooled": values_of(whole, entry, "auprc", name=mean_map_of(whole, entry)),
                **{
                    m: values_of(whole, entry, m, name=mean_map_of(whole, entry), per_case=True)
                    for m in _PER_CASE.values()
                },
            },
            "dice_pooled": values_of(whole, entry, "dice"),
            **{m: values_of(whole, entry, m, per_case=True) for m in _PER_CASE.values()},
            "sd_over_cases": {
                m: Summary.of(case_values(comparison, entry, m).values()).sd
                for m in _PER_CASE.values()
            },
            "image": {
                m: image_values(whole, entry, m)
                for m in ("true_positive_rate", "true_negative_rate", "auroc")
            },
            "minutes": [
                run["budget"]["minutes"]
                for run in comparison["runs"]
                if run["entry"] == entry and run["budget"]
            ],
        }
        for entry in entries_of(whole)
    }


def page_text(study: Study, comparison: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The page below the findings, without the comparison's own report."""
    who = population_of(study, comparison, results["splits"])
    tests = sum(
        np.isfinite(each[metric]["p"]) for each in results["differences"] for metric in METRICS
    )
    return "\n\n".join(
        [
            "## Table 6.3, with every part left out",
            f"{who} Mean +- SD over seeds, which is the spread from run to run.",
            _main_table(results["entries"]),
            "![AUPRC and Dice of all entries, each seed a point](parts.png)",
            "The counterfactuals of the same networks as the mean over all channels, which nothing "
            "has to be chosen for:",
            _mean_table(results["entries"]),
            "Per-case figures of the first table with the SD over cases (of a case's mean over "
            "seeds):",
            _case_table(results["entries"]),
            "## What each part brings",
            "First minus second. Pooled AUPRC of runs with the same seed, and per-case figures, "
            "averaged over seeds and then over the slices of a patient, with a two-sided paired "
            f"permutation test that flips whole patients; p after Bonferroni over the "
            f"{tests} tests of this table. The test is about patients: "
            "that three seeds differ among themselves is in the first columns.",
            _difference_table(results["differences"]),
            "## Feature channels one by one",
            f"{study.settings['plan']['reference']}, pooled AUPRC of each channel's counterfactual "
            "map on the test slices with a mask, and the mean Dice at each map's own label-only "
            "threshold; the share is that of the channel in all that counterfactuals take from "
            "pathological test slices. L: the channel that was chosen on validation slices by "
            "labels alone; M: with masks. Channels of different seeds have nothing to do with each "
            "other.",
            _channel_table(results["channels"]),
            "![Counterfactual maps of all feature channels](channels.png)",
            "## Monotone by construction",
            _certificate_text(results["certificates"]),
            "## The report of the command",
        ]
    )


def summary_text(study: Study, comparison: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Paragraph, table and figure for the overview."""
    reference = study.settings["plan"]["reference"]
    tests = {each["second"]: each for each in results["differences"] if each["first"] == reference}
    rows = []
    for name, found in results["entries"].items():
        p = tests[name]["auprc"]["p_corrected"] if name in tests else None
        mean = found["mean_of_channels"]
        image = found["image"]
        rates = (image["true_positive_rate"], image["true_negative_rate"])
        rows.append(
            [
                name,
                spread_text(found["auprc_pooled"]),
                spread_text(mean["auprc_pooled"]),
                spread_text(found["dice"]),
                spread_text(mean["dice"]),
                spread_text(found["tuned_dice"]),
                " / ".join(f"{np.mean(rate):.2f}" if rate else "-" for rate in rates),
                _p(p),
            ]
        )
    head = ["Entry", "AUPRC, pooled", "AUPRC, mean of channels", "Dice, label-only"]
    head += ["Dice, label-only, mean of channels", "Dice, mask-tuned", "TPR / TNR"]
    table = markdown_table([*head, f"p, {reference.lower()} against it"], rows)
    return (
        f"{population_of(study, comparison, results['splits'])} Dice: mean over cases. Mean +- SD "
        "over seeds. p: per-case AUPRC, paired permutation test over patients, Bonferroni.\n\n"
        f"{table}\n\n![Each part left out, each constraint alone](parts.png)"
    )


def _main_table(entries: Mapping[str, Any]) -> str:
    head = ["Entry", "Seeds", "AUPRC, pooled", *_PER_CASE, "TPR", "TNR", "Image AUROC", "Minutes"]
    rows = [
        [
            name,
            str(len(found["auprc_pooled"])),
            spread_text(found["auprc_pooled"]),
            *(spread_text(found[metric]) for metric in _PER_CASE.values()),
            *(spread_text(values) for values in found["image"].values()),
            f"{np.mean(found['minutes']):.1f}" if found["minutes"] else "-",
        ]
        for name, found in entries.items()
    ]
    return markdown_table(head, rows)


def _mean_table(entries: Mapping[str, Any]) -> str:
    rows = []
    for name, entry in entries.items():
        found = entry["mean_of_channels"]
        if found["auprc_pooled"]:
            values = (found["auprc_pooled"], *(found[m] for m in _PER_CASE.values()))
            rows.append([name, *(spread_text(each) for each in values)])
    return markdown_table(["Entry", "AUPRC, pooled", *_PER_CASE], rows)


def _case_table(entries: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            *(
                f"{np.mean(found[metric]):.3f} +- {found['sd_over_cases'][metric]:.3f}"
                for metric in _PER_CASE.values()
            ),
        ]
        for name, found in entries.items()
    ]
    return markdown_table(["Entry", *_PER_CASE], rows)


def _difference_table(found: list[dict[str, Any]]) -> str:
    head = ["First", "Second", "Pooled AUPRC", "By seed", "Mean of channels, by seed"]
    head += ["AUPRC per case", "p", "Dice (label-only)", "p"]
    head += ["AUPRC per case, mean of channels", "p", "Patients"]
    rows = []
    for each in found:
        row = [each["first"], each["second"], spread_text(each["by_seed"])]
        for seeds in (each["by_seed"], each["mean_by_seed"]):
            row.append(", ".join(f"{value:+.3f}" for value in seeds) or "-")
        for metric in METRICS:
            test = each[metric]
            known = np.isfinite(test["difference"])
            row += [f"{test['difference']:+.3f}" if known else "-", _p(test["p_corrected"])]
        rows.append([*row, str(each["auprc"]["patients"])])
    return markdown_table(head, rows)


def _channel_table(channels: Mapping[str, Any]) -> str:
    head = ["Map"]
    for seed in channels:
        head += [f"AUPRC, seed {seed}", "Dice (label-only)", "share"]
    names = list(next(iter(channels.values()))["maps"])
    rows = []
    for name in names:
        row = [name]
        for found in channels.values():
            marks = "".join(
                f" {letter}"
                for letter, rule in (("L", "labels"), ("M", "masks"))
                if found["chosen"][rule] == name
            )
            each = found["maps"][name]
            share = "-" if each["share"] is None else f"{100 * each['share']:.0f} %"
            row += [f"{each['auprc']:.3f}{marks}", f"{each['dice']:.3f}", share]
        rows.append(row)
    return markdown_table(head, rows)


def _certificate_text(certificates: Mapping[str, Any]) -> str:
    sure = [each for each in certificates.values() if each.get("by_construction")]
    none = sorted({each["entry"] for each in certificates.values() if each not in sure})
    text = (
        f"{len(sure)} of {len(certificates)} bundles record dM/df >= 0, proved by their structure "
        "and proved anew when they were loaded for this page: every weight of the body is positive "
        f"(the smallest {min(each['smallest_weight'] for each in sure):.1e}), every bias zero and "
        f"frozen. {', '.join(none)} record nothing, and are not monotone."
    )
    tried = [each["tried_out"] for each in sure if "tried_out" in each]
    if not tried:
        return text
    fall = max(t["largest_fall"] for t in tried)
    gradient = max(t["most_negative_gradient"] for t in tried)
    return text + (
        f" Trying out the full method's {len(tried)} bodies in double precision, in "
        f"{sum(t['samples'] for t in tried)} steps from features of real slices, found a largest "
        f"fall of {fall:.1g} of the output and a most negative gradient of {gradient:.1g} of the "
        "largest."
    )


def _p(value: float | None) -> str:
    """A p-value with two digits."""
    if value is None or not np.isfinite(value):
        return "-"
    return "1" if value >= 1 else f"{value:.2g}"
