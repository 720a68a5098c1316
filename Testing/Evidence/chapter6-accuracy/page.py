"""The study's page: tables from the results, in the words of ``results.template.md``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tables
import tumours
from AttribSegLib.evaluation_report import markdown_table
from networks import INITS
from rows import COLUMNS, best, chosen
from summary import cell_text, name_of, one, table_62

HERE = Path(__file__).resolve().parent


def page(settings: dict[str, Any], results: dict[str, Any]) -> str:
    """All of it, as Markdown."""
    template = (HERE / "results.template.md").read_text(encoding="utf-8")
    about = results["about"]
    return template.format(
        settings=settings,
        table=table_62(settings, results["table"]),
        pairs=pair_table(settings, results["pairs"]),
        depth=tables.depth_table(results["depth"], settings["depth"]["seeds"][0]),
        band=tables.band_table(results["depth"]),
        outcomes=tables.outcome_table(results["ladder"], settings["ladder"]),
        deep=tables.deep_table(results["deep"]),
        search=tables.search_table(results["search"], settings["accuracy"]),
        accuracy=tables.accuracy_table(
            results["search"], results["accuracy"], settings["accuracy"]
        ),
        brains_search=rate_table(results["brains_search"], settings["brains"]["rates"]),
        brains=detail_table(results["table"], "brains"),
        brains_counts=", ".join(
            f"{name}: {c['slices']} slices ({c['pathological']} pathological) of {c['patients']} "
            "patients"
            for name, c in about["brains"]["counts"].items()
        ),
        side=about["brains"]["side"],
        plain={name: f"{value:.3f}" for name, value in about["brains"]["plain"].items()},
        tumours=detail_table(results["table"], "tumours"),
        tumours_rates="; ".join(
            f"{form}, {INITS[init]}: {settings['tumours']['rates'][f'{form}, {init}']:g}"
            for form, init in COLUMNS
        ),
        about=about["tumours"],
        classes=", ".join(f"{name} {n}" for name, n in about["tumours"]["classes"].items()),
        nearest={
            name: f"{about['tumours'][f'nearest_{name}']:.3f}"
            for name in ("val", "folds", "groups")
        },
        alike=alike_table(results["alike"]),
        close=tumours.CLOSE,
        cells=detail_table(results["table"], "cells"),
        cells_rates=rate_table(results["cells"], settings["cells"]["rates"]),
        ceiling=ceiling(results["cells"]),
        minutes=minutes(results),
    )


def minutes(results: dict[str, Any]) -> str:
    """Processor minutes of the parts, as one sentence's list."""
    parts = {
        "features by depth": ("depth",),
        "short trainings": ("ladder",),
        "ResNet-152 for longer": ("deep",),
        "MedNIST": ("search", "accuracy"),
        "healthy/tumour slices": ("brains_search", "brains"),
        "brain tumours": ("tumours",),
        "cells": ("cells",),
    }
    # A final training may be the very file of a search: only what ran is counted.
    spent = {
        name: sum(
            {str(r.get("task", r)): r["cpu_seconds"] for k in keys for r in results[k]}.values()
        )
        for name, keys in parts.items()
    }
    listed = ", ".join(f"{name} {seconds / 60:.0f}" for name, seconds in spent.items())
    return f"{sum(spent.values()) / 60:.0f} ({listed})"


def pair_table(settings: dict[str, Any], pairs: Sequence[dict[str, Any]]) -> str:
    """Differences between columns, in points of accuracy."""
    head = ["Data, network", "Difference of", "and", "Runs", "Points, mean"]
    head += ["95 % over runs", "95 % over patients or look-alikes"]
    lines = []
    for each in pairs:
        names = [f"{form}, {INITS[init]}" for form, init in (each["first"], each["second"])]
        intervals = [interval_text(each[key]) for key in ("over_runs", "over_groups")]
        lines.append(
            [
                name_of(settings, each["row"]),
                *names,
                str(each["runs"]),
                f"{100 * each['mean']:+.1f}",
                *intervals,
            ]
        )
    return markdown_table(head, lines)


def interval_text(interval: Sequence[float] | None) -> str:
    """An interval of a share, in points."""
    return "-" if interval is None else f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def detail_table(table: Sequence[dict[str, Any]], row: str) -> str:
    """One row of table 6.2 at length."""
    cells = [one(table, row, form, init) for form, init in COLUMNS]
    ranked = cells[0]["auroc"][0] is not None
    head = ["Network", "First loss", "Accuracy", "each run", "Class-weighted"]
    head += ["AUROC"] if ranked else []
    lines = []
    for cell in cells:
        first = cell["first_loss"]
        line = [
            f"{cell['form']}, {INITS[cell['init']]}",
            "inf" if first is None else f"{first:.3g}",
            cell_text(cell),
            " ".join(f"{each:.3f}" for each in cell["test"]),
            f"{np.mean(cell['balanced']):.3f}",
        ]
        if ranked:
            line.append(f"{np.mean([a for a in cell['auroc'] if a is not None]):.3f}")
        lines.append(line)
    return markdown_table(head, lines)


def rate_table(runs: Sequence[dict[str, Any]], rates: Sequence[float]) -> str:
    """Accuracy on the inner or validation part for every learning rate, mean over seeds."""
    lines = []
    for form, init in COLUMNS:
        line = [f"{form}, {INITS[init]}"]
        for rate in rates:
            looks = [run["inner"] for run in chosen(runs, form=form, init=init, rate=rate)]
            line.append(f"{np.mean([look['accuracy'] if look else 0 for look in looks]):.3f}")
        seeds = sorted({run["task"]["seed"] for run in runs})
        picked = [
            best(chosen(runs, form=form, init=init, seed=seed))["task"]["rate"] for seed in seeds
        ]
        lines.append([*line, " ".join(f"{rate:g}" for rate in picked)])
    return markdown_table(["Network", *(f"{rate:g}" for rate in rates), "Chosen"], lines)


def alike_table(rows: Sequence[dict[str, Any]]) -> str:
    """Accuracy of images that resemble something that was trained on, and of the others."""
    head = ["Network", f"With a look-alike ({rows[0]['images_close']} images)", "Others"]
    return markdown_table(
        head,
        [
            [f"{r['form']}, {INITS[r['init']]}", f"{r['close']:.3f}", f"{r['others']:.3f}"]
            for r in rows
        ],
    )


def ceiling(runs: Sequence[dict[str, Any]]) -> str:
    """The best accuracy that there is, by seed."""
    by_seed = {run["task"]["seed"]: run["ceiling"] for run in runs}
    return ", ".join(f"{by_seed[seed]:.3f}" for seed in sorted(by_seed))
