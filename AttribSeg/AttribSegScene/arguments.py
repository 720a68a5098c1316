"""What a console may give by mistake, refused in words."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from AttribSegLib.errors import InputError


def path_argument(value: Any, what: str) -> Path:
    """Give a path.

    Raises
    ------
    InputError
        If it is none, or empty.
    """
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise InputError(f"{what} {value!r}: a path was expected; choose one")
    return Path(value)


def number_argument(value: Any, what: str) -> float:
    """Give a finite number.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{what} {value!r}: a finite number was expected")
    return number


def recipe_argument(value: Any) -> dict[str, Any]:
    """Give the parameters of a recipe.

    Raises
    ------
    InputError
        If it is no mapping.
    """
    if not isinstance(value, Mapping):
        raise InputError(
            f"recipe {value!r}: a mapping was expected, such as {{'recipe': 'attribution'}}"
        )
    return dict(value)


def node_argument(node: Any, what: str, *kinds: str) -> None:
    """Refuse what is no node of one of some classes.

    Parameters
    ----------
    node : object
    what : str
        What it is for.
    *kinds : str
        Such as "vtkMRMLScalarVolumeNode".

    Raises
    ------
    InputError
        If so.
    """
    if not hasattr(node, "IsA") or not any(node.IsA(kind) for kind in kinds):
        name = repr(node.GetName()) if hasattr(node, "GetName") else repr(node)
        words = " or ".join(kind.removeprefix("vtkMRML").removesuffix("Node") for kind in kinds)
        raise InputError(f"{what} {name}: a node of the kind {words} was expected")
