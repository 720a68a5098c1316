"""The rules of the floor between widgets and workflows, read from its source files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).resolve().parents[2] / "AttribSegScene").glob("*.py"))
QT = {"qt", "ctk", "PySide6", "PythonQt"}
HEAVY = {"torch", "monai", "matplotlib", "sklearn", "SimpleITK", "scipy", "nilearn"}
ABOVE = {"AttribSegPanel", "MonotoneNetPanel"}


def imported(nodes: list[ast.AST]) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_widgets_and_nothing_heavy_to_open_a_module(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert not imported(list(ast.walk(tree))) & (QT | ABOVE)
    assert not imported(list(tree.body)) & HEAVY
