"""The process of a job: which Python, in which environment, and how all of it is ended.

Nothing here blocks, and nothing imports Qt or slicer.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from .cli.control import CONTROL
from .errors import InputError


def python_executable() -> str:
    """The Python that runs jobs: ``PythonSlicer`` inside Slicer, this one outside.

    Slicer's own process is the application, not an interpreter; its launcher tells where it lives
    in ``SLICER_HOME``.
    """
    home = os.environ.get("SLICER_HOME", "")
    if home:
        places = os.pathsep.join([str(Path(home) / "bin"), os.environ.get("PATH", "")])
        found = shutil.which("PythonSlicer", path=places)
        if found:
            return found
    return sys.executable


def child_environment(program: str) -> dict[str, str]:
    """Environment of a child that can import this package and ``program``, and speaks UTF-8.

    Raises
    ------
    InputError
        If there is no such program.
    """
    package = program.partition(".")[0]
    found = find_spec(package)
    if found is None or found.origin is None:
        raise InputError(f"program {program!r}: a package that can be imported was expected")
    folders = [str(Path(__file__).resolve().parents[1]), str(Path(found.origin).parents[1])]
    folders += [f for f in os.environ.get("PYTHONPATH", "").split(os.pathsep) if f]
    return {
        **os.environ,
        CONTROL: "stdin",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(folders)),
        "PYTHONUTF8": "1",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONUNBUFFERED": "1",
        # With -m the current folder, the user's, would come before the standard library.
        "PYTHONSAFEPATH": "1",
    }


def launch(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a command with three pipes, as the leader of a process group of its own.

    Raises
    ------
    InputError
        If it cannot be started.
    """
    flags = 0
    if sys.platform == "win32":  # no console window, and no share in the application's Ctrl-C
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    try:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            bufsize=1,
            start_new_session=sys.platform != "win32",
            creationflags=flags,
        )
    except OSError as error:
        raise InputError(
            f"{command[0]}: cannot be started ({error.strerror or error}); a Python interpreter "
            "was expected"
        ) from error


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill a launched process and all that it started; does not wait for them to be gone."""
    if sys.platform == "win32":
        if process.poll() is None:  # the tree can be found through its root only
            with contextlib.suppress(OSError):
                subprocess.Popen(
                    ["taskkill", "/T", "/F", "/PID", str(process.pid)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    creationflags=subprocess.CREATE_NO_WINDOW,
                )
        return
    # The leader of a session is the leader of its group; others may outlive it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
