"""Channels of a counterfactual: which there are, which is expected, which is segmented."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib import mrml
from AttribSegLib.bundle import read_config
from AttribSegLib.bundle_card import BundleCard, read_card
from AttribSegLib.channel_reduction import channel_names
from AttribSegLib.errors import InputError
from AttribSegLib.image import Image
from AttribSegScene.detection_nodes import DetectionNodes
from AttribSegScene.names import CHANNEL_ATTRIBUTION
from AttribSegScene.scenes import is_in_scene, named
from numpy.typing import NDArray

#: Stands for the map that the model itself segments, as it was detected.
MODEL_MAP = "as detected"
#: Attribute of the segmentation: channel whose map is segmented; valid while the model's own map
#: is kept beside it, which a new detection ends.
CHANNEL = "MonotoneNet.Channel"


@dataclass(frozen=True)
class Channels:
    """Maps of a detection.

    Attributes
    ----------
    names : tuple of str
        What can be chosen; begins with :data:`MODEL_MAP` where that is no single channel's map.
    expected : str
        Of these, what the model itself segments.
    best : str
        Channel that the model's map was made of; empty for a mean or a maximum, or when the model
        is not here.
    chosen : str
        Of these, what is segmented.
    """

    names: tuple[str, ...]
    expected: str
    best: str
    chosen: str


def require_monotone(bundle: str | Path) -> BundleCard:
    """Card of a model of the monotone recipe.

    Raises
    ------
    InputError
        If the folder holds no model, or one of another recipe.
    """
    card = read_card(bundle)
    if card.recipe != "monotone":
        raise InputError(
            f"{card.folder}: its recipe is {card.recipe!r}, and counterfactual maps need a model "
            "of the recipe 'monotone': choose another, train one, or use this one in the module "
            "AttribSeg"
        )
    return card


def channels_of(nodes: DetectionNodes) -> Channels:
    """Find out which maps a detection has.

    Raises
    ------
    InputError
        If it has no maps by channel.
    """
    maps = nodes.channel_attribution_nodes
    features = sorted((name for name in maps if name != MODEL_MAP), key=_natural)
    if not features:
        raise InputError(
            f"{named(nodes.segmentation_node)} has no maps by channel; make counterfactual maps "
            "with a monotone model"
        )
    best, raw = _best_channel(nodes.bundle)
    best = best if best in features else ""
    expected = best if best and raw else MODEL_MAP
    names = tuple(features if expected == best else [MODEL_MAP, *features])
    chosen = nodes.segmentation_node.GetAttribute(CHANNEL) if MODEL_MAP in maps else None
    return Channels(names, expected, best, chosen if chosen in names else expected)


def map_node(nodes: DetectionNodes, channel: str) -> Any:
    """Volume node of a channel's map.

    Raises
    ------
    InputError
        If there is no such channel, or its map was deleted.
    """
    maps = dict(nodes.channel_attribution_nodes)
    maps.setdefault(MODEL_MAP, nodes.attribution_node)
    node = maps.get(channel)
    if not is_in_scene(node, "vtkMRMLScalarVolumeNode"):
        known = ", ".join(sorted((name for name in maps if name != MODEL_MAP), key=_natural))
        raise InputError(
            f"there is no map of {channel!r}: the detection has {known or 'none'}; choose one of "
            "these or make the maps again"
        )
    return node


def keep_model_map(nodes: DetectionNodes) -> None:
    """Keep the model's own map as a channel, before another one takes its place."""
    role = f"{CHANNEL_ATTRIBUTION}.{MODEL_MAP}"
    if nodes.segmentation_node.GetNodeReference(role) is not None:
        return
    original = nodes.attribution_node
    kept = mrml.attribution_node(
        map_image(original, nominal=nodes.nominal),
        name=f"{original.GetName()} ({MODEL_MAP})",
        scene=original.GetScene(),
        limit=original.GetDisplayNode().GetWindowLevelMax(),
    )
    nodes.segmentation_node.SetNodeReferenceID(role, kept.GetID())


def map_image(node: Any, *, nominal: bool) -> Image:
    """A map without copying its voxels: to read, such as in another thread.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
    nominal : bool
        Whether its spacing is.

    Returns
    -------
    Image
        A view of the voxels; they stay when the node is deleted or filled again.
    """
    geometry = mrml.geometry_from_volume_node(node, nominal=nominal)
    array = voxels_of(node)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float32)
    return Image(array, geometry)


def voxels_of(node: Any) -> NDArray[Any]:
    """Voxels of a volume node, shape (I, J, K), without a copy.

    Raises
    ------
    InputError
        If it has none.
    """
    from vtk.util.numpy_support import vtk_to_numpy

    data = node.GetImageData()
    scalars = None if data is None else data.GetPointData().GetScalars()
    if scalars is None:
        raise InputError(f"{named(node)} has no voxels; load the scene again, or detect again")
    array: NDArray[Any] = vtk_to_numpy(scalars).reshape(data.GetDimensions(), order="F")
    return array


def _best_channel(bundle: str) -> tuple[str, bool]:
    """Channel of a model's map, and whether it is that map as it is."""
    try:
        card = read_card(bundle)
        reduction = str(read_config(card.folder).get("reduction", ""))
    except InputError:
        return "", False
    numbered = channel_names(len(card.map_channels))
    if reduction not in numbered:
        return "", False
    return card.map_channels[numbered.index(reduction)], card.processing == "raw"


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts "feature10" after "feature9"."""
    return tuple((int(n or 0), text) for text, n in re.findall(r"(\D*)(\d*)", name))
