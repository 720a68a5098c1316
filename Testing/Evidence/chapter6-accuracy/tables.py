"""Tables of the parts on features by depth, short trainings and MedNIST."""

from __future__ import annotations

from typing import Any

import accuracy
import ladder
import numpy as np
from AttribSegLib.evaluation_report import markdown_table
from networks import FORMS, INITS
from rows import chosen


def depth_table(rows: list[dict[str, Any]], seed: int) -> str:
    """Range of features and gradients over layers, first seed, all networks."""
    head = ["Network", "Initialisation", "Linear layers", "Feature std: lowest", "highest"]
    head += ["last layer", "Gradient std: first layer", "lowest", "highest"]
    head += ["Correlation before the last layer", "Prop. 6 is off by (mean)", "(at most)"]
    table = []
    for row in (row for row in rows if row["seed"] == seed):
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


def accuracy_table(
    search: list[dict[str, Any]], trained: list[dict[str, Any]], settings: dict[str, Any]
) -> str:
    """MedNIST: what was reached with which epochs and learning rate."""
    head = ["Network; initialisation", "Epochs", "Learning rate", "Inner part, mean"]
    head += ["val/, mean", "sd", "each seed", "best look, in steps", "Diverged"]
    table = []
    for form, init, epochs in accuracy.table_rows(settings):
        runs = chosen(trained, form=form, init=init, epochs=epochs)
        test = [run["test"] for run in runs]
        table.append(
            [
                accuracy.name_of(form, init),
                str(epochs),
                f"{accuracy.choice(search, form, init, False)['task']['rate']:g}",
                f"{np.mean([(run['inner'] or {'accuracy': 0})['accuracy'] for run in runs]):.3f}",
                f"{np.mean(test):.3f}",
                f"{np.std(test, ddof=1):.3f}",
                " ".join(f"{each:.3f}" for each in test),
                " ".join(str((run["inner"] or {"step": 0})["step"]) for run in runs),
                f"{sum(run['outcome'] == 'diverged' for run in runs)} of {len(runs)}",
            ]
        )
    return markdown_table(head, table)


def search_table(search: list[dict[str, Any]], settings: dict[str, Any]) -> str:
    """Accuracy on the inner part for every learning rate that was tried."""
    head = ["Network; initialisation", *(f"Adam {rate:g}" for rate in settings["rates"])]
    table = []
    for form, init, centred in accuracy.rows():
        cells = []
        for run in chosen(search, form=form, init=init, centred=centred):
            value = f"{run['inner']['accuracy']:.3f}" if run["inner"] else "-"
            start = run["first_loss"]
            first = "inf" if start is None else f"{start:.3g}"
            mark = "" if run["outcome"] == "learned" else f", {run['outcome']}"
            cells.append(f"{value} (loss {first} at the start{mark})")
        table.append([accuracy.name_of(form, init, centred), *cells])
    return markdown_table(head, table)


def outcome_table(steps: list[dict[str, Any]], settings: dict[str, Any]) -> str:
    """What became of the short trainings, and the best of them by depth."""
    head = ["Network; initialisation", "Learned", "Not learned", "Diverged"]
    head += [f"{o}: best, ResNet-{d}" for o in settings["rates"] for d in settings["depths"]]
    table = []
    for form in FORMS:
        for init in INITS:
            runs = chosen(steps, form=form, init=init)
            counts = [
                str(sum(run["outcome"] == name for run in runs))
                for name in ("learned", "not learned", "diverged")
            ]
            cells = []
            for optimiser in settings["rates"]:
                for layers in settings["depths"]:
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
