"""Pictures of a result: anatomy, lesions and attribution in three planes.

The pictures follow the radiological convention: the patient's left is on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .files import atomic_path
from .image import Image
from .lesions import binary_array, label_lesions
from .slice_pictures import (
    BACKGROUND,
    PLANES,
    QUIET,
    TEXT,
    Plane,
    cut_slice,
    draw_letters,
    draw_outline,
    grey_window,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MASK, _REFERENCE = "#ff4f64", "#3fe0a5"
_DPI = 130
#: Height of the tallest picture, and of what stands above and below the pictures, in inches.
_PANEL, _TOP, _BOTTOM, _GAP = 3.0, 0.62, 0.62, 0.06
#: Colours of an attribution from weak to strong: cold argues for healthy, hot for pathological.
_COLD = ((0.16, 0.42, 0.86), (0.16, 0.62, 1.0), (0.62, 0.92, 1.0))
_HOT = ((0.86, 0.28, 0.14), (1.0, 0.58, 0.16), (1.0, 0.93, 0.62))
#: Weak attribution, the noise of every network, must not veil the anatomy.
_WEAK = 0.08


def attribution_colours(count: int = 256, opacity: float = 0.85) -> NDArray[np.float64]:
    """Diverging colours for an attribution, transparent at zero.

    Parameters
    ----------
    count : int
        Number of colours.
    opacity : float
        Largest opacity, between 0 and 1.

    Returns
    -------
    ndarray of shape (count, 4)
        Red, green, blue and opacity between 0 and 1, from the most negative attribution (cold)
        to the most positive (hot).
    """
    position = np.linspace(-1.0, 1.0, count)
    strength = np.abs(position)
    stops = np.linspace(0.0, 1.0, len(_HOT))
    cold, hot = (
        np.stack([np.interp(strength, stops, channel) for channel in np.transpose(side)], axis=1)
        for side in (_COLD, _HOT)
    )
    colours = np.where(position[:, None] < 0, cold, hot)
    alpha = opacity * np.clip((strength - _WEAK) / 0.42, 0.0, 1.0)
    return np.column_stack([colours, alpha])


def attribution_limit(attribution: Image) -> float:
    """Value at which the colours of an attribution saturate, the same on both sides of zero.

    The 99.9th percentile of the absolute values that are not zero: a lesion is a small part of
    the brain. 1 for a map of zeros.
    """
    values = np.abs(attribution.array[np.isfinite(attribution.array)]).astype(np.float64)
    values = values[values > 0]
    return float(np.percentile(values, 99.9)) if values.size else 1.0


def save_overlay(
    path: str | Path,
    image: Image,
    mask: Image | None = None,
    attribution: Image | None = None,
    *,
    title: str = "",
    reference: Image | None = None,
    limit: float | None = None,
) -> None:
    """Draw anatomy (first row) and the result over it (second row) into a PNG file.

    The planes pass through the largest lesion of the mask, or else the peak of the attribution,
    or else the largest lesion of the reference, or else the middle of the head. An image with
    one slice is drawn as one pair of pictures.

    Parameters
    ----------
    path : path
        Picture to write, ``.png``.
    image : Image
        Anatomy, in any orientation; shown between its 2nd and 99.8th percentile.
    mask : Image, optional
        Binary; drawn as an outline.
    attribution : Image, optional
        Drawn in diverging colours centred at zero.
    title : str
        Heading, such as the case's name.
    reference : Image, optional
        Reference mask, drawn as an outline of another colour.
    limit : float, optional
        Value at which the attribution's colours saturate; default :func:`attribution_limit`.

    Raises
    ------
    InputError
        If the images lie on different grids, or a mask is not binary.
    OutputError
        If the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for what, other in (("mask", mask), ("attribution", attribution), ("reference", reference)):
        if other is not None and not other.geometry.same_grid(image.geometry):
            raise InputError(f"the {what} and the image lie on different grids; resample it first")
    if limit is not None and not limit > 0:
        raise InputError(f"limit {limit}: a positive number was expected")
    # L, P and S grow with I, J and K from here on.
    anatomy = image.reorient("LPS")
    found = None if mask is None else _boolean(mask)
    truth = None if reference is None else _boolean(reference)
    heat = None if attribution is None else attribution.reorient("LPS")
    if heat is not None and limit is None:
        limit = attribution_limit(heat)
    figure = _draw(anatomy, found, heat, truth, title, limit or 1.0)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def _boolean(mask: Image) -> Image:
    return mask.with_array(binary_array(mask)).reorient("LPS")


