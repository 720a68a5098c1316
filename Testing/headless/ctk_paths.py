"""CTK's widgets for files and folders."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, QDir, Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QToolButton, QWidget

from .dialogs import DIALOGS


class ctkPathLineEdit(QWidget):  # noqa: N801
    """A line for a path, with a button that asks for one."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    # Flags of QDir::Filter, as numbers, the way CTK names them.
    Dirs = QDir.Filter.Dirs.value
    Files = QDir.Filter.Files.value
    Readable = QDir.Filter.Readable.value
    Writable = QDir.Filter.Writable.value
    Executable = QDir.Filter.Executable.value

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._filters, self._name_filters = self.Files, []
        self._label, self._setting_key, self._history = "", "", []
        self._edit, self._browse = QLineEdit(self), QToolButton(self)
        self._browse.setText("...")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit, 1)
        layout.addWidget(self._browse)
        self._edit.textChanged.connect(self._on_text)
        self._browse.clicked.connect(self.browse)

    def _on_text(self, text: str) -> None:
        # CTK tells of text that its validator accepts: nothing is no path.
        if text:
            self.currentPathChanged.emit(text)

    def browse(self) -> None:
        """Take the path that the test has given as the file dialog's answer."""
        chosen = str(DIALOGS.answers.get("file", ""))
        if chosen:
            self.setCurrentPath(chosen)

    def _path(self) -> str:
        return str(QLineEdit.text(self._edit))

    def setCurrentPath(self, path: str) -> None:
        """Set the path."""
        self._edit.setText(str(path))

    currentPath = Property(str, _path, setCurrentPath, notify=currentPathChanged)

    def addCurrentPathToHistory(self) -> None:
        """Remember the path among the recent ones."""
        if self._path() and self._path() not in self._history:
            self._history.insert(0, self._path())

    def setFilters(self, filters: int) -> None:
        """Set what is asked for: ``Files``, ``Dirs`` and so on."""
        self._filters = int(filters)

    filters = Property(int, lambda self: self._filters, setFilters)

    def setNameFilters(self, name_filters: Any) -> None:
        """Set the patterns of file names."""
        self._name_filters = list(name_filters)

    nameFilters = Property("QStringList", lambda self: self._name_filters, setNameFilters)

    def setLabel(self, label: str) -> None:
        """Set the name used in dialogs."""
        self._label = label

    label = Property(str, lambda self: self._label, setLabel)

    def setSettingKey(self, key: str) -> None:
        """Set the settings key under which the recent paths are kept."""
        self._setting_key = key

    settingKey = Property(str, lambda self: self._setting_key, setSettingKey)

    def setShowBrowseButton(self, shown: bool) -> None:
        """Show or hide the button."""
        self._browse.setVisible(shown)

    showBrowseButton = Property(bool, lambda self: not self._browse.isHidden(), setShowBrowseButton)
    showHistoryButton = Property(bool, lambda self: False, lambda self, shown: None)


class ctkDirectoryButton(QPushButton):  # noqa: N801
    """A button that shows a folder and asks for another."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, *arguments: Any) -> None:
        parent = arguments[-1] if arguments and isinstance(arguments[-1], QWidget) else None
        super().__init__(parent)
        self._caption = ""
        self._directory = QDir.currentPath()
        if arguments and isinstance(arguments[0], str):
            self._directory = arguments[0]
        self.setText(self._directory)
        self.clicked.connect(self.browse)

    def browse(self) -> None:
        """Take the folder that the test has given as the file dialog's answer."""
        chosen = str(DIALOGS.answers.get("file", ""))
        if chosen:
            self.setDirectory(chosen)
            self.directorySelected.emit(chosen)

    def setDirectory(self, directory: str) -> None:
        """Set the folder."""
        directory = QDir(str(directory)).absolutePath()
        if directory != self._directory:
            self._directory = directory
            self.setText(directory)
            self.directoryChanged.emit(directory)

    directory = Property(str, lambda self: self._directory, setDirectory, notify=directoryChanged)

    def setCaption(self, caption: str) -> None:
        """Set the dialog's title."""
        self._caption = caption

    caption = Property(str, lambda self: self._caption, setCaption)
