"""Study shortcut: what classifiers look at when something else than lesions gives the class away.

Simulated cohorts: in one every pathological image carries a small bright cube in a corner, in the
others the classes come from scanners that differ, much or little. All are learned with the Unsup
constraint and without; tested as they are, without the shortcut, and with the shortcut on the other
class. What is finished is not run again. About 40 minutes on one core.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from AttribSegLib.assessment import evaluated_cases  # noqa: E402
from AttribSegLib.bundle import load_bundle  # noqa: E402
from AttribSegLib.cohort import read_cohort  # noqa: E402
from AttribSegLib.evaluation_report import markdown_table  # noqa: E402
from AttribSegLib.files import atomic_path, write_json, write_text  # noqa: E402
from AttribSegLib.metrics.image import auroc  # noqa: E402
from AttribSegLib.metrics.voxel import RankedScores  # noqa: E402
from AttribSegLib.provenance import versions  # noqa: E402
from AttribSegLib.simulation import simulate_cohort  # noqa: E402
from AttribSegLib.simulation.signature import corner_mark  # noqa: E402
from study import train_once  # noqa: E402

RECIPE: dict[str, Any] = json.loads((HERE / "recipe.json").read_text(encoding="utf-8"))
SUBJECTS, SEED, VOXEL = 60, 0, 2.0
CONSTRAINTS = {"none": "no constraint", "unsup": "Unsup"}
#: Shortcut -> (as trained, without it, on the other class).
COHORTS: dict[str, dict[str, dict[str, Any]]] = {
    "corner mark": {
        "as trained": {"corner_mark": "pathological"},
        "without": {},
        "on the other class": {"corner_mark": "healthy"},
    },
    "scanner signature": {
        "as trained": {"scanner_signature": 1.0},
        "without": {},
        "on the other class": {"scanner_signature": -1.0},
    },
    "weak scanner signature": {
        "as trained": {"scanner_signature": 0.3},
        "without": {},
        "on the other class": {"scanner_signature": -0.3},
    },
}


def cohort_of(options: dict[str, Any], work: Path) -> Path:
    """Simulate a cohort unless it is there; the same subjects in all of them."""
    name = "-".join(f"{key}-{value}" for key, value in options.items()) or "plain"
    table = work / "cohorts" / name / "cohort.csv"
    if not table.is_file():
        print(f"simulating {name} ...", flush=True)
        simulate_cohort(
            table.parent,
            healthy=SUBJECTS,
            pathological=SUBJECTS,
            lesions="tumour",
            seed=SEED,
            jobs=2,
            **options,
        )
    return table


def measure(folder: Path, table: Path) -> dict[str, Any]:
    """Image AUROC of the test split; where the positive attribution of its patients lies."""
    bundle = load_bundle(folder)
    labels, logits, auprc, shares = [], [], [], []
    for case in evaluated_cases(bundle, read_cohort(table).in_split("test")):
        labels.append(case.label)
        logits.append(case.logit)
        if case.label == 0:
            continue
        positive = np.maximum(case.maps["attribution"], 0) * case.brain
        mark = corner_mark(case.geometry.size, VOXEL)
        lesions = np.asarray(case.lesions)
        whole = positive.sum()
        shares.append([positive[lesions].sum() / whole, positive[mark].sum() / whole])
        # The brain, without the mark: that no lesion is there is known.
        inside = case.brain & ~mark
        ranked = RankedScores.of(case.maps["attribution"][inside], lesions[inside])
        auprc.append(ranked.auprc())
    lesion_share, mark_share = np.mean(shares, axis=0)
    return {
        "image_auroc": auroc(labels, logits),
        "auprc": float(np.mean(auprc)),
        "auprc_sd": float(np.std(auprc, ddof=1)),
        "share_on_lesions": float(lesion_share),
        "share_on_mark": float(mark_share),
        "cases": len(labels),
        "patients_with_lesions": len(auprc),
    }


def report(results: dict[str, Any]) -> str:
    """The study's page."""
    rows = []
    for run in results["runs"]:
        found = run["tests"]
        own = found["as trained"]
        rows.append(
            [
                run["shortcut"],
                CONSTRAINTS[run["constraint"]],
                *(f"{found[name]['image_auroc']:.3f}" for name in found),
                *(f"{found[name]['auprc']:.3f}" for name in found),
                f"{own['share_on_lesions']:.1%}",
                f"{own['share_on_mark']:.1%}",
            ]
        )
    head = [
        "Shortcut",
        "Recipe",
        "Image AUROC, as trained",
        "without it",
        "on the other class",
        "AUPRC, as trained",
        "without it",
        "on the other class",
        "Positive attribution on lesions",
        "on the mark",
    ]
    table = markdown_table(head, rows)
    own = results["runs"][0]["tests"]["as trained"]
    template = (HERE / "results.template.md").read_text(encoding="utf-8")
    return template.format(
        table=table,
        recipe=json.dumps(RECIPE),
        subjects=SUBJECTS,
        cases=own["cases"],
        lesions=own["patients_with_lesions"],
        prevalence=f"{results['lesion_share_of_the_brain']:.1%}",
    )


