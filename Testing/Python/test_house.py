"""The rules between the rooms, read from the source files themselves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = {
    "AttribSegLib": REPOSITORY / "AttribSeg" / "AttribSegLib",
    "MonotoneNetLib": REPOSITORY / "MonotoneNet" / "MonotoneNetLib",
}
FILES = [path for folder in PACKAGES.values() for path in sorted(folder.rglob("*.py"))]
HEAVY = {"torch", "monai", "matplotlib", "sklearn", "SimpleITK", "scipy", "nilearn", "pandas"}


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of absolute imports below a node."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_qt_and_slicer_only_in_the_bridge(path):
    names = imported(ast.parse(path.read_text(encoding="utf-8")))
    assert not names & {"qt", "ctk", "PySide6", "PyQt5", "PythonQt"}
    if path.name != "mrml.py":
        assert not names & {"slicer", "vtk", "vtkmodules"}


@pytest.mark.parametrize(
    "path", [p for p in FILES if PACKAGES["AttribSegLib"] in p.parents], ids=str
)
def test_arrows_only_go_down(path):
    names = imported(ast.parse(path.read_text(encoding="utf-8")))
    assert "MonotoneNetLib" not in names
    assert "pickle" not in names


@pytest.mark.parametrize(
    "path", sorted((PACKAGES["AttribSegLib"] / "cli").glob("*.py")), ids=lambda path: path.name
)
def test_commands_import_nothing_heavy_at_file_scope(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])
    assert not imported(top) & (HEAVY | {"numpy"})


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, AttribSegLib; print(sorted(set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not set(ast.literal_eval(done.stdout)) & (HEAVY | {"numpy"})


def test_every_file_says_what_it_is():
    silent = [p.name for p in FILES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert silent == []
