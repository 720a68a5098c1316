"""Study lgg-2d: tumours in FLAIR slices, the Unsup constraint against none.

Converts the data, trains both recipes on CPU with the same budget for three seeds, and reports on
patients that neither training nor the choice of the epoch has seen. What is finished is not run
again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from AttribSegLib.assessment import evaluated_cases  # noqa: E402
from AttribSegLib.bundle import load_bundle  # noqa: E402
from AttribSegLib.cohort import Cohort, read_cohort  # noqa: E402
from AttribSegLib.evaluation import ALL_CASES, PATHOLOGICAL, Evaluation, evaluate  # noqa: E402
from AttribSegLib.evaluation_report import markdown_table  # noqa: E402
from AttribSegLib.files import atomic_path  # noqa: E402
from lgg_cohort import convert  # noqa: E402
from study import (  # noqa: E402
    Study,
    begin,
    mean_and_sd,
    pooled,
    publish,
    train_once,
    with_smoothed,
)

CONSTRAINTS = ("unsup", "none")
IMAGE_METRICS = (
    "auroc",
    "true_positive_rate",
    "true_negative_rate",
    "class_weighted_accuracy",
)
MAPS = {
    "unsup": "Unsup, gradient",
    "none": "no constraint, gradient",
    "FLAIR": "FLAIR intensity",
}


def evaluate_bundle(
    folder: Path, cohort: Cohort, sigma: float, *, mask_tuned: bool = False
) -> Evaluation:
    """Test metrics of a bundle: raw maps and, for all alike, smoothed ones."""
    bundle = load_bundle(folder)
    thresholds = bundle.alternatives if mask_tuned else bundle.thresholds
    cases = evaluated_cases(bundle, cohort.in_split("test"))
    return evaluate(with_smoothed(cases, sigma), thresholds=thresholds, split="test")


def collect(cohort: Cohort, study: Study) -> dict[str, Any]:
    """Figures of every run."""
    sigma = study.settings["sigma_pixels"]
    runs: list[dict[str, Any]] = []
    for constraint in CONSTRAINTS:
        for seed in study.settings["seeds"]:
            folder = study.work / f"{constraint}-{seed}"
            evaluation = evaluate_bundle(folder, cohort, sigma)
            tumour, everything = (evaluation.populations[n] for n in (PATHOLOGICAL, ALL_CASES))
            tuned = evaluate_bundle(folder, cohort, sigma, mask_tuned=True)
            training = load_bundle(folder).record
            names = ("attribution", "FLAIR intensity")
            runs.append(
                {
                    "constraint": constraint,
                    "seed": seed,
                    "best_epoch": training["best_epoch"],
                    "training_seconds": training["history"][-1]["seconds"],
                    "image": {name: e.value for name, e in evaluation.image.items()},
                    "image_intervals": {
                        name: [e.low, e.high] for name, e in evaluation.image.items()
                    },
                    "tumour_slices": {
                        name: pooled(tumour, name)
                        for raw in names
                        for name in (raw, f"{raw}, smoothed")
                    },
                    "all_slices": {
                        name: pooled(everything, name)
                        for raw in names
                        for name in (raw, f"{raw}, smoothed")
                    },
                    "per_case_auprc": {
                        name: [
                            tumour.maps[name].per_case["auprc"].mean,
                            tumour.maps[name].per_case["auprc"].sd,
                        ]
                        for name in names
                    },
                    "mask_tuned_dice": {
                        key: {name: pooled(tuned.populations[of], name)["dice"] for name in names}
                        for key, of in (("tumour_slices", PATHOLOGICAL), ("all_slices", ALL_CASES))
                    },
                    "thresholds": {n: t.to_dict() for n, t in evaluation.thresholds.items()},
                    "population": {
                        "tumour_slices": [tumour.cases, tumour.patients, tumour.prevalence],
                        "all_slices": [
                            everything.cases,
                            everything.patients,
                            everything.prevalence,
                        ],
                    },
                }
            )
            print(
                f"{constraint} seed {seed}: AUROC {runs[-1]['image']['auroc']:.3f}, AUPRC "
                f"{runs[-1]['tumour_slices']['attribution']['auprc']:.3f}",
                flush=True,
            )
    return {"runs": runs}


def report(study: Study, runs: list[dict[str, Any]]) -> tuple[str, str]:
    """The study's page, and its summary."""

    def of(constraint: str) -> list[dict[str, Any]]:
        return [run for run in runs if run["constraint"] == constraint]

    def cell(values: list[float]) -> str:
        return mean_and_sd(values) if len(values) > 1 else f"{values[0]:.3f}"

    def table(population: str, suffix: str = "") -> str:
        metrics = {"AUPRC": "auprc", "AUROC": "auroc", "AUROC10": "auroc10"}
        if not suffix:
            metrics["Dice, label-only threshold"] = "dice"
        rows = []
        for label, group, raw in (
            (MAPS["unsup"], of("unsup"), "attribution"),
            (MAPS["none"], of("none"), "attribution"),
            (MAPS["FLAIR"], of("unsup")[:1], "FLAIR intensity"),
        ):
            found = [run[population][raw + suffix] for run in group]
            cells = [cell([each[metric] for each in found]) for metric in metrics.values()]
            if not suffix:
                cells.append(cell([run["mask_tuned_dice"][population][raw] for run in group]))
            cells.append(cell([each["oracle_dice"] for each in found]))
            rows.append([label, *cells])
        tuned = [] if suffix else ["Dice, mask-tuned on validation"]
        return markdown_table(["Map", *metrics, *tuned, "Oracle Dice"], rows)

    images = markdown_table(
        ["Recipe", "AUROC", "TPR", "TNR", "Class-weighted accuracy"],
        [
            [MAPS[c].split(",")[0]]
            + [mean_and_sd([run["image"][name] for run in of(c)]) for name in IMAGE_METRICS]
            for c in CONSTRAINTS
        ],
    )
    per_seed = markdown_table(
        ["Seed", "Unsup: image AUROC", "Unsup: AUPRC", "none: image AUROC", "none: AUPRC", "gain"],
        [
            [
                str(u["seed"]),
                f"{u['image']['auroc']:.3f}",
                f"{u['tumour_slices']['attribution']['auprc']:.3f}",
                f"{n['image']['auroc']:.3f}",
                f"{n['tumour_slices']['attribution']['auprc']:.3f}",
                f"{u['tumour_slices']['attribution']['auprc'] - n['tumour_slices']['attribution']['auprc']:+.3f}",  # noqa: E501
            ]
            for u, n in zip(of("unsup"), of("none"), strict=True)
        ],
    )
    tumour, everything = (runs[0]["population"][p] for p in ("tumour_slices", "all_slices"))
    minutes = [run["training_seconds"] / 60 for run in runs]
    recipe = json.dumps(study.settings["recipe"])
    main = table("tumour_slices")
    page = f"""TCGA-LGG FLAIR, 128 x 128, the central half of every patient's stack, skull removed
slice by slice, standardised per patient. Healthy: no tumour pixel; pathological: tumour on more
than 0.1 % of the slice; the slices in between are not used. Patients are split 60 / 15 / 25 %;
training and the choice of the epoch never see the test patients, whose figures are below. Both
recipes have the same seed, budget and settings and differ in the constraint alone:

    {recipe}

Training took {min(minutes):.1f} to {max(minutes):.1f} minutes a run on one core.

The settings were chosen on the validation patients, by image AUROC and, since this data set has
masks, also by the AUPRC of the maps there: they are mask-tuned on validation. The skull removal
was developed by eye on all patients, without the masks. Thresholds are label-only: mean false
positives on 0.5 % of the brain in healthy validation slices. Mean +- SD over
{len(study.settings["seeds"])} seeds; voxels inside the brain, pooled.

## Images

{tumour[0]} tumour slices and {everything[0] - tumour[0]} healthy ones of {everything[1]} patients.

{images}

## Tumour slices only

{tumour[0]} slices of {tumour[1]} patients, prevalence {tumour[2]:.3f}. Raw maps.

{main}

{per_seed}

## All central slices

{everything[0]} slices of {everything[1]} patients, prevalence {everything[2]:.3f}. Raw maps.

{table("all_slices")}

## Smoothed, all maps alike

Gaussian of {study.settings["sigma_pixels"]} pixels inside the brain; tumour slices only.

{table("tumour_slices", ", smoothed")}

![Precision and recall](precision_recall.png)

![Examples](examples.png)

Oracle Dice is the best over all thresholds, chosen on the very masks it is measured on.
"""
    summary = f"""{tumour[0]} tumour slices of {tumour[1]} test patients, lesions {tumour[2]:.3f}
of the brain; split by patient; {len(study.settings["seeds"])} seeds, {study.setting} setting; raw
maps, voxels pooled. Label-only threshold: mean false positives on 0.5 % of the brain in healthy
validation slices.

{main}

![Precision and recall](precision_recall.png)
"""
    return page, summary


