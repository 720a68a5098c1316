"""What CMake packages is what the folders hold."""

import re
from pathlib import Path

import pytest
from cmake_lists import MODULES, RESOURCES, SCRIPTS, found, listed, write

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", [SCRIPTS, RESOURCES])
@pytest.mark.parametrize("name", MODULES)
def test_every_file_is_listed(name, kind):
    there, told = found(REPOSITORY / name)[kind], listed(REPOSITORY / name)[kind]
    missing, extra = sorted(set(there) - set(told)), sorted(set(told) - set(there))
    assert (missing, extra) == ([], []), "run python Testing/cmake_lists.py --write"
    assert len(told) == len(set(told))


def test_the_root_adds_every_module():
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.findall(r"add_subdirectory\((.+)\)", text) == list(MODULES)
    for name in MODULES:
        module = (REPOSITORY / name / "CMakeLists.txt").read_text(encoding="utf-8")
        assert f"set(MODULE_NAME {Path(name).name})" in module
        assert "slicerMacroBuildScriptedModule(" in module


def test_packages_templates_and_resources_are_told_apart(tmp_path):
    for file in (
        *("M.py", "MLib/__init__.py", "MLib/deep/a.py", "MLib/page.html", "MLib/README.md"),
        *("Resources/UI/M.ui", "Resources/Scripts/run.py", "Resources/Icons/M.svg"),
        *("Testing/Python/test_a.py", "MLib/__pycache__/a.pyc", ".cache/x.py"),
        *("Other/CMakeLists.txt", "Other/Other.py"),
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    empty = f"# kept\nset({SCRIPTS}\n  )\n\nset({RESOURCES}\n  gone.txt\n  )\nmacro()\n"
    (tmp_path / "CMakeLists.txt").write_text(empty, encoding="utf-8")
    assert found(tmp_path) == {
        SCRIPTS: ["M.py", "MLib/__init__.py", "MLib/deep/a.py"],
        RESOURCES: ["MLib/page.html", "Resources/Scripts/run.py", "Resources/UI/M.ui"],
    }
    assert write(tmp_path)
    assert listed(tmp_path) == found(tmp_path)
    assert not write(tmp_path)
    text = (tmp_path / "CMakeLists.txt").read_text(encoding="utf-8")
    assert text.startswith("# kept\n")
    assert text.endswith("  )\nmacro()\n")
    assert "gone.txt" not in text
