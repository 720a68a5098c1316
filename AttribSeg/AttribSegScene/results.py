"""What a detection wrote, as nodes that know each other and are saved with the scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib import mrml
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image

from . import names
from .detection_files import DetectionFiles, attributes_of, read_detection
from .detection_nodes import DetectionNodes, by_channel_of, detections_of
from .labelmap import closed_surface, remember_written, write_mask
from .scenes import named
from .tables import lesion_table_node
from .transforms import transform_node

__all__ = [
    "DetectionFiles",
    "DetectionNodes",
    "detections_of",
    "load_detection",
    "read_detection",
    "show_detection",
]

#: Ends the name of the segmentation.
_LESIONS = " lesions"


def show_detection(found: DetectionFiles, volume_node: Any, *, card: Any = None) -> DetectionNodes:
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

    Returns
    -------
    DetectionNodes

    Raises
    ------
    InputError
        If the volume is deleted, or lies elsewhere than the result.
    """
    nominal = found.attribution.geometry.nominal
    grid = mrml.geometry_from_volume_node(volume_node, nominal=nominal)
    if not grid.same_grid(found.attribution.geometry):
        raise InputError(
            f"{named(volume_node)} lies on another grid than the detection in {found.folder}; it "
            "was moved or changed since, or is another volume: detect again"
        )
    attributes = attributes_of(found.summary)
    old = _earlier(volume_node, attributes[names.BUNDLE_HASH])
    nodes = _fill(old or DetectionNodes(None), found, volume_node, grid)
    if old is not None:
        _remove_left_over(old, nodes)
    _write(nodes, found.mask.array, grid)
    node = nodes.segmentation_node
    modifying = node.StartModify()
    for name, value in attributes.items():
        node.SetAttribute(name, value)
    if card is not None:
        node.SetAttribute(names.BUNDLE_NAME, card.name)
    _link(nodes)
    node.EndModify(modifying)
    return nodes


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


def _fill(
    old: DetectionNodes, found: DetectionFiles, volume_node: Any, grid: Geometry
) -> DetectionNodes:
    """Fill the nodes of an earlier detection, and make those that it lacks; without lesions."""
    scene, base = volume_node.GetScene(), _base_name(volume_node, old)

    def name(default: str, earlier: Any) -> str:
        # A user may have renamed it.
        return default if earlier is None else str(earlier.GetName())

    def attribution(image: Image, default: str, earlier: Any) -> Any:
        return mrml.attribution_node(
            Image(image.array, grid),
            name=name(default, earlier),
            scene=scene,
            node=earlier,
            limit=found.limit,
        )

    def prepared(image: Image, default: str, earlier: Any) -> Any:
        return mrml.volume_node_from_image(
            image, name=name(default, earlier), scene=scene, node=earlier
        )

    lesions = old.segmentation_node or _segmentation_node(f"{base}{_LESIONS}", volume_node)
    detected = old.detected_node
    if detected is None:
        detected = _segmentation_node(f"{base} lesions (as detected)", volume_node)
        detected.SetHideFromEditors(True)
        detected.GetDisplayNode().SetVisibility(False)
    table = lesion_table_node(
        found.lesions,
        scene=scene,
        node=old.table_node,
        name=name(f"{base} lesions table", old.table_node),
        nominal=grid.nominal,
    )
    to_atlas = None
    if found.to_atlas is not None:
        default = name(f"{base} to atlas", old.transform_node)
        to_atlas = transform_node(
            found.to_atlas, name=default, scene=scene, node=old.transform_node
        )
    return DetectionNodes(
        lesions,
        volume_node,
        attribution(found.attribution, f"{base} attribution", old.attribution_node),
        detected,
        table,
        {
            channel: attribution(
                image,
                f"{base} attribution ({channel})",
                old.channel_attribution_nodes.get(channel),
            )
            for channel, image in found.by_channel.items()
        },
        {
            channel: prepared(
                image, f"{base} ({channel}, in the atlas)", old.prepared_nodes.get(channel)
            )
            for channel, image in found.prepared.items()
        },
        to_atlas,
    )


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


def _write(nodes: DetectionNodes, mask: Any, grid: Geometry) -> None:
    """The mask into both segmentations, in world coordinates."""
    for node in (nodes.segmentation_node, nodes.detected_node):
        node.SetAndObserveTransformNodeID(None)
        surface = node.GetSegmentation().ContainsRepresentation(closed_surface())
        write_mask(node, nodes.segment_id, mask, grid)
        remember_written(node, nodes.segment_id)
        if surface:
            node.CreateClosedSurfaceRepresentation()


def _remove_left_over(old: DetectionNodes, nodes: DetectionNodes) -> None:
    """Nodes of the earlier detection that this one has no use for, such as of a raw scan."""
    scene = nodes.segmentation_node.GetScene()
    before = [*old.channel_attribution_nodes.values(), *old.prepared_nodes.values()]
    after = [*nodes.channel_attribution_nodes.values(), *nodes.prepared_nodes.values()]
    for node in [*before, old.transform_node]:
        if node is not None and node not in [*after, nodes.transform_node]:
            scene.RemoveNode(node)


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
    ):
        for channel in by_channel_of(node, role):
            node.RemoveNodeReferenceIDs(names.channel_role(role, channel))
        references |= {
            names.channel_role(role, channel): other for channel, other in by_channel.items()
        }
    for role, other in references.items():
        node.SetNodeReferenceID(role, None if other is None else other.GetID())