def _draw(
    anatomy: Image,
    mask: Image | None,
    attribution: Image | None,
    reference: Image | None,
    title: str,
    limit: float,
) -> Figure:
    """The whole figure, from images along L, P, S."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    centre = _centre(anatomy, mask, attribution, reference)
    flat = [axis for axis in range(3) if anatomy.geometry.size[axis] == 1]
    planes = [plane for plane in PLANES if plane.across in flat[:1]] or list(PLANES)
    single = len(planes) == 1
    view = _field_of_view(anatomy, mask, reference)
    extent = np.array(
        [(b - a) * s for (a, b), s in zip(view, anatomy.geometry.spacing, strict=True)]
    )
    widths = [extent[plane.right] for plane in planes]
    height_mm = max(extent[plane.up] for plane in planes)
    inch = (_PANEL * (1.5 if single else 1.0)) / height_mm
    columns = [w * inch for w in (widths * 2 if single else widths)]
    rows = 1 if single else 2
    row_height = height_mm * inch
    side = 1.0 if attribution is not None else 0.15
    top = _TOP if title else 0.36
    bottom = _BOTTOM if mask is not None or reference is not None else 0.15
    width = 0.15 + sum(columns) + _GAP * (len(columns) - 1) + side
    height = bottom + rows * row_height + _GAP * (rows - 1) + top
    figure = Figure(figsize=(max(width, 4.2), height), dpi=_DPI, facecolor=BACKGROUND)
    margin = (figure.get_figwidth() - width) / 2 + 0.15
    low, high = grey_window(anatomy)
    colours = ListedColormap(attribution_colours(), "attribution")
    heat_artist = None
    for cell in range(2 * len(planes)):
        plane, overlaid = planes[cell % len(planes)], cell >= len(planes)
        row, column = (0, cell) if single else divmod(cell, len(planes))
        left = margin + sum(columns[:column]) + _GAP * column
        base = bottom + (rows - 1 - row) * (row_height + _GAP)
        axes = figure.add_axes(
            (left / figure.get_figwidth(), base / height, columns[column] / figure.get_figwidth(),
             row_height / height)
        )  # fmt: skip
        box = _frame(axes, anatomy, plane, view)
        axes.imshow(cut_slice(anatomy, plane, centre), cmap="gray", vmin=low, vmax=high, extent=box)
        if overlaid:
            if attribution is not None:
                cut = np.clip(cut_slice(attribution, plane, centre) / limit, -1, 1) * limit
                heat_artist = axes.imshow(
                    cut, cmap=colours, vmin=-limit, vmax=limit, extent=box, interpolation="bilinear"
                )
            # The thin outline goes over the thick one, so that both show where they agree.
            for outlined, colour, line in ((mask, _MASK, 1.7), (reference, _REFERENCE, 0.9)):
                if outlined is not None:
                    draw_outline(axes, cut_slice(outlined, plane, centre), box, colour, line)
        draw_letters(axes, plane)
        if row == 0 and not (single and overlaid):
            axes.set_title(
                _position(anatomy, plane, centre), color=QUIET, fontsize=9, loc="left", pad=4
            )
    if title:
        figure.text(
            margin / figure.get_figwidth(), 1 - 0.13 / height, title, color=TEXT, fontsize=12,
            weight="bold", va="top",
        )  # fmt: skip
    if heat_artist is not None:
        _colour_bar(figure, heat_artist, (margin + width - 0.15 - side, bottom), row_height * rows)
    _legend(figure, mask is not None, reference is not None)
    return figure


def _centre(
    anatomy: Image, mask: Image | None, attribution: Image | None, reference: Image | None
) -> tuple[int, int, int]:
    """Voxel that the planes pass through."""
    if mask is not None and mask.array.any():
        return _largest_lesion(mask)
    if attribution is not None and (attribution.array > 0).any():
        peak = np.unravel_index(int(attribution.array.argmax()), attribution.array.shape)
        return (int(peak[0]), int(peak[1]), int(peak[2]))
    if reference is not None and reference.array.any():
        return _largest_lesion(reference)
    i, j, k = ((a + b) // 2 for a, b in _field_of_view(anatomy, None, None))
    return (i, j, k)


def _largest_lesion(mask: Image) -> tuple[int, int, int]:
    """Voxel of the largest lesion that is nearest to the lesion's centre of mass."""
    labels, _ = label_lesions(mask)
    voxels = np.argwhere(labels == np.bincount(labels.ravel())[1:].argmax() + 1)
    offset = (voxels - voxels.mean(axis=0)) * np.asarray(mask.geometry.spacing)
    i, j, k = voxels[np.square(offset).sum(axis=1).argmin()]
    return (int(i), int(j), int(k))


