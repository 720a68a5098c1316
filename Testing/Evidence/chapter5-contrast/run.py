"""Study chapter5-contrast: the recipes of chapter 5 on simulated tumours, without and with N4.

The subjects are those of the study shortcut (made if they are not there). What is finished is not
run again.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "shortcut")]

from AttribSegLib.evaluation_report import markdown_table  # noqa: E402
from AttribSegLib.files import read_json, write_json  # noqa: E402
from comparing import entries_of, image_values, spread_text, values_of  # noqa: E402
from contrast_figures import draw_examples, draw_order  # noqa: E402
from low_contrast import as_slices, chosen_pairs, contrasts, corrected  # noqa: E402
from searched_alphas import alphas_text, found_alphas  # noqa: E402
from shortcut_cohorts import shared_folder, simulated  # noqa: E402
from study import Study, attribseg, begin, publish  # noqa: E402

#: Name of a cohort -> how tables call it.
VERSIONS = {"before": "as simulated", "after": "after N4"}
#: METHODS of the thesis, ch. 5: BraTS20, FLAIR, 1 mm, N4 on purpose.
PUBLISHED = "Unsup AUPRC .30, Dice .38; the next best one .17 and .23"


def compared(study: Study, name: str, table: Path) -> dict[str, Any]:
    """Content of ``comparison.json`` of one cohort."""
    out = study.work / name
    plan = study.work / f"{name}.plan.json"
    title = f"Simulated tumours, {VERSIONS[name]}"
    write_json(plan, {**study.settings["plan"], "title": title})
    threads = os.environ.get("OMP_NUM_THREADS") or ("1" if study.jobs > 1 else None)
    attribseg(
        *("compare", str(table), "--recipes", str(plan), "--out", str(out)),
        *(("--threads", threads) if threads else ()),
    )
    return dict(read_json(out / "comparison.json"))


def order_agreement(first: list[float], second: list[float]) -> float:
    """Spearman's rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def table_of(found: dict[str, dict[str, Any]]) -> str:
    """Every recipe: AUPRC and label-only Dice on both cohorts, mask-tuned Dice, image AUROC."""
    rows = []
    for entry in entries_of(found["before"]):
        cells = [entry]
        for metric in ("auprc", "dice", "tuned_dice"):
            cells += [spread_text(values_of(found[v], entry, metric)) for v in VERSIONS]
        cells.append(
            " / ".join(spread_text(image_values(found[v], entry, "auroc")) for v in VERSIONS)
        )
        rows.append(cells)
    head = [
        *("Recipe", "AUPRC as simulated", "AUPRC after N4"),
        *("Dice, label-only threshold, as simulated", "after N4"),
        *("Dice, mask-tuned on validation, as simulated", "after N4"),
        "Image AUROC, as simulated / after N4",
    ]
    return markdown_table(head, rows)


def processed_table(found: dict[str, dict[str, Any]]) -> str:
    """The same after post-processing that labels chose, for the plain intensity too."""
    rows = []
    for entry in entries_of(found["before"]):
        cells = [entry]
        for metric in ("auprc", "dice"):
            cells += [
                spread_text(values_of(found[v], entry, metric, rule="labels")) for v in VERSIONS
            ]
        rows.append(cells)
    head = ["Recipe", "AUPRC as simulated", "AUPRC after N4", "Dice as simulated", "Dice after N4"]
    return markdown_table(head, rows)


