"""``qt.QFileDialog`` and ``qt.QInputDialog`` whose answers a test gives beforehand."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets

from .dialogs import DIALOGS


def _file(*_: Any) -> str:
    return str(DIALOGS.answers.get("file", ""))


class FileDialog(QtWidgets.QFileDialog):
    """The static functions return ``DIALOGS.answers["file"]``; PythonQt gives strings, no pairs."""

    getOpenFileName = staticmethod(_file)
    getSaveFileName = staticmethod(_file)
    getExistingDirectory = staticmethod(_file)


class InputDialog(QtWidgets.QInputDialog):
    """``getText`` returns ``DIALOGS.answers["text"]``."""

    @staticmethod
    def getText(*_: Any) -> str:
        """The answer; "" for a cancelled dialog."""
        return str(DIALOGS.answers.get("text", ""))
