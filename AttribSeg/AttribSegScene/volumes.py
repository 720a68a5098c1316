"""Which of a scene's volumes are scans."""

from __future__ import annotations

from typing import Any

from . import names
from .detection_nodes import by_channel_of
from .scenes import nodes_of_class


def first_scan(scene: Any) -> Any:
    """First volume that may be a patient's scan; None when there is none.

    Label maps, pictures in colours and what detections made, such as their maps, are none.

    Parameters
    ----------
    scene : vtkMRMLScene

    Returns
    -------
    vtkMRMLScalarVolumeNode or None
    """
    made = _made_by_detections(scene)
    for node in nodes_of_class(scene, "vtkMRMLScalarVolumeNode"):
        # Of this very class: label maps and vector volumes are of classes that stem from it.
        if node.GetClassName() == "vtkMRMLScalarVolumeNode" and node.GetID() not in made:
            return node
    return None


def _made_by_detections(scene: Any) -> set[str]:
    """IDs of maps, and of the prepared channels of raw scans."""
    made: set[str] = set()
    for segmentation in nodes_of_class(scene, "vtkMRMLSegmentationNode"):
        nodes = [segmentation.GetNodeReference(names.ATTRIBUTION)]
        for role in (names.CHANNEL_ATTRIBUTION, names.PREPARED):
            nodes += by_channel_of(segmentation, role).values()
        made |= {node.GetID() for node in nodes if node is not None}
    return made
