"""Records of how a result came about: parameters, inputs, versions."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__

_PACKAGES = ("torch", "numpy", "monai", "SimpleITK", "safetensors", "scikit-learn", "nilearn")


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of the packages that results depend on."""
    found = {"attribseg": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def record(**parameters: Any) -> dict[str, Any]:
    """A record with the time (UTC), the system, the versions and the parameters given."""
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        **parameters,
    }


def file_hash(paths: Iterable[Path]) -> str:
    """SHA-256 over the contents of files, in their order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
