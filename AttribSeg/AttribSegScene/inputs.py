"""Nodes as runs take them: checked, copied and named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.mrml import image_from_volume_node, mask_from_segment

#: Names of sequences as they stand in names of volumes.
_SEQUENCES = ("FLAIR", "T1", "T2", "PD", "DWI", "ADC", "SWI")


def scan_from_node(node: Any, *, what: str = "the volume") -> Image:
    """Copy a scan out of a volume node.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode or None
    what : str
        What it is for, in errors.

    Raises
    ------
    InputError
        If there is none, it is no scalar volume with image data, a label map, or it has no
        geometry.
    """
    if node is None:
        raise InputError(f"no volume is chosen as {what}; load one and choose it")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"{node.GetName()!r} is a label map; {what} must be a scan")
    image = image_from_volume_node(node)
    if _without_geometry(image.geometry):
        raise InputError(
            f"{node.GetName()!r} has no geometry: voxels of 1 mm that begin at the origin are what "
            "an image without header gets; load the original images (DICOM, NIfTI or NRRD)"
        )
    return image


def mask_from_node(node: Any, reference: Any, *, what: str = "mask") -> Image:
    """Copy a mask on a volume's grid out of a label map, volume or segmentation node.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode or vtkMRMLSegmentationNode
        Of a segmentation, the union of the visible segments; of a volume, what is not zero.
    reference : vtkMRMLScalarVolumeNode
        Grid of the result.
    what : str
        What it is for, in errors.

    Raises
    ------
    InputError
        If the node is neither, a volume lies on another grid, or the mask is empty.
    """
    from AttribSegLib.mrml import geometry_from_volume_node

    grid = geometry_from_volume_node(reference)
    if node.IsA("vtkMRMLSegmentationNode"):
        array = np.zeros(grid.size, dtype=bool)
        for segment_id in visible_segments(node):
            array |= mask_from_segment(node, segment_id, reference=grid).array
    else:
        image = image_from_volume_node(node)
        if not image.geometry.same_grid(grid):
            raise InputError(
                f"{what} {node.GetName()!r} lies on another grid than {reference.GetName()!r}; "
                "resample it (module Resample Scalar Volume) or give a segmentation"
            )
        array = image.array != 0
    if not array.any():
        raise InputError(
            f"{what} {node.GetName()!r} has no voxel in {reference.GetName()!r}; show the segments "
            "that shall count, and check that it belongs to this volume"
        )
    return Image(array, grid)


def visible_segments(node: Any) -> list[str]:
    """Identifiers of the segments that are shown; of all where there is no display node."""
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    identifiers = [
        segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())
    ]
    if display is None:
        return identifiers
    return [name for name in identifiers if display.GetSegmentVisibility(name)]


def nodes_by_channel(expected: tuple[str, ...], volume: Any, t1: Any = None) -> dict[str, Any]:
    """Which volume is which channel of a model.

    The volume is the model's first channel that is not T1 (or its only one); the T1 is the
    channel T1, or helps the registration.

    Parameters
    ----------
    expected : tuple of str
        Channels of the model.
    volume, t1 : vtkMRMLScalarVolumeNode

    Returns
    -------
    dict of str to vtkMRMLScalarVolumeNode
        The model's channels first, in its order.

    Raises
    ------
    InputError
        If a channel is missing, or a volume's name says that it is another one.
    """
    main = next((name for name in expected if name != "T1"), "T1")
    found = {main: volume}
    if t1 is not None and main != "T1":
        found["T1"] = t1
    for name, node in found.items():
        require_channel(node, name)
    missing = [name for name in expected if name not in found]
    if missing:
        raise InputError(
            f"the model was trained on {', '.join(expected)}; {', '.join(missing)} is missing: "
            "choose it under Inputs, or choose another model"
        )
    return {name: found[name] for name in (*expected, *(set(found) - set(expected)))}


def scans_from_nodes(nodes: Mapping[str, Any]) -> dict[str, Image]:
    """Copy the scan of every channel; see `scan_from_node`."""
    return {name: scan_from_node(node, what=f"the {name} volume") for name, node in nodes.items()}


def require_channel(node: Any, channel: str) -> None:
    """Refuse a volume whose name says that it is another sequence than ``channel``.

    Raises
    ------
    InputError
        If so.
    """
    if node is None:
        return
    named = _named_sequences(node)
    if named and channel.upper() in _SEQUENCES and channel.upper() not in named:
        raise InputError(
            f"{node.GetName()!r} is {named[0]} by its name, and {channel} is expected: choose "
            f"another volume or another model, or rename it if it is {channel} after all"
        )


def channel_by_name(node: Any) -> str:
    """FLAIR, or T1 where a volume's name says that and not FLAIR."""
    named = _named_sequences(node)
    return "T1" if "T1" in named and "FLAIR" not in named else "FLAIR"


def case_name(node: Any) -> str:
    """Name of a volume as a file name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", node.GetName()).strip("-") or "volume"


def _named_sequences(node: Any) -> list[str]:
    """Sequences that stand in a volume's name."""
    words = {word for word in re.split(r"[^A-Z0-9]+", node.GetName().upper()) if word}
    return [s for s in _SEQUENCES if words & {s, f"{s}W", f"{s}C", f"{s}GD"}]


def _without_geometry(grid: Geometry) -> bool:
    axes = np.abs(np.diag(grid.direction))
    return bool(
        np.allclose(grid.spacing, 1) and np.allclose(grid.origin, 0) and np.allclose(axes, 1)
    )
