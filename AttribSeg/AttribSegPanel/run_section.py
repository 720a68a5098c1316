"""The section Run: one task at a time, its progress, its log, and how it is ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from AttribSegLib.errors import InputError
from AttribSegScene.task import Task, running_task

from .panel import Panel

_INTERVAL_MS = 50
#: What a command gets to save what it has when the window is closed, seconds.
_PATIENCE_S = 5.0


class RunSection:
    """Watches the task of a panel from a timer.

    The button that started a task reads "Cancel" while it runs.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._task: Task[Any] | None = None
        self._button: Any = None
        self._button_text = ""
        self._finished: Callable[[Any], None] | None = None
        self._listen: Callable[[dict[str, Any]], None] | None = None
        self._stopped: Callable[[], str] | None = None
        self._other: Task[Any] | None = None  # of the console or another panel; cancelled here
        self._timer = qt.QTimer()
        self._timer.setInterval(_INTERVAL_MS)
        self._timer.connect("timeout()", self._poll)
        self._ui.cancelButton.connect("clicked(bool)", panel.guarded(self.cancel))

    @property
    def task(self) -> Task[Any] | None:
        """The task that runs."""
        return self._task

    def toggle(
        self,
        button: Any,
        make: Callable[[], Task[Any] | None],
        finished: Callable[[Any], None],
        listen: Callable[[dict[str, Any]], None] | None = None,
        stopped: Callable[[], str] | None = None,
    ) -> None:
        """Start a task, or cancel it if this button's is running.

        Parameters
        ----------
        button : QPushButton
        make : callable
            Makes the task; None if there is nothing to do.
        finished : callable
            Gets the result.
        listen : callable, optional
            Gets every event.
        stopped : callable, optional
            Says what is left of a task that was stopped.

        Raises
        ------
        InputError
            If another task runs, or the task cannot be made.
        """
        if self._task is not None and button is self._button:
            self.cancel()
            return
        try:
            task = make()
            if task is None:
                return
            task.start()
        except InputError:
            # Whatever runs can be cancelled from here.
            self._ui.jobCollapsibleButton.collapsed = False
            self._ui.cancelButton.setEnabled(running_task() is not None)
            raise
        self._task, self._button = task, button
        self._button_text = button.text
        self._finished, self._listen, self._stopped = finished, listen, stopped
        button.setText("Cancel")
        self._ui.jobCollapsibleButton.collapsed = False
        self._ui.jobLogText.clear()
        self._ui.jobLabel.setText(f"{task.title} ...")
        self._ui.cancelButton.setEnabled(True)
        # Until the command tells how far it is, the bar shows that something is going on.
        self._ui.jobProgressBar.setRange(0, 0)
        self._timer.start()
        self._panel.refresh()

    def cancel(self) -> None:
        """Ask the task to end; what does not end is killed, with all of its processes.

        Without a task of this panel, that of the console or of another panel.
        """
        task = self._task or running_task()
        if task is None:
            self._ui.cancelButton.setEnabled(False)
            return
        task.cancel()
        self._ui.jobLabel.setText(f"{task.title}: stopping ...")
        if task is not self._task:
            self._other = task
            self._timer.start()

    def pause(self) -> None:
        """Ask the task to save what it has and end."""
        if self._task is not None:
            self._task.stop()
            self._ui.jobLabel.setText(f"{self._task.title}: pausing ...")

    def close(self) -> None:
        """End the task, for a window that closes: within seconds, and cleanly if it can."""
        self._timer.stop()
        self._other = None
        if self._task is not None:
            self._task.close(_PATIENCE_S)
            self._task = None

    def _poll(self) -> None:
        self._poll_other()
        task = self._task
        if task is None:
            if self._other is None:
                self._timer.stop()
            return
        for event in task.poll():
            self._log(event)
            if self._listen is not None:
                self._listen(event)
        if task.progress is not None and not task.done:
            self._ui.jobProgressBar.setRange(0, 100)
            self._ui.jobProgressBar.setValue(round(100 * task.progress))
        if task.done:
            self._end(task)

    def _poll_other(self) -> None:
        """Watch a foreign task to its end, where nobody else does."""
        other = self._other
        if other is None:
            return
        if other.abandoned:
            other.poll()
        if other.done:
            self._other = None
            if self._task is None:
                self._ui.cancelButton.setEnabled(False)
                self._ui.jobLabel.setText(f"{other.title}: {other.state}.")

    def _log(self, event: dict[str, Any]) -> None:
        if event.get("event") == "log":
            self._ui.jobLogText.appendPlainText(event["text"])
        elif event.get("event") != "step" or "case" in event:
            told = ", ".join(
                f"{key} {_short(value)}"
                for key, value in event.items()
                if key != "event" and isinstance(value, (str, int, float, bool))
            )
            self._ui.jobLogText.appendPlainText(f"{event.get('event')}: {told}")

    def _end(self, task: Task[Any]) -> None:
        self._task = None
        self._button.setText(self._button_text)
        self._ui.cancelButton.setEnabled(False)
        self._ui.jobProgressBar.setRange(0, 100)
        self._ui.jobProgressBar.setValue(100 if task.state == "finished" else 0)
        words = {"finished": "done", "stopped": "stopped", "failed": "failed"}
        self._ui.jobLabel.setText(f"{task.title}: {words[task.state]}.")
        if task.state == "finished" and self._finished is not None:
            with self._panel.guard():
                self._finished(task.result)
        elif task.failure is not None:
            parts = [task.failure.message, *task.failure.advice]
            if task.log_path is not None:
                parts.append(f"Log: {task.log_path}")
            self._panel.report("\n".join(parts), error=True)
        elif task.state == "stopped":
            left = "What was finished by then is kept."
            if self._stopped is not None:
                left = self._stopped()
            self._panel.report(f"{task.title}: stopped. {left}")
        self._panel.refresh()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
