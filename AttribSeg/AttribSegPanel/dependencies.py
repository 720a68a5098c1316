"""Packages that Slicer lacks: asked for once, in the action that needs them."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import slicer
from AttribSegLib.errors import InputError

_REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"

#: Packages that are imported by another name than they are installed by.
_IMPORTED_AS = {"scikit-learn": "sklearn"}

#: What comes with Slicer or with its PyTorch extension, and is never replaced.
_KEPT = ("numpy", "scipy", "SimpleITK", "vtk", "requests", "torch", "torchvision")

_SHOWN = ("torch", "monai", "safetensors", "nilearn", "scikit-learn", "SimpleITK", "numpy")


def requirements() -> dict[str, str]:
    """Requirement lines by package name, without PyTorch."""
    lines = [line.split("#")[0].strip() for line in _REQUIREMENTS.read_text("utf-8").splitlines()]
    return {line.split(">")[0].strip(): line for line in lines if line}


def missing() -> list[str]:
    """Names of packages that are not installed; nothing is imported to find out."""
    importlib.invalidate_caches()
    names = ["torch", *requirements()]
    return [n for n in names if importlib.util.find_spec(_IMPORTED_AS.get(n, n)) is None]


def versions() -> dict[str, str]:
    """Versions of what a run depends on; "missing" where a package is."""
    found = {}
    for name in _SHOWN:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def ensure(
    confirm: Callable[[str], bool] | None = None,
    install: Callable[[list[str]], Any] | None = None,
) -> None:
    """Install what is missing, after asking once.

    PyTorch comes through the PyTorch extension, which chooses the build for this computer. The
    others are installed with the versions of all bundled packages held as they are. Without
    anything missing there is no question and no network access.

    Parameters
    ----------
    confirm : callable, optional
        Asks the user; Slicer's own dialog by default.
    install : callable, optional
        Installs from a list of pip's arguments; ``slicer.util.pip_install`` by default.

    Raises
    ------
    InputError
        If the user declines, the PyTorch extension is missing, the installation fails, or there
        is no PyTorch that fits this Slicer.
    """
    needed = missing()
    _refuse_intel_mac(needed)
    if not needed:
        return
    names = ", ".join(needed)
    confirm = confirm or slicer.util.confirmOkCancelDisplay
    if not confirm(
        f"AttribSeg needs Python packages that are not installed yet: {names}.\n\nInstall them "
        "now? They are downloaded once (PyTorch: some hundred MB to 3 GB); afterwards everything "
        "works offline. Packages that come with Slicer are not changed."
    ):
        raise InputError(
            f"{names} not installed, as you wished; nothing was changed. Press the button again "
            "to install, or see the README on installing by hand"
        )
    if "torch" in needed:
        _install_torch()
    wanted = [requirements()[name] for name in needed if name != "torch"]
    if wanted:
        _install(wanted, install or slicer.util.pip_install)
    still = missing()
    if still:
        raise InputError(
            f"{', '.join(still)} could not be installed; see the Python console for the reason"
        )


def _refuse_intel_mac(needed: list[str]) -> None:
    """Say beforehand that the last PyTorch for Intel Macs (2.2) does not work with numpy 2."""
    if (platform.system(), platform.machine()) != ("Darwin", "x86_64"):
        return
    newer = "torch" not in needed and int(version("torch").split(".")[1]) >= 3
    if newer or version("numpy").startswith("1."):
        return
    raise InputError(
        f"PyTorch for Intel Macs ends at 2.2, which needs numpy 1; this Slicer has numpy "
        f"{version('numpy')}, and AttribSeg replaces none of Slicer's packages. Use Slicer on "
        "Linux or Windows, or the command line (see the README); at your own risk, "
        "slicer.util.pip_install('numpy<2') and a restart make it work"
    )


def _install_torch() -> None:
    try:
        utils = importlib.import_module("PyTorchUtils")
    except ImportError:
        raise InputError(
            "PyTorch is missing: install the extension PyTorch in the Extensions Manager, restart "
            "Slicer and try again"
        ) from None
    try:
        installed = utils.PyTorchUtilsLogic().installTorch(askConfirmation=False)
    except Exception as error:
        raise InputError(
            f"PyTorch could not be installed ({error}); open the module PyTorch Utils to see why"
        ) from error
    if installed is None:
        raise InputError("PyTorch could not be installed; open the module PyTorch Utils to see why")


def _install(wanted: list[str], install: Callable[[list[str]], Any]) -> None:
    """Install with pip, holding what must not be replaced."""
    held = []
    for name in _KEPT:
        try:
            held.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(held) + "\n", encoding="utf-8")
        try:
            install([*wanted, "--constraint", str(constraints)])
        except Exception as error:
            raise InputError(
                f"{', '.join(wanted)} could not be installed ({error}); check the network "
                "connection, or see the README on installing by hand"
            ) from error
