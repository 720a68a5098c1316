"""How results show: colours over the anatomy, legend, surfaces, and where the slices are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from AttribSegLib.errors import InputError

from .scenes import is_in_scene, named, nodes_of_class, scene_or_default


def show_overlay(attribution_node: Any, volume_node: Any = None, *, opacity: float = 0.6) -> None:
    """Lay an attribution over the anatomy in all slice views.

    Parameters
    ----------
    attribution_node : vtkMRMLScalarVolumeNode
        Foreground; its colours are those of :func:`AttribSegLib.mrml.attribution_node`.
    volume_node : vtkMRMLScalarVolumeNode, optional
        Background; default what the views show.
    opacity : float
        Of the foreground, between 0 (hidden) and 1.

    Raises
    ------
    InputError
        If a node is deleted or no volume, or the opacity is no such number.
    """
    _require_volume(attribution_node)
    if volume_node is not None:
        _require_volume(volume_node)
    if not (math.isfinite(opacity) and 0 <= opacity <= 1):
        raise InputError(f"opacity {opacity}: a number between 0 and 1 was expected")
    for composite in nodes_of_class(attribution_node.GetScene(), "vtkMRMLSliceCompositeNode"):
        modifying = composite.StartModify()
        if volume_node is not None:
            composite.SetBackgroundVolumeID(volume_node.GetID())
        composite.SetForegroundVolumeID(attribution_node.GetID())
        composite.SetForegroundOpacity(float(opacity))
        composite.EndModify(modifying)


def colour_legend(node: Any, *, visible: bool = True, title: str = "Attribution") -> Any:
    """Show what the colours of a volume mean.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
        With a display node.
    visible : bool
    title : str
        Above the legend.

    Returns
    -------
    vtkMRMLColorLegendDisplayNode
        One per volume.

    Raises
    ------
    InputError
        If the node is deleted, no volume or has no display node.
    """
    import slicer

    _require_volume(node)
    if node.GetDisplayNode() is None:
        raise InputError(f"{named(node)} has no display node; show it in the Volumes module first")
    # Slicer's Colors module has registered the class; elsewhere nobody has.
    if not node.GetScene().IsNodeClassRegistered("vtkMRMLColorLegendDisplayNode"):
        node.GetScene().RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(title)
    legend.SetVisibility(visible)
    return legend


def jump_to(ras: Sequence[float], *, scene: Any = None, centred: bool = True) -> None:
    """Move all slices to a point.

    Parameters
    ----------
    ras : sequence of float
        Point of the world, in mm.
    scene : vtkMRMLScene, optional
        Default Slicer's scene.
    centred : bool
        Move the point into the middle of the views too, not only into their planes.

    Raises
    ------
    InputError
        If the point is not three finite numbers, or there is no scene.
    """
    point = [float(value) for value in ras]
    if len(point) != 3 or not all(math.isfinite(value) for value in point):
        raise InputError(f"point {point}: three finite coordinates in mm were expected")
    for slice_node in nodes_of_class(scene_or_default(scene), "vtkMRMLSliceNode"):
        if centred:
            slice_node.JumpSliceByCentering(*point)
        else:
            slice_node.JumpSliceByOffsetting(*point)


def show_3d(segmentation_node: Any, on: bool = True) -> None:
    """Show the segments as surfaces in the 3D views, or no longer.

    Raises
    ------
    InputError
        If the node is deleted or no segmentation.
    """
    if not is_in_scene(segmentation_node, "vtkMRMLSegmentationNode"):
        raise InputError(
            f"{named(segmentation_node)}: a segmentation node of the scene was expected; it may "
            "be deleted, choose another"
        )
    segmentation_node.CreateDefaultDisplayNodes()
    if on:
        segmentation_node.CreateClosedSurfaceRepresentation()
        segmentation_node.GetDisplayNode().SetVisibility(True)
        segmentation_node.GetDisplayNode().SetVisibility3D(True)
    else:
        # The display node keeps its 3D visibility, or the button "Show 3D" would show nothing.
        segmentation_node.RemoveClosedSurfaceRepresentation()


def _require_volume(node: Any) -> None:
    if not is_in_scene(node, "vtkMRMLScalarVolumeNode"):
        raise InputError(
            f"{named(node)}: a volume node of the scene was expected; it may be deleted, choose "
            "another or detect again"
        )
