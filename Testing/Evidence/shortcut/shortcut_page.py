"""The study's tables and page."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from AttribSegLib.evaluation_report import markdown_table
from shortcut_measure import TESTS
from shortcut_sweep import PLAIN
from study import Study


def mean_of(runs: list[dict[str, Any]], test: str, figure: str) -> float:
    """Mean over seeds."""
    return float(np.mean([run["tests"][test][figure] for run in runs]))


def text_of(runs: list[dict[str, Any]], test: str, figure: str, digits: int = 2) -> str:
    """Mean over seeds, and their range where they differ."""
    values = [run["tests"][test][figure] for run in runs]
    text = f"{np.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f}-{max(values):.{digits}f})"
    return text


def grouped(sweep: list[dict[str, Any]]) -> dict[tuple[str, float], dict[str, list[Any]]]:
    """Runs by shortcut and strength, then by recipe; one per seed."""
    found: dict[tuple[str, float], dict[str, list[Any]]] = {}
    for run in sweep:
        point = found.setdefault((run["shortcut"], run["strength"]), {})
        point.setdefault(run["recipe"], []).append(run)
    return found


def short_table(sweep: list[dict[str, Any]]) -> str:
    """AUROC (and its range) with the shortcut on the other class, AUPRC as trained."""
    points = grouped(sweep)
    recipes = list(next(iter(points.values())))
    rows = []
    for (shortcut, strength), runs in points.items():
        cells = [text_of(runs[name], TESTS[2], "image_auroc") for name in recipes]
        cells = [
            f"{cell}, {mean_of(runs[name], TESTS[0], 'auprc'):.2f}"
            for cell, name in zip(cells, recipes, strict=True)
        ]
        flair = mean_of(runs[recipes[0]], TESTS[0], "flair_auprc")
        rows.append(
            [shortcut, "" if shortcut == PLAIN else f"{strength:g}", *cells, f"{flair:.2f}"]
        )
    return markdown_table(["Shortcut", "Strength", *recipes, "FLAIR intensity, AUPRC"], rows)


def long_table(sweep: list[dict[str, Any]]) -> str:
    """Everything of the sweep, a row per point and recipe."""
    rows = []
    for (shortcut, strength), recipes in grouped(sweep).items():
        for name, runs in recipes.items():
            rows.append(
                [
                    shortcut,
                    f"{strength:g}",
                    name,
                    *(text_of(runs, test, "image_auroc") for test in TESTS),
                    *(text_of(runs, test, "auprc") for test in TESTS),
                    text_of(runs, TESTS[0], "dice"),
                    f"{mean_of(runs, TESTS[0], 'share_on_lesions'):.1%}",
                    f"{mean_of(runs, TESTS[0], 'share_on_mark'):.1%}",
                ]
            )
    return markdown_table(_head(dice=True), rows)


def fine_table(fine: list[dict[str, Any]]) -> str:
    """The trainings on the 2 mm grid."""
    rows = [
        [
            run["shortcut"],
            f"{run['strength']:g}",
            run["recipe"],
            *(f"{run['tests'][test]['image_auroc']:.2f}" for test in TESTS),
            *(f"{run['tests'][test]['auprc']:.2f}" for test in TESTS),
            f"{run['tests'][TESTS[0]]['share_on_lesions']:.1%}",
            f"{run['tests'][TESTS[0]]['share_on_mark']:.1%}",
        ]
        for run in fine
    ]
    return markdown_table(_head(dice=False), rows)


def _head(*, dice: bool) -> list[str]:
    return [
        *("Shortcut", "Strength", "Recipe"),
        *(f"Image AUROC, {test}" for test in TESTS),
        *(f"AUPRC, {test}" for test in TESTS),
        *(["Dice, label-only threshold, as trained"] if dice else []),
        *("Positive attribution on lesions", "on the mark"),
    ]


def population(study: Study, sweep: list[dict[str, Any]]) -> str:
    """Who was looked at, and how everything was chosen."""
    settings, own = study.settings, sweep[0]["tests"][TESTS[0]]
    seeds, subjects = settings["sweep"]["seeds"], settings["subjects"]
    return (
        f"Simulated FLAIR, {subjects} healthy brains and {subjects} with one tumour, split by "
        f"patient 60 / 20 / 20 %; test: {own['cases']} brains, {own['patients_with_lesions']} with "
        f"a tumour ({own['prevalence']:.1%} of the brain, which is AUPRC at chance). Grid of "
        f"{2 * settings['sweep']['factor']} mm; {len(seeds)} seed{'s' if len(seeds) > 1 else ''}. "
        "Training and validation carry the shortcut; the test part is looked at as trained, "
        "without it, and with it on the other class: an image AUROC of 0 there means that the "
        "shortcut decides alone, one as high as without it that it does not count. Raw maps, AUPRC "
        "per patient, no post-processing; the threshold of the Dice leaves 1 mL of false positives "
        "per healthy validation image (labels only)."
    )


def summary_of(study: Study, sweep: list[dict[str, Any]]) -> str:
    """Block of the overview."""
    return "\n\n".join(
        [
            population(study, sweep),
            "Each cell: image AUROC with the shortcut on the other class (range over seeds), AUPRC "
            "of the map as trained.",
            short_table(sweep),
            "![AUROC and AUPRC against the strength of a shortcut](shortcut.png)",
        ]
    )


def page_of(study: Study, sweep: list[dict[str, Any]], fine: list[dict[str, Any]]) -> str:
    """Tables and pictures, below the findings."""
    settings = study.settings
    parts = [
        "## Population and choices",
        population(study, sweep),
        "A signature of strength 1 makes patients 10 % brighter in front and darker behind, and "
        "healthy subjects the opposite; between the classes noise differs by a factor of 2.25 and "
        "blur by 1.56. A mark is a cube of 12 mm beside the brain; its strength is its brightness, "
        "as a share of the brain's brightest voxel.",
        "Recipes of the sweep, beside what they share, "
        f"`{json.dumps(settings['sweep']['common'])}`:",
        "\n".join(
            f"- {name}: `{json.dumps(content)}`"
            for name, content in settings["sweep"]["recipes"].items()
        ),
        "![AUROC and AUPRC against the strength of a shortcut](shortcut.png)",
        "## The sweep",
        "Means over seeds, and their range. The columns on attribution say where the positive "
        "attribution of pathological test images (as trained) lies, inside the brain and the mark.",
        long_table(sweep),
    ]
    if fine:
        parts += [
            "## The same on the 2 mm grid, one seed",
            fine_table(fine),
            "![Where the classifiers look](where.png)",
            "Largest positive attribution along the body axis over the mean image, in three "
            "pathological test images and a healthy one; the green line is the lesion. The colour "
            "scale is each row's own.",
        ]
    return "\n\n".join(parts)
