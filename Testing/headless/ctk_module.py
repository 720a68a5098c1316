"""The module ``ctk``: small working widgets under the names of CTK's."""

from __future__ import annotations

import sys
import types
from typing import Any

from PySide6 import QtWidgets
from PySide6.QtCore import Property

from .ctk_collapsible import ctkCollapsibleButton, ctkCollapsibleGroupBox
from .ctk_paths import ctkDirectoryButton, ctkPathLineEdit
from .ctk_sliders import ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget
from .message_box import MessageBox

#: What stands for a class that nobody wrote here, by the ending of its name.
_BY_ENDING: dict[str, type] = {
    "GroupBox": QtWidgets.QGroupBox,
    "CheckBox": QtWidgets.QCheckBox,
    "ComboBox": QtWidgets.QComboBox,
    "SpinBox": QtWidgets.QDoubleSpinBox,
    "Button": QtWidgets.QPushButton,
    "LineEdit": QtWidgets.QLineEdit,
    "Label": QtWidgets.QLabel,
    "Slider": QtWidgets.QSlider,
    "Dialog": QtWidgets.QDialog,
    "TableView": QtWidgets.QTableView,
    "TreeView": QtWidgets.QTreeView,
    "TextBrowser": QtWidgets.QTextBrowser,
}


def stand_in(name: str) -> type:
    """Make a plain widget class of a name that only has to exist."""
    base = next((cls for end, cls in _BY_ENDING.items() if name.endswith(end)), QtWidgets.QWidget)
    return type(name, (base,), {"__module__": __name__})


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):  # noqa: N801
    """A text browser; CTK's grows with its text."""

    collapsed = Property(bool, lambda self: False, lambda self, collapsed: None)


class CtkModule(types.ModuleType):
    """CTK's widgets; names that are not written here become plain widgets of their kind."""

    ctkCollapsibleButton = ctkCollapsibleButton
    ctkCollapsibleGroupBox = ctkCollapsibleGroupBox
    ctkDirectoryButton = ctkDirectoryButton
    ctkDoubleSpinBox = ctkDoubleSpinBox
    ctkFittedTextBrowser = ctkFittedTextBrowser
    ctkMessageBox = MessageBox
    ctkPathLineEdit = ctkPathLineEdit
    ctkRangeWidget = ctkRangeWidget
    ctkSliderWidget = ctkSliderWidget

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("ctk"):
            raise AttributeError(f"module 'ctk' has no attribute {name!r}")
        setattr(self, name, stand_in(name))
        return getattr(self, name)


def install_ctk() -> types.ModuleType:
    """Make ``import ctk`` work in this process."""
    return sys.modules.setdefault("ctk", CtkModule("ctk"))
