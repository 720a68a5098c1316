"""A command in a process of its own, watched without ever waiting for it.

The panels train, prepare and detect in another process: the window stays alive, all of it can be
cancelled, and the memory that it took is given back. The command prints one JSON object per line;
whoever started it asks now and then (:meth:`Job.poll`) what is new.

>>> from pathlib import Path
>>> job = Job(["cohort", "cohort.csv"], folder=Path("job"))
>>> job.state
'ready'
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from .errors import InputError
from .files import make_folder, output_error
from .job_events import JobProgress, event_of_line
from .job_failure import JobFailure, explain_failure
from .job_process import child_environment, kill_tree, launch, python_executable

__all__ = ["Job", "JobFailure", "python_executable", "running_job"]

#: Exit code of a command that was interrupted.
_STOPPED = 130

#: Events that are kept, lines for the explanation of a failure, and lines taken by one poll.
_KEPT, _TAIL, _AT_ONCE = 5000, 200, 1000

#: How long the end of the output is waited for once the process is gone, seconds: a process that
#: was not killed with it may hold the pipes.
_PATIENCE = 1.0

_current: Job | None = None


def running_job() -> Job | None:
    """The job of this process that is running, if there is one."""
    return _current if _current is not None and _current.alive else None


class Job:
    """One attribseg command in its own process.

    A job is started once. Closing or crashing the application that started it ends it as
    :meth:`stop` does, so that a training can be resumed.

    Parameters
    ----------
    arguments : sequence of str
        Of the command, its name first; ``--json`` is added.
    folder : Path
        For ``log.txt``; made if needed.
    program : str
        Package that is run with ``-m``: "AttribSegLib" or "MonotoneNetLib".
    python : str, optional
        Interpreter; :func:`python_executable` by default.
    title : str
        What the job is, for people; by default the name of the command.

    Attributes
    ----------
    state : str
        "ready", "running", "stopping", then "finished" (exit code 0), "stopped" (on request) or
        "failed"; changed by the methods of this class only.
    exit_code : int or None
    failure : JobFailure or None
        What went wrong and what to do; set when the state becomes "failed".
    events : deque of dict
        The latest events, log lines included.
    log_path : Path
        All lines, as they come; a job in the same folder adds to it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        program: str = "AttribSegLib",
        python: str | None = None,
        title: str = "",
    ) -> None:
        self.arguments = [str(argument) for argument in arguments]
        if "--json" not in self.arguments:
            self.arguments.append("--json")
        self.folder = Path(folder)
        self.program = program
        self.python = python
        self.title = title or self.arguments[0]
        self.state = "ready"
        self.exit_code: int | None = None
        self.failure: JobFailure | None = None
        self.events: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self.log_path = self.folder / "log.txt"
        self._progress = JobProgress(self.arguments)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._kill_at: float | None = None
        self._ended_at: float | None = None

    @property
    def progress(self) -> float | None:
        """Share of the work that is done, 0 to 1; None while it is not known."""
        return self._progress.fraction

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the time to the end; None while it is not known."""
        return self._progress.seconds_left

    @property
    def alive(self) -> bool:
        """Whether the process runs, whatever was seen of it yet."""
        return self._process is not None and self._process.poll() is None

    @property
    def ended(self) -> bool:
        """Whether the job is over and all of its events have been handed out."""
        return self.state in ("finished", "stopped", "failed")

    def start(self) -> None:
        """Start the command.

        Raises
        ------
        InputError
            If this job was started before, another one is running, the folder is not writable, or
            the program or the interpreter is missing.
        """
        global _current
        if self.state != "ready":
            raise InputError(f"{self.title}: was started before; make a new job")
        other = running_job()
        if other is not None:
            raise InputError(
                f"{self.title}: {other.title} is still running; wait for its end or cancel it"
            )
        make_folder(self.folder)
        environment = child_environment(self.program)
        command = [self.python or python_executable(), "-m", self.program, *self.arguments]
        log = self._open_log(command)
        try:
            self._process = launch(command, environment)
        except InputError:
            log.close()
            raise
        self._progress = JobProgress(self.arguments)
        self.state = "running"
        _current = self
        self._listen(log)

    def _open_log(self, command: Sequence[str]) -> IO[str]:
        # A log is read while it grows and after a crash, so it has no temporary name.
        try:
            log = self.log_path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise output_error(self.log_path, error) from error
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        log.write(f"-- {now} {' '.join(command)}\n")
        return log

    def _listen(self, log: IO[str]) -> None:
        """Read both pipes in threads; the last one closes the log."""
        assert self._process is not None
        pipes = [self._process.stdout, self._process.stderr]
        lock, open_pipes = threading.Lock(), [len(pipes)]

        def read(pipe: IO[str]) -> None:
            with pipe:
                for line in pipe:
                    text = line.rstrip("\n")
                    with lock, contextlib.suppress(OSError, ValueError):  # a full disk
                        log.write(text + "\n")
                    self._lines.put(text)
            with lock:
                open_pipes[0] -= 1
                if not open_pipes[0]:
                    with contextlib.suppress(OSError):
                        log.close()

        self._readers = [
            threading.Thread(target=read, args=(pipe,), name=f"{self.title} reader", daemon=True)
            for pipe in pipes
        ]
        for thread in self._readers:
            thread.start()

    def poll(self) -> list[dict[str, Any]]:
        """Events since the last call; never blocks.

        Call it a few times per second: it also kills what does not stop in time, and brings
        ``state`` up to date.

        Returns
        -------
        list of dict
            What the command printed: JSON events, and ``{"event": "log", "text": line}`` for all
            other lines. No more than a thousand at a time.
        """
        if self._process is None or self.ended:
            return []
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill_at = None
            kill_tree(self._process)
        over = self._output_is_over()  # before the queue is emptied, not after
        events = self._take()
        if over and self._lines.empty():
            self._finish()
        return events

    def _output_is_over(self) -> bool:
        assert self._process is not None
        if self._process.poll() is None:
            return False
        if self._ended_at is None:
            self._ended_at = time.monotonic()
            kill_tree(self._process)  # whatever the command left behind
        waited = time.monotonic() - self._ended_at
        return waited > _PATIENCE or not any(thread.is_alive() for thread in self._readers)

    def _take(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        with contextlib.suppress(queue.Empty):
            while len(events) < _AT_ONCE:
                line = self._lines.get_nowait()
                event = event_of_line(line)
                if event["event"] == "log":
                    self._tail.append(line)
                self._progress.update(event)
                events.append(event)
        self.events.extend(events)
        return events

    def _finish(self) -> None:
        global _current
        assert self._process is not None
        self.exit_code = self._process.returncode
        self._close_input()
        asked = self.state == "stopping"
        if self.exit_code == 0:
            self.state = "finished"
        elif asked or self.exit_code == _STOPPED:
            self.state = "stopped"
        else:
            self.failure = explain_failure(self.exit_code, list(self._tail), self.arguments)
            self.state = "failed"
        if _current is self:
            _current = None

    def stop(self) -> None:
        """Ask the command to finish its step, save and end; does not wait for it.

        A training can be resumed from its last whole epoch; cases that are done stay.
        """
        if self.state != "running":
            return
        self.state = "stopping"
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has just ended
            self._process.stdin.write("stop\n")
            self._process.stdin.flush()

    def cancel(self, grace_s: float = 5.0) -> None:
        """Stop, and kill all processes of the job if they are still there after a while.

        Parameters
        ----------
        grace_s : float
            Seconds; :meth:`poll` does the killing. Asking again never puts it off.
        """
        if self.state not in ("running", "stopping"):
            return
        self.stop()
        kill_at = time.monotonic() + max(grace_s, 0.0)
        self._kill_at = kill_at if self._kill_at is None else min(kill_at, self._kill_at)

    def kill(self) -> None:
        """End all processes of the job at once; blocks for about a second at most."""
        if self._process is None or self.ended:
            return
        self.state = "stopping"
        kill_tree(self._process)
        deadline = time.monotonic() + _PATIENCE
        while not self.ended and time.monotonic() < deadline:
            self.poll()
            time.sleep(0.01)

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
