"""``qt.QMessageBox`` that records its text and answers at once."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets

from .dialogs import DIALOGS

_Box = QtWidgets.QMessageBox
_KINDS = {
    _Box.Icon.Information: "info",
    _Box.Icon.Warning: "warning",
    _Box.Icon.Critical: "error",
    _Box.Icon.Question: "question",
}
#: Buttons by the answer they give.
_YES = (_Box.StandardButton.Yes, _Box.StandardButton.Ok, _Box.StandardButton.Retry)
_NO = (_Box.StandardButton.No, _Box.StandardButton.Cancel, _Box.StandardButton.Close)


def _answer(kind: str, text: str, buttons: Any) -> Any:
    DIALOGS.record(kind, text)
    for button in _YES if DIALOGS.agrees() else _NO:
        if buttons & button:
            return button
    return _Box.StandardButton.Ok if DIALOGS.agrees() else _Box.StandardButton.Cancel


class MessageBox(_Box):
    """A message box of which ``exec`` returns the button that ``DIALOGS.answers`` names."""

    def exec(self, *_: Any) -> Any:
        """Record the text and return a button without showing anything."""
        kind = _KINDS.get(_Box.icon(self), "info")
        return _answer(kind, _Box.text(self), _Box.standardButtons(self))

    @staticmethod
    def information(parent: Any, title: str, text: str, *buttons: Any) -> Any:
        """Record an information."""
        return _answer("info", text, *(buttons[:1] or (_Box.StandardButton.Ok,)))

    @staticmethod
    def warning(parent: Any, title: str, text: str, *buttons: Any) -> Any:
        """Record a warning."""
        return _answer("warning", text, *(buttons[:1] or (_Box.StandardButton.Ok,)))

    @staticmethod
    def critical(parent: Any, title: str, text: str, *buttons: Any) -> Any:
        """Record an error."""
        return _answer("error", text, *(buttons[:1] or (_Box.StandardButton.Ok,)))

    @staticmethod
    def question(parent: Any, title: str, text: str, *buttons: Any) -> Any:
        """Record and answer a question."""
        yes_or_no = _Box.StandardButton.Yes | _Box.StandardButton.No
        return _answer("question", text, *(buttons[:1] or (yes_or_no,)))
