"""The scene, and whether a node is still in it."""

from __future__ import annotations

from typing import Any

from AttribSegLib.mrml import named, scene_or_default

__all__ = ["is_in_scene", "named", "nodes_of_class", "scene_or_default"]


def is_in_scene(node: Any, kind: str) -> bool:
    """Whether a node is of a class and still in a scene."""
    return (
        node is not None
        and hasattr(node, "IsA")
        and bool(node.IsA(kind))
        and node.GetScene() is not None
    )


def nodes_of_class(scene: Any, kind: str) -> list[Any]:
    """All nodes of a class, in the scene's order."""
    return [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
