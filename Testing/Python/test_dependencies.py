"""Packages are asked for once, and nothing that Slicer brings along is ever replaced."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from AttribSegLib.errors import InputError

pytest.importorskip("slicer", reason="slicer-core is not installed")

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "AttribSeg"))

from AttribSegPanel import dependencies  # noqa: E402  (its folder is on the path only now)


class Installer:
    """Remembers what pip would be given, and the constraints while they are there."""

    def __init__(self, error: Exception | None = None) -> None:
        self.arguments: list[list[str]] = []
        self.held: list[str] = []
        self._error = error

    def __call__(self, arguments: list[str]) -> None:
        self.arguments.append(arguments)
        path = Path(arguments[arguments.index("--constraint") + 1])
        self.held = path.read_text(encoding="utf-8").split()
        if self._error is not None:
            raise self._error


def lacking(monkeypatch, *states):
    """Let ``missing()`` say one thing after the other."""
    answers = iter(states)
    monkeypatch.setattr(dependencies, "missing", lambda: next(answers))


def test_everything_is_here_and_nobody_is_asked():
    def refuse(*_):
        raise AssertionError("must not be called")

    assert dependencies.missing() == []
    dependencies.ensure(refuse, refuse)


def test_requirements_are_those_of_the_project_without_what_slicer_has():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = dependencies.requirements()
    assert set(ours.values()) <= set(project["dependencies"])
    assert not set(ours) & {"torch", "numpy", "scipy", "SimpleITK", "vtk", "requests"}


def test_one_question_and_every_bundled_package_held(monkeypatch):
    lacking(monkeypatch, ["monai", "nilearn"], [])
    questions, install = [], Installer()
    dependencies.ensure(lambda text: questions.append(text) or True, install)
    assert len(questions) == 1
    assert "monai, nilearn" in questions[0]
    (arguments,) = install.arguments
    assert [a.split(">")[0] for a in arguments[:2]] == ["monai", "nilearn"]
    for name in ("numpy", "scipy", "SimpleITK", "torch"):
        assert f"{name}=={version(name)}" in install.held


def test_declined(monkeypatch):
    lacking(monkeypatch, ["monai"])
    install = Installer()
    with pytest.raises(InputError, match="monai not installed, as you wished"):
        dependencies.ensure(lambda text: False, install)
    assert install.arguments == []


def test_torch_comes_through_its_extension(monkeypatch):
    calls = []

    class Logic:
        def installTorch(self, askConfirmation):  # noqa: N802  (its name in the extension)
            calls.append(askConfirmation)
            return object()

    utils = SimpleNamespace(PyTorchUtilsLogic=Logic)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)
    lacking(monkeypatch, ["torch", "monai"], [])
    install = Installer()
    dependencies.ensure(lambda text: True, install)
    assert calls == [False]  # the one question was asked before
    assert not any(argument.startswith("torch") for argument in install.arguments[0][:-2])


def test_without_the_pytorch_extension(monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    lacking(monkeypatch, ["torch"])
    with pytest.raises(InputError, match="install the extension PyTorch in the Extensions Manager"):
        dependencies.ensure(lambda text: True, Installer())


def test_failed_installation_says_what_to_do(monkeypatch):
    lacking(monkeypatch, ["monai"])
    with pytest.raises(InputError, match="check the network connection"):
        dependencies.ensure(lambda text: True, Installer(RuntimeError("no route")))


@pytest.mark.parametrize(
    ("torch", "numpy", "refused"),
    [("2.2.2", "2.1.0", True), ("2.2.2", "1.26.4", False), ("2.6.0", "2.1.0", False)],
)
def test_intel_macs_are_told_that_pytorch_does_not_fit(monkeypatch, torch, numpy, refused):
    monkeypatch.setattr(dependencies.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(dependencies.platform, "machine", lambda: "x86_64")
    versions = {"torch": torch, "numpy": numpy}
    monkeypatch.setattr(dependencies, "version", versions.__getitem__)
    lacking(monkeypatch, [])
    if refused:
        with pytest.raises(InputError, match="replaces none of Slicer's packages"):
            dependencies.ensure()
    else:
        dependencies.ensure()


def test_error_of_the_pytorch_extension(monkeypatch):
    class Logic:
        def installTorch(self, askConfirmation):  # noqa: N802  (its name in the extension)
            raise RuntimeError("no space left")

    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=Logic))
    lacking(monkeypatch, ["torch"])
    with pytest.raises(InputError, match="no space left"):
        dependencies.ensure(lambda text: True, Installer())


def test_versions_are_shown():
    shown = dependencies.versions()
    assert shown["torch"] == version("torch")
    assert shown["safetensors"] == version("safetensors")
