"""``qt.QUiLoader``: ``.ui`` files with Slicer's own widget classes.

Widgets are made by the classes of the modules ``qt``, ``ctk`` and ``slicer``, so that a widget of
a file is of the very type that a script compares with.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets


class UiLoader(QtUiTools.QUiLoader):
    """Qt's loader, with our classes, and connections that may carry MRML objects."""

    def createWidget(
        self, class_name: str, parent: Any = None, name: str = ""
    ) -> QtWidgets.QWidget:
        """Make one widget of a file; called by Qt for each of them."""
        cls = widget_class(class_name)
        if cls is None:
            return super().createWidget(class_name, parent, name)
        widget = cls(parent) if parent is not None else cls()
        widget.setObjectName(name)
        return widget

    def load(self, device: Any, parent: Any = None) -> QtWidgets.QWidget:
        """Load a ``.ui`` file (an open device, or a path)."""
        if isinstance(device, str):
            device = QtCore.QFile(device)
            device.open(QtCore.QFile.OpenModeFlag.ReadOnly)
        root = ElementTree.fromstring(bytes(device.readAll().data()).decode("utf-8"))
        connections = _take_connections(root)
        _spell_out_enumerations(root)
        text = QtCore.QBuffer()
        text.setData(ElementTree.tostring(root, encoding="utf-8"))
        text.open(QtCore.QBuffer.OpenModeFlag.ReadOnly)
        widget = super().load(text, parent)
        for sender, signal, receiver, slot in connections:
            _object(widget, sender).connect(signal, _object(widget, receiver), slot)
        return widget


def widget_class(class_name: str) -> type | None:
    """The class that makes widgets of a name, or None for what only Qt's loader can make."""
    if class_name.startswith("ctk"):
        return getattr(sys.modules["ctk"], class_name, None)
    if class_name.startswith(("qMRML", "qSlicer")):
        return getattr(sys.modules["slicer"], class_name, None)
    return getattr(QtWidgets, class_name, None)


def _take_connections(root: ElementTree.Element) -> list[tuple[str, ...]]:
    """Remove the file's connections, and return sender, signal, receiver and slot of each."""
    taken = []
    for section in root.findall("connections"):
        for entry in section.findall("connection"):
            parts = ("sender", "signal", "receiver", "slot")
            taken.append(tuple(entry.findtext(part, default="") for part in parts))
        root.remove(section)
    return taken


def _object(widget: QtWidgets.QWidget, name: str) -> Any:
    return widget if widget.objectName == name else widget.findChild(QtCore.QObject, name)


def _spell_out_enumerations(root: ElementTree.Element) -> None:
    """Write the values of our classes' enumerations, which Qt does not know, as numbers."""
    for entry in root.iter("property"):
        for kind in ("set", "enum"):
            element = entry.find(kind)
            if element is None or not (element.text or "").startswith(("ctk", "qMRML")):
                continue
            value = 0
            for term in (element.text or "").split("|"):
                class_name, *_, member = term.split("::")
                value |= int(getattr(widget_class(class_name), member))
            element.tag, element.text = "number", str(value)
