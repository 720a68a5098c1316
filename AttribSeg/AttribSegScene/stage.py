"""`Stage`: work in a thread, for a window that must not wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

#: Stages that may still be at work. What a thread lets go of last is destroyed in it, which nodes
#: must not be: whoever abandons a stage leaves it here until it is through.
_at_work: list[Stage] = []


class Stage:
    """A function at work in a thread; it must not touch a node or a widget.

    Parameters
    ----------
    work : callable or None
        None is through at once.

    Attributes
    ----------
    value : object
        What it returned, once it is through.
    """

    def __init__(self, work: Callable[[], Any] | None) -> None:
        self.value: Any = None
        self._error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        _at_work[:] = [stage for stage in _at_work if stage._thread.is_alive()]
        _at_work.append(self)
        self._thread.start()

    def finished(self) -> bool:
        """Whether it is through; its error is raised here, in the thread of the caller."""
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def _run(self) -> None:
        try:
            self.value = self._work() if self._work is not None else None
        except BaseException as error:
            self._error = error


def let_threads_work() -> None:
    """Let go of the interpreter for a moment; to be called from the timer that watches a thread.

    In Slicer, threads of Python run only while the thread of the window lets go of the
    interpreter: sleeping does, the event loop does not.
    """
    time.sleep(0.002)
