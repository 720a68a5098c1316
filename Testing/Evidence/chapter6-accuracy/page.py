"""The study's page: tables from the results, in the words of ``results.template.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accuracy
import depth
import ladder
import numpy as np
from AttribSegLib.evaluation_report import markdown_table
from networks import FORMS, INITS

HERE = Path(__file__).resolve().parent
PUBLISHED = {
    ("batch", "kaiming"): "1.00",
    ("batch", "ours"): "1.00",
    ("monotone", "kaiming"): "diverges",
    ("monotone", "ours"): ".98",
}


def page(results: dict[str, Any]) -> str:
    """All of it, as Markdown."""
    template = (HERE / "results.template.md").read_text(encoding="utf-8")
    parts = ("depth", "search", "accuracy", "ladder", "deep")
    return template.format(
        depth=depth_table(results["depth"]),
        band=band_table(results["depth"]),
        accuracy=accuracy_table(results["search"], results["accuracy"]),
        search=search_table(results["search"]),
        outcomes=outcome_table(results["ladder"]),
        deep=deep_table(results["deep"]),
        gaps=gaps(results["accuracy"]),
        rms=found_in(results["search"], centred=False),
        centred=found_in(results["search"], centred=True),
        minutes=f"{sum(r['cpu_seconds'] for part in parts for r in results[part]) / 60:.0f}",
        **{
            f"{part}_minutes": f"{sum(r['cpu_seconds'] for r in results[part]) / 60:.0f}"
            for part in parts
        },
    )


def depth_table(rows: list[dict[str, Any]]) -> str:
    """Range of features and gradients over layers, first seed, all networks."""
    head = ["Network", "Initialisation", "Linear layers", "Feature std: lowest", "highest"]
    head += ["last layer", "Gradient std: first layer", "lowest", "highest"]
    head += ["Correlation before the last layer", "Prop. 6 is off by (mean)", "(at most)"]
    table = []
    for row in (row for row in rows if row["seed"] == depth.SEEDS[0]):
        table.append(
            [
                f"ResNet-{row['depth']}, {FORMS[row['form']]}",
                INITS[row["init"]],
                str(row["layers"]),
                *(f"{row[name]:.3g}" for name in ("lowest", "highest", "last")),
                *(f"{row[f'gradient_{name}']:.2g}" for name in ("first", "lowest", "highest")),
                f"{row['correlation_before_last']:.2f}",
                f"{row['correlation_error']:.3f}",
                f"{row['correlation_error_highest']:.3f}",
            ]
        )
    return markdown_table(head, table)


def band_table(rows: list[dict[str, Any]]) -> str:
    """What lies outside the band with "ours", over all seeds."""
    head = ["Network", "Seed", "All but the last: lowest", "highest", "Last layer"]
    head += ["Layers outside"]
    table = []
    for row in (row for row in rows if row["init"] == "ours"):
        outside = ", ".join(f"`{name}` ({std:.2f})" for name, std in row["outside"].items())
        table.append(
            [
                f"ResNet-{row['depth']}, {FORMS[row['form']]}",
                str(row["seed"]),
                *(f"{std:.3f}" for std in (*row["before_last"], row["last"])),
                f"{len(row['outside'])} of {row['layers']}" + (f": {outside}" if outside else ""),
            ]
        )
    return markdown_table(head, table)


def accuracy_table(search: list[dict[str, Any]], trained: list[dict[str, Any]]) -> str:
    """Table 6.2 in small."""
    head = [
        "Network; initialisation",
        "Epochs",
        "Learning rate",
        "Inner part, mean",
        "val/, mean",
        "sd",
    ]
    head += ["each seed", "best look, in steps", "Diverged", "Thesis (ResNet-152)"]
    table = []
    for form, init, centred, epochs in accuracy.table_rows():
        runs = accuracy.of_row(trained, form, init, centred, epochs)
        test = [run["test"] for run in runs]
        table.append(
            [
                accuracy.name_of(form, init, centred),
                str(epochs),
                f"{accuracy.choice(search, form, init, centred)['task']['rate']:g}",
                f"{np.mean([(run['inner'] or {'accuracy': 0})['accuracy'] for run in runs]):.3f}",
                f"{np.mean(test):.3f}",
                f"{np.std(test, ddof=1):.3f}",
                " ".join(f"{each:.3f}" for each in test),
                " ".join(str((run["inner"] or {"step": 0})["step"]) for run in runs),
                f"{sum(run['outcome'] == 'diverged' for run in runs)} of {len(runs)}",
                PUBLISHED[form, init],
            ]
        )
    return markdown_table(head, table)


def search_table(search: list[dict[str, Any]]) -> str:
    """Accuracy on the inner part for every learning rate that was tried."""
    head = ["Network; initialisation", *(f"Adam {rate:g}" for rate in accuracy.RATES)]
    table = []
    for form, init, centred in accuracy.rows():
        cells = []
        for run in accuracy.of_row(search, form, init, centred, accuracy.SEARCH_EPOCHS):
            value = f"{run['inner']['accuracy']:.3f}" if run["inner"] else "-"
            start = run["first_loss"]
            first = "inf" if start is None else f"{start:.3g}"
            mark = "" if run["outcome"] == "learned" else f", {run['outcome']}"
            cells.append(f"{value} (loss {first} at the start{mark})")
        table.append([accuracy.name_of(form, init, centred), *cells])
    return markdown_table(head, table)


def outcome_table(steps: list[dict[str, Any]]) -> str:
    """What became of the short trainings, and the best of them by depth."""
    head = ["Network; initialisation", "Learned", "Not learned", "Diverged"]
    head += [f"{o}: best, ResNet-{d}" for o in ladder.RATES for d in ladder.DEPTHS]
    table = []
    for form in FORMS:
        for init in INITS:
            runs = ladder.chosen(steps, form=form, init=init)
            counts = [
                str(sum(run["outcome"] == name for run in runs))
                for name in ("learned", "not learned", "diverged")
            ]
            cells = []
            for optimiser in ladder.RATES:
                for layers in ladder.DEPTHS:
                    run = ladder.best(
                        steps, form=form, init=init, optimiser=optimiser, depth=layers
                    )
                    diverged = run["outcome"] == "diverged"
                    cells.append("div." if diverged else f"{run['accuracy']:.2f}")
            table.append([f"{FORMS[form]}; {INITS[init]}", *counts, *cells])
    return markdown_table(head, table)


def deep_table(runs: list[dict[str, Any]]) -> str:
    """The longer trainings of a monotone ResNet-152."""
    head = ["Initialisation", "Learning rate", "First loss", "Outcome"]
    head += ["Inner part, best look: loss", "accuracy", "val/: accuracy"]
    table = []
    for run in runs:
        table.append(
            [
                INITS[run["task"]["init"]],
                f"{run['task']['rate']:g}",
                f"{run['first_loss']:.3g}",
                run["outcome"],
                f"{run['inner']['loss']:.3g}" if run["inner"] else "-",
                f"{run['inner']['accuracy']:.3f}" if run["inner"] else "-",
                f"{run['test']:.3f}",
            ]
        )
    return markdown_table(head, table)


def gaps(trained: list[dict[str, Any]]) -> str:
    """By how many points monotone is below standard on val/, both with "ours", by epochs."""

    def mean(form: str, epochs: int) -> float:
        runs = accuracy.of_row(trained, form, "ours", False, epochs)
        return float(np.mean([run["test"] for run in runs]))

    standard = mean("batch", accuracy.EPOCHS["batch"][-1])
    return " and ".join(
        f"{100 * (standard - mean('monotone', epochs)):.1f} points after {epochs} epochs"
        for epochs in accuracy.EPOCHS["monotone"]
    )


def found_in(search: list[dict[str, Any]], *, centred: bool) -> str:
    """Best accuracy of the search for monotone networks with "ours"."""
    return f"{accuracy.choice(search, 'monotone', 'ours', centred)['inner']['accuracy']:.3f}"
