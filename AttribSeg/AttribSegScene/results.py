"""What a detection wrote, as nodes that know each other and are saved with the scene."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib import mrml
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image

from . import names
from .detection_files import DetectionFiles, attributes_of, read_detection
from .detection_nodes import DetectionNodes, by_channel_of, detections_of
from .inputs import file_of
from .labelmap import closed_surface, remember_written, write_mask
from .scenes import is_in_scene, named, nodes_of_class
from .tables import lesion_table_node
from .transforms import transform_node

__all__ = [
    "DetectionFiles",
    "DetectionNodes",
    "detection_steps",
    "detections_of",
    "load_detection",
    "read_detection",
    "remove_orphans",
    "show_detection",
]

#: Ends the name of the segmentation.
_LESIONS = " lesions"


def show_detection(
    found: DetectionFiles,
    volume_node: Any,
    *,
    card: Any = None,
    inputs: Mapping[str, Any] | None = None,
) -> DetectionNodes:
    """Make the nodes of a detection, or fill those of an earlier one.

    Nodes of the same bundle's last detection in the same volume are filled again, unless a
    person has corrected its lesions: those stay, and new nodes are made beside them.

    Parameters
    ----------
    found : DetectionFiles
    volume_node : vtkMRMLScalarVolumeNode
        What was segmented, where it was when its image was copied. Results are nodes in world
        coordinates, exactly on its grid.
    card : BundleCard, optional
        Of the bundle, for its name.
    inputs : mapping of str to vtkMRMLScalarVolumeNode, optional
        What was given to the detection, by channel; by default the volume, as first channel.

    Returns
    -------
    DetectionNodes

    Raises
    ------
    InputError
        If the volume is deleted, or lies elsewhere than the result.
    """
    steps = detection_steps(found, volume_node, card=card, inputs=inputs)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def detection_steps(
    found: DetectionFiles,
    volume_node: Any,
    *,
    card: Any = None,
    inputs: Mapping[str, Any] | None = None,
) -> Generator[None, None, DetectionNodes]:
    """`show_detection` in steps, between which a window may live; the nodes are returned.

    Raises
    ------
    InputError
        As `show_detection`, also between steps; new nodes are then removed again.
    """
    nominal = found.attribution.geometry.nominal
    grid = mrml.geometry_from_volume_node(volume_node, nominal=nominal)
    if not grid.same_grid(found.attribution.geometry):
        raise InputError(
            f"{named(volume_node)} lies on another grid than the detection in {found.folder}; it "
            "was moved or changed since, or is another volume: detect again"
        )
    attributes = attributes_of(found.summary)
    attributes[names.SOURCE] = file_of(volume_node)
    attributes[names.GRID] = json.dumps(grid.to_dict())
    old = _earlier(volume_node, attributes[names.BUNDLE_HASH]) or DetectionNodes(None)
    filling = _Filling(old, found, volume_node, grid)
    try:
        for fill in filling.steps():
            fill()
            yield
            if not is_in_scene(volume_node, "vtkMRMLVolumeNode"):
                raise InputError(
                    f"{named(volume_node)} was deleted, or the scene was closed, before the result "
                    f"could be shown; nothing is lost: it is in {found.folder}"
                )
    except BaseException:  # of whoever closes the generator, too
        filling.remove_new()
        raise
    nodes = replace(filling.nodes, input_nodes=dict(inputs or {found.channels[0]: volume_node}))
    if old.segmentation_node is not None:
        _remove_left_over(old, nodes)
    node = nodes.segmentation_node
    modifying = node.StartModify()
    for name, value in attributes.items():
        node.SetAttribute(name, value)
    if card is not None:
        node.SetAttribute(names.BUNDLE_NAME, card.name)
    _link(nodes)
    node.EndModify(modifying)
    return nodes


def remove_orphans(scene: Any) -> None:
    """Remove the hidden copies of detections whose segmentation was deleted.

    Nobody sees them, and they would be saved with the scene for ever.
    """
    segmentations = nodes_of_class(scene, "vtkMRMLSegmentationNode")
    kept = {node.GetNodeReferenceID(names.DETECTED) for node in segmentations}
    for node in segmentations:
        if node.GetAttribute(names.AS_DETECTED) is not None and node.GetID() not in kept:
            scene.RemoveNode(node)


def load_detection(folder: str | Path, volume_node: Any) -> DetectionNodes:
    """Read a detection and show it; see `read_detection` and `show_detection`.

    Raises
    ------
    InputError
        As these two.
    """
    return show_detection(read_detection(folder), volume_node)


def _earlier(volume_node: Any, bundle_hash: str) -> DetectionNodes | None:
    """Last detection of a bundle in a volume that no person has worked on."""
    for nodes in reversed(detections_of(volume_node)):
        segmentation = nodes.segmentation_node.GetSegmentation()
        whole = segmentation.GetSegment(nodes.segment_id) is not None
        if nodes.bundle_hash == bundle_hash and whole and not nodes.edited:
            return nodes
    return None


class _Filling:
    """Fills the nodes of an earlier detection and makes those that it lacks, one by one."""

    def __init__(
        self, old: DetectionNodes, found: DetectionFiles, volume_node: Any, grid: Geometry
    ) -> None:
        self._old, self._found, self._volume, self._grid = old, found, volume_node, grid
        self._scene, self._base = volume_node.GetScene(), _base_name(volume_node, old)
        self.nodes = replace(
            old, volume_node=volume_node, channel_attribution_nodes={}, prepared_nodes={}
        )

    def steps(self) -> Iterator[Callable[[], None]]:
        """What is to be done, in pieces that take milliseconds."""
        yield self._lesions
        yield self._detected
        yield self._tables_and_transform
        yield partial(self._attribution, None)
        for channel in self._found.by_channel:
            yield partial(self._attribution, channel)
        for channel in self._found.prepared:
            yield partial(self._prepared, channel)
        # Asked for when the nodes are there: a generator goes on after each piece is done.
        yield partial(self._write, self.nodes.segmentation_node)
        yield partial(self._write, self.nodes.detected_node)

    def remove_new(self) -> None:
        """Take back the nodes that were made."""
        for node in _all_nodes(self.nodes):
            if node not in _all_nodes(self._old) and node.GetScene() is not None:
                node.GetScene().RemoveNode(node)

    def _lesions(self) -> None:
        node = self._old.segmentation_node
        if node is None:
            node = _segmentation_node(f"{self._base}{_LESIONS}", self._volume)
        self.nodes = replace(self.nodes, segmentation_node=node)

    def _detected(self) -> None:
        node = self._old.detected_node
        if node is None:
            node = _segmentation_node(f"{self._base} lesions (as detected)", self._volume)
            node.SetHideFromEditors(True)
            node.SetAttribute(names.AS_DETECTED, "1")
            node.GetDisplayNode().SetVisibility(False)
        # At once: a copy that nobody refers to is removed.
        self.nodes.segmentation_node.SetNodeReferenceID(names.DETECTED, node.GetID())
        self.nodes = replace(self.nodes, detected_node=node)

    def _tables_and_transform(self) -> None:
        old, found = self._old, self._found
        table = lesion_table_node(
            found.lesions,
            scene=self._scene,
            node=old.table_node,
            name=_name(f"{self._base} lesions table", old.table_node),
            nominal=self._grid.nominal,
        )
        to_atlas = None
        if found.to_atlas is not None:
            to_atlas = transform_node(
                found.to_atlas,
                name=_name(f"{self._base} to atlas", old.transform_node),
                scene=self._scene,
                node=old.transform_node,
            )
        self.nodes = replace(self.nodes, table_node=table, transform_node=to_atlas)

    def _attribution(self, channel: str | None) -> None:
        """The map, or that of a channel."""
        default = f"{self._base} attribution"
        earlier, image = self._old.attribution_node, self._found.attribution
        if channel is not None:
            default, image = f"{default} ({channel})", self._found.by_channel[channel]
            earlier = self._old.channel_attribution_nodes.get(channel)
        node = mrml.attribution_node(
            Image(image.array, self._grid),
            name=_name(default, earlier),
            scene=self._scene,
            node=earlier,
            limit=self._found.limit,
        )
        if channel is None:
            self.nodes = replace(self.nodes, attribution_node=node)
        else:
            self.nodes.channel_attribution_nodes[channel] = node

    def _prepared(self, channel: str) -> None:
        earlier = self._old.prepared_nodes.get(channel)
        self.nodes.prepared_nodes[channel] = mrml.volume_node_from_image(
            self._found.prepared[channel],
            name=_name(f"{self._base} ({channel}, in the atlas)", earlier),
            scene=self._scene,
            node=earlier,
        )

    def _write(self, node: Any) -> None:
        """The mask into a segmentation, in world coordinates."""
        node.SetAndObserveTransformNodeID(None)
        surface = node.GetSegmentation().ContainsRepresentation(closed_surface())
        write_mask(node, names.SEGMENT_ID, self._found.mask.array, self._grid)
        remember_written(node, names.SEGMENT_ID)
        if surface:
            node.CreateClosedSurfaceRepresentation()


def _name(default: str, earlier: Any) -> str:
    """Name of a node; a person may have renamed an earlier one."""
    return default if earlier is None else str(earlier.GetName())


def _all_nodes(nodes: DetectionNodes) -> list[Any]:
    """Every node of a detection but its volume."""
    single = (
        nodes.segmentation_node,
        nodes.attribution_node,
        nodes.detected_node,
        nodes.table_node,
        nodes.transform_node,
    )
    many = (*nodes.channel_attribution_nodes.values(), *nodes.prepared_nodes.values())
    return [node for node in (*single, *many) if node is not None]


def _base_name(volume_node: Any, old: DetectionNodes) -> str:
    """What the nodes' names begin with: the volume's name, numbered from its second detection."""
    if old.segmentation_node is not None:
        return str(old.segmentation_node.GetName()).removesuffix(_LESIONS)
    count = len(detections_of(volume_node))
    return f"{volume_node.GetName()} {count + 1}" if count else str(volume_node.GetName())


def _segmentation_node(name: str, volume_node: Any) -> Any:
    """Segmentation of one empty segment on the grid of a volume."""
    nothing = Image(np.zeros((1, 1, 1), dtype=bool), Geometry((1, 1, 1)))
    node = mrml.segmentation_node_from_mask(
        nothing, name=name, segment_id=names.SEGMENT_ID, reference_volume_node=volume_node
    )
    node.GetSegmentation().GetSegment(names.SEGMENT_ID).SetName("Lesions")
    return node


def _remove_left_over(old: DetectionNodes, nodes: DetectionNodes) -> None:
    """Nodes of the earlier detection that this one has no use for, such as of a raw scan."""
    kept = _all_nodes(nodes)
    for node in _all_nodes(old):
        if node not in kept:
            nodes.segmentation_node.GetScene().RemoveNode(node)


def _link(nodes: DetectionNodes) -> None:
    """References of the segmentation node to all others."""
    node = nodes.segmentation_node
    references = {
        names.VOLUME: nodes.volume_node,
        names.ATTRIBUTION: nodes.attribution_node,
        names.DETECTED: nodes.detected_node,
        names.TABLE: nodes.table_node,
        names.TO_ATLAS: nodes.transform_node,
    }
    for role, by_channel in (
        (names.CHANNEL_ATTRIBUTION, nodes.channel_attribution_nodes),
        (names.PREPARED, nodes.prepared_nodes),
        (names.INPUT, nodes.input_nodes),
    ):
        for channel in by_channel_of(node, role):
            node.RemoveNodeReferenceIDs(names.channel_role(role, channel))
        references |= {
            names.channel_role(role, channel): other for channel, other in by_channel.items()
        }
    for role, other in references.items():
        node.SetNodeReferenceID(role, None if other is None else other.GetID())