def draw(work: Path, runs: list[dict[str, Any]], path: Path) -> None:
    """Largest positive attribution along the body axis, over the mean image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.1 * len(runs)), layout="constrained", dpi=110)
    axes = figure.subplots(len(runs), 4)
    for row, run in zip(axes, runs, strict=True):
        table = cohort_of(COHORTS[run["shortcut"]]["as trained"], work)
        members = read_cohort(table).in_split("test")
        chosen = [c for c in members if c.label][:3] + [c for c in members if not c.label][:1]
        bundle = load_bundle(work / run["folder"])
        found = list(evaluated_cases(bundle, chosen))
        limit = max(float(np.percentile(np.maximum(c.maps["attribution"], 0), 99.9)) for c in found)
        for axis, case in zip(row, found, strict=True):
            image = case.maps["FLAIR intensity"].mean(axis=2)
            positive = np.maximum(case.maps["attribution"], 0).max(axis=2)
            axis.imshow(image.T[::-1], cmap="gray")
            axis.imshow(
                positive.T[::-1],
                cmap="inferno",
                vmin=0,
                vmax=limit,
                alpha=np.clip(positive.T[::-1] / limit, 0, 0.9),
            )
            lesions = np.asarray(case.lesions).any(axis=2)
            if lesions.any():
                axis.contour(lesions.T[::-1], [0.5], colors="#3fe0a5", linewidths=1.2)
            kind = "pathological" if case.label else "healthy"
            axis.set_title(f"{kind}, logit {case.logit:+.1f}", fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(f"{run['shortcut']}\n{CONSTRAINTS[run['constraint']]}", fontsize=10)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def main() -> None:
    """Simulate, train, measure, report."""
    work = HERE / "work"
    runs = []
    for shortcut, variants in COHORTS.items():
        tables = {name: cohort_of(options, work) for name, options in variants.items()}
        for constraint in CONSTRAINTS:
            folder = f"{shortcut.replace(' ', '-')}-{constraint}"
            recipe = {**RECIPE, "constraint": constraint}
            train_once(tables["as trained"], work / folder, recipe, seed=SEED)
            tests = {name: measure(work / folder, table) for name, table in tables.items()}
            runs.append(
                {
                    "shortcut": shortcut,
                    "constraint": constraint,
                    "folder": folder,
                    "tests": tests,
                }
            )
            print(json.dumps(runs[-1]), flush=True)
    plain = cohort_of({}, work)
    shares = []
    for case in evaluated_cases(
        load_bundle(work / runs[0]["folder"]),
        [c for c in read_cohort(plain).in_split("test") if c.label],
    ):
        shares.append(np.asarray(case.lesions).sum() / case.brain.sum())
    results = {
        "recipe": RECIPE,
        "runs": runs,
        "lesion_share_of_the_brain": float(np.mean(shares)),
        "versions": versions(),
    }
    write_json(HERE / "results.json", results)
    draw(work, runs, HERE / "where.png")
    write_text(HERE / "results.md", report(results))
    print(f"written: {HERE / 'results.md'}")


if __name__ == "__main__":
    main()
