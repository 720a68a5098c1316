"""Pictures of the study: the sweep over strengths, and where classifiers look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.assessment import evaluated_cases
from AttribSegLib.bundle import ATTRIBUTION, load_bundle
from AttribSegLib.cohort import read_cohort
from AttribSegLib.files import atomic_path
from shortcut_measure import TESTS
from shortcut_sweep import MARK, PLAIN, SIGNATURE

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")


def draw_sweep(sweep: list[dict[str, Any]], settings: dict[str, Any], path: Path) -> None:
    """Image AUROC on the other class, and AUPRC as trained, against strength."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.6), layout="constrained", dpi=110, facecolor="white")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    rows = ((TESTS[2], "image_auroc"), (TESTS[0], "auprc"))
    for column, shortcut in enumerate((SIGNATURE, MARK)):
        strengths = [0.0, *settings[shortcut]]
        for row, (test, figure_name) in enumerate(rows):
            axis = axes[row, column]
            for colour, recipe in zip(_COLOURS, settings["recipes"], strict=False):
                found = [_values(sweep, shortcut, s, recipe, test, figure_name) for s in strengths]
                means = [float(np.mean(values)) for values in found]
                axis.plot(range(len(strengths)), means, "-", color=colour, lw=2, label=recipe)
                for place, values in enumerate(found):
                    axis.plot([place] * len(values), values, "o", color=colour, markersize=4)
            first = next(iter(settings["recipes"]))
            if row:
                flair = [
                    float(np.mean(_values(sweep, shortcut, s, first, test, "flair_auprc")))
                    for s in strengths
                ]
                axis.plot(range(len(strengths)), flair, "--", color="0.15", label="FLAIR intensity")
                level = float(np.mean(_values(sweep, shortcut, 0.0, first, test, "prevalence")))
                axis.axhline(level, color="0.55", linestyle=":", label="chance")
                axis.set_xticks(range(len(strengths)), [f"{s:g}" for s in strengths])
                axis.set_xlabel(f"strength of the {shortcut}")
            else:
                axis.axhline(0.5, color="0.55", linestyle=":")
                axis.set_title(shortcut)
            axis.set_ylim(-0.03, 1.03)
            axis.grid(color="0.92")
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("image AUROC,\nshortcut on the other class")
    axes[1, 0].set_ylabel("AUPRC of the raw map,\nas trained")
    handles, labels = axes[1, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def _values(
    sweep: list[dict[str, Any]], shortcut: str, strength: float, recipe: str, test: str, name: str
) -> list[float]:
    """A figure of all seeds; at strength 0 of the cohort without a shortcut."""
    wanted = shortcut if strength else PLAIN
    return [
        run["tests"][test][name]
        for run in sweep
        if (run["shortcut"], run["strength"], run["recipe"]) == (wanted, strength, recipe)
    ]


def draw_where(runs: list[tuple[Path, dict[str, Any], Path]], path: Path) -> None:
    """Largest positive attribution along the body axis, over the mean image.

    Parameters
    ----------
    runs : list of (bundle, its figures, its cohort)
    path : Path
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.1 * len(runs)), layout="constrained", dpi=80)
    axes = figure.subplots(len(runs), 4, squeeze=False)
    for row, (folder, run, table) in zip(axes, runs, strict=True):
        members = read_cohort(table, check_images=False).in_split("test")
        chosen = [c for c in members if c.label][:3] + [c for c in members if not c.label][:1]
        found = list(evaluated_cases(load_bundle(folder), chosen))
        limit = max(float(np.percentile(np.maximum(c.maps[ATTRIBUTION], 0), 99.9)) for c in found)
        for axis, case in zip(row, found, strict=True):
            image = case.maps["FLAIR intensity"].mean(axis=2)
            positive = np.maximum(case.maps[ATTRIBUTION], 0).max(axis=2)
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
        row[0].set_ylabel(f"{run['shortcut']} {run['strength']:g}\n{run['recipe']}", fontsize=10)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
