"""Between images and MRML nodes: the only file that imports ``slicer`` and ``vtk``.

Works in Slicer and outside it with the ``slicer-core`` package. Nodes speak RAS, images LPS. The
scene is an argument; left out, it is Slicer's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .image import Geometry, Image
from .lesions import binary_array
from .overlay import attribution_colours, attribution_limit
from .segmentation_file import LESION_COLOUR, LESION_TERMINOLOGY, Colour

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ATTRIBUTION_COLOURS = "AttribSeg.AttributionColours"


def geometry_from_volume_node(node: Any, *, nominal: bool = False) -> Geometry:
    """Geometry of a volume node in world coordinates.

    Linear parent transforms are applied to the geometry, as hardening them would.

    Parameters
    ----------
    node : vtkMRMLVolumeNode
        Volume with image data.
    nominal : bool
        Declare the spacing unknown.

    Raises
    ------
    InputError
        If the node is no volume, is not in a scene or has no image data, if a parent transform
        is not linear, or if it shears the volume.
    """
    _check_volume(node)
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    extent = node.GetImageData().GetExtent()
    return _geometry(_to_world(node) @ _array(matrix), extent, named(node), nominal)


def image_from_volume_node(node: Any, *, nominal: bool = False) -> Image:
    """Copy a scalar volume node into an image in world coordinates.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
        One component per voxel.
    nominal : bool
        Declare the spacing unknown.

    Returns
    -------
    Image
        Array of shape (I, J, K); the node's later changes do not reach it.

    Raises
    ------
    InputError
        As :func:`geometry_from_volume_node`; also if the voxels are colours or vectors, are a
        sequence, or are not finite.
    """
    geometry = geometry_from_volume_node(node, nominal=nominal)
    data = node.GetImageData()
    components = data.GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(
            f"{named(node)} has {components} components per voxel (colour, vector or sequence): a "
            "scalar volume was expected; convert it, or extract one volume, first"
        )
    array = _voxels(data).copy(order="K")  # turning the axes over would take several times as long
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise InputError(f"{named(node)} has {count} voxels that are NaN or infinite")
    return Image(array, geometry)


def volume_node_from_image(
    image: Image,
    *,
    name: str,
    scene: Any = None,
    node: Any = None,
    window: tuple[float, float] | None = None,
) -> Any:
    """Make a scalar volume node, or fill one, from an image.

    Parameters
    ----------
    image : Image
        Values of any number type: what Slicer's volumes do not hold is cast (bool to uint8,
        float16 to float32, 64-bit integers to int32 or, when they do not fit, to float64).
    name : str
        Name of the node.
    scene : vtkMRMLScene, optional
        Where the node is made; default Slicer's scene.
    node : vtkMRMLScalarVolumeNode, optional
        Node to fill instead of a new one; it leaves its parent transform, since the image is in
        world coordinates.
    window : tuple of float, optional
        Values shown as black and white in a new node; Slicer finds them otherwise, which takes a
        tenth of a second for a volume of 1 mm.

    Returns
    -------
    vtkMRMLScalarVolumeNode
        With a display node.

    Raises
    ------
    InputError
        If there is no scene, or ``node`` cannot hold the image.
    """
    import vtk

    if node is None:
        node = scene_or_default(scene).AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        if window is not None:  # before there are voxels to look for a window in
            node.CreateDefaultDisplayNodes()
            node.GetScalarVolumeDisplayNode().AutoWindowLevelOff()
            node.GetScalarVolumeDisplayNode().SetWindowLevelMinMax(*window)
    elif not _is_a(node, "vtkMRMLScalarVolumeNode") or node.GetScene() is None:
        raise InputError(f"{named(node)}: a scalar volume node of the scene was expected")
    else:
        node.SetName(name)
        node.SetAndObserveTransformNodeID(None)
    data = vtk.vtkImageData()
    _fill(data, _storable(image.array), (0, 0, 0))
    node.SetIJKToRASMatrix(_matrix(_LPS_TO_RAS @ image.geometry.affine))
    node.SetAndObserveImageData(data)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    return node


def attribution_node(
    attribution: Image,
    *,
    name: str = "Attribution",
    scene: Any = None,
    node: Any = None,
    limit: float | None = None,
) -> Any:
    """Make a volume node of an attribution, in diverging colours centred at zero.

    Cold colours argue for healthy, hot ones for pathological, and what is below a quarter of
    ``limit`` is transparent, so that the node can lie in the foreground of a slice view.

    Parameters
    ----------
    attribution : Image
        Attribution, shape (I, J, K).
    name, scene, node
        As for :func:`volume_node_from_image`.
    limit : float, optional
        Value at which the colours saturate; default ``overlay.attribution_limit``.

    Returns
    -------
    vtkMRMLScalarVolumeNode
        With its colours and a window of plus and minus ``limit``.
    """
    limit = attribution_limit(attribution) if limit is None else limit
    if not limit > 0:
        raise InputError(f"limit {limit}: a positive number was expected")
    node = volume_node_from_image(
        attribution.with_array(attribution.array.astype(np.float32, copy=False)),
        name=name,
        scene=scene,
        node=node,
        window=(-limit, limit),
    )
    display = node.GetScalarVolumeDisplayNode()
    display.SetAndObserveColorNodeID(_attribution_colour_node(node.GetScene()).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(-limit, limit)
    display.SetInterpolate(True)
    return node


def segmentation_node_from_mask(
    mask: Image,
    *,
    name: str = "Lesions",
    scene: Any = None,
    colour: Colour = LESION_COLOUR,
    segment_id: str = "Lesions",
    terminology: str = LESION_TERMINOLOGY,
    reference_volume_node: Any = None,
) -> Any:
    """Make a segmentation node of one segment from a mask.

    Parameters
    ----------
    mask : Image
        Binary, shape (I, J, K); may be empty.
    name : str
        Name of the node and of its segment.
    scene : vtkMRMLScene, optional
        Where the node is made; default the reference volume's scene, or Slicer's.
    colour : tuple of float
        Red, green and blue between 0 and 1.
    segment_id : str
        Identifier of the segment.
    terminology : str
        Value of the segment's ``TerminologyEntry`` tag.
    reference_volume_node : vtkMRMLScalarVolumeNode, optional
        Volume that is segmented: its grid becomes the one that edits are made on, and a DICOM
        export refers to it. Without it the edits are made on the mask's grid.

    Returns
    -------
    vtkMRMLSegmentationNode
        With a binary labelmap representation and display node.

    Raises
    ------
    InputError
        If the mask is not binary, or there is no scene.
    """
    import slicer

    array = binary_array(mask)
    if scene is None and reference_volume_node is not None:
        scene = reference_volume_node.GetScene()
    node = scene_or_default(scene).AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    ijk_to_ras = _LPS_TO_RAS @ mask.geometry.affine
    _set_reference_geometry(node.GetSegmentation(), ijk_to_ras, array.shape)
    if reference_volume_node is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference_volume_node)
    # Slicer keeps only the part of a labelmap that holds the segment.
    inside = np.argwhere(array)
    start = inside.min(axis=0) if inside.size else np.zeros(3, dtype=int)
    stop = inside.max(axis=0) + 1 if inside.size else start
    labelmap = slicer.vtkOrientedImageData()
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    _fill(labelmap, array[window].astype(np.uint8), tuple(int(n) for n in start))
    labelmap.SetGeometryFromImageToWorldMatrix(_matrix(ijk_to_ras))
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*colour)
    segment.SetTag(segment.GetTerminologyEntryTagName(), terminology)
    segment.AddRepresentation(_binary_labelmap(), labelmap)
    node.GetSegmentation().SetSourceRepresentationName(_binary_labelmap())
    node.GetSegmentation().AddSegment(segment, segment_id)
    return node


def mask_from_segment(segmentation_node: Any, segment_id: str, *, reference: Any) -> Image:
    """Copy a segment into a mask on a volume's grid.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
        Its linear parent transforms are applied.
    segment_id : str
        Identifier of the segment.
    reference : Geometry or vtkMRMLVolumeNode
        Grid of the result, in world coordinates.

    Returns
    -------
    Image
        Boolean; a voxel belongs to the segment when its centre does. What lies outside the grid
        is lost.

    Raises
    ------
    InputError
        If the node or the segment is missing, the segment has no labelmap and none can be made,
        or a parent transform is not linear.
    """
    return segment_copy(segmentation_node, segment_id, reference=reference)()


def segment_copy(segmentation_node: Any, segment_id: str, *, reference: Any) -> Callable[[], Image]:
    """Copy a segment now, to be brought to a volume's grid later, by a thread perhaps.

    Parameters and errors are those of :func:`mask_from_segment`, whose result the callable gives
    without touching a node.
    """
    if not isinstance(reference, Geometry):
        reference = geometry_from_volume_node(reference)
    grid = reference
    if not _is_a(segmentation_node, "vtkMRMLSegmentationNode"):
        raise InputError(f"{named(segmentation_node)}: a segmentation node was expected")
    if segmentation_node.GetScene() is None:
        raise InputError(f"{named(segmentation_node)} is not in a scene; it may be deleted")
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        known = ", ".join(segmentation_node.GetSegmentation().GetSegmentIDs()) or "none"
        raise InputError(
            f"{named(segmentation_node)} has no segment {segment_id!r}; it has: {known}"
        )
    to_world = _to_world(segmentation_node)
    ijk_to_node = np.linalg.inv(to_world) @ _LPS_TO_RAS @ grid.affine
    labelmap, value = _labelmap(segmentation_node, segment_id, ijk_to_node, grid.size)
    if labelmap.IsEmpty() or labelmap.GetPointData().GetScalars() is None:
        return lambda: Image(np.zeros(grid.size, dtype=bool), grid)
    array = _voxels(labelmap) == value
    import vtk

    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    what = f"segment {segment_id!r} of {named(segmentation_node)}"
    geometry = _geometry(to_world @ _array(matrix), labelmap.GetExtent(), what, False)

    def mask() -> Image:
        if not array.any():
            return Image(np.zeros(grid.size, dtype=bool), grid)
        return Image(array, geometry).resample(grid, interpolation="nearest")

    return mask


def _labelmap(
    node: Any, segment_id: str, ijk_to_node: NDArray[np.float64], size: tuple[int, int, int]
) -> tuple[Any, int]:
    """Binary labelmap that holds a segment, and the segment's value in it.

    A segment that is a surface alone is converted on the grid of ``size`` and ``ijk_to_node``.
    """
    import slicer

    segmentation = node.GetSegmentation()
    if not segmentation.ContainsRepresentation(_binary_labelmap()):
        # Made in a copy: reading a segment must not change the node.
        copy = slicer.vtkSegmentation()
        copy.DeepCopy(segmentation)
        _set_reference_geometry(copy, ijk_to_node, size)
        if not copy.CreateRepresentation(_binary_labelmap()):
            raise InputError(
                f"{named(node)} has no binary labelmap and none can be made from its "
                f"{segmentation.GetSourceRepresentationName()!r} representation"
            )
        segmentation = copy
    segment = segmentation.GetSegment(segment_id)
    return segment.GetRepresentation(_binary_labelmap()), segment.GetLabelValue()


def _set_reference_geometry(
    segmentation: Any, ijk_to_ras: NDArray[np.float64], size: tuple[int, ...]
) -> None:
    """Grid that a segmentation's labelmaps are made and edited on."""
    import slicer

    converter, grid = slicer.vtkSegmentationConverter, slicer.vtkOrientedImageData()
    grid.SetExtent(*(bound for n in size for bound in (0, n - 1)))
    grid.SetGeometryFromImageToWorldMatrix(_matrix(ijk_to_ras))
    segmentation.SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(grid)
    )


