"""What connects a parameter with the widget that shows it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from .annotations import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange, split


class Connector:
    """A widget's property and the signal of its change."""

    def __init__(
        self, widget: Any, signal: str, read: Callable[[], Any], write: Callable[[Any], None]
    ) -> None:
        self.widget, self.read, self.write = widget, read, write
        self._signal = signal
        self._callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call a function upon changes, or no longer for None."""
        if self._callback is not None:
            getattr(self.widget, self._signal).disconnect(self._changed)
        self._callback = callback
        if callback is not None:
            getattr(self.widget, self._signal).connect(self._changed)

    def _changed(self) -> None:
        if self._callback is not None:
            self._callback()


def _property(widget: Any, name: str, signal: str, kind: Callable[[Any], Any]) -> Connector:
    """Connect with a property of the widget; ``kind`` makes a parameter of its value."""
    show: Callable[[Any], Any] = str if kind in (str, pathlib.Path) else lambda value: value
    return Connector(
        widget,
        signal,
        lambda: kind(getattr(widget, name)),
        lambda value: setattr(widget, name, show(value)),
    )


def createGuiConnector(widget: Any, annotated: Any) -> Connector:
    """Connect a widget with a parameter of some type.

    Raises
    ------
    RuntimeError
        If widgets of that very class do not show such parameters.
    """
    kind, annotations = split(annotated)
    cls = type(widget)
    if kind is bool and cls in (qt.QCheckBox, ctk.ctkCheckBox):
        return _property(widget, "checked", "stateChanged", bool)
    if kind is bool and cls is qt.QPushButton:
        widget.checkable = True
        return _property(widget, "checked", "toggled", bool)
    if kind is int and cls in (qt.QSpinBox, qt.QSlider):
        _limit(widget, annotations, -(2**31), 2**31 - 1, bounded=cls is qt.QSlider)
        return _property(widget, "value", "valueChanged", int)
    if kind is float and cls in (
        qt.QDoubleSpinBox,
        ctk.ctkDoubleSpinBox,
        ctk.ctkSliderWidget,
        slicer.qMRMLSliderWidget,
    ):
        bounded = cls in (ctk.ctkSliderWidget, slicer.qMRMLSliderWidget)
        _limit(widget, annotations, float("-inf"), float("inf"), bounded=bounded)
        return _property(widget, "value", "valueChanged", float)
    if cls in (qt.QComboBox, ctk.ctkComboBox) and kind in (bool, int, float, str):
        return _choice(widget, annotations)
    if kind is str and cls is qt.QLineEdit:
        return _property(widget, "text", "textChanged", str)
    if kind is str and cls is qt.QTextEdit:
        return _property(widget, "plainText", "textChanged", str)
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        if cls is ctk.ctkPathLineEdit:
            return _property(widget, "currentPath", "currentPathChanged", kind)
        if cls is ctk.ctkDirectoryButton:
            return _property(widget, "directory", "directoryChanged", kind)
    is_node = isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)
    if is_node and cls is slicer.qMRMLNodeComboBox:
        widget.nodeTypes = (kind().GetClassName(),)
        return Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"a {cls.__name__} cannot show a parameter of type {annotated}")


def _limit(
    widget: Any, annotations: tuple[Any, ...], least: float, most: float, *, bounded: bool
) -> None:
    """Give a widget the limits, step and decimals of its parameter."""
    found: dict[type, Any] = {type(annotation): annotation for annotation in annotations}
    if Decimals in found:
        widget.decimals = found[Decimals].value
    if SingleStep in found:
        widget.singleStep = found[SingleStep].value
    limits = found.get(WithinRange)
    low, high = found.get(Minimum, limits), found.get(Maximum, limits)
    if bounded and (low is None or high is None):
        raise RuntimeError(f"{type(widget).__name__}: the parameter needs WithinRange")
    widget.setRange(low.minimum if low else least, high.maximum if high else most)


def _choice(widget: Any, annotations: tuple[Any, ...]) -> Connector:
    """Fill a combo box with the choices."""
    found = [annotation for annotation in annotations if isinstance(annotation, Choice)]
    if not found:
        raise RuntimeError("a parameter in a combo box needs the annotation Choice")
    choices = list(found[0].choices)
    widget.clear()
    widget.addItems([str(choice) for choice in choices])

    def write(value: Any) -> None:
        widget.currentIndex = choices.index(value)

    return Connector(widget, "currentIndexChanged", lambda: choices[widget.currentIndex], write)
