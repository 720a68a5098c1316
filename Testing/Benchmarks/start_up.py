"""Seconds until ``import AttribSegLib`` and ``attribseg --help`` are done, in new processes."""

from __future__ import annotations

import subprocess
import sys

from timing import median_seconds


def _seconds(*arguments: str) -> float:
    command = [sys.executable, *arguments]
    return median_seconds(lambda: subprocess.run(command, check=True, capture_output=True))


def measure() -> dict[str, float]:
    """The interpreter's own start is part of the help's time and not of the import's."""
    return {
        "import_s": _seconds("-c", "import AttribSegLib") - _seconds("-c", "pass"),
        "help_s": _seconds("-m", "AttribSegLib", "--help"),
    }
