"""Transform nodes between spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.errors import InputError
from AttribSegLib.transform import Affine

from .scenes import is_in_scene, named, scene_or_default

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def transform_node(
    transform: Affine | str | Path,
    *,
    name: str = "To atlas",
    scene: Any = None,
    node: Any = None,
) -> Any:
    """Make a linear transform node, or fill one.

    Parameters
    ----------
    transform : Affine or path
        From the source to the target, in LPS; or the file that
        :func:`AttribSegLib.transform.write_transform` wrote of it.
    name : str
        Name of the node.
    scene : vtkMRMLScene, optional
        Where the node is made; default Slicer's scene.
    node : vtkMRMLLinearTransformNode, optional
        Node to fill instead of a new one.

    Returns
    -------
    vtkMRMLLinearTransformNode
        Brings what is placed under it from the source to the target, in RAS. Slicer inverts it
        for the way back.

    Raises
    ------
    InputError
        If the file cannot be read, there is no scene, or ``node`` is deleted or of another kind.
    """
    import vtk

    if not isinstance(transform, Affine):
        from AttribSegLib.transform import read_transform

        transform = read_transform(transform)
    if node is None:
        node = scene_or_default(scene).AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    elif not is_in_scene(node, "vtkMRMLLinearTransformNode"):
        raise InputError(f"{named(node)}: a linear transform node of the scene was expected")
    else:
        node.SetName(name)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((_LPS_TO_RAS @ transform.matrix @ _LPS_TO_RAS).ravel().tolist())
    node.SetMatrixTransformToParent(matrix)
    return node


def affine_from_node(node: Any) -> Affine:
    """The map from the space under a transform node to the world, in LPS.

    Raises
    ------
    InputError
        If the node is deleted or no transform, or it or one above it is not linear.
    """
    import vtk

    if not is_in_scene(node, "vtkMRMLTransformNode"):
        raise InputError(f"{named(node)}: a transform node of the scene was expected")
    matrix = vtk.vtkMatrix4x4()
    if not node.GetMatrixTransformToWorld(matrix):
        raise InputError(f"{named(node)} is not linear; a linear transform was expected")
    array = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    return Affine(_LPS_TO_RAS @ array @ _LPS_TO_RAS)
