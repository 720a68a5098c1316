"""An evaluation on disk: one table of cases, one file for machines, one to read, one to look at."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .evaluation import PATHOLOGICAL, Evaluation, MapScore, Population, Summary
from .evaluation_curves import curves_table
from .files import atomic_path, write_json, write_text
from .metrics.image import Estimate
from .thresholds import (
    FALSE_POSITIVE_FRACTION,
    FALSE_POSITIVE_VOLUME,
    PRECISION_RECALL,
    Threshold,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_IMAGE_NAMES = {
    "class_weighted_accuracy": "Class-weighted accuracy",
    "true_positive_rate": "True positive rate (TPR)",
    "true_negative_rate": "True negative rate (TNR)",
    "auroc": "AUROC",
}
_VOXEL_NAMES = {
    "dice": "Dice at the stored threshold",
    "oracle_dice": "Oracle Dice (mask-tuned on these cases)",
    "auroc": "AUROC",
    "auroc10": "AUROC10",
    "auprc": "AUPRC",
    "hausdorff_mm": "Hausdorff (mm)",
    "hausdorff95_mm": "Hausdorff 95 % (mm)",
    "segmented_ml": "Segmented (mL)",
    "lesion_ml": "Lesions in the mask (mL)",
}
_HEALTHY_NAMES = {
    "false_positive_ml": "False positives (mL per case)",
    "false_positive_fraction": "False positives (share of the brain)",
    "free_of_false_positives": "Share of cases free of them",
}
#: Okabe-Ito colours, told apart by colour-blind readers; a dash pattern beside each.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", "-.", ":")
_ABSENT = "-"


def write_evaluation(
    evaluation: Evaluation, out: str | Path, *, title: str, description: str
) -> dict[str, Path]:
    """Write ``cases.csv``, ``evaluation.json``, ``evaluation.md``, ``curves.png`` and ``.csv``.

    Parameters
    ----------
    evaluation : Evaluation
    out : path
        Folder; created if needed.
    title : str
        Heading of the report and the figure.
    description : str
        One paragraph on the model and data.

    Returns
    -------
    dict of str to Path
        Keys ``cases``, ``json``, ``markdown``, ``curves`` (the figure), ``curve_points``.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    folder = Path(out)
    paths = {
        "cases": folder / "cases.csv",
        "json": folder / "evaluation.json",
        "markdown": folder / "evaluation.md",
        "curves": folder / "curves.png",
        "curve_points": folder / "curves.csv",
    }
    write_text(paths["cases"], cases_table(evaluation.rows))
    write_json(paths["json"], evaluation_dict(evaluation, title=title, description=description))
    write_text(paths["markdown"], report(evaluation, title=title, description=description))
    draw_curves(evaluation, paths["curves"], title=title)
    write_text(paths["curve_points"], curves_table(evaluation))
    return paths


