"""Figure of what happens to features and gradients with depth (thesis figs 6.4 to 6.6)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from AttribSegLib.comparison.style import new_figure, plain_axes, series_style, shown
from AttribSegLib.errors import InputError

from .depth_report import DepthReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Decades that an axis shows at least, so that small changes do not look like large ones.
_DECADES = 2.0
_DOTS: dict[str, Any] = {
    "markersize": 5, "markeredgecolor": "0.15", "markeredgewidth": 0.5, "zorder": 3,
}  # fmt: skip


def depth_figure(reports: Mapping[str, DepthReport]) -> Figure:
    """Standard deviation of features, correlation and standard deviation of gradients by depth.

    A line per report. Dots are the correlations that prop. 6 predicts from each layer's weights
    and inputs. A line that leaves the range of numbers ends in a triangle.

    Parameters
    ----------
    reports : mapping of str to DepthReport
        By the name that the legend shows.

    Returns
    -------
    Figure
        Drawn without a display; save it with ``figure.savefig``.

    Raises
    ------
    InputError
        If there is no report.
    """
    if not reports:
        raise InputError("depth_figure: at least one report was expected")
    from matplotlib.lines import Line2D

    figure = new_figure(12.0, 3.9)
    features, correlations, gradients = figure.subplots(1, 3)
    styles = {name: series_style(index) for index, name in enumerate(reports)}
    for name, report in reports.items():
        style = styles[name]
        _draw(features, [layer.std for layer in report.layers], style)
        _draw(correlations, [layer.correlation for layer in report.layers], style)
        # A layer of one channel has nothing to compare with.
        seen = [layer for layer in report.layers if math.isfinite(layer.correlation)]
        depths, predicted = [e.depth for e in seen], [e.predicted_correlation for e in seen]
        correlations.plot(depths, predicted, ".", color=style["color"], **_DOTS)
        _draw(gradients, [layer.gradient_std for layer in report.layers], style)
    features.set(title="Standard deviation of features")
    correlations.set(title="Correlation of channels (dots: prop. 6)", ylim=(-0.1, 1.03))
    gradients.set(title="Standard deviation of gradients")
    for axis in (features, correlations, gradients):
        plain_axes(axis)
        axis.set_xlabel("Depth, in layers")
        axis.title.set_fontsize(11)
    for axis in (features, gradients):
        _logarithmic(axis)
    handles = [Line2D([], [], **style) for style in styles.values()]
    figure.legend(
        handles, [shown(name) for name in styles], loc="outside lower center", ncols=3,
        frameon=False, fontsize=9.5, handlelength=3.2,
    )  # fmt: skip
    return figure


def _draw(axis: Axes, values: list[float], style: Mapping[str, Any]) -> None:
    y = np.array(values, dtype=float)
    good = np.isfinite(y)
    axis.plot(np.arange(len(y)), np.where(good, y, np.nan), **style)
    # A single missing value is a layer with nothing to measure; all from here on, a divergence.
    end = int(np.flatnonzero(good)[-1]) if good.any() else -1
    if 0 <= end < len(y) - 2:
        axis.plot(end, y[end], "^", color=style["color"], markersize=6)


def _logarithmic(axis: Axes) -> None:
    axis.set_yscale("log")
    low, high = np.log10(axis.get_ylim())
    missing = max(0.0, _DECADES - (high - low)) / 2
    axis.set_ylim(10 ** (low - missing), 10 ** (high + missing))
