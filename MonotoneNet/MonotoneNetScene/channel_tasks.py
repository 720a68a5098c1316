"""Another channel of a counterfactual segmented, or all of them side by side."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from AttribSegLib import mrml
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.lesions import Lesion
from AttribSegLib.map_preview import MapPreview
from AttribSegLib.overlay import attribution_limit
from AttribSegScene import names
from AttribSegScene.detection_nodes import DetectionNodes
from AttribSegScene.display import show_3d
from AttribSegScene.labelmap import (
    closed_surface,
    mask_fingerprint,
    remember_written,
    write_mask,
)
from AttribSegScene.live_threshold import lesions_within
from AttribSegScene.scenes import is_in_scene, named
from AttribSegScene.tables import lesion_table_node
from AttribSegScene.task import Task
from numpy.typing import NDArray

from .channels import CHANNEL, MODEL_MAP, channels_of, keep_model_map, map_image, map_node

#: Node reference of the segmentation: segments of all channels.
CHANNEL_SEGMENTS = "MonotoneNet.ChannelSegments"


@dataclass(frozen=True)
class _Segmented:
    """A channel's map, thresholded."""

    image: Image
    limit: float
    mask: NDArray[np.bool_]
    lesions: list[Lesion]


def choose_channel_task(
    nodes: DetectionNodes,
    channel: str,
    *,
    threshold: float | None = None,
    minimum_ml: float = 0.0,
    smoothing_mm: float = 0.0,
    discard_edits: bool = False,
) -> Task[DetectionNodes]:
    """Make the run that makes a channel's map the one that is thresholded and segmented.

    The detection's attribution node, segmentation and lesion table are filled again, so that
    whatever works on them works on the channel; the model's own map is kept as the channel
    "as detected". Features have no threshold of their own: the one in force stays.

    Parameters
    ----------
    nodes : DetectionNodes
    channel : str
        Such as ``"feature3"``.
    threshold : float, optional
        Instead of the one in force.
    minimum_ml, smoothing_mm : float
        Smallest lesion, and standard deviation of a Gaussian over the map.
    discard_edits : bool
        Replace what a person drew.

    Raises
    ------
    InputError
        If there is no such channel, or the segment was edited by hand.
    """
    nodes = DetectionNodes.of(nodes.segmentation_node)  # as they are after an earlier choice
    threshold = nodes.threshold if threshold is None else threshold
    if not math.isfinite(threshold):
        raise InputError(f"threshold {threshold}: a finite number was expected")
    node = map_node(nodes, channel)
    _refuse_edits(nodes, discard_edits)
    image = map_image(node, nominal=nodes.nominal)

    def read() -> _Segmented:
        preview = MapPreview(image)
        preview.prepare(minimum_ml=minimum_ml, smoothing_mm=smoothing_mm)
        mask = preview.mask(threshold)
        return _Segmented(image, attribution_limit(image), mask, lesions_within(mask, image))

    def show(found: _Segmented) -> Generator[None, None, DetectionNodes]:
        def fill_attribution() -> None:
            mrml.attribution_node(
                found.image,
                name=nodes.attribution_node.GetName(),
                node=nodes.attribution_node,
                limit=found.limit,
            )

        _require_nodes(nodes)
        _refuse_edits(nodes, discard_edits)
        yield
        # In pieces, between which the window lives.
        for step in (
            partial(keep_model_map, nodes),
            fill_attribution,
            partial(_write, nodes, found),
        ):
            _require_nodes(nodes)
            step()
            yield
        _require_nodes(nodes)
        _note_written(nodes, found)
        node = nodes.segmentation_node
        modifying = node.StartModify()
        node.SetAttribute(CHANNEL, channel)
        node.SetAttribute(names.THRESHOLD, repr(float(threshold)))
        node.SetAttribute(names.MINIMUM_ML, repr(float(minimum_ml)))
        node.SetAttribute(names.SMOOTHING_MM, repr(float(smoothing_mm)))
        node.EndModify(modifying)
        return DetectionNodes.of(node)

    return Task(f"Segmenting {channel}", None, show, read=read)