def cases_table(rows: Sequence[MapScore]) -> str:
    """CSV with one row per case and map; what is undefined is left empty."""
    names = [field.name for field in dataclasses.fields(MapScore)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = [getattr(row, name) for name in names]
        writer.writerow(["" if _undefined(value) else value for value in values])
    return buffer.getvalue()


def _undefined(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def evaluation_dict(evaluation: Evaluation, *, title: str, description: str) -> dict[str, Any]:
    """Plain form of an evaluation, without curves and rows."""
    populations = {}
    for name, population in evaluation.populations.items():
        content = {key: getattr(population, key) for key in ("cases", "patients", "voxels")}
        content["prevalence"] = population.prevalence
        content["maps"] = {
            key: {
                "per_case": {metric: vars(s) for metric, s in result.per_case.items()},
                "pooled": result.pooled,
            }
            for key, result in population.maps.items()
        }
        populations[name] = content
    return {
        "title": title,
        "description": description,
        "split": evaluation.split,
        "counts": evaluation.counts,
        "nominal_spacing": evaluation.nominal,
        "image": {name: vars(estimate) for name, estimate in evaluation.image.items()},
        "thresholds": {name: t.to_dict() for name, t in evaluation.thresholds.items()},
        "populations": populations,
        "healthy": {
            name: {key: vars(summary) for key, summary in found.items()}
            for name, found in evaluation.healthy.items()
        },
        "notes": evaluation.notes,
    }


def report(evaluation: Evaluation, *, title: str, description: str) -> str:
    """The evaluation as Markdown."""
    counts = evaluation.counts
    share = counts["pathological"] / counts["cases"]
    lines = [
        f"# {title}",
        description,
        f"Split: {evaluation.split}. {counts['cases']} cases of {counts['patients']} patients: "
        f"{counts['pathological']} pathological, {counts['healthy']} healthy (prevalence of "
        f"pathological cases {share:.1%}).",
        "## Images",
        markdown_table(
            ["Metric", "Value", "95 % interval", "Interval by"],
            [
                [_IMAGE_NAMES[name], number(e.value), _limits(e), e.interval]
                for name, e in evaluation.image.items()
            ],
        ),
        "An image is called pathological when its logit is positive (probability above 0.5).",
    ]
    if evaluation.thresholds:
        table = [
            [name, number(t.value), t.rule, describe_threshold(t), t.population]
            for name, t in evaluation.thresholds.items()
        ]
        head = ["Map", "Threshold", "Rule", "How it was chosen", "Chosen on"]
        lines += ["## Stored thresholds", markdown_table(head, table)]
    for population in evaluation.populations.values():
        lines += _population(population, evaluation)
    if evaluation.healthy:
        lines += ["## Healthy cases", _healthy_table(evaluation)]
        lines += ["Mean +- SD over cases, at the stored threshold."]
    if evaluation.notes:
        lines += ["## Notes", "\n".join(f"- {note}" for note in evaluation.notes)]
    return "\n\n".join(lines) + "\n"


def describe_threshold(threshold: Threshold) -> str:
    """How a threshold was chosen, in words."""
    detail = threshold.detail
    if threshold.rule == PRECISION_RECALL:
        return "**mask-tuned**: highest pooled Dice on images with masks"
    words = {
        FALSE_POSITIVE_VOLUME: ("allowed_ml", "mL of false positives per healthy case"),
        FALSE_POSITIVE_FRACTION: ("allowed_fraction", "of each healthy brain as false positives"),
    }
    key, what = words[threshold.rule]
    return f"labels only: at most {number(detail.get(key, math.nan))} {what}, mean over cases"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that its source is readable too.

    Examples
    --------
    >>> print(markdown_table(["a", "long"], [["1", "2"]]))
    | a | long |
    | - | ---- |
    | 1 | 2    |
    """
    table = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *rows]]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    table.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in table
    )


def number(value: float) -> str:
    """A figure with three decimals, one from ten on; three digits when very small or large.

    >>> number(0.5), number(46.71), number(1.234e-6), number(float("nan"))
    ('0.500', '46.7', '1.23e-06', '-')
    """
    if not math.isfinite(value):
        return _ABSENT if math.isnan(value) else f"{value}"
    if value != 0 and not 1e-2 <= abs(value) < 1e4:
        return f"{value:.3g}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _limits(estimate: Estimate) -> str:
    """Confidence limits; equal ones are marked."""
    if math.isnan(estimate.low):
        return _ABSENT
    text = f"{number(estimate.low)} to {number(estimate.high)}"
    blind = estimate.low == estimate.high and "bootstrap" in estimate.interval
    return text + " (no replicate differed)" if blind else text


def _summary(summary: Summary | None) -> str:
    """Mean +- SD, with the number of cases when some are undefined."""
    if summary is None or not summary.n:
        return _ABSENT
    mean = number(summary.mean)
    spread = number(summary.sd)
    if "e" not in mean and math.isfinite(summary.sd):
        decimals = len(mean.partition(".")[2])  # as many as the mean has
        spread = f"{summary.sd:.{decimals}f}"
    text = f"{mean} +- {spread}" if summary.n > 1 else mean
    if summary.n == 1 and not summary.undefined:
        text += " (1 case)"
    if summary.undefined:
        text += f" ({summary.n} of {summary.n + summary.undefined} cases)"
    return text


def _population(population: Population, evaluation: Evaluation) -> list[str]:
    """Heading, table and legend of the voxel metrics on one population."""
    metrics = list(_VOXEL_NAMES)
    if evaluation.nominal or population.name != PATHOLOGICAL:
        metrics = [metric for metric in metrics if not metric.endswith(("_mm", "_ml"))]
    rows = []
    for name, result in population.maps.items():
        threshold = evaluation.thresholds.get(name)
        kind = "none" if threshold is None else "labels only"
        if threshold is not None and threshold.uses_masks:
            kind = "mask-tuned"
        cells = [name, kind]
        for metric in metrics:
            cell = _summary(result.per_case.get(metric))
            if metric in result.pooled:
                cell += f" / {number(result.pooled[metric])}"
            cells.append(cell)
        rows.append(cells)
    text = [
        f"## Voxels: {population.name}",
        f"{population.cases} cases of {population.patients} patients, {population.voxels} brain "
        f"voxels, lesion prevalence {population.prevalence:.3%} of them (chance level of AUPRC).",
        markdown_table(["Map", "Threshold", *(_VOXEL_NAMES[m] for m in metrics)], rows),
        "Mean +- SD over cases / pooled over all voxels. AUROC10 at chance is 0.05. Oracle Dice is "
        "the best over all thresholds, chosen with the very masks it is measured on (per case: a "
        "threshold for each case; pooled: one for all): an upper bound, not a result.",
    ]
    if "hausdorff_mm" in metrics:
        text.append("Hausdorff distances leave out cases in which nothing was segmented.")
    if population.name != PATHOLOGICAL:
        text.append(
            "The Dice of a healthy case is 1 if nothing is segmented, else 0; the other metrics "
            "are undefined for a case without lesions and are given pooled only."
        )
    return text


def _healthy_table(evaluation: Evaluation) -> str:
    """False positives on healthy cases, one row per map."""
    keys = [k for k in _HEALTHY_NAMES if not (evaluation.nominal and k.endswith("_ml"))]
    rows = []
    for name, found in evaluation.healthy.items():
        cells = [_summary(found.get(key)) for key in keys if key != "free_of_false_positives"]
        rows.append([name, *cells, number(found["free_of_false_positives"].mean)])
    return markdown_table(["Map", *(_HEALTHY_NAMES[key] for key in keys)], rows)


def draw_curves(evaluation: Evaluation, path: str | Path, *, title: str) -> None:
    """Draw the ROC of images and, where there are masks, the pooled curves of every map."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    population = evaluation.populations.get(PATHOLOGICAL)
    panels = 1 if population is None else 3
    figure = Figure(figsize=(4.7 * panels, 5.2), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.92", linewidth=0.8)
        axis.set_axisbelow(True)
    _draw_roc(axes[0], evaluation)
    if population is not None:
        _draw_precision_recall(axes[1], population)
        _draw_dice(axes[2], population)
        handles, names = axes[1].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=9
        )
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def _draw_roc(axis: Axes, evaluation: Evaluation) -> None:
    false_rate, true_rate = evaluation.image_roc
    area = evaluation.image["auroc"]
    counts = evaluation.counts
    axis.set(
        title=f"Images: {counts['pathological']} pathological, {counts['healthy']} healthy",
        xlabel="False positive rate",
        ylabel="True positive rate",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        aspect="equal",
    )
    axis.title.set_fontsize(10)
    if math.isnan(area.value):
        axis.text(0.5, 0.5, "one class only: no ROC", ha="center", color="0.4")
        return
    axis.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle=":")
    axis.plot(false_rate, true_rate, color="black", linewidth=1.8, clip_on=False)
    operating = (
        1 - evaluation.image["true_negative_rate"].value,
        evaluation.image["true_positive_rate"].value,
    )
    axis.plot(*operating, "o", color="black", markersize=7, clip_on=False)
    text = f"AUROC {area.value:.3f}\n95 %: {_limits(area)}\n\u25cf probability 0.5"
    axis.text(0.97, 0.05, text, ha="right", fontsize=9, linespacing=1.5)


def _draw_precision_recall(axis: Axes, population: Population) -> None:
    axis.set(
        title=f"Voxels: {population.cases} {population.name}",
        xlabel="Recall",
        ylabel="Precision",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        aspect="equal",
    )
    axis.title.set_fontsize(10)
    for index, (name, result) in enumerate(population.maps.items()):
        style = _style(index)
        label = f"{name}, AUPRC {number(result.pooled['auprc'])}"
        curves = result.curves
        axis.plot(curves.recall, curves.precision, label=label, linewidth=1.8, **style)
        if curves.operating is not None:
            point = (curves.operating["recall"], curves.operating["precision"])
            axis.plot(*point, "o", color=style["color"], markersize=7)
    chance = f"Chance, {number(population.prevalence)}"
    axis.axhline(population.prevalence, color="0.6", linestyle=":", linewidth=1.2, label=chance)
    axis.plot([], [], "o", color="0.3", markersize=7, linestyle="none", label="Stored threshold")


def _draw_dice(axis: Axes, population: Population) -> None:
    axis.set(
        title="Dice against threshold, pooled",
        xlabel="Brain voxels above the threshold",
        ylabel="Dice",
        xscale="log",
        xlim=(1e-5, 1.0),
        ylim=(-0.02, 1.02),
        box_aspect=1,
    )
    axis.minorticks_off()
    axis.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axis.title.set_fontsize(10)
    for index, (_, result) in enumerate(population.maps.items()):
        style, curves = _style(index), result.curves
        axis.plot(curves.selected, curves.dice, linewidth=1.8, **style)
        point = curves.operating
        if point is not None and point["selected"] > 0:
            axis.plot(point["selected"], point["dice"], "o", color=style["color"], markersize=7)


def _style(index: int) -> dict[str, Any]:
    """Colour and dashes of the map at a position."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _DASHES[index % len(_DASHES)],
    }