def _binary_labelmap() -> str:
    import slicer

    return str(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName())


def _attribution_colour_node(scene: Any) -> Any:
    """Colour table of attributions; one per scene."""
    # Not a singleton node: those are reset, without their colours, when a scene is closed.
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLColorTableNode")
        if node.GetAttribute(_ATTRIBUTION_COLOURS) is not None:
            return node
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "Attribution")
    node.SetAttribute(_ATTRIBUTION_COLOURS, "1")
    node.SetTypeToUser()
    # Slice views know no partial opacity of a colour: it shows or not.
    colours = attribution_colours(opacity=1.0)
    colours[:, 3] = colours[:, 3] >= 0.4
    node.SetNumberOfColors(len(colours))
    for index, colour in enumerate(colours.tolist()):
        node.SetColor(index, f"{index}", *colour)
    return node


def scene_or_default(scene: Any = None) -> Any:
    """The given scene, or Slicer's own.

    Raises
    ------
    InputError
        If none is given and this is not Slicer.
    """
    if scene is not None:
        return scene
    import slicer

    scene = getattr(slicer, "mrmlScene", None)
    if scene is None:
        raise InputError("no MRML scene: outside Slicer, give the scene")
    return scene


def _check_volume(node: Any) -> None:
    """Refuse what has no voxels on a grid."""
    if not _is_a(node, "vtkMRMLVolumeNode"):
        raise InputError(f"{named(node)}: a volume node was expected; choose a volume")
    if node.GetScene() is None:
        raise InputError(f"{named(node)} is not in a scene; it may be deleted, choose another")
    data = node.GetImageData()
    if data is None or data.GetPointData().GetScalars() is None or min(data.GetDimensions()) < 1:
        raise InputError(f"{named(node)} has no image data; load or choose another volume")


