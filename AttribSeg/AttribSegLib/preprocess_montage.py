"""One picture per case that shows whether its preprocessing can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .files import atomic_path
from .image import Geometry, Image
from .preprocessing.atlas import Atlas
from .preprocessing.prepared import Prepared
from .slice_pictures import (
    BACKGROUND,
    PLANES,
    QUIET,
    TEXT,
    Plane,
    cut_slice,
    draw_letters,
    draw_outline,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ATLAS, _BRAIN = "#ffb347", "#3fe0a5"

#: Voxel size of what is drawn, mm: the panels have about this many pixels.
_VOXEL = 1.5
_PANEL = 1.55
_DPI = 100


def save_montage(
    path: str | Path, scans: Mapping[str, Image], prepared: Prepared, atlas: Atlas, title: str = ""
) -> None:
    """Draw a case, one row per channel: native, registered, brain, before and after N4.

    The native scan is cut where the middle of the atlas's brain lies in it, along the planes its
    header says; the registered one bears the outline of the atlas's brain, then that of its own.

    Parameters
    ----------
    path : path
        Picture to write, ``.png``.
    scans : mapping of channel name to Image
        As they came.
    prepared : Prepared
    atlas : Atlas
    title : str

    Raises
    ------
    OutputError
        If the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 11 if prepared.before_n4 else 9
    rows = len(scans)
    top = 0.55 if title else 0.3
    size = (_PANEL * columns, _PANEL * 1.18 * rows + top)
    figure = Figure(figsize=size, dpi=_DPI, facecolor=BACKGROUND)
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(0.02, 0.01, 0.995, 1 - top / size[1], 0.04, 0.04)
    drawn = _drawn_grid(atlas)
    outline = atlas.brain.resample(drawn)
    brain = prepared.brain.resample(drawn)
    middle = [round(float(i)) for i in drawn.to_ijk(atlas.centre)]
    for line, (name, scan) in zip(grid, scans.items(), strict=True):
        transform = prepared.transforms[name]
        native = scan.reorient("LPS")
        found = native.geometry.to_ijk(transform.inverse()(atlas.centre[None])[0])
        centre = [
            int(np.clip(round(i), 0, n - 1))
            for i, n in zip(found, native.geometry.size, strict=True)
        ]
        onto = scan.resample(drawn, transform=transform)
        window = (0.0, 1.4 * float(np.percentile(onto.array[outline.array], 95)))
        for column, plane in enumerate(PLANES):
            _show(line[column], native, plane, centre, window)
            draw_letters(line[column], plane)
            _show(line[3 + column], onto, plane, middle, window, outline, _ATLAS)
            _show(line[6 + column], onto, plane, middle, window, brain, _BRAIN)
        if prepared.before_n4:
            raw, done = (
                image.resample(drawn)
                for image in (prepared.before_n4[name], prepared.channels[name])
            )
            seen = brain.array & (raw.array > 0)  # the scan may not show all of the brain
            for column, image in enumerate((raw, done)):
                shown = image.with_array(np.where(seen, image.array, np.nan))
                low, high = np.nanpercentile(shown.array, (1, 99.5))
                _show(line[9 + column], shown, PLANES[0], middle, (float(low), float(high)))
        line[0].text(
            -0.06, 0.5, name, transform=line[0].transAxes, rotation=90, color=TEXT, fontsize=9,
            ha="center", va="center", weight="bold",
        )  # fmt: skip
    heads = {0: "native", 3: "registered, outline of the atlas", 6: "brain mask"}
    heads |= {9: "before N4", 10: "after N4"} if prepared.before_n4 else {}
    for column, text in heads.items():
        left = grid[0, column].get_position(original=True).x0
        figure.text(left, 1 - (top - 0.08) / size[1], text, color=QUIET, fontsize=8)
    if title:
        figure.text(0.006, 1 - 0.1 / size[1], title, color=TEXT, fontsize=11, va="top")
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def _drawn_grid(atlas: Atlas) -> Geometry:
    """The atlas's field of view along L, P, S."""
    geometry = atlas.brain.reorient("LPS").geometry
    extent = np.array(geometry.size) * geometry.spacing
    i, j, k = (int(n) for n in np.ceil(extent / _VOXEL))
    return Geometry((i, j, k), (_VOXEL,) * 3, geometry.origin, geometry.direction)


def _show(
    axes: Axes,
    image: Image,
    plane: Plane,
    centre: list[int],
    window: tuple[float, float],
    mask: Image | None = None,
    colour: str = "",
) -> None:
    """One slice, with the outline of a mask."""
    across, along = (image.geometry.spacing[axis] for axis in (plane.right, plane.up))
    piece = cut_slice(image, plane, centre)
    box = (0.0, piece.shape[1] * across, 0.0, piece.shape[0] * along)
    axes.set_facecolor("black")
    axes.imshow(piece, cmap="gray", vmin=window[0], vmax=window[1], extent=box, aspect="equal")
    if mask is not None:
        draw_outline(axes, cut_slice(mask, plane, centre), box, colour, 0.9)
    axes.set_axis_off()
