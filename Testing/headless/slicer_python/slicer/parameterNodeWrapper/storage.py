"""How values are written into a ``vtkMRMLScriptedModuleNode`` and read again."""

from __future__ import annotations

import enum
import json
import pathlib
import typing
from typing import Any

import slicer

_PATHS = (pathlib.Path, pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePath)


class Storage:
    """Parameters of one type.

    Parameters
    ----------
    kind : type
        ``bool``, ``int``, ``float``, ``str``, a path, an enumeration, a MRML node's class, or a
        list, tuple or dictionary of plain values.

    Raises
    ------
    TypeError
        For other types. A node may always be None: its type is written without ``| None``, which
        Slicer does not take either.
    """

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.container = typing.get_origin(kind) or kind
        self.is_node = isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)
        self.is_enumeration = isinstance(kind, type) and issubclass(kind, enum.Enum)
        plain = (bool, int, float, str, *_PATHS, list, tuple, dict)
        if not (self.is_node or self.is_enumeration or self.container in plain):
            raise TypeError(f"a parameter cannot be of type {kind}")

    def default(self) -> Any:
        """The value of a parameter that has no default of its own."""
        if self.is_node:
            return None
        return next(iter(self.kind)) if self.is_enumeration else self.container()

    def is_in(self, node: Any, name: str) -> bool:
        """Whether the node holds the parameter; no reference means None."""
        return self.is_node or bool(node.HasParameter(name))

    def check(self, value: Any) -> None:
        """Raise TypeError for a value of another type, ValueError for None."""
        if self.is_node and value is None:
            return
        if value is None:
            raise ValueError("the value must not be None")
        allowed = {float: (int, float)}.get(self.container, self.container)
        if not isinstance(value, allowed):
            raise TypeError(f"{value!r} is no {self.kind}")

    def write(self, node: Any, name: str, value: Any) -> None:
        """Write a checked value."""
        if self.is_node:
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
        elif self.is_enumeration:
            node.SetParameter(name, value.name)
        elif self.container in (list, tuple, dict):
            node.SetParameter(name, json.dumps(value))
        else:
            node.SetParameter(name, str(value))

    def read(self, node: Any, name: str) -> Any:
        """Read the value."""
        if self.is_node:
            return node.GetNodeReference(name)
        text = node.GetParameter(name)
        if self.kind is bool:
            return text == "True"
        if self.is_enumeration:
            return self.kind[text]
        if self.container in (list, tuple, dict):
            return self.container(json.loads(text))
        return self.kind(text)
