"""What every run of a command on nodes has in common: its folder, its program, its files."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from AttribSegLib.errors import InputError
from AttribSegLib.files import make_folder
from AttribSegLib.image import Image

from .task import require_idle


def new_run_folder(work_folder: Path, kind: str, name: str, *, plain: bool = False) -> Path:
    """Make the folder of a run: time, kind and name of the case.

    Parameters
    ----------
    work_folder : Path
    kind, name : str
    plain : bool
        Its path goes into a list of the command line.

    Raises
    ------
    InputError
        If another run is under way, or the path holds what the command line takes for a
        separator.
    OutputError
        If the work folder cannot be written.
    """
    require_idle()
    if plain and set(str(work_folder)) & {",", "="}:
        raise InputError(
            f"{work_folder}: a comma or an equals sign in the name of a folder; choose another "
            "work folder"
        )
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder, count = work_folder / f"{stamp}-{kind}-{name}", 1
    while folder.exists():
        count += 1
        folder = work_folder / f"{stamp}-{kind}-{name}-{count}"
    return make_folder(folder)


def command_program() -> str:
    """Package whose command line knows all recipes that are here.

    In Slicer nothing is installed, so that recipes of other packages are not found by their entry
    points; the command line of MonotoneNetLib brings its own along.
    """
    found = importlib.util.find_spec("MonotoneNetLib") is not None
    return "MonotoneNetLib" if found else "AttribSegLib"


def write_scans(channels: Mapping[str, Image], files: Mapping[str, Path]) -> None:
    """Write scans; folders are made."""
    from AttribSegLib.image_io import write_image

    for name, image in channels.items():
        make_folder(files[name].parent)
        write_image(image, files[name])


def scan_files(folder: Path, case: str, channels: Iterable[str]) -> dict[str, Path]:
    """Where the scans of a case go; NRRD keeps a geometry to the last digit."""
    return {name: folder / "inputs" / name / f"{case}.nrrd" for name in channels}


def require_in_scene(node: object, what: str, folder: Path) -> None:
    """Refuse a node that left the scene while a run was under way.

    Raises
    ------
    InputError
        If so; it names the folder that has the results.
    """
    if getattr(node, "GetScene", lambda: None)() is None:
        raise InputError(
            f"{what} was deleted, or the scene was closed, while the run was under way; nothing "
            f"is lost: its results are in {folder}"
        )
