"""Small multiples: one slice of the anatomy with the map of every channel over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from AttribSegLib import mrml
from AttribSegLib.image import Geometry, Image
from AttribSegLib.overlay import attribution_colours, attribution_limit
from AttribSegLib.slice_pictures import PLANES, Plane, cut_slice, grey_window
from AttribSegScene.detection_nodes import DetectionNodes
from AttribSegScene.scenes import is_in_scene
from AttribSegScene.tables import lesion_centre
from numpy.typing import NDArray

from .channels import channels_of, map_image, map_node, voxels_of

#: Share of the largest limit: a channel that is nearly zero must not look like the others.
_LEAST_LIMIT = 0.1
_COLOURS = 256


@dataclass(frozen=True)
class ChannelPicture:
    """A slice with one channel's map.

    Attributes
    ----------
    channel : str
    pixels : ndarray of uint8, shape (size, size, 3)
        Red, green and blue; first row on top.
    peak : float
        Largest value of the map, in the whole volume.
    """

    channel: str
    pixels: NDArray[np.uint8]
    peak: float


def channel_pictures(nodes: DetectionNodes, *, size: int = 144) -> list[ChannelPicture]:
    """Draw the maps of all channels over one slice, at once; see `picture_work`."""
    return picture_work(nodes, size=size)()


def picture_work(nodes: DetectionNodes, *, size: int = 144) -> Callable[[], list[ChannelPicture]]:
    """Make the work of drawing the maps of all channels over one slice.

    The slice goes through the largest lesion, or else the peak of the attribution. Every channel
    has colours of its own scale, within limits: what counts is where a channel is high.

    Parameters
    ----------
    nodes : DetectionNodes
    size : int
        Pixels along an edge.

    Returns
    -------
    callable
        Draws, and touches no node, so that a thread may call it; its list of ChannelPicture is
        in the order in which channels can be chosen.

    Raises
    ------
    InputError
        If the detection has no maps by channel, or one was deleted.
    """
    names = channels_of(nodes).names
    segmented = map_image(nodes.attribution_node, nominal=nodes.nominal)
    maps = {name: map_image(map_node(nodes, name), nominal=nodes.nominal) for name in names}
    lesion = None if nodes.table_node is None else lesion_centre(nodes.table_node, 0)
    anatomy = None
    if is_in_scene(nodes.volume_node, "vtkMRMLScalarVolumeNode"):
        grid = mrml.geometry_from_volume_node(nodes.volume_node)
        anatomy = Image(voxels_of(nodes.volume_node), grid)
    return lambda: _draw(maps, segmented, anatomy, lesion, size)


def _draw(
    maps: dict[str, Image],
    segmented: Image,
    anatomy: Image | None,
    lesion: tuple[float, float, float] | None,
    size: int,
) -> list[ChannelPicture]:
    segmented = segmented.reorient("LPS")
    turned = {name: image.reorient("LPS") for name, image in maps.items()}
    centre = _centre(lesion, segmented)
    grid = segmented.geometry
    plane = _plane(grid)
    cuts = {name: cut_slice(image, plane, centre) for name, image in turned.items()}
    grey = _grey(anatomy, grid, plane, centre)
    limits = {name: attribution_limit(_flat(cut)) for name, cut in cuts.items() if cut.any()}
    least = _LEAST_LIMIT * max(limits.values(), default=1.0)
    window = _window(grey, plane, grid, size)
    return [
        ChannelPicture(
            name,
            _blend(grey, cut, max(limits.get(name, 1.0), least), window),
            float(maps[name].array.max()),
        )
        for name, cut in cuts.items()
    ]


def _plane(grid: Geometry) -> Plane:
    """Axial; of an image with one slice, that slice's."""
    single = [plane for plane in PLANES if grid.size[plane.across] == 1]
    return (single or list(PLANES))[0]


def _centre(lesion: tuple[float, float, float] | None, segmented: Image) -> tuple[int, int, int]:
    """Voxel that the slice goes through, in an image along L, P, S."""
    if lesion is not None:
        place = segmented.geometry.to_ijk((-lesion[0], -lesion[1], lesion[2]))
    elif (segmented.array > 0).any():
        place = np.array(np.unravel_index(int(segmented.array.argmax()), segmented.array.shape))
    else:
        place = (np.array(segmented.geometry.size) - 1) / 2
    i, j, k = np.clip(np.rint(place), 0, np.array(segmented.geometry.size) - 1).astype(int)
    return int(i), int(j), int(k)


def _grey(
    anatomy: Image | None, grid: Geometry, plane: Plane, centre: tuple[int, int, int]
) -> NDArray[np.float64]:
    """Slice of the anatomy between 0 and 1; black when the volume is gone or of another size."""
    across = [n for axis, n in enumerate(grid.size) if axis != plane.across]
    black = np.zeros(across[::-1])
    if anatomy is None:
        return black
    image = anatomy.reorient("LPS")
    if image.geometry.size != grid.size:
        return black
    cut = cut_slice(image, plane, centre)
    low, high = grey_window(_flat(cut))
    return np.clip((np.nan_to_num(cut).astype(np.float64) - low) / (high - low), 0.0, 1.0)


def _flat(cut: NDArray[Any]) -> Image:
    """A slice as an image of voxels without a place."""
    return Image(cut[:, :, None], Geometry((*cut.shape, 1), nominal=True))


def _window(
    grey: NDArray[np.float64], plane: Plane, grid: Geometry, size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns, in voxels, of a square picture of what is not black."""
    steps = grid.spacing[plane.up], grid.spacing[plane.right]
    spans = []
    for axis, count in enumerate(grey.shape):
        shown = np.flatnonzero((grey > 0.05).any(axis=1 - axis))
        first, last = (int(shown[0]), int(shown[-1])) if shown.size else (0, count - 1)
        spans.append(((first + last) / 2, (last - first + 1) * steps[axis]))
    edge = 1.06 * max(width for _, width in spans)
    places = (np.arange(size) + 0.5) / size - 0.5
    rows, columns = (
        middle + places * edge / step for (middle, _), step in zip(spans, steps, strict=True)
    )
    return rows, columns


def _blend(
    grey: NDArray[np.float64],
    cut: NDArray[Any],
    limit: float,
    window: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.uint8]:
    """Anatomy with the map over it, in the colours of attributions."""
    values = _sample(np.nan_to_num(cut).astype(np.float64), window)
    index = np.clip((values / limit + 1) / 2 * (_COLOURS - 1), 0, _COLOURS - 1)
    colours = attribution_colours(_COLOURS)[np.rint(index).astype(int)]
    opacity = colours[..., 3:]
    mixed = (1 - opacity) * _sample(grey, window)[..., None] + opacity * colours[..., :3]
    return np.rint(255 * mixed).astype(np.uint8)


def _sample(
    array: NDArray[np.float64], window: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Bilinear values at rows and columns; zero outside."""
    padded = np.pad(array, 1)
    result = padded
    for axis, places in enumerate(window):
        where = np.clip(places + 1, 0, padded.shape[axis] - 1)
        below = np.minimum(where.astype(int), padded.shape[axis] - 2)
        share = np.expand_dims(where - below, 1 - axis)
        result = (1 - share) * result.take(below, axis) + share * result.take(below + 1, axis)
    return result
