"""Figures of the study: all entries with every seed, and the maps of all feature channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.bundle import load_bundle
from AttribSegLib.cases import iterate_cases
from AttribSegLib.cohort import Case
from AttribSegLib.files import atomic_path
from AttribSegLib.inference import predict
from comparing import entries_of, image_values, values_of
from lesions_differences import mean_map_of

_MARK, _MEAN, _PLAIN, _TRUTH = "#0072B2", "#D55E00", "#555555", "#3fe0a5"


def draw_entries(comparison: dict[str, Any], path: Path) -> None:
    """Pooled AUPRC, Dice at the label-only threshold and image AUROC; every seed is a point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = entries_of(comparison)
    plain, names = entries[0], entries[1:]

    def mean_map(entry: str, metric: str, per_case: bool) -> list[float]:
        name = mean_map_of(comparison, entry)
        return values_of(comparison, entry, metric, name=name, per_case=per_case)

    panels: list[tuple[str, Callable[[str], list[float]], Callable[[str], list[float]]]] = [
        (
            "AUPRC, pooled over voxels",
            lambda entry: values_of(comparison, entry, "auprc"),
            lambda entry: mean_map(entry, "auprc", False),
        ),
        (
            "Dice, label-only threshold",
            lambda entry: values_of(comparison, entry, "dice", per_case=True),
            lambda entry: mean_map(entry, "dice", True),
        ),
        (
            "AUROC of the images",
            lambda entry: image_values(comparison, entry, "auroc"),
            lambda entry: [],
        ),
    ]
    figure = Figure(figsize=(12.5, 0.36 * len(names) + 1.4), layout="constrained", dpi=110)
    axes = figure.subplots(1, len(panels), sharey=True)
    places = np.arange(len(names))[::-1]
    for axis, (title, read, read_mean) in zip(axes, panels, strict=True):
        for place, name in zip(places, names, strict=True):
            for values, colour, marker in (
                (read_mean(name), _MEAN, "s"),
                (read(name), _MARK, "o"),
            ):
                if values:
                    axis.plot(
                        values, [place] * len(values), marker, color=colour, alpha=0.6, markersize=5
                    )
                    axis.plot(
                        np.mean(values), place, "|", color=colour, markersize=16, markeredgewidth=2
                    )
        for value in read(plain):
            axis.axvline(value, color=_PLAIN, linestyle="--", linewidth=1)
            axis.text(value, len(names) - 0.35, plain, fontsize=7, color=_PLAIN, ha="center")
        axis.set_title(title, fontsize=10, pad=14)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
    axes[0].set_yticks(places, names, fontsize=9)
    axes[0].set_ylim(-0.6, len(names) - 0.4)
    for axis in axes[:2]:
        axis.set_xlim(left=0)
    for colour, marker, label in (
        (_MARK, "o", "its map (chosen channel)"),
        (_MEAN, "s", "mean of channels"),
    ):
        axes[0].plot([], [], marker, color=colour, alpha=0.6, markersize=5, label=label)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    _save(figure, path, FigureCanvasAgg)


def draw_channels(
    folder: Path, cases: Sequence[Case], found: Mapping[str, Any], path: Path
) -> None:
    """Counterfactual maps of all feature channels on a few slices, on one scale per slice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bundle = load_bundle(folder)
    recipe = bundle.recipe
    prepared = list(iterate_cases(cases, background=recipe.background, clip=recipe.clip))
    predictions = predict(bundle, np.stack([case.array for case in prepared]))
    columns = 1 + len(predictions[0].channels)
    figure = Figure(figsize=(1.75 * columns, 2.15 * len(prepared)), layout="constrained", dpi=110)
    axes = figure.subplots(len(prepared), columns, squeeze=False)
    for row, case, prediction in zip(axes, prepared, predictions, strict=True):
        brain, lesions = case.brain[..., 0], np.asarray(case.lesions)[..., 0]
        limit = float(np.percentile(prediction.channels[..., 0][:, brain], 99.8))
        pictures = [case.array[0, ..., 0], *prediction.channels[..., 0]]
        for number, (axis, picture) in enumerate(zip(row, pictures, strict=True)):
            if number == 0:
                axis.imshow(picture.T, cmap="gray", vmin=-3, vmax=3)
            else:
                shown = np.where(brain, picture, np.nan)
                axis.imshow(shown.T, cmap="magma", vmin=0, vmax=limit)
            axis.contour(lesions.T, [0.5], colors=_TRUTH, linewidths=1)
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(f"logit {prediction.logit:+.1f}", fontsize=9)
    axes[0][0].set_title("FLAIR, tumour", fontsize=9)
    for number, axis in enumerate(axes[0][1:], 1):
        name = f"channel {number}"
        by = [rule for rule in ("labels", "masks") if found["chosen"][rule] == name]
        chosen = f"\nchosen by {' and '.join(by)}" if by else "\n"
        axis.set_title(f"{name}: {found['maps'][name]['auprc']:.2f}{chosen}", fontsize=8)
    _save(figure, path, FigureCanvasAgg)


def _save(figure: Any, path: Path, canvas: Any) -> None:
    with atomic_path(path) as temporary:
        canvas(figure).print_png(str(temporary))
