"""Widgets of CTK that fold their contents away."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QGroupBox,
    QStyle,
    QStyleOption,
    QStyleOptionButton,
    QStyleOptionGroupBox,
    QWidget,
)


def _show_contents(widget: QWidget, shown: bool) -> None:
    """Hide a widget's children, or show those that were not hidden on their own account."""
    for child in widget.children():
        if not isinstance(child, QWidget) or child.isWindow():
            continue
        if not shown and not child.isHidden():
            child.setProperty("hiddenByCollapsing", True)
            child.hide()
        elif shown and child.property("hiddenByCollapsing"):
            child.setProperty("hiddenByCollapsing", False)
            child.show()


def _draw_arrow(widget: QWidget, option: QStyleOption, painter: QPainter, opened: bool) -> None:
    """Draw the arrow of an open or folded section into ``option.rect``."""
    primitive = QStyle.PrimitiveElement
    arrow = primitive.PE_IndicatorArrowDown if opened else primitive.PE_IndicatorArrowRight
    QWidget.style(widget).drawPrimitive(arrow, option, painter, widget)


class ctkCollapsibleButton(QAbstractButton):  # noqa: N801
    """A section with a header; checked when open."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        parent = arguments[-1] if arguments and isinstance(arguments[-1], QWidget) else None
        super().__init__(parent)
        if arguments and isinstance(arguments[0], str):
            self.setText(arguments[0])
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(2, self._header_height() + 2, 2, 2)
        self.toggled.connect(self._follow)

    def _header_height(self) -> int:
        return QAbstractButton.fontMetrics(self).height() + 10

    def _follow(self, opened: bool) -> None:
        _show_contents(self, opened)
        self.updateGeometry()
        self.contentsCollapsed.emit(not opened)

    def _collapsed(self) -> bool:
        return not self.isChecked()

    def setCollapsed(self, collapsed: bool) -> None:
        """Close or open the section."""
        self.setChecked(not collapsed)

    collapsed = Property(bool, _collapsed, setCollapsed)

    def childEvent(self, event: Any) -> None:
        """Hide what is added to a closed section."""
        super().childEvent(event)
        if event.added() and not self.isChecked() and isinstance(event.child(), QWidget):
            _show_contents(self, False)

    def sizeHint(self) -> QSize:
        """The header, and the contents where the section is open."""
        layout = self.layout()
        header = QSize(QAbstractButton.fontMetrics(self).horizontalAdvance(self.text) + 40, 0)
        header.setHeight(self._header_height())
        if self._collapsed() or layout is None:
            return header
        return layout.totalSizeHint().expandedTo(header)

    def minimumSizeHint(self) -> QSize:
        """The least size of :meth:`sizeHint`."""
        layout = self.layout()
        header = QSize(0, self._header_height())
        return header if self._collapsed() or layout is None else layout.totalMinimumSize()

    def hitButton(self, position: QPoint) -> bool:
        """Only the header reacts to the mouse."""
        return bool(position.y() <= self._header_height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the header with its arrow, and a frame."""
        option = QStyleOptionButton()
        option.initFrom(self)
        painter = QPainter(self)
        header = QRect(0, 0, QAbstractButton.rect(self).width(), self._header_height())
        painter.fillRect(header, option.palette.button())
        painter.setPen(option.palette.mid().color())
        painter.drawRect(QAbstractButton.rect(self).adjusted(0, 0, -1, -1))
        option.rect = QRect(8, header.height() // 2 - 5, 10, 10)
        _draw_arrow(self, option, painter, self.isChecked())
        painter.setPen(option.palette.buttonText().color())
        flags = Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextShowMnemonic
        painter.drawText(header.adjusted(26, 0, -4, 0), flags, self.text)


class ctkCollapsibleGroupBox(QGroupBox):  # noqa: N801
    """A group box that folds when it is unchecked."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.setCheckable(True)
        self.toggled.connect(lambda opened: _show_contents(self, opened))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw an arrow in the place of the check mark."""
        option = QStyleOptionGroupBox()
        self.initStyleOption(option)
        style, painter = QGroupBox.style(self), QPainter(self)
        complex_control, part = QStyle.ComplexControl.CC_GroupBox, QStyle.SubControl
        place = style.subControlRect(complex_control, option, part.SC_GroupBoxCheckBox, self)
        title = style.subControlRect(complex_control, option, part.SC_GroupBoxLabel, self)
        option.subControls = part.SC_GroupBoxFrame
        style.drawComplexControl(complex_control, option, painter, self)
        painter.drawText(title, Qt.TextFlag.TextShowMnemonic, self.title)
        option.rect = place
        _draw_arrow(self, option, painter, self.isChecked())

    def _collapsed(self) -> bool:
        return not self.isChecked()

    def setCollapsed(self, collapsed: bool) -> None:
        """Fold or unfold the box."""
        self.setChecked(not collapsed)

    collapsed = Property(bool, _collapsed, setCollapsed)
