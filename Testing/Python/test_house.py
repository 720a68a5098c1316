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
EVERY = sorted(
    path
    for folder in ("AttribSeg", "MonotoneNet", "Testing")
    for path in (REPOSITORY / folder).rglob("*.py")
    if "work" not in path.relative_to(REPOSITORY).parts
)
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
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    assert not set(ast.literal_eval(done.stdout)) & (HEAVY | {"numpy"})


def test_every_file_says_what_it_is():
    trees = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
    silent = [name for name, tree in trees.items() if not ast.get_docstring(tree)]
    assert silent == []


def unnamed_encoding(call: ast.Call) -> bool:
    """True where a call reads or writes text in whatever encoding the machine happens to have."""
    names = {keyword.arg for keyword in call.keywords}
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if "encoding" in names:
        return False
    if name in {"read_text", "write_text"} and isinstance(call.func, ast.Attribute):
        return len(call.args) == (name == "write_text")
    if name in {"run", "Popen", "check_output"}:
        return "text" in names
    if name == "open":
        # The builtin has the mode second, the method of a path first.
        modes = call.args[1:] if isinstance(call.func, ast.Name) else call.args
        mode = getattr(modes[0], "value", None) if modes else "r"
        return isinstance(mode, str) and "b" not in mode  # else a picture's or a device's own
    return False


@pytest.mark.parametrize(
    ("code", "unnamed"),
    [
        ("p.read_text()", True),
        ("p.read_text(encoding='utf-8')", False),
        ("p.write_text(x)", True),
        ("write_text(p, x)", False),
        ("p.open('a')", True),
        ("p.open('rb')", False),
        ("p.open(newline='')", True),
        ("open(p)", True),
        ("open(p, 'wb')", False),
        ("Image.open(p)", False),
        ("case.open(None)", False),
        ("subprocess.run(x, text=True)", True),
        ("subprocess.run(x)", False),
    ],
)
def test_the_check_of_encodings(code, unnamed):
    assert unnamed_encoding(ast.parse(code, mode="eval").body) is unnamed


def test_every_text_file_names_its_encoding():
    # A machine without UTF-8 as its locale must read and write the same files.
    found = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path in EVERY
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and unnamed_encoding(node)
    ]
    assert len(EVERY) > 500
    assert found == []