def segment_channels_task(nodes: DetectionNodes, *, threshold: float | None = None) -> Task[Any]:
    """Make the run that segments every channel's map, side by side in one segmentation.

    Parameters
    ----------
    nodes : DetectionNodes
    threshold : float, optional
        Instead of the one in force; the same for all.

    Returns
    -------
    Task
        Its result is the vtkMRMLSegmentationNode, with a segment for each channel; that of an
        earlier call is filled again.

    Raises
    ------
    InputError
        If the detection has no maps by channel.
    """
    level = nodes.threshold if threshold is None else threshold
    if not math.isfinite(level):
        raise InputError(f"threshold {level}: a finite number was expected")
    found = [name for name in channels_of(nodes).names if name != MODEL_MAP]
    images = {name: map_image(map_node(nodes, name), nominal=nodes.nominal) for name in found}

    def read() -> dict[str, NDArray[np.bool_]]:
        return {name: np.asarray(image.array > level) for name, image in images.items()}

    def show(masks: dict[str, NDArray[np.bool_]]) -> Generator[None, None, Any]:
        if not is_in_scene(nodes.segmentation_node, "vtkMRMLSegmentationNode"):
            raise InputError("the detection was deleted meanwhile; make the maps again")
        node = _channel_segmentation(nodes)
        segmentation = node.GetSegmentation()
        for index, (name, mask) in enumerate(masks.items()):
            yield
            if not is_in_scene(node, "vtkMRMLSegmentationNode"):
                raise InputError("the segments were deleted meanwhile; press the button again")
            if segmentation.GetSegment(name) is None:
                colour = colorsys.hsv_to_rgb(index / len(masks), 0.7, 0.95)
                segmentation.AddEmptySegment(name, name, colour)
                segment = segmentation.GetSegment(name)
                segment.SetTag(segment.GetTerminologyEntryTagName(), mrml.LESION_TERMINOLOGY)
            write_mask(node, name, mask, images[name].geometry)
        return node

    return Task("Segmenting all channels", None, show, read=read)


def _require_nodes(nodes: DetectionNodes) -> None:
    for node in (nodes.segmentation_node, nodes.attribution_node):
        if node is None or node.GetScene() is None:
            raise InputError(
                f"{named(node)} was deleted meanwhile; make the counterfactual maps again"
            )


def _refuse_edits(nodes: DetectionNodes, discard_edits: bool) -> None:
    if not discard_edits and nodes.edited:
        raise InputError(
            f"{named(nodes.segmentation_node)} was edited by hand; another channel would replace "
            "the edits: keep a copy of the segmentation, send it to a cohort, or confirm"
        )


def _write(nodes: DetectionNodes, found: _Segmented) -> None:
    """The mask into the segmentation, with its surface where there was one."""
    node = nodes.segmentation_node
    surface = node.GetSegmentation().ContainsRepresentation(closed_surface())
    write_mask(node, nodes.segment_id, found.mask, found.image.geometry)
    if surface:
        show_3d(node)


def _note_written(nodes: DetectionNodes, found: _Segmented) -> None:
    """What was written, so that edits are known; its lesions into the table."""
    written = mask_fingerprint(nodes.segmentation_node, found.mask, found.image.geometry)
    remember_written(nodes.segmentation_node, nodes.segment_id, written)
    if nodes.table_node is not None:
        lesion_table_node(found.lesions, node=nodes.table_node, nominal=nodes.nominal)


def _channel_segmentation(nodes: DetectionNodes) -> Any:
    """Segmentation of all channels: that of an earlier call, or an empty one."""
    lesions = nodes.segmentation_node
    node = lesions.GetNodeReference(CHANNEL_SEGMENTS)
    if node is not None:
        return node
    nothing = Image(np.zeros((1, 1, 1), dtype=bool), Geometry((1, 1, 1)))
    node = mrml.segmentation_node_from_mask(
        nothing,
        name=f"{lesions.GetName()} by channel",
        scene=lesions.GetScene(),
        reference_volume_node=nodes.volume_node,
    )
    node.GetSegmentation().RemoveAllSegments()
    lesions.SetNodeReferenceID(CHANNEL_SEGMENTS, node.GetID())
    return node
