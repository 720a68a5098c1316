"""Nodes as runs take them: checked, copied and named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.mrml import geometry_from_volume_node, image_from_volume_node, segment_copy

from .arguments import node_argument

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
    node_argument(node, what, "vtkMRMLScalarVolumeNode")
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
    """Copy a mask on a volume's grid out of a node; see `mask_copy`, whose errors are raised."""
    return mask_copy(node, reference, what=what)()


def mask_copy(node: Any, reference: Any, *, what: str = "mask") -> Callable[[], Image]:
    """Copy a mask out of a label map, volume or segmentation node, for a thread to work on.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode or vtkMRMLSegmentationNode
        Of a segmentation, the union of the visible segments; of a volume, what is not zero.
    reference : vtkMRMLScalarVolumeNode
        Grid of the result.
    what : str
        What it is for, in errors.

    Returns
    -------
    callable
        Gives the mask on the volume's grid; touches no node. It raises InputError if the mask is
        empty.

    Raises
    ------
    InputError
        If the node is neither, or a volume lies on another grid.
    """
    node_argument(node, what, "vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode")
    grid = geometry_from_volume_node(reference)
    names = f"{what} {node.GetName()!r}", repr(reference.GetName())
    copies: list[Callable[[], Image]]
    if node.IsA("vtkMRMLSegmentationNode"):
        copies = [segment_copy(node, name, reference=grid) for name in visible_segments(node)]
    else:
        image = image_from_volume_node(node)
        if not image.geometry.same_grid(grid):
            raise InputError(
                f"{names[0]} lies on another grid than {names[1]}; resample it (module Resample "
                "Scalar Volume) or give a segmentation"
            )
        copies = [lambda: image.with_array(image.array != 0)]

    def mask() -> Image:
        array = np.zeros(grid.size, dtype=bool)
        for copy in copies:
            array |= copy().array
        if not array.any():
            raise InputError(
                f"{names[0]} has no voxel in {names[1]}; show the segments that shall count, and "
                "check that it belongs to this volume"
            )
        return Image(array, grid)

    return mask


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
    node_argument(node, f"the {channel} volume", "vtkMRMLVolumeNode")
    named = _named_sequences(node)
    if named and channel.upper() in _SEQUENCES and channel.upper() not in named:
        raise InputError(
            f"{node.GetName()!r} is {named[0]} by its name, and {channel} is expected: choose "
            f"another volume or another model, or rename it if it is {channel} after all"
        )


def channel_by_name(node: Any) -> str:
    """FLAIR, or T1 where a volume's name says that and not FLAIR."""
    node_argument(node, "the volume", "vtkMRMLVolumeNode")
    named = _named_sequences(node)
    return "T1" if "T1" in named and "FLAIR" not in named else "FLAIR"


def file_of(volume: Any) -> str:
    """File that a volume was loaded from, where it is still there; otherwise empty."""
    storage = volume.GetStorageNode()
    name = None if storage is None else storage.GetFullNameFromFileName()
    return str(name) if name and Path(name).is_file() else ""


def case_name(node: Any) -> str:
    """Name of a volume as a file name, cut where file systems would refuse it."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", node.GetName())[:80].strip("-") or "volume"


def _named_sequences(node: Any) -> list[str]:
    """Sequences that stand in a volume's name."""
    words = {word for word in re.split(r"[^A-Z0-9]+", node.GetName().upper()) if word}
    return [s for s in _SEQUENCES if words & {s, f"{s}W", f"{s}C", f"{s}GD"}]


def _without_geometry(grid: Geometry) -> bool:
    axes = np.abs(np.diag(grid.direction))
    return bool(
        np.allclose(grid.spacing, 1) and np.allclose(grid.origin, 0) and np.allclose(axes, 1)
    )