def draw_examples(cohort: Cohort, work: Path, path: Path, *, count: int = 6) -> None:
    """Test slices with their maps: the patients with the median tumour, not the best ones."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tumour = [case for case in cohort.in_split("test") if case.label]
    patients = list(dict.fromkeys(case.patient for case in tumour))
    chosen = []
    for patient in patients[:: max(1, len(patients) // count)][:count]:
        own = [case for case in tumour if case.patient == patient]
        chosen.append(own[len(own) // 2])
    shown = {c: list(evaluated_cases(load_bundle(work / f"{c}-0"), chosen)) for c in CONSTRAINTS}
    figure = Figure(figsize=(1.9 * count, 6.2), layout="constrained", facecolor="#101014")
    axes = figure.subplots(3, count)
    for column in range(count):
        case = shown["unsup"][column]
        box = np.argwhere(case.brain[..., 0])
        (i0, j0), (i1, j1) = box.min(axis=0), box.max(axis=0) + 1

        def crop(array: np.ndarray, window: tuple = (slice(i0, i1), slice(j0, j1))) -> np.ndarray:
            return array[..., 0][window].T

        truth = crop(case.lesions)
        flair = crop(case.maps["FLAIR intensity"])
        pictures = [("FLAIR", flair, "gray", (-2.5, 3.0))]
        for constraint, label in (("none", "no constraint"), ("unsup", "Unsup")):
            values = crop(np.where(case.brain, shown[constraint][column].maps["attribution"], 0))
            limit = float(np.percentile(np.abs(values), 99.5)) or 1.0
            pictures.append((label, values, "RdBu_r", (-limit, limit)))
        for axis, (label, values, colours, (low, high)) in zip(
            axes[:, column], pictures, strict=True
        ):
            axis.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
            axis.contour(truth, [0.5], colors="#2ee6a8", linewidths=0.9)
            axis.set_axis_off()
            if column == 0:
                axis.set_title(label, color="w", fontsize=10, loc="left")
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def draw_precision_recall(cohort: Cohort, study: Study, path: Path) -> None:
    """Pooled precision-recall curves on tumour slices, one line per seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axis = figure.subplots()
    for constraint, colour in (("unsup", "#D55E00"), ("none", "#0072B2")):
        for seed in study.settings["seeds"]:
            folder = study.work / f"{constraint}-{seed}"
            evaluation = evaluate_bundle(folder, cohort, study.settings["sigma_pixels"])
            maps = evaluation.populations[PATHOLOGICAL].maps
            curve = maps["attribution"].curves
            label = MAPS[constraint] if seed == study.settings["seeds"][0] else None
            axis.plot(curve.recall, curve.precision, color=colour, lw=1.2, label=label)
    curve = maps["FLAIR intensity"].curves
    axis.plot(curve.recall, curve.precision, color="k", ls="--", lw=1.2, label=MAPS["FLAIR"])
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def main() -> None:
    """Run what is not done yet, then report."""
    study = begin(__file__, __doc__)
    # All studies on these slices share the cohort.
    table = HERE / "work" / "cohort" / "cohort.csv"
    if not table.exists():
        print("converting the data (about 3 minutes)", flush=True)
        convert(study.data / "lgg_flair_2d.npz", table.parent)
    for seed in study.settings["seeds"]:
        for constraint in CONSTRAINTS:
            recipe = {**study.settings["recipe"], "constraint": constraint}
            train_once(table, study.work / f"{constraint}-{seed}", recipe, seed=seed)
    cohort = read_cohort(table, check_images=False)
    results = collect(cohort, study)
    draw_precision_recall(cohort, study, study.out / "precision_recall.png")
    draw_examples(cohort, study.work, study.out / "examples.png")
    publish(study, results, *report(study, results["runs"]))


if __name__ == "__main__":
    main()
