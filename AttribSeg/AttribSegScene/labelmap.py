"""A segment's binary labelmap: written whole in one step, and recognised again later."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry
from numpy.typing import NDArray

from . import names
from .scenes import is_in_scene, named

Window = tuple[slice, slice, slice]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Files round coordinates; a voxel is far larger.
_TOLERANCE_MM = 0.02
_NOTHING = "0"


def segment_of(segmentation_node: Any, segment_id: str) -> Any:
    """Give a segment whose source is a binary labelmap.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
    segment_id : str

    Returns
    -------
    vtkSegment

    Raises
    ------
    InputError
        If the node is none or deleted, has no such segment, or is made of surfaces.
    """
    if not is_in_scene(segmentation_node, "vtkMRMLSegmentationNode"):
        raise InputError(
            f"{named(segmentation_node)}: a segmentation node of the scene was expected; it may "
            "be deleted, choose another or detect again"
        )
    segmentation = segmentation_node.GetSegmentation()
    segment = segmentation.GetSegment(segment_id)
    if segment is None:
        known = ", ".join(segmentation.GetSegmentIDs()) or "none"
        raise InputError(
            f"{named(segmentation_node)} has no segment {segment_id!r}; it has: {known}"
        )
    if segmentation.GetSourceRepresentationName() != binary_labelmap():
        raise InputError(
            f"{named(segmentation_node)} is made of surfaces; a binary labelmap was expected: "
            "make it the source representation in the Segmentations module"
        )
    return segment


def write_mask(
    segmentation_node: Any,
    segment_id: str,
    mask: NDArray[np.bool_],
    geometry: Geometry,
    *,
    window: Window | None = None,
) -> None:
    """Replace what a segment holds, with the events that make Slicer show it.

    Representations made from the labelmap, such as the closed surface, are removed: they would
    show the segment as it was. A labelmap shared with other segments is separated from theirs.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
        May lie under linear transforms.
    segment_id : str
    mask : ndarray of bool, shape (I, J, K)
        On the grid of ``geometry``.
    geometry : Geometry
        In world coordinates.
    window : tuple of slice, optional
        Part of the grid that is stored; nothing of the mask may lie outside. Writing into one
        window again and again is fast. Default the mask's bounding box.

    Raises
    ------
    InputError
        As :func:`segment_of`; also if a parent transform is not linear.
    """
    segment = segment_of(segmentation_node, segment_id)
    segmentation = segmentation_node.GetSegmentation()
    ijk_to_node = _ijk_to_node(segmentation_node, geometry)
    window = bounding_box(mask) if window is None else window
    if is_shared(segmentation, segment_id):
        segmentation.SeparateSegmentLabelmap(segment_id)
    labelmap = segment.GetRepresentation(binary_labelmap())
    if labelmap is None or segment.GetLabelValue() != 1 or not _fits(labelmap, ijk_to_node, window):
        # A new labelmap replaces the old one at once: one that is changed step by step would
        # be seen by observers when its extent and its voxels do not agree.
        labelmap = _new_labelmap(ijk_to_node, window)
        np.copyto(_voxels(labelmap), mask[window], casting="unsafe")
        segment.SetLabelValue(1)
        segment.AddRepresentation(binary_labelmap(), labelmap)
    else:
        np.copyto(_voxels(labelmap), mask[window], casting="unsafe")
        labelmap.GetPointData().GetScalars().Modified()
    # The segmentation observes its labelmaps: it drops what was made from them and tells others.
    labelmap.Modified()
    segmentation.InvokeEvent(segmentation.RepresentationModified, segment_id)


def is_shared(segmentation: Any, segment_id: str) -> bool:
    """Whether a segment of a vtkSegmentation has its labelmap together with another one."""
    # vtkSegmentation.IsSharedBinaryLabelmap() says the opposite in Slicer 5.10.
    mine = segmentation.GetSegment(segment_id).GetRepresentation(binary_labelmap())
    others = (segmentation.GetSegment(name) for name in segmentation.GetSegmentIDs())
    labelmaps = [other.GetRepresentation(binary_labelmap()) for other in others]
    return mine is not None and sum(labelmap is mine for labelmap in labelmaps) > 1


def fingerprint(segmentation_node: Any, segment_id: str) -> str:
    """Short text that changes when a voxel of the segment does.

    It does not depend on how much empty space is stored around the segment, nor on the
    segmentation's other segments, so that it survives saving and loading.

    Raises
    ------
    InputError
        As :func:`segment_of`.
    """
    import vtk

    segment = segment_of(segmentation_node, segment_id)
    labelmap = segment.GetRepresentation(binary_labelmap())
    if labelmap is None or labelmap.GetPointData().GetScalars() is None:
        return _NOTHING
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    inside = _voxels(labelmap) == segment.GetLabelValue()
    return _fingerprint(inside, labelmap.GetExtent()[::2], _array(matrix))


def mask_fingerprint(segmentation_node: Any, mask: NDArray[np.bool_], geometry: Geometry) -> str:
    """Fingerprint that a segment has right after :func:`write_mask` wrote a mask into it."""
    return _fingerprint(mask, (0, 0, 0), _ijk_to_node(segmentation_node, geometry))


def same_fingerprint(first: str, second: str) -> bool:
    """Whether two fingerprints tell of the same voxels at the same place."""
    one, two = first.split(), second.split()
    if one[:2] != two[:2] or len(one) != len(two):
        return False
    shifts = [abs(float(a) - float(b)) for a, b in zip(one[2:], two[2:], strict=True)]
    return max(shifts, default=0.0) <= _TOLERANCE_MM


def remember_written(segmentation_node: Any, segment_id: str, written: str = "") -> None:
    """Store with the node what a segment looks like as this program left it.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
    segment_id : str
    written : str
        Its fingerprint; default that of the segment as it is.
    """
    segmentation_node.SetAttribute(
        f"{names.WRITTEN}.{segment_id}", written or fingerprint(segmentation_node, segment_id)
    )


def is_edited(segmentation_node: Any, segment_id: str, written: str | None = None) -> bool:
    """Whether a segment holds what a person drew since this program last wrote it.

    A segment that this program never wrote counts as drawn unless it is empty.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
    segment_id : str
    written : str, optional
        Fingerprint to compare with; default the stored one.

    Raises
    ------
    InputError
        As :func:`segment_of`.
    """
    now = fingerprint(segmentation_node, segment_id)
    if written is None:
        written = segmentation_node.GetAttribute(f"{names.WRITTEN}.{segment_id}") or _NOTHING
    return not same_fingerprint(now, written)


def bounding_box(mask: NDArray[np.bool_]) -> Window:
    """Smallest window that holds a mask of shape (I, J, K); empty slices for an empty mask."""
    if mask.size == 0:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    # Memory is read in its own order: three axes at once would take ten times as long.
    order = (2, 1, 0) if mask.flags.f_contiguous else (0, 1, 2)
    turned = mask.transpose(order)
    slowest = _span(turned.reshape(len(turned), -1).any(axis=1))
    plane: NDArray[np.bool_] = np.any(turned[slowest], axis=0)
    spans = (slowest, _span(plane.any(axis=1)), _span(plane.any(axis=0)))
    i, j, k = (spans[order.index(axis)] for axis in range(3))
    return i, j, k


def binary_labelmap() -> str:
    """Name of the representation."""
    import slicer

    return str(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName())


def closed_surface() -> str:
    """Name of the representation."""
    import slicer

    return str(slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName())


def _span(line: Any) -> slice:
    """From the first to the last true value."""
    where = np.flatnonzero(line)
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0)


def _fingerprint(
    inside: NDArray[np.bool_], first: Sequence[int], ijk_to_node: NDArray[np.float64]
) -> str:
    """Fingerprint of an array of shape (I, J, K) whose first voxel has the indices ``first``."""
    window = bounding_box(inside)
    part = inside[window]
    if part.size == 0:
        return _NOTHING
    content = hashlib.sha256(np.packbits(part.ravel(order="F")).tobytes())
    content.update(str(part.shape).encode())
    corner = [start + span.start for start, span in zip(first, window, strict=True)]
    place = " ".join(f"{value:.4f}" for value in (ijk_to_node @ [*corner, 1])[:3])
    return f"{np.count_nonzero(part)} {content.hexdigest()[:24]} {place}"


def _ijk_to_node(node: Any, geometry: Geometry) -> NDArray[np.float64]:
    """Matrix from the indices of a grid in the world to RAS under a node's linear transforms."""
    import slicer
    import vtk

    ijk_to_world = _LPS_TO_RAS @ geometry.affine
    parent = node.GetParentTransformNode()
    if parent is None:
        return ijk_to_world
    matrix = vtk.vtkMatrix4x4()
    between = slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes
    if not between(None, parent, matrix):
        raise InputError(
            f"{named(node)} is under the transform {named(parent)}, which is not linear; "
            "harden the transform first"
        )
    return _array(matrix) @ ijk_to_world


