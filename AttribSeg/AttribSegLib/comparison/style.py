"""Look of the figures of a comparison: colours, dashes, names and files."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..files import atomic_path
from .results import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe-Ito colours, told apart by colour-blind readers; their yellow is too light on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Line of the plain intensity, the baseline of every figure, and of chance.
INTENSITY, CHANCE = "0.15", "0.55"
_DASHES = ("-", (0, (5, 1.6)), (0, (6, 1.5, 1, 1.5)), (0, (1.2, 1.2)))
_DPI = 130


@dataclass(frozen=True)
class Picture:
    """A figure on disk, with what is to be known to read it.

    Parameters
    ----------
    title, legend : str
    path : Path
    """

    title: str
    legend: str
    path: Path


def line_styles(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Colour and dashes of each entry, the same in every figure; the plain intensity is black."""
    plain = {run.entry for run in comparison.runs if run.kind == "intensity"}
    styles: dict[str, dict[str, Any]] = {}
    for entry in comparison.entries:
        if entry in plain:
            styles[entry] = {"color": INTENSITY, "linestyle": (0, (3, 1.5)), "linewidth": 2.0}
        else:
            styles[entry] = {**series_style(len(styles) - len(plain & set(styles)))}
    return styles


def series_style(index: int) -> dict[str, Any]:
    """Colour and dashes of the line at a position; 24 differ."""
    dash = _DASHES[(index // len(COLOURS)) % len(_DASHES)]
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": dash, "linewidth": 1.8}


def new_figure(width: float, height: float, *, background: str = "white") -> Figure:
    """An empty figure of a size in inches, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=_DPI, facecolor=background)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def plain_axes(axes: Axes) -> None:
    """Two spines and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)


def legend_height(count: int) -> float:
    """Inches for a legend in columns of three."""
    return 0.25 * math.ceil(count / 3) + 0.1


def entry_legend(figure: Figure, styles: Mapping[str, Mapping[str, Any]]) -> None:
    """Legend of lines under the panels of a figure."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **style) for style in styles.values()]
    names = [shown(name) for name in styles]
    figure.legend(
        handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9.5,
        handlelength=3.2,
    )  # fmt: skip


def hide_rest(axes: NDArray[Any], used: int) -> None:
    """Leave the panels after those used empty."""
    for axis in axes.flat[used:]:
        axis.set_axis_off()


def shown(name: str, width: int = 0) -> str:
    """A name as figures show it: no formula, broken into lines of a width if one is given."""
    text = name.replace("$", r"\$")
    if not width:
        return text
    # Names of recipes are words joined by underscores: break after these too.
    words = text.replace("_", "_\u200b").replace("-", "-\u200b")
    lines = _wrap(words.split(" "), width)
    return "\n".join(line.replace("\u200b", "") for line in lines)


def _wrap(words: Sequence[str], width: int) -> list[str]:
    """Lines of at most a width, broken at spaces, else after the marks, else anywhere."""
    lines: list[str] = []
    for word in words:
        pieces = word.split("\u200b")
        for number, piece in enumerate(pieces):
            joint = "" if number else " "
            if lines and len(lines[-1]) + len(joint) + len(piece) <= width:
                lines[-1] += joint + piece
            else:
                lines += textwrap.wrap(piece, width) or [""]
    return lines