def agreements(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Rank correlation of both cohorts' figures over the recipes, the plain intensity left out."""
    entries = [name for name in entries_of(found["before"]) if name != "FLAIR intensity"]
    result: dict[str, dict[str, float]] = {}
    for metric in ("auprc", "dice"):
        columns = [
            [float(np.mean(values_of(found[v], entry, metric))) for entry in entries]
            for v in VERSIONS
        ]
        best = [entries[int(np.argmax(column))] for column in columns]
        result[metric] = {
            "rank_correlation": order_agreement(*columns),
            "recipes": len(entries),
            "same_best": float(best[0] == best[1]),
        }
    return result


def contrast_facts(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Medians over all tumours, and what share of the contrast N4 took."""
    before, after = (np.array([row[name] for row in rows]) for name in VERSIONS)
    lost = 1 - after / before
    return {
        "tumours": len(rows),
        "before": float(np.median(before)),
        "after": float(np.median(after)),
        "lost_median": float(np.median(lost)),
        "lost_10th_percentile": float(np.percentile(lost, 10)),
        "lost_90th_percentile": float(np.percentile(lost, 90)),
        "before_sd": float(np.median([row["before_sd"] for row in rows])),
        "after_sd": float(np.median([row["after_sd"] for row in rows])),
    }


def main() -> None:
    """Correct, train, score, report."""
    study = begin(__file__, __doc__)
    settings = study.settings
    everyone = simulated(shared_folder(study.setting), settings["subjects"], study.jobs, {})
    plain = chosen_pairs(everyone, study.work / "plain.csv", settings["pairs"])
    volumes = {
        "before": plain,
        "after": corrected(plain, study.work / "n4", settings["n4_shrink_mm"], study.jobs),
    }
    contrast = contrast_facts(contrasts(*volumes.values(), study.work / "contrast.json"))
    tables = dict(volumes)
    if settings["slices"]:
        tables = {
            name: as_slices(table, study.work / f"slices-{name}", settings["slices"])
            for name, table in volumes.items()
        }
    with ThreadPoolExecutor(min(study.jobs, len(tables))) as pool:
        done = pool.map(lambda name: compared(study, name, tables[name]), tables)
    found = dict(zip(tables, done, strict=True))
    draw_order(found, study.out / "order.png")
    draw_examples(volumes, study.out / "n4.png")
    order, alphas = agreements(found), found_alphas(study.work, settings["plan"], VERSIONS)
    results = {
        "contrast": contrast,
        "order": order,
        "alphas": alphas,
        "versions_compared": {
            name: {
                entry: {
                    metric: values_of(content, entry, metric)
                    for metric in ("auprc", "dice", "tuned_dice", "oracle_dice", "auroc10")
                }
                for entry in entries_of(content)
            }
            for name, content in found.items()
        },
    }
    text = population(study, found, contrast)
    agreement = (
        f"Rank correlation (Spearman) of the {order['auprc']['recipes']} recipes between the two "
        f"cohorts: AUPRC {order['auprc']['rank_correlation']:.2f}, label-only Dice "
        f"{order['dice']['rank_correlation']:.2f}; of maps at chance a rank says nothing. "
        f"Published (BraTS20, 1 mm, N4): {PUBLISHED}."
    )
    figure = "![AUPRC of every recipe, as simulated and after N4](order.png)"
    page = [
        *("## Population and choices", text, alphas_text(alphas, VERSIONS)),
        *("## Raw maps", table_of(found), agreement, figure),
        *("## After post-processing that labels chose", processed_table(found)),
        *("## What N4 does to the images", "![Slices before and after N4](n4.png)"),
    ]
    publish(
        study, results, "\n\n".join(page), f"{text} {agreement}\n\n{table_of(found)}\n\n{figure}"
    )


def population(study: Study, found: dict[str, dict[str, Any]], contrast: dict[str, float]) -> str:
    """Who was looked at, and how everything was chosen."""
    settings, counts = study.settings, found["before"]["counts"]
    pairs = settings["pairs"]
    what = "volumes" if not settings["slices"] else "axial slices (2D)"
    ml = settings["plan"]["allowance"]["ml"]
    prevalence = found["before"]["prevalence"]
    low, high = contrast["lost_10th_percentile"], contrast["lost_90th_percentile"]
    return (
        f"Simulated FLAIR at 2 mm, as many healthy subjects as patients with one tumour each: "
        f"{pairs['train']} pairs for training, {pairs['validation']} for validation, "
        f"{pairs['test']} for the test, split by patient; the same subjects, slices and seeds in "
        f"both cohorts. Test: {counts['cases']} {what} of {counts['patients']} subjects, "
        f"{counts['masked']} with lesions ({prevalence:.1%} of their brain voxels, which is AUPRC "
        f"at chance). N4 is the chain's own step (field estimated at {settings['n4_shrink_mm']} "
        "mm) on every image of the second cohort: the median tumour's contrast (mean over that of "
        f"the rest of the brain, minus one) falls from {contrast['before']:.2f} to "
        f"{contrast['after']:.2f}, by {contrast['lost_median']:.0%} (10th to 90th percentile "
        f"{low:.0%} to {high:.0%}). {len(settings['plan']['seeds'])} seeds, mean +- standard "
        "deviation. Raw maps without post-processing, pooled over voxels; the label-only threshold "
        f"leaves {ml:g} mL of false positives per healthy validation case."
    )


if __name__ == "__main__":
    main()