def _is_a(node: Any, kind: str) -> bool:
    return node is not None and hasattr(node, "IsA") and bool(node.IsA(kind))


def named(node: Any) -> str:
    """Node as errors name it."""
    return f"{node.GetName()!r}" if hasattr(node, "GetName") else "no node"


def _to_world(node: Any) -> NDArray[np.float64]:
    """Matrix of a node's parent transforms."""
    import vtk

    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise InputError(
            f"{named(node)} is under the transform {named(transform)}, which is not linear; "
            "harden the transform first"
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return _array(matrix)


def _geometry(
    ijk_to_ras: NDArray[np.float64], extent: tuple[int, ...], what: str, nominal: bool
) -> Geometry:
    """Geometry from an IJK -> RAS matrix and the extent of the voxels."""
    affine = _LPS_TO_RAS @ ijk_to_ras
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    first = np.array([*extent[::2], 1.0])
    i, j, k = (extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in range(3))
    try:
        geometry = Geometry(
            size=(i, j, k),
            spacing=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
            direction=affine[:3, :3] / np.where(spacing > 0, spacing, 1.0),
        )
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    x, y, z = (float(value) for value in (affine @ first)[:3])
    return replace(geometry, origin=(x, y, z), nominal=nominal)


def _voxels(data: Any) -> NDArray[Any]:
    """View of VTK image data as an array of shape (I, J, K)."""
    from vtk.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(data.GetPointData().GetScalars()).reshape(data.GetDimensions(), order="F")


def _fill(data: Any, array: NDArray[Any], start: tuple[int, ...]) -> None:
    """Copy an array of shape (I, J, K) into VTK image data whose first voxel is ``start``."""
    from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk

    bounds = zip(start, array.shape, strict=True)
    data.SetExtent(*(bound for first, n in bounds for bound in (first, first + n - 1)))
    if array.size == 0:
        data.AllocateScalars(get_vtk_array_type(array.dtype), 1)
        return
    scalars = numpy_to_vtk(array.ravel(order="F"), deep=True)
    scalars.SetName("ImageScalars")
    data.GetPointData().SetScalars(scalars)


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """Array of a number type that Slicer's volumes hold."""
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype in (np.int64, np.uint64):
        limits = np.iinfo(np.int32)
        fits = array.size == 0 or (array.min() >= limits.min and array.max() <= limits.max)
        return array.astype(np.int32 if fits else np.float64)
    # Of another byte order (a file's, say) VTK would read nonsense.
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _matrix(array: NDArray[np.float64]) -> Any:
    """VTK matrix of an array of shape (4, 4)."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(array.ravel().tolist())
    return matrix


def _array(matrix: Any) -> NDArray[np.float64]:
    """Array of shape (4, 4) of a VTK matrix."""
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
