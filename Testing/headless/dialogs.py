"""What the application asked and what it was answered: no test waits for a modal dialog."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Message:
    """One dialog that would have been shown: its kind, such as "error", and its text."""

    kind: str
    text: str


@dataclass
class Dialogs:
    """The dialogs of a session.

    Attributes
    ----------
    messages : list of Message
        Dialogs in their order; kinds are "info", "warning", "error" and "question".
    answers : dict
        ``"question"``: whether questions are answered with OK, Yes or Retry (default True);
        ``"file"``: path that file dialogs return, "" for a cancelled one; ``"text"``: what text
        dialogs return.
    """

    messages: list[Message] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def record(self, kind: str, text: str) -> None:
        """Remember a dialog."""
        self.messages.append(Message(kind, text))

    def agrees(self) -> bool:
        """The answer to a question."""
        return bool(self.answers.get("question", True))

    def clear(self) -> None:
        """Forget messages and answers."""
        self.messages.clear()
        self.answers.clear()


#: The dialogs of this process; there is one application at a time.
DIALOGS = Dialogs()


def replace_dialogs() -> dict[str, Any]:
    """Let the functions of ``slicer.util`` record their dialogs; returns what they were."""
    import slicer.util

    ours = {
        "_messageDisplay": _message_display,
        "messageBox": _message_box,
        "delayDisplay": _delay_display,
        "pip_install": _pip_install,
    }
    before = {name: getattr(slicer.util, name) for name in ours}
    vars(slicer.util).update(ours)
    return before


def _message_display(level: int, text: str, testing_answer: Any, *_: Any, **settings: Any) -> Any:
    """Record a dialog and answer it; it is a question if Slicer's testing mode has an answer."""
    import qt

    if testing_answer is None:
        kinds = {logging.ERROR: "error", logging.WARNING: "warning"}
        DIALOGS.record(kinds.get(level, "info"), text)
        return None
    DIALOGS.record("question", text)
    box = qt.QMessageBox
    wanted = (box.Ok, box.Yes, box.Retry) if DIALOGS.agrees() else (box.Cancel, box.No, box.Close)
    return next(button for button in wanted if settings["standardButtons"] & button)


def _message_box(text: str, parent: Any = None, **settings: Any) -> Any:
    """Record a message box."""
    import qt

    DIALOGS.record("info", text)
    return qt.QMessageBox.Ok


def _delay_display(message: str, *_: Any, **settings: Any) -> None:
    """Log a text that Slicer shows for a moment."""
    import slicer

    logging.info(message)
    slicer.app.processEvents()


def _pip_install(*requirements: Any, **settings: Any) -> None:
    """Refuse: tests never change the installation."""
    raise RuntimeError(f"a test must not install packages: {requirements}")
