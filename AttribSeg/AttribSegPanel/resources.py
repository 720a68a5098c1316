"""Files that come with the extension, wherever it lies.

In the source tree the demonstration bundle is shared by the whole repository; a built or
installed extension has it among the module's own resources.
"""

from __future__ import annotations

from pathlib import Path

from AttribSegLib.errors import InputError

#: The folder of the module, in the source tree as well as installed.
MODULE = Path(__file__).resolve().parents[1]


def resource(name: str) -> Path:
    """Path of a file or folder below ``Resources``.

    Parameters
    ----------
    name : str
        Path with forward slashes, for instance ``"DemoBundle"`` or ``"Icons/AttribSeg.png"``.

    Raises
    ------
    InputError
        If the installation lacks it.
    """
    for folder in (MODULE / "Resources", MODULE.parent / "Resources"):
        if (folder / name).exists():
            return folder / name
    raise InputError(
        f"{MODULE / 'Resources' / name}: is missing from the installed extension; install "
        "AttribSeg again"
    )


def demonstration_bundle() -> Path:
    """Folder of the bundle to try the tools with."""
    return resource("DemoBundle")
