"""The section Run: one task at a time, its progress, its log, and how it is ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from AttribSegScene.task import Task

from .panel import Panel

_INTERVAL_MS = 50


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

        Raises
        ------
        InputError
            If another task runs, or the task cannot be made.
        """
        if self._task is not None and button is self._button:
            self.cancel()
            return
        task = make()
        if task is None:
            return
        task.start()
        self._task, self._button = task, button
        self._button_text = button.text
        self._finished, self._listen = finished, listen
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
        """Ask the task to end; what does not end is killed, with all of its processes."""
        if self._task is not None:
            self._task.cancel()
            self._ui.jobLabel.setText(f"{self._task.title}: stopping ...")

    def pause(self) -> None:
        """Ask the task to save what it has and end."""
        if self._task is not None:
            self._task.stop()
            self._ui.jobLabel.setText(f"{self._task.title}: pausing after this step ...")

    def close(self) -> None:
        """End the task at once; for a window that closes."""
        self._timer.stop()
        if self._task is not None:
            self._task.kill()
            self._task = None

    def _poll(self) -> None:
        task = self._task
        if task is None:
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
        self._timer.stop()
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
            self._panel.report(f"{task.title}: stopped. What it had done is kept.")
        self._panel.refresh()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
