"""Pictures of example cases: the image, and the map of every entry over it (thesis fig. 5.7)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..overlay import attribution_colours
from ..slice_pictures import BACKGROUND, QUIET, TEXT, draw_outline
from .results import Comparison, Example
from .style import Picture, new_figure, save, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: True lesions and the thresholded map: green against magenta is told apart by colour-blind eyes.
_TRUTH, _FOUND = "#3fe0a5", "#ff5cf0"
#: Width of a picture, height of a line of a title and of the legend, in inches.
_WIDTH, _LINE, _BOTTOM = 1.7, 0.165, 0.42
_COLOURS = 256


def draw_examples(comparison: Comparison, path: Path) -> Picture:
    """Draw one row per example and one column per entry, after a column of the image alone.

    Maps of classifiers have diverging colours centred at zero, the others colours from their
    median in the brain upwards; the colours of a column saturate at one value for all rows.
    """
    from matplotlib.colors import ListedColormap

    examples = comparison.examples
    diverging = {run.entry for run in comparison.runs if run.kind == "classifier"}
    entries = [e for e in comparison.entries if any(e in each.maps for each in examples)]
    columns, rows = len(entries) + 1, len(examples)
    tall = [_WIDTH * _ratio(example) for example in examples]
    titles = [shown(name, 20) for name in ("image", *entries)]
    top = _LINE * max(title.count("\n") + 1 for title in titles) + 0.15
    height = sum(tall) + 0.04 * rows + top + _BOTTOM
    figure = new_figure(_WIDTH * columns + 0.35, height, background=BACKGROUND)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.05, wspace=0.0, hspace=0.0)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=tall)
    colours = attribution_colours(2 * _COLOURS)
    maps = {e: ListedColormap(colours if e in diverging else colours[_COLOURS:]) for e in entries}
    limits = {entry: _limits(examples, entry, symmetric=entry in diverging) for entry in entries}
    for row, example in enumerate(examples):
        _draw_image(axes[row, 0], example)
        axes[row, 0].set_ylabel(shown(example.case, 22), color=QUIET, fontsize=9)
        for column, entry in enumerate(entries, start=1):
            axis = axes[row, column]
            _draw_image(axis, example)
            if entry in example.maps:
                _draw_map(axis, example, entry, maps[entry], limits[entry])
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, color=TEXT, fontsize=9.5, pad=4)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], facecolor="black")
        axis.spines[:].set_visible(False)
    _legend(figure)
    save(figure, path)
    legend = (
        "Raw maps on one axial slice of each case, the patient's left on the right. Classifiers: "
        "hot colours argue for pathological, cold ones for healthy; other maps: hot above their "
        "median in the brain. The outlines of found regions are at the label-only threshold."
    )
    return Picture("Examples", legend, path)


def _view(example: Example) -> tuple[slice, slice]:
    """The brain with a margin, along I and J."""
    if not example.brain.any():
        return slice(None), slice(None)
    found = []
    for axis, size in enumerate(example.brain.shape):
        inside = np.flatnonzero(example.brain.any(axis=1 - axis))
        margin = max(1, round(0.04 * (inside[-1] - inside[0])))
        found.append(slice(max(0, inside[0] - margin), min(size, inside[-1] + 1 + margin)))
    return found[0], found[1]


def _picture(example: Example, values: NDArray[Any]) -> NDArray[Any]:
    """Rows and columns of a picture: J runs down, to posterior, and I to the left."""
    return values[_view(example)].T


def _ratio(example: Example) -> float:
    rows, columns = _picture(example, example.image).shape
    return rows / columns


def _box(example: Example) -> tuple[float, float, float, float]:
    rows, columns = _picture(example, example.image).shape
    return 0.0, float(columns), 0.0, float(rows)


def _draw_image(axis: Axes, example: Example) -> None:
    """The slice in grey with the true outline."""
    inside = example.image[example.brain] if example.brain.any() else example.image.ravel()
    low, high = np.percentile(inside, [1.0, 99.8])
    picture, box = _picture(example, example.image), _box(example)
    axis.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), extent=box)
    draw_outline(axis, _picture(example, example.lesions), box, _TRUTH, 1.1)


def _draw_map(
    axis: Axes, example: Example, entry: str, colours: Any, limits: tuple[float, float]
) -> None:
    """A map over the slice, cut at the brain, with the outline of what it finds."""
    values = example.maps[entry]
    heat = np.ma.masked_where(~_picture(example, example.brain), _picture(example, values))
    axis.imshow(heat, cmap=colours, vmin=limits[0], vmax=limits[1], extent=_box(example))
    threshold = example.thresholds.get(entry, float("nan"))
    found = (values > threshold) & example.brain  # nothing where the threshold is NaN
    draw_outline(axis, _picture(example, found), _box(example), _FOUND, 1.1)
    draw_outline(axis, _picture(example, example.lesions), _box(example), _TRUTH, 0.9)


def _limits(examples: list[Example], entry: str, *, symmetric: bool) -> tuple[float, float]:
    """Ends of the colours: a lesion is a small part of a brain, so a high percentile."""
    inside = [each.maps[entry][each.brain] for each in examples if entry in each.maps]
    values = np.concatenate(inside).astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return -1.0, 1.0
    if symmetric:
        high = float(np.percentile(np.abs(values), 99.7)) or 1.0
        return -high, high
    low, high = (float(each) for each in np.percentile(values, [50.0, 99.7]))
    return low, high if high > low else low + 1.0


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    names = {"lesion (mask)": _TRUTH, "above the label-only threshold": _FOUND}
    figure.legend(
        handles=[Line2D([], [], color=colour, lw=2, label=name) for name, colour in names.items()],
        loc="outside lower center", ncols=2, frameon=False, labelcolor=TEXT, fontsize=9.5,
    )  # fmt: skip
