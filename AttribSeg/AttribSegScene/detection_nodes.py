"""The nodes of one detection, found again through the references of its segmentation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry

from . import names
from .labelmap import is_edited
from .scenes import is_in_scene, named, nodes_of_class


@dataclass(frozen=True)
class DetectionNodes:
    """Nodes of one detection; those that were deleted are None.

    Attributes
    ----------
    segmentation_node : vtkMRMLSegmentationNode
        Lesions; follows the threshold and a person's corrections. It refers to all others.
    volume_node : vtkMRMLScalarVolumeNode
        What was segmented.
    attribution_node : vtkMRMLScalarVolumeNode
        In world coordinates, on the volume's grid.
    detected_node : vtkMRMLSegmentationNode
        Lesions as they were detected; hidden, and left alone by corrections.
    table_node : vtkMRMLTableNode
        Lesions.
    channel_attribution_nodes : dict of str to vtkMRMLScalarVolumeNode
        Map of each channel, where there are several.
    prepared_nodes : dict of str to vtkMRMLScalarVolumeNode
        Of a raw scan: the channels in atlas space.
    transform_node : vtkMRMLLinearTransformNode or None
        Of a raw scan: from the world to the atlas.
    input_nodes : dict of str to vtkMRMLScalarVolumeNode
        What was given to the detection, by channel.
    """

    segmentation_node: Any
    volume_node: Any = None
    attribution_node: Any = None
    detected_node: Any = None
    table_node: Any = None
    channel_attribution_nodes: dict[str, Any] = field(default_factory=dict)
    prepared_nodes: dict[str, Any] = field(default_factory=dict)
    transform_node: Any = None
    input_nodes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, segmentation_node: Any) -> DetectionNodes:
        """Find a detection's nodes again, such as in a scene that was loaded.

        Raises
        ------
        InputError
            If the node is none or deleted, or does not come from a detection.
        """
        if not is_in_scene(segmentation_node, "vtkMRMLSegmentationNode"):
            raise InputError(
                f"{named(segmentation_node)}: a segmentation node of the scene was expected; "
                "choose the lesions of a detection"
            )
        if segmentation_node.GetAttribute(names.CASE) is None:
            raise InputError(
                f"{named(segmentation_node)} does not come from a detection; choose the lesions "
                "of one, or detect"
            )
        get = segmentation_node.GetNodeReference
        return cls(
            segmentation_node,
            get(names.VOLUME),
            get(names.ATTRIBUTION),
            get(names.DETECTED),
            get(names.TABLE),
            by_channel_of(segmentation_node, names.CHANNEL_ATTRIBUTION),
            by_channel_of(segmentation_node, names.PREPARED),
            get(names.TO_ATLAS),
            by_channel_of(segmentation_node, names.INPUT),
        )

    @property
    def segment_id(self) -> str:
        """Segment of the lesions in both segmentations."""
        return names.SEGMENT_ID

    @property
    def edited(self) -> bool:
        """Whether a person changed the lesions since they were detected or thresholded."""
        return is_edited(self.segmentation_node, self.segment_id)

    @property
    def probability(self) -> float:
        """Of the class pathological, as detected."""
        return self._number(names.PROBABILITY)

    @property
    def pathological(self) -> bool:
        """Class of the image."""
        return bool(self.segmentation_node.GetAttribute(names.CLASS) == "pathological")

    @property
    def threshold(self) -> float:
        """That made the lesions, as detected or as last dragged."""
        return self._number(names.THRESHOLD)

    @property
    def case(self) -> str:
        """Name of the case."""
        return str(self.segmentation_node.GetAttribute(names.CASE))

    @property
    def bundle(self) -> str:
        """Folder of the bundle."""
        return str(self.segmentation_node.GetAttribute(names.BUNDLE) or "")

    @property
    def bundle_hash(self) -> str:
        """SHA-256 of the bundle's weights."""
        return str(self.segmentation_node.GetAttribute(names.BUNDLE_HASH) or "")

    @property
    def warnings(self) -> list[str]:
        """What makes the preprocessing of a raw scan doubtful."""
        return (self.segmentation_node.GetAttribute(names.WARNINGS) or "").splitlines()

    @property
    def source(self) -> str:
        """File that the volume was loaded from when it was segmented; empty if from none."""
        return str(self.segmentation_node.GetAttribute(names.SOURCE) or "")

    @property
    def grid(self) -> Geometry | None:
        """Grid of the volume when it was segmented."""
        text = self.segmentation_node.GetAttribute(names.GRID)
        return Geometry.from_dict(json.loads(text)) if text else None

    @property
    def nominal(self) -> bool:
        """Whether the voxel spacing is nominal."""
        return bool(self.segmentation_node.GetAttribute(names.NOMINAL) == "1")

    def _number(self, name: str) -> float:
        return float(self.segmentation_node.GetAttribute(name) or "nan")


def detections_of(volume_node: Any) -> list[DetectionNodes]:
    """All detections in a volume, in the scene's order."""
    if not is_in_scene(volume_node, "vtkMRMLVolumeNode"):
        return []
    nodes = nodes_of_class(volume_node.GetScene(), "vtkMRMLSegmentationNode")
    return [
        DetectionNodes.of(node)
        for node in nodes
        if node.GetAttribute(names.CASE) is not None
        and node.GetNodeReferenceID(names.VOLUME) == volume_node.GetID()
    ]


def by_channel_of(segmentation_node: Any, role: str) -> dict[str, Any]:
    """Nodes that a segmentation refers to by a role and a channel."""
    found = {}
    for index in range(segmentation_node.GetNumberOfNodeReferenceRoles()):
        name = segmentation_node.GetNthNodeReferenceRole(index)
        channel = names.channel_of(role, name or "")
        node = None if channel is None else segmentation_node.GetNodeReference(name)
        if channel is not None and node is not None:
            found[channel] = node
    return found
