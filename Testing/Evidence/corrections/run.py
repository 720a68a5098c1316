"""Study corrections: Unsup, then more and more corrected patients, beside a supervised U-Net.

The masks of 1, 2, 5, 10 and 20 training patients, drawn at random and nested, are added to the
cohort as corrections are. The same masks train the constraint Sup, which has the labels of
everybody else too, and a U-Net, which learns from them and from the healthy slices. What is
finished is not run again.

A third arm is Sup as it was set on validation patients: lesions and the rest weigh the same, half
of the pathological slices of every batch have a mask, and the constraint weighs more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from AttribSegLib.evaluation_report import markdown_table  # noqa: E402
from AttribSegLib.files import atomic_path, read_json, write_json  # noqa: E402
from comparing import image_values, lgg_cohort_table, spread_text, values_of  # noqa: E402
from corrected_cohorts import write_once  # noqa: E402
from study import Study, attribseg, begin, merged, publish, train_once  # noqa: E402

SUP, BALANCED, UNET = "Sup", "Sup, balanced", "U-Net"
#: Arms -> their name without a corrected patient; a U-Net learns nothing then.
UNCORRECTED = {SUP: "Unsup", BALANCED: "Unsup, larger alpha"}
PLAIN = "FLAIR intensity"
COLOURS = {SUP: "#1f77b4", BALANCED: "#1b9e77", UNET: "#d95f02"}
LABELS = {
    SUP: "Unsup (0), Sup",
    BALANCED: "the same with a larger alpha, balanced",
    UNET: "supervised U-Net, same masks",
}


def entry_of(arm: str, count: int) -> str:
    """Name of an arm with so many corrected patients."""
    return f"{arm} {count}" if count else UNCORRECTED[arm]


def runs_of(settings: dict[str, Any], seed: int) -> Iterator[tuple[str, int]]:
    """Arms and numbers of corrected patients of a seed, in the order in which they are trained."""
    yield SUP, 0
    yield BALANCED, 0
    for count in settings["patients_by_seed"][str(seed)]:
        yield from ((arm, count) for arm in (UNET, BALANCED, SUP))


def recipe_of(settings: dict[str, Any], arm: str, count: int) -> dict[str, Any]:
    """Parameters of a training."""
    if arm == UNET:
        return merged(settings["common"], settings["supervised"])
    own = merged(settings["constrained"], {"constraint": "sup" if count else "unsup"})
    if arm == BALANCED:
        own = merged(own, settings["balanced"])
    return merged(settings["common"], own)


def train_and_score(study: Study, table: Path, seed: int) -> dict[str, Any]:
    """All trainings of a seed, and ``attribseg compare`` of their bundles."""
    settings = study.settings

    def train(run: tuple[str, int]) -> tuple[str, dict[str, str]]:
        arm, count = run
        cohort = write_once(table, study.work / "cohorts", count, seed=seed)
        name = entry_of(arm, count)
        folder = study.work / "models" / f"{name.replace(',', '').replace(' ', '-').lower()}-{seed}"
        train_once(cohort, folder, recipe_of(settings, arm, count), seed=seed)
        return name, {"bundle": str(folder)}

    with ThreadPoolExecutor(study.jobs) as pool:
        bundles = dict(pool.map(train, runs_of(settings, seed)))
    plan = study.work / "plans" / f"{seed}.json"
    content = {
        "title": f"Corrections, seed {seed}",
        "seeds": [seed],
        "reference": UNCORRECTED[SUP],
        "post_processing": settings["post_processing"],
        "examples": 0,
        "recipes": bundles,
    }
    write_json(plan, content)
    out = study.work / f"compare-{seed}"
    threads = os.environ.get("OMP_NUM_THREADS")
    attribseg(
        *("compare", str(table), "--recipes", str(plan), "--out", str(out)),
        *(("--threads", threads) if threads else ()),
    )
    return dict(read_json(out / "comparison.json"))


def figures_of(comparison: dict[str, Any], entry: str) -> dict[str, float]:
    """What is reported of an entry, of one seed."""
    rule = "labels"

    def value(metric: str, **how: Any) -> float:
        found = values_of(comparison, entry, metric, **how)
        return found[0] if found else float("nan")

    accuracy = image_values(comparison, entry, "auroc")
    return {
        "auprc": value("auprc"),
        "auprc_per_case": value("auprc", per_case=True),
        "dice": value("dice"),
        "dice_per_case": value("dice", per_case=True),
        "processed_auprc": value("auprc", rule=rule),
        "processed_dice": value("dice", rule=rule),
        "tuned_dice": value("tuned_dice"),
        "image_auroc": accuracy[0] if accuracy else float("nan"),
    }


#: Columns of the tables: heading -> figure.
COLUMNS = {
    "AUPRC": "auprc",
    "Dice": "dice",
    "AUPRC per slice": "auprc_per_case",
    "Dice per slice": "dice_per_case",
    "AUPRC, processed": "processed_auprc",
    "Dice, processed": "processed_dice",
    "Dice, threshold tuned on validation masks": "tuned_dice",
    "Image AUROC": "image_auroc",
}
SHORT = ("AUPRC", "Dice", "AUPRC, processed", "Dice, processed", *list(COLUMNS)[-2:])


def table_of(figures: dict[str, dict[str, list[float]]], columns: tuple[str, ...]) -> str:
    """Mean +- SD over seeds of every entry."""
    rows = []
    for entry, found in figures.items():
        cells = [found[COLUMNS[name]] for name in columns]
        if entry == PLAIN:  # nothing random in it
            cells = [each[:1] for each in cells]
        rows.append([entry, *(spread_text(each) for each in cells)])
    return markdown_table(["Map", *columns], rows)


def draw(figures: dict[str, dict[str, list[float]]], counts: list[int], path: Path) -> None:
    """AUPRC and Dice against the number of corrected patients."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14.5, 3.7), layout="constrained", dpi=120)
    panels = {
        "auprc": "AUPRC",
        "dice": "Dice, threshold by labels alone",
        "tuned_dice": "Dice, threshold by validation masks",
        "image_auroc": "AUROC of images",
    }
    for axis, (metric, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for arm, colour in COLOURS.items():
            mine = [count for count in counts if count or arm in UNCORRECTED]
            values = [figures[entry_of(arm, count)][metric] for count in mine]
            places = [counts.index(count) for count in mine]
            means = [float(np.mean(each)) for each in values]
            axis.plot(places, means, ".-", color=colour, label=LABELS[arm])
            for place, each in zip(places, values, strict=True):
                axis.plot([place] * len(each), each, "o", color=colour, markersize=4, alpha=0.6)
        for value in figures[PLAIN][metric][:1]:  # the same for every seed; none, of images
            axis.axhline(value, color="#777777", linestyle="--", label=PLAIN)
        axis.set_xticks(range(len(counts)), [str(count) for count in counts])
        axis.set_xlabel("corrected patients")
        axis.set_title(title, fontsize=10)
        axis.set_ylim(0, 1)
        axis.grid(alpha=0.25)
        axis.set_xlim(-0.3, len(counts) - 0.7)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=9, loc="outside lower center", ncols=4)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def population(study: Study, comparison: dict[str, Any], masked: dict[int, list[int]]) -> str:
    """Who was looked at and how it was judged."""
    counts, settings = comparison["counts"], study.settings
    slices = ", ".join(f"{' and '.join(map(str, found))} of {n}" for n, found in masked.items())
    seeds = list(settings["patients_by_seed"])
    drawn = (
        f"Seeds {', '.join(seeds)}: each draws its own corrected patients and trains anew; mean "
        "+- SD over the seeds that a row has"
        if len(seeds) > 1
        else f"One seed, {seeds[0]}: no spread is known"
    )
    return (
        f"TCGA-LGG FLAIR slices, 128 x 128, skull removed, patients split 60/15/25 %: "
        f"{counts['cases']} test slices of {counts['patients']} patients, {counts['masked']} of "
        f"them with tumour, on which AUPRC and Dice are pooled (tumour is "
        f"{100 * comparison['prevalence']:.1f} % of their brain voxels). {drawn}. Corrected "
        f"patients are nested; masked training slices: {slices}. Thresholds by labels alone: "
        "0.5 % of the brain on healthy validation slices. Maps are raw; processed: smoothing and "
        "the like, chosen by validation labels, for the FLAIR intensity too. Only the column that "
        "says so uses validation masks."
    )


