"""The module ``qt``: Qt's classes under one name, as PythonQt gives them to Slicer's Python."""

from __future__ import annotations

import sys
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from . import qt_look
from .file_dialog import FileDialog, InputDialog
from .message_box import MessageBox
from .ui_loader import UiLoader

_LIBRARIES = (QtWidgets, QtGui, QtCore, QtUiTools)


class QtModule(types.ModuleType):
    """Looks a class up in Qt's libraries when it is asked for."""

    QUiLoader = UiLoader
    QFileDialog = FileDialog
    QInputDialog = InputDialog
    QMessageBox = MessageBox

    def __getattr__(self, name: str) -> Any:
        for library in _LIBRARIES:
            if hasattr(library, name):
                setattr(self, name, getattr(library, name))
                return getattr(library, name)
        raise AttributeError(f"module 'qt' has no attribute {name!r}")

    def Signal(self, *types: Any) -> Any:
        """A signal of a Python class; PythonQt has ``qt.Signal`` too."""
        return QtCore.Signal(*types)


def install_qt() -> types.ModuleType:
    """Make ``import qt`` work in this process, and give Qt's objects PythonQt's look."""
    if "qt" not in sys.modules:
        qt_look.dress()
        sys.modules["qt"] = QtModule("qt")
    return sys.modules["qt"]
