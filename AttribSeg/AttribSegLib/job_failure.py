"""Why a job failed, in words, and what to try next.

Jobs are what the panels start, so the advice names their controls.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bundle_card import read_card
from .errors import InputError
from .files import read_json

#: Exit codes of a process that the system killed: signal 9, as told by Python and by a shell.
_KILLED = (-9, 137)

#: Exit codes of a process that crashed in compiled code: signals 11, 6, 7 and 4, and an access
#: violation on Windows.
_CRASHED = (-11, 139, -6, 134, -7, 135, -4, 132, 0xC0000005, 0xC0000005 - 2**32)

#: Windows: a process that ran out of memory (STATUS_NO_MEMORY, commitment limit).
_NO_MEMORY = (0xC0000017, 0xC0000017 - 2**32, 0xC000012D, 0xC000012D - 2**32)

#: What stands before the commands' own messages: bad input or arguments, several images that
#: failed, one case that failed.
_ERROR = re.compile(r"^attribseg(?: [a-z]+)?: (?:error: (?=.)|(?=\d+ of \d+ ))(.*)$")
_FAILED = "attribseg: failed: "

#: The last line of a traceback.
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)(?::|$)")

#: Images of the smallest batch: a healthy and a pathological one.
_LEAST_BATCH = 2

#: Of an exception's text, characters.
_LONGEST = 300


@dataclass(frozen=True)
class JobFailure:
    """What went wrong, and what to do about it.

    Parameters
    ----------
    message : str
        One sentence, or the message of the command.
    advice : tuple of str
        What to try next, the most promising first; may be empty.
    """

    message: str
    advice: tuple[str, ...] = ()


def explain_failure(
    exit_code: int | None, log_tail: Sequence[str] | str, arguments: Sequence[str]
) -> JobFailure:
    """Explain why a command failed.

    Parameters
    ----------
    exit_code : int or None
        Of its process; negative for a signal.
    log_tail : sequence of str
        The last lines that it printed, events left out.
    arguments : sequence of str
        Of the command, its name first: what was set already is not advised again.

    Examples
    --------
    >>> explain_failure(2, ["attribseg: error: a.nii: no such file"], ["detect"]).message
    'a.nii: no such file'
    """
    lines = log_tail.splitlines() if isinstance(log_tail, str) else list(log_tail)
    given = _Arguments(arguments)
    own = _own_message(lines)
    found = _cause("\n".join(lines) if own is None else own, given)
    if own is not None:
        return JobFailure(own, found.advice if found else ())
    if found is not None:
        return found
    if exit_code in _KILLED or exit_code in _NO_MEMORY:
        return _out_of_memory(given)
    if exit_code in _CRASHED:
        return JobFailure(
            f"the process crashed in compiled code (exit code {exit_code})",
            (*given.cpu(), "try it once more, and see the log for what it was doing"),
        )
    raised = [line.strip() for line in lines if _EXCEPTION.match(line)]
    if raised:
        return JobFailure(
            f"an unexpected error ended the command: {raised[-1][:_LONGEST]}",
            ("see the log for the details, and report it with them",),
        )
    # A launcher may hide the signal; a command that fails by itself says why.
    return JobFailure(
        f"the process ended without a message (exit code {exit_code}); most often memory ran out",
        given.less_memory(),
    )


def _own_message(lines: Sequence[str]) -> str | None:
    """What the command says itself; the lines of a list are indented."""
    for number in reversed(range(len(lines))):
        own = _ERROR.match(lines[number])
        if own:
            rest = itertools.takewhile(lambda line: line.startswith("  "), lines[number + 1 :])
            return "\n".join([own[1], *rest])
    failed = [line.removeprefix(_FAILED) for line in lines if line.startswith(_FAILED)]
    if failed:
        count = f"{len(failed)} case{'s' if len(failed) > 1 else ''} failed"
        return "\n  ".join([count, *failed])
    return None


def _cause(text: str, given: _Arguments) -> JobFailure | None:
    """A known cause, as far as the text shows one."""
    missing = re.findall(r"No module named '?([\w.]+)'?", text)
    if missing:
        return _module_missing(missing[-1].partition(".")[0])
    for pattern, explain in _CAUSES:
        if re.search(pattern, text, re.IGNORECASE | re.MULTILINE):
            return explain(given)
    return None


class _Arguments:
    """What a command was given, and the advice that is left by it."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.words = [str(argument) for argument in arguments]
        self.command = self.words[0] if self.words else ""

    def value(self, option: str) -> str | None:
        """Value of an option, or None."""
        for word, following in zip(self.words, [*self.words[1:], ""], strict=False):
            if word == option:
                return following
            if word.startswith(f"{option}="):
                return word.partition("=")[2]
        return None

    def cpu(self) -> tuple[str, ...]:
        """To leave the graphics card alone, where the command can and does not yet."""
        able = self.command in ("train", "detect", "evaluate", "compare")
        if not able or self.value("--device") == "cpu":
            return ()
        return ("choose the device cpu: slower, with the computer's memory",)

    def less_memory(self) -> tuple[str, ...]:
        """To need less memory, of the computer or of the graphics card."""
        advice: list[str] = []
        jobs = self.value("--jobs")
        if jobs is not None and jobs != "1":
            advice.append(f"fewer processes at once: 1 instead of {jobs}")
        if self.command in ("preprocess", "simulate") and self._spacing() != "2":
            advice.append("prepare the images at 2 mm: an eighth of the voxels")
        if self.command == "train":
            advice += self._smaller_training()
            advice.append("if the images are finer than 2 mm, prepare them at 2 mm first")
        if self.command in ("detect", "evaluate") and not self._coarse_bundle():
            advice.append("use a model that was trained at 2 mm")
        if self.command == "inspect":
            advice.append("a smaller network: a smaller width")
        advice.append("close other programs and large volumes")
        return tuple(advice)

    def _smaller_training(self) -> list[str]:
        """Batch and width, with figures where the present ones are known."""
        recipe = self._recipe()
        advice = []
        batch = _number(self.value("--batch-size") or recipe.get("batch_size"))
        width = _number(self.value("--width") or recipe.get("width"))
        if batch is None:
            advice.append("a smaller batch size")
        elif batch > _LEAST_BATCH:
            # Even, since healthy and pathological images are drawn in pairs.
            half = max(int(batch) // 4 * 2, _LEAST_BATCH)
            advice.append(f"a smaller batch size: {half} instead of {batch:g}")
        now = "" if width is None else f": {width / 2:g} instead of {width:g}"
        return [*advice, f"a smaller network width{now}"]

    def _recipe(self) -> dict[str, Any]:
        """What the file of the recipe says; nothing where there is none."""
        path = self.value("--recipe") or ""
        if not path.endswith(".json"):
            return {}
        try:
            content = read_json(Path(path))
        except InputError:
            return {}
        return content if isinstance(content, dict) else {}

    def _coarse_bundle(self) -> bool:
        """Whether the model is one of 2 mm, or more, already."""
        try:
            spacing = read_card(self.value("--bundle") or "").spacing_mm
        except InputError:
            return False
        return spacing is not None and min(spacing) >= 2

    def _spacing(self) -> str:
        default = "2" if self.command == "simulate" else "1"
        return self.value("--spacing") or default


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None


def _out_of_memory(given: _Arguments) -> JobFailure:
    return JobFailure("the computer's memory ran out", given.less_memory())


def _out_of_cuda_memory(given: _Arguments) -> JobFailure:
    advice = (*given.less_memory()[:-1], "close other programs that use the graphics card")
    return JobFailure("the memory of the graphics card ran out", (*given.cpu(), *advice))


def _cuda_unusable(given: _Arguments) -> JobFailure:
    return JobFailure(
        "the graphics card cannot be used by this build of PyTorch",
        (
            *given.cpu(),
            "install a build of PyTorch for this graphics card and driver (in Slicer: the PyTorch "
            "extension)",
        ),
    )


def _cuda_fault(given: _Arguments) -> JobFailure:
    return JobFailure(
        "the graphics card or its driver failed",
        (*given.cpu(), "restart the computer, or update the driver, and try it again"),
    )


def _module_missing(name: str) -> JobFailure:
    how = f"install {name} with pip; in Slicer, apply again and let it install what is missing"
    if name == "torch":
        how = "in Slicer, install PyTorch with the PyTorch extension; elsewhere, with pip"
    return JobFailure(f"the Python package {name} is missing", (how,))


def _disk_full(given: _Arguments) -> JobFailure:
    return JobFailure(
        "the disk is full", ("free some space, or choose an output folder on another disk",)
    )


def _read_only(given: _Arguments) -> JobFailure:
    return JobFailure(
        "the output folder cannot be written", ("choose a folder of your own for the results",)
    )


#: What a log shows, and what it means; the first that is found counts.
_CAUSES: tuple[tuple[str, Callable[[_Arguments], JobFailure]], ...] = (
    (
        r"CUDA out of memory|CUDA error: out of memory|OutOfMemoryError|out of memory on cuda"
        r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED",
        _out_of_cuda_memory,
    ),
    (
        r"no CUDA device is available|Torch not compiled with CUDA|no kernel image is available"
        r"|Found no NVIDIA driver|NVIDIA driver on your system is too old"
        r"|CUDA driver version is insufficient|No CUDA GPUs are available"
        r"|forward compatibility was attempted",
        _cuda_unusable,
    ),
    (r"CUDA error|cuDNN|CUBLAS_STATUS|CUDNN_STATUS|CUDA driver", _cuda_fault),
    (
        r"^MemoryError|ArrayMemoryError|bad_alloc|can't allocate memory|Cannot allocate memory"
        r"|Unable to allocate|not enough memory|out of memory|Failed to allocate memory",
        _out_of_memory,
    ),
    (r"No space left on device|the disk is full|not enough space on the disk", _disk_full),
    (r"Read-only file system|Permission ?denied|no permission to write|EROFS", _read_only),
)
