"""The rules of the module's floors, read from the source files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2]
SCENE = sorted((MODULE / "MonotoneNetScene").glob("*.py"))
PANEL = sorted((MODULE / "MonotoneNetPanel").glob("*.py"))
QT = {"qt", "ctk", "PySide6", "PythonQt"}
PANELS = {"AttribSegPanel", "MonotoneNetPanel"}
HEAVY = {"torch", "monai", "matplotlib", "sklearn", "SimpleITK", "scipy", "nilearn"}


def imported(nodes: list[ast.AST]) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", SCENE, ids=lambda path: path.name)
def test_scene_floor_has_no_widgets(path: Path) -> None:
    names = imported(list(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    assert not names & (QT | PANELS)


@pytest.mark.parametrize("path", [*SCENE, *PANEL, MODULE / "MonotoneNet.py"], ids=str)
def test_opening_the_module_loads_nothing_heavy(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert not imported(list(tree.body)) & (HEAVY | {"MonotoneNetLib"})


def test_panels_reach_networks_through_other_processes_only() -> None:
    for path in PANEL:
        names = imported(list(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
        assert not names & {"MonotoneNetLib", "torch"}, path.name
