"""Arrays and places of ``vtkOrientedImageData``, the form in which segments are edited."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import vtk
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry
from AttribSegScene.labelmap import Window, bounding_box
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def voxels(image: Any) -> NDArray[Any]:
    """View of an image's voxels, shape (I, J, K), I running fastest; what is written stays.

    Parameters
    ----------
    image : vtkImageData
    """
    if image.IsA("vtkOrientedImageData") and image.IsEmpty():
        return np.zeros((0, 0, 0), dtype=np.uint8)
    scalars = vtk_to_numpy(image.GetPointData().GetScalars())
    return scalars.reshape(image.GetDimensions(), order="F")


def size(image: Any) -> tuple[int, int, int]:
    """Voxels along I, J, K, with or without scalars."""
    i, j, k = (int(n) for n in image.GetDimensions())
    return i, j, k


def first_voxel(image: Any) -> NDArray[np.int64]:
    """Index of the first voxel of an image's extent."""
    return np.array(image.GetExtent()[::2], dtype=np.int64)


def extent_of(window: Window, image: Any) -> list[int]:
    """VTK extent of a window of the array that :func:`voxels` gives of an image."""
    pairs = zip(window, first_voxel(image).tolist(), strict=True)
    return [bound for each, first in pairs for bound in (first + each.start, first + each.stop - 1)]


def to_world(node: Any) -> NDArray[np.float64]:
    """Matrix of a node's parent transforms, shape (4, 4).

    Raises
    ------
    InputError
        If they are not linear.
    """
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise InputError(
            f"{node.GetName()!r} is under the transform {transform.GetName()!r}, which is not "
            "linear; harden the transform first"
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return as_array(matrix)


def volume_to_world(node: Any) -> NDArray[np.float64]:
    """Matrix from voxel indices of a volume node to RAS, shape (4, 4); as :func:`to_world`."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return to_world(node) @ as_array(matrix)


def array_to_world(image: Any, node: Any) -> NDArray[np.float64]:
    """Matrix from indices of the array of an image to RAS, shape (4, 4).

    Parameters
    ----------
    image : vtkOrientedImageData
        In the coordinates of ``node``.
    node : vtkMRMLSegmentationNode
        Its linear parent transforms are applied.
    """
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    shift = np.eye(4)
    shift[:3, 3] = first_voxel(image)
    return to_world(node) @ as_array(matrix) @ shift


def geometry_in_world(image: Any, node: Any) -> Geometry:
    """Grid of the array of an image in world coordinates.

    Raises
    ------
    InputError
        If a parent transform of the node is not linear or shears the grid.
    """
    affine = _LPS_TO_RAS @ array_to_world(image, node)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    try:
        geometry = Geometry(size(image), tuple(spacing), direction=affine[:3, :3] / spacing)
    except InputError as error:
        raise InputError(f"{node.GetName()!r}: {error}") from error
    return replace(geometry, origin=tuple(affine[:3, 3]))


def as_array(matrix: Any) -> NDArray[np.float64]:
    """Array of shape (4, 4) of a ``vtkMatrix4x4``."""
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def bounding_window(where: NDArray[np.bool_]) -> Window | None:
    """The smallest window around the true voxels; None where there are none."""
    window = bounding_box(where)
    return window if window[0].stop > window[0].start else None
