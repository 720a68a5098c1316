"""`Task`: a run between nodes and nodes that never blocks the window.

What goes in is copied from the nodes and written by a thread, an attribseg command works in a
process of its own, a thread reads what it wrote, and only the making of nodes is left to the
caller's thread. `Task.poll` moves from one stage to the next; a panel calls it from a timer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from AttribSegLib.errors import InputError
from AttribSegLib.job_failure import JobFailure
from AttribSegLib.jobs import Job, running_job

from .stage import Stage, let_threads_work

Result = TypeVar("Result")

#: A run that is watched is polled many times in these seconds.
_ABANDONED_S = 1.0

_running: list[Task[Any]] = []


class Task(Generic[Result]):
    """One run, from its inputs to its result.

    Parameters
    ----------
    title : str
        What it is doing, for people.
    job : Job or None
        The command; None when there is nothing but to write, read and show.
    show : callable
        Turns what ``read`` returned into the result; makes nodes, so it runs in the thread of
        the caller of `poll`. A generator makes one step per poll and returns the result.
    write : callable, optional
        Writes the inputs; runs in a thread and must not touch a node.
    read : callable, optional
        Reads the results; likewise.
    listen : callable, optional
        Gets every event of the command, in the thread of the caller of `poll`.

    Attributes
    ----------
    state : str
        "ready", "writing", "running", "stopping", "reading", "showing", then "finished", "stopped"
        or "failed".
    result : object or None
        When finished.
    failure : JobFailure or None
        When failed.
    """

    def __init__(
        self,
        title: str,
        job: Job | None,
        show: Callable[[Any], Result | Generator[None, None, Result]],
        *,
        write: Callable[[], None] | None = None,
        read: Callable[[], Any] | None = None,
        listen: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.title = title
        self.job = job
        self.state = "ready"
        self.result: Result | None = None
        self.failure: JobFailure | None = None
        self._show, self._write, self._read = show, write, read
        self._listen = listen
        self._stage: Stage | None = None
        self._steps: Generator[None, None, Result] | None = None
        self._stop_asked = False
        self._polled_at = time.monotonic()

    @property
    def abandoned(self) -> bool:
        """Whether nobody has polled it for a while, as when the console started it and went on."""
        return not self.done and time.monotonic() - self._polled_at > _ABANDONED_S

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state in ("finished", "stopped", "failed")

    @property
    def progress(self) -> float | None:
        """Share of the work that is done, where the command tells."""
        return None if self.job is None else self.job.progress

    @property
    def log_path(self) -> Path | None:
        """Everything that the command said; None before it said anything."""
        return self.job.log_path if self.job is not None and self.job.log_path.exists() else None

    def start(self) -> None:
        """Begin.

        Raises
        ------
        InputError
            If another run is under way.
        """
        require_idle()
        _running.append(self)
        self.state = "writing"
        self._stage = Stage(self._write)

    def poll(self) -> list[dict[str, Any]]:
        """Move on, without waiting; what the command said since the last call."""
        let_threads_work()
        self._polled_at = time.monotonic()
        events: list[dict[str, Any]] = []
        try:
            if self.state == "writing":
                self._after_writing()
            elif self.state in ("running", "stopping"):
                events = self._poll_job()
            elif self.state == "reading":
                self._after_reading()
            elif self.state == "showing":
                self._show_on()
        except Exception as error:
            self._fail(error)
        if self.done and self in _running:
            _running.remove(self)
        return events

    def stop(self) -> None:
        """Let the command finish its step, save what it has and end."""
        self._stop_asked = True
        if self.state == "running" and self.job is not None:
            self.job.stop()
            self.state = "stopping"

    def cancel(self) -> None:
        """Like `stop`, but the process tree is killed when it does not end soon."""
        self._stop_asked = True
        if self.state in ("running", "stopping") and self.job is not None:
            self.job.cancel()
            self.state = "stopping"

    def close(self, patience_s: float) -> None:
        """End it for a window that closes: cleanly if that is soon done, else with all processes.

        Parameters
        ----------
        patience_s : float
            Seconds that the command has to save what it has.
        """
        if self.state in ("running", "stopping") and self.job is not None:
            self.stop()
            deadline = time.monotonic() + patience_s
            while not self.job.ended and time.monotonic() < deadline:
                self.job.poll()
                time.sleep(0.02)
        self.kill()

    def kill(self) -> None:
        """End at once, with all processes."""
        if self.state in ("running", "stopping") and self.job is not None:
            self.job.kill()
        if self._steps is not None:
            self._steps.close()
        if not self.done:
            self.state = "stopped"
        if self in _running:
            _running.remove(self)

    def wait(self, process_events: Callable[[], Any] | None = None) -> Result:
        """Run to the end and return the result; for the Python console and scripts.

        Parameters
        ----------
        process_events : callable, optional
            Called while waiting, so that a window stays alive.

        Raises
        ------
        InputError
            If it fails or is stopped, with what to do next.
        """
        if self.state == "ready":
            self.start()
        try:
            while not self.done:
                self.poll()
                if process_events is not None:
                    process_events()
                time.sleep(0.02)
        except BaseException:
            # Ctrl-C, most often: nobody would poll it on, and it would block all others.
            self.kill()
            raise
        if self.failure is not None:
            raise InputError(" ".join((self.failure.message, *self.failure.advice)))
        if self.state == "stopped":
            raise InputError(f"{self.title}: stopped; what was finished by then is kept")
        return cast("Result", self.result)

    def _after_writing(self) -> None:
        assert self._stage is not None
        if not self._stage.finished():
            return
        if self._stop_asked:
            self.state = "stopped"
            return
        if self.job is None:
            self._begin_reading()
        else:
            self.job.start()
            self.state = "running"

    def _poll_job(self) -> list[dict[str, Any]]:
        assert self.job is not None
        events = self.job.poll()
        if self._listen is not None:
            for event in events:
                self._listen(event)
        if self.job.state == "finished":
            self._begin_reading()
        elif self.job.state == "stopped":
            self.state = "stopped"
        elif self.job.state == "failed":
            self.failure = self.job.failure
            self.state = "failed"
        return events

    def _begin_reading(self) -> None:
        self.state = "reading"
        self._stage = Stage(self._read)

    def _after_reading(self) -> None:
        assert self._stage is not None
        if not self._stage.finished():
            return
        shown = self._show(self._stage.value)
        if isinstance(shown, Generator):
            self._steps, self.state = shown, "showing"
        else:
            self.result, self.state = shown, "finished"

    def _show_on(self) -> None:
        assert self._steps is not None
        try:
            next(self._steps)
        except StopIteration as end:
            self.result, self.state = end.value, "finished"

    def _fail(self, error: Exception) -> None:
        """An error of ours, or of a stage."""
        if not isinstance(error, InputError):
            import logging

            logging.exception("%s failed", self.title)
        self.failure = JobFailure(str(error) or type(error).__name__, ())
        self.state = "failed"


def running_task() -> Task[Any] | None:
    """The run that is under way."""
    return _running[0] if _running else None


def require_idle() -> None:
    """Refuse to begin while another run is under way.

    Raises
    ------
    InputError
        If one is.
    """
    other = running_task()
    if other is not None or running_job() is not None:
        what = f"“{other.title}”" if other is not None else "another run"
        raise InputError(f"{what} is still running; wait for its end or cancel it first")