def masked_slices(study: Study) -> dict[int, list[int]]:
    """Masked training slices for every number of patients, one value per seed that has it."""
    from AttribSegLib.cohort import read_cohort

    found: dict[int, list[int]] = {}
    for seed, counts in study.settings["patients_by_seed"].items():
        for count in counts:
            table = study.work / "cohorts" / f"{count}-{seed}.csv"
            cases = read_cohort(table, check_images=False).in_split("train")
            number = sum(case.label == 1 and case.lesions is not None for case in cases)
            found.setdefault(count, []).append(number)
    return dict(sorted(found.items()))


def main() -> None:
    """Train, compare, report."""
    study = begin(__file__, __doc__)
    study.require_data()
    settings = study.settings
    seeds = settings["patients_by_seed"]
    if study.jobs > 1:  # or every one of them would want all cores
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    table = lgg_cohort_table(study)
    comparisons = {s: train_and_score(study, table, s) for s in map(int, seeds)}
    runs = sorted({run for seed in comparisons for run in runs_of(settings, seed)})
    figures: dict[str, dict[str, list[float]]] = {}
    for entry in [PLAIN, *(entry_of(*run) for run in runs)]:
        found = [figures_of(each, entry) for each in comparisons.values()]
        figures[entry] = {
            name: [each[name] for each in found if np.isfinite(each[name])] for name in found[0]
        }
    draw(figures, sorted({count for _, count in runs}), study.out / "corrections.png")
    who = population(study, next(iter(comparisons.values())), masked_slices(study))
    picture = "![AUPRC and Dice against corrected patients](corrections.png)"
    summary = f"{who}\n\n{table_of(figures, SHORT)}\n\n{picture}"
    balanced = ", ".join(f"{name} {value}" for name, value in settings["balanced"].items())
    page = (
        f"## Figures\n\n{who}\n\n{table_of(figures, tuple(COLUMNS))}\n\n{picture}\n\n"
        '"U-Net n" learns from the masks of n patients and from all healthy training slices; '
        '"Sup n" has the labels of all other slices, too. All have the same patients\' masks. '
        f"Balanced: {balanced}.\n\n"
        f"Repeat: `python Testing/Evidence/corrections/run.py --setting {study.setting}`."
    )
    publish(study, {"figures": figures, "population": who}, page, summary)


if __name__ == "__main__":
    main()