def _field_of_view(
    anatomy: Image, mask: Image | None, reference: Image | None
) -> list[tuple[int, int]]:
    """First and past-the-last index to show per axis: the head and the lesions, with a margin."""
    low, high = grey_window(anatomy)
    tissue = anatomy.array > low + 0.12 * (high - low)
    masks = [other.array for other in (mask, reference) if other is not None]
    view = []
    for axis, size in enumerate(anatomy.geometry.size):
        others = tuple(other for other in range(3) if other != axis)
        counts = tissue.sum(axis=others)
        # A few bright voxels of noise outside the head do not widen the view; lesions do.
        shown = counts > 0.002 * counts.max()
        for array in masks:
            shown = shown | array.any(axis=others)
        inside = np.flatnonzero(shown)
        first, last = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, size)
        margin = max(1, round(0.03 * (last - first))) if size > 1 else 0
        view.append((max(0, first - margin), min(size, last + margin)))
    return view


def _frame(
    axes: Axes, anatomy: Image, plane: Plane, view: list[tuple[int, int]]
) -> tuple[float, float, float, float]:
    """Prepare the axes for one picture; the extent of the whole slice, in mm."""
    spacing, size = anatomy.geometry.spacing, anatomy.geometry.size
    across, along = spacing[plane.right], spacing[plane.up]
    box = (0.0, size[plane.right] * across, 0.0, size[plane.up] * along)
    first, last = view[plane.up]
    if plane.name == "axial":
        first, last = size[plane.up] - last, size[plane.up] - first
    axes.set_facecolor("black")
    axes.set_aspect("equal", adjustable="box", anchor="C")
    axes.set_autoscale_on(False)
    axes.set_xlim(view[plane.right][0] * across, view[plane.right][1] * across)
    axes.set_ylim(first * along, last * along)
    axes.set_axis_off()
    return box


def _position(anatomy: Image, plane: Plane, centre: Sequence[int]) -> str:
    """Name and place of a slice: mm along R, A or S, or its number when mm are unknown."""
    if anatomy.geometry.nominal:
        return plane.name
    value = float(anatomy.geometry.to_ras(centre)[(2, 1, 0)[PLANES.index(plane)]])
    letter = ("SI", "AP", "RL")[PLANES.index(plane)][0 if value >= 0 else 1]
    return f"{plane.name}  {letter} {abs(value):.1f} mm"


def _colour_bar(figure: Figure, artist: Any, corner: tuple[float, float], height: float) -> None:
    """Colour bar of the attribution beside the last picture."""
    wide, high = figure.get_size_inches()
    length = min(height, 2.6)
    place = (
        (corner[0] + 0.18) / wide, (corner[1] + (height - length) / 2) / high, 0.13 / wide,
        length / high,
    )  # fmt: skip
    axes = figure.add_axes(place, facecolor="black")
    bar = figure.colorbar(artist, cax=axes)
    bar.outline.set_edgecolor(QUIET)
    bar.outline.set_linewidth(0.5)
    limit = artist.get_clim()[1]
    bar.set_ticks([-limit, 0.0, limit], labels=[f"{-limit:.2g}", "0", f"{limit:.2g}"])
    axes.tick_params(colors=TEXT, labelsize=8, length=2, pad=3)
    axes.set_ylabel("attribution", color=QUIET, fontsize=9, labelpad=-2)


def _legend(figure: Figure, mask: bool, reference: bool) -> None:
    """Names of the outlines, under the pictures."""
    from matplotlib.lines import Line2D

    entries = [(mask, _MASK, "segmentation"), (reference, _REFERENCE, "reference")]
    handles = [Line2D([], [], color=c, lw=2, label=label) for drawn, c, label in entries if drawn]
    if handles:
        figure.legend(
            handles=handles, loc="lower center", ncols=2, frameon=False, labelcolor=TEXT,
            fontsize=9, borderaxespad=0.6,
        )  # fmt: skip
