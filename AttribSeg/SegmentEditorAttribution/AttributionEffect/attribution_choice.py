"""Which map belongs to a volume: by what a detection has noted, else by its colours and grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from AttribSegLib import mrml
from AttribSegLib.errors import InputError
from AttribSegScene import names
from AttribSegScene.scenes import nodes_of_class

#: Attribute of the colours that attributions are shown in.
_COLOURS_ATTRIBUTE = "AttribSeg.AttributionColours"


@dataclass(frozen=True)
class Settings:
    """How a detection has cut its map.

    Parameters
    ----------
    threshold : float or None
        None where it has noted nothing.
    minimum_ml, smoothing_mm : float
        Smallest lesion, and the standard deviation of a Gaussian.
    nominal : bool
        Whether the voxel spacing is unknown.
    """

    threshold: float | None = None
    minimum_ml: float = 0.0
    smoothing_mm: float = 0.0
    nominal: bool = False


def find_map(segmentation_node: Any, volume_node: Any) -> Any | None:
    """The map that a volume is most likely to be segmented by.

    In this order: the one that the segmentation was made from, if it is of this volume; that of
    another detection on the volume; an attribution in the scene on the volume's grid.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
        The one that is edited.
    volume_node : vtkMRMLScalarVolumeNode or None
        The Segment Editor's source volume.

    Returns
    -------
    vtkMRMLScalarVolumeNode or None
    """
    own = segmentation_node.GetNodeReference(names.ATTRIBUTION)
    source = segmentation_node.GetNodeReference(names.VOLUME)
    if own is not None and (volume_node is None or source is None or source is volume_node):
        return own
    if volume_node is None:
        return None
    scene = segmentation_node.GetScene()
    for node in nodes_of_class(scene, "vtkMRMLSegmentationNode"):
        made = node.GetNodeReference(names.ATTRIBUTION)
        if made is not None and node.GetNodeReference(names.VOLUME) is volume_node:
            return made
    for node in nodes_of_class(scene, "vtkMRMLScalarVolumeNode"):
        if node is not volume_node and _is_attribution(node) and _same_grid(node, volume_node):
            return node
    # On another grid, but made for this segmentation.
    return own


def noted_settings(segmentation_node: Any, map_node: Any) -> Settings:
    """How a detection has cut a map, as far as it is noted.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
        Asked first, then all others.
    map_node : vtkMRMLScalarVolumeNode
    """
    others = nodes_of_class(map_node.GetScene(), "vtkMRMLSegmentationNode")
    for node in (segmentation_node, *others):
        threshold = _number(node, names.THRESHOLD)
        if node.GetNodeReference(names.ATTRIBUTION) is map_node and threshold is not None:
            return Settings(
                threshold,
                _number(node, names.MINIMUM_ML) or 0.0,
                _number(node, names.SMOOTHING_MM) or 0.0,
                node.GetAttribute(names.NOMINAL) == "1",
            )
    return Settings()


def _number(node: Any, name: str) -> float | None:
    try:
        return float(node.GetAttribute(name) or "")
    except ValueError:
        return None


def _is_attribution(node: Any) -> bool:
    display = node.GetDisplayNode()
    colours = display.GetColorNode() if display is not None else None
    return colours is not None and colours.GetAttribute(_COLOURS_ATTRIBUTE) is not None


def _same_grid(one: Any, other: Any) -> bool:
    try:
        first = mrml.geometry_from_volume_node(one)
        return first.same_grid(mrml.geometry_from_volume_node(other))
    except InputError:
        return False
