"""Slices of a volume as pictures: planes, grey window, outlines and letters.

The pictures follow the radiological convention: the patient's left is on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .image import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours of all pictures: behind them, of headings and of small print.
BACKGROUND, TEXT, QUIET = "#0e1013", "#e9edf2", "#9aa4b1"


@dataclass(frozen=True)
class Plane:
    """How one anatomical plane is drawn from an array along L, P, S."""

    name: str
    across: int
    right: int
    up: int
    letters: tuple[str, str, str, str]  # left, right, top, bottom of the picture


PLANES = (
    Plane("axial", across=2, right=0, up=1, letters=("R", "L", "A", "P")),
    Plane("coronal", across=1, right=0, up=2, letters=("R", "L", "S", "I")),
    Plane("sagittal", across=0, right=1, up=2, letters=("A", "P", "S", "I")),
)


def grey_window(anatomy: Image) -> tuple[float, float]:
    """Grey window: percentiles of what is not background (the minimum, once skull-stripped)."""
    values = anatomy.array[np.isfinite(anatomy.array)].astype(np.float64)
    if not values.size or np.ptp(values) == 0:
        return 0.0, 1.0
    low, high = np.percentile(values[values != values.min()], [2.0, 99.8])
    # Tissue of one value would have no window.
    low = low if high > low else values.min()
    return float(low), float(high)


def cut_slice(image: Image, plane: Plane, centre: Sequence[int]) -> NDArray[Any]:
    """Slice as rows and columns of a picture, first row on top."""
    # By an index: np.take would copy the whole volume when its axes are turned.
    piece = np.moveaxis(image.array, plane.across, 0)[centre[plane.across]].T
    # J grows towards posterior, which is down in axial pictures; K grows upwards.
    piece = piece if plane.name == "axial" else piece[::-1]
    return piece.astype(np.float32)


def draw_outline(
    axes: Axes,
    cut: NDArray[Any],
    box: tuple[float, float, float, float],
    colour: str,
    line: float,
) -> None:
    """Outline of a mask; a border of zeros closes it where it meets the image's edge."""
    if not cut.any():
        return
    rows, columns = cut.shape
    x = (np.arange(-1, columns + 1) + 0.5) * (box[1] / columns)
    y = (np.arange(rows, -2, -1) + 0.5) * (box[3] / rows)
    axes.contour(x, y, np.pad(cut, 1), levels=[0.5], colors=[colour], linewidths=line)


def draw_letters(axes: Axes, plane: Plane) -> None:
    """Anatomical letters at the edges of a picture."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.2, foreground="black")]
    spots = (
        (0.02, 0.5, "left", "center"),
        (0.98, 0.5, "right", "center"),
        (0.5, 0.985, "center", "top"),
        (0.5, 0.015, "center", "bottom"),
    )
    for letter, (x, y, horizontal, vertical) in zip(plane.letters, spots, strict=True):
        axes.text(
            x, y, letter, transform=axes.transAxes, ha=horizontal, va=vertical, fontsize=9,
            color=TEXT if letter in "LR" else QUIET, weight="bold" if letter in "LR" else None,
            path_effects=halo,
        )  # fmt: skip