def _array(matrix: Any) -> NDArray[np.float64]:
    """Array of shape (4, 4) of a VTK matrix."""
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def _extent(window: Window) -> tuple[int, ...]:
    return tuple(bound for part in window for bound in (part.start, part.stop - 1))


def _new_labelmap(ijk_to_node: NDArray[np.float64], window: Window) -> Any:
    import slicer
    import vtk

    labelmap = slicer.vtkOrientedImageData()
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_to_node.ravel().tolist())
    labelmap.SetGeometryFromImageToWorldMatrix(matrix)
    labelmap.SetExtent(*_extent(window))
    labelmap.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    return labelmap


def _fits(labelmap: Any, ijk_to_node: NDArray[np.float64], window: Window) -> bool:
    """Whether a labelmap has the wanted window, grid and number type."""
    import vtk

    if labelmap.GetPointData().GetScalars() is None or labelmap.GetExtent() != _extent(window):
        return False
    if labelmap.GetScalarType() != vtk.VTK_UNSIGNED_CHAR:
        return False
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    return np.allclose(_array(matrix), ijk_to_node, rtol=0, atol=1e-6)


def _voxels(labelmap: Any) -> NDArray[Any]:
    """View of a labelmap's voxels, shape (I, J, K)."""
    from vtk.util.numpy_support import vtk_to_numpy

    scalars = vtk_to_numpy(labelmap.GetPointData().GetScalars())
    return scalars.reshape(labelmap.GetDimensions(), order="F")
