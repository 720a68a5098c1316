"""Writing files so that nothing half-written is ever left: temporary name first, then rename."""

from __future__ import annotations

import errno
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import InputError, OutputError

#: Suffixes that belong together and must survive the temporary name.
_DOUBLE_SUFFIXES = (".nii.gz", ".seg.nrrd")

#: A disk with less free space than this is what made a library fail to write.
_FULL_DISK_BYTES = 64 * 1024


def full_suffix(path: Path) -> str:
    """Suffix of a file name, with ``.nii.gz`` and ``.seg.nrrd`` kept whole.

    >>> full_suffix(Path("a.b.nii.gz"))
    '.nii.gz'
    """
    name = path.name.lower()
    for suffix in _DOUBLE_SUFFIXES:
        if name.endswith(suffix):
            return suffix
    return path.suffix.lower()


def stem(path: Path) -> str:
    """File name without its full suffix."""
    suffix = full_suffix(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def output_error(path: Path, error: OSError) -> OutputError:
    """The one-line error for a write that failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{path}: the disk is full; free some space or choose another folder")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"{path}: no permission to write; choose another output folder")
    return OutputError(f"{path}: cannot be written ({error.strerror or error})")


def _writer_error(path: Path, error: RuntimeError) -> OutputError:
    """The one-line error for a library that hides the error of the operating system."""
    try:
        full = shutil.disk_usage(path.parent).free < _FULL_DISK_BYTES
    except OSError:
        full = False
    if full or "No space left" in str(error):
        return output_error(path, OSError(errno.ENOSPC, "No space left on device"))
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
    return OutputError(f"{path}: cannot be written ({reason})")


def make_folder(path: str | Path) -> Path:
    """Create a folder for results and check that it can be written.

    Raises
    ------
    OutputError
        If a file is in the way or the folder is not writable.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, a folder was expected; give another --out")
    probe = folder / f".write-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise output_error(folder, error) from error
    return folder


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it on success, remove it on failure.

    Errors of the operating system and of writers that hide them (SimpleITK, matplotlib raise
    ``RuntimeError`` on a full disk) become :class:`OutputError`.

    Yields
    ------
    Path
        Where to write; same folder and same full suffix as ``path``.
    """
    target = Path(path)
    suffix = full_suffix(target)
    temporary = target.with_name(f".{stem(target)}.{uuid.uuid4().hex[:8]}.partial{suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise output_error(target, error) from error
    except RuntimeError as error:
        raise _writer_error(target, error) from error
    finally:
        with suppress(OSError):  # nothing was written when the folder is a file or read-only
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Like :func:`atomic_path` for a whole folder, which replaces an existing one at the end."""
    target = Path(path).absolute()  # "." has no name to put a temporary one beside
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target}: is a file, a folder was expected; give another --out")
    mark = uuid.uuid4().hex[:8]
    temporary = target.with_name(f".{target.name}.{mark}.partial")
    old = target.with_name(f".{target.name}.{mark}.old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            target.replace(old)
        temporary.replace(target)
    except OutputError as error:  # told by the name that the file would have had
        raise OutputError(str(error).replace(str(temporary), str(target))) from error
    except OSError as error:
        if old.exists() and not target.exists():
            old.replace(target)
        raise output_error(target, error) from error
    except RuntimeError as error:
        raise _writer_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file (UTF-8) atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON atomically; numbers that JSON lacks (NaN, infinity) become null."""
    write_text(path, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error


def _plain(value: Any) -> Any:
    """Numbers, lists and dictionaries that JSON can hold."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value:
        return value
    return None if isinstance(value, float) else value
