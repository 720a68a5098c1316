"""The scene, and whether a node is still in it."""

from __future__ import annotations

from typing import Any

from AttribSegLib.errors import InputError


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


def named(node: Any) -> str:
    """Node as errors name it."""
    return f"{node.GetName()!r}" if hasattr(node, "GetName") else "no node"


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
