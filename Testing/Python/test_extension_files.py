"""What the Extensions Index, the packager and Slicer's package installer read."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from cmake_lists import MODULES, RESOURCES, SCRIPTS, listed
from packaging.requirements import Requirement
from PIL import Image as Picture

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY = json.loads((REPOSITORY / "AttribSeg.json").read_text(encoding="utf-8"))
ROOT = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
WORKFLOW = (REPOSITORY / ".github" / "workflows" / "slicer.yml").read_text(encoding="utf-8")

#: Fields of version 1.0.1 of the index's schema, which allows no others.
FIELDS = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}

#: What Slicer or its PyTorch extension brings along.
NOT_INSTALLED = {"numpy", "scipy", "simpleitk", "torch"}


def variable(name: str) -> str:
    found = re.search(rf'set\({name}\s+"([^"]+)"', ROOT)
    assert found, name
    return found.group(1)


def test_the_index_entry_follows_the_schema():
    assert {"$schema", "category", "scm_url"} <= ENTRY.keys() <= FIELDS.keys()
    for key, value in ENTRY.items():
        assert type(value) is FIELDS[key], key
    assert "slicer-extension-catalog-entry-schema-v1.0.1.json" in ENTRY["$schema"]
    assert ENTRY["tier"] in (1, 3, 5)
    assert all(isinstance(name, str) for name in ENTRY["build_dependencies"])


def test_the_index_entry_and_cmake_say_the_same():
    assert re.search(r"project\(AttribSeg\b", ROOT)
    assert variable("EXTENSION_CATEGORY") == ENTRY["category"]
    assert variable("EXTENSION_DEPENDS").split() == ENTRY["build_dependencies"]
    assert variable("EXTENSION_HOMEPAGE") + ".git" == ENTRY["scm_url"]
    raw = variable("EXTENSION_HOMEPAGE").replace("github.com", "raw.githubusercontent.com")
    pictures = re.findall(rf'"{re.escape(raw)}/{ENTRY["scm_revision"]}/([^"]+)"', ROOT)
    assert len(pictures) >= 2
    assert all((REPOSITORY / path).is_file() for path in pictures)


def test_the_repository_stays_below_what_the_index_allows():
    listing = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-z"], capture_output=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    paths = [REPOSITORY / name for name in listing.stdout.decode().split("\0") if name]
    assert sum(path.stat().st_size for path in paths if path.is_file()) < 100e6


@pytest.mark.parametrize(
    "path",
    [
        "AttribSeg.png",
        *(f"{name}/Resources/Icons/{Path(name).name}.png" for name in MODULES),
    ],
)
def test_icons_are_square_and_have_a_transparent_background(path):
    with Picture.open(REPOSITORY / path) as icon:
        assert icon.size == (128, 128)
        assert icon.mode == "RGBA"
        assert icon.getpixel((0, 0))[3] == 0
        assert icon.getbbox() is not None


def test_no_two_modules_install_the_same_file():
    # Slicer puts the files of all modules of an extension into one folder.
    files = [
        file
        for name in MODULES
        for kind in (SCRIPTS, RESOURCES)
        for file in listed(REPOSITORY / name)[kind]
    ]
    assert len(files) == len(set(files))
    assert not [file for file in files if file.startswith("Resources/DemoBundle")]
    assert (REPOSITORY / "Resources" / "DemoBundle").is_dir()
    text = (REPOSITORY / "AttribSeg" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "/../Resources/DemoBundle" in text


def test_slicer_installs_what_it_lacks_in_the_versions_of_the_package():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {
        requirement.name.lower(): requirement.specifier
        for requirement in map(Requirement, project["project"]["dependencies"])
        if requirement.name.lower() not in NOT_INSTALLED
    }
    text = (REPOSITORY / "AttribSeg/Resources/requirements.txt").read_text(encoding="utf-8")
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    given = {
        requirement.name.lower(): requirement.specifier
        for requirement in map(Requirement, filter(None, lines))
    }
    assert given == wanted


def test_the_workflow_may_fail_and_runs_every_module():
    assert "continue-on-error" not in WORKFLOW
    assert "timeout-minutes" in WORKFLOW
    assert all(f'$PWD/{name}"' in WORKFLOW for name in MODULES)
    assert (REPOSITORY / "Testing" / "run_self_tests.py").is_file()
    assert all(f"system: {name}\n" in WORKFLOW for name in ("linux", "win", "macosx"))
