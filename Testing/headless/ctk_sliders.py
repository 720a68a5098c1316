"""CTK's sliders and ranges of real numbers."""

from __future__ import annotations

import math

from PySide6.QtCore import Property, QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSlider, QWidget

#: A finer division of a slider would not be seen.
_MOST_STEPS = 100_000
#: Stands for an infinite limit, which Qt's spin boxes do not know.
_LARGE = 1e12


class ctkDoubleSpinBox(QDoubleSpinBox):  # noqa: N801
    """A spin box of real numbers."""


class ctkSliderWidget(QWidget):  # noqa: N801
    """A slider of real numbers beside a spin box."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._value, self._limits, self._step, self._page = 0.0, (0.0, 99.0), 1.0, 10.0
        self._tracking = True
        self._slider, self._box = QSlider(Qt.Orientation.Horizontal, self), QDoubleSpinBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._slider.valueChanged.connect(self._slider_moved)
        self._slider.sliderReleased.connect(self._released)
        self._box.valueChanged.connect(self.setValue)
        self._update_limits()

    def slider(self) -> QSlider:
        """The slider itself."""
        return self._slider

    def spinBox(self) -> QDoubleSpinBox:
        """The spin box."""
        return self._box

    def _get_value(self) -> float:
        return self._value

    def setValue(self, value: float) -> None:
        """Set the value, kept within the limits and rounded to the decimals."""
        value = round(min(max(float(value), self._limits[0]), self._limits[1]), self._decimals())
        changed, self._value = value != self._value, value
        self._show()
        if changed:
            self.valueChanged.emit(value)

    value = Property(float, _get_value, setValue, notify=valueChanged)

    def setMinimum(self, minimum: float) -> None:
        """Set the least value."""
        self.setRange(minimum, max(minimum, self._limits[1]))

    def setMaximum(self, maximum: float) -> None:
        """Set the greatest value."""
        self.setRange(min(maximum, self._limits[0]), maximum)

    def setRange(self, minimum: float, maximum: float) -> None:
        """Set both limits."""
        self._limits = (max(float(minimum), -_LARGE), min(float(maximum), _LARGE))
        self._update_limits()

    minimum = Property(float, lambda self: self._limits[0], setMinimum)
    maximum = Property(float, lambda self: self._limits[1], setMaximum)

    def setSingleStep(self, step: float) -> None:
        """Set the slider's step."""
        self._step = float(step)
        self._update_limits()

    singleStep = Property(float, lambda self: self._step, setSingleStep)

    def setPageStep(self, step: float) -> None:
        """Set the step of the page keys."""
        self._page = float(step)

    pageStep = Property(float, lambda self: self._page, setPageStep)

    def _decimals(self) -> int:
        return int(QDoubleSpinBox.decimals(self._box))

    def setDecimals(self, decimals: int) -> None:
        """Set how many digits follow the decimal point."""
        with QSignalBlocker(self._box):
            self._box.setDecimals(int(decimals))

    decimals = Property(int, _decimals, setDecimals)

    def setTracking(self, tracking: bool) -> None:
        """Whether ``valueChanged`` comes while the slider is dragged."""
        self._tracking = bool(tracking)

    tracking = Property(bool, lambda self: self._tracking, setTracking)

    def setSuffix(self, suffix: str) -> None:
        """Set the text after the number."""
        self._box.setSuffix(suffix)

    suffix = Property(str, lambda self: QDoubleSpinBox.suffix(self._box), setSuffix)

    def setPrefix(self, prefix: str) -> None:
        """Set the text before the number."""
        self._box.setPrefix(prefix)

    prefix = Property(str, lambda self: QDoubleSpinBox.prefix(self._box), setPrefix)

    def setSpinBoxVisible(self, visible: bool) -> None:
        """Show or hide the spin box."""
        self._box.setVisible(visible)

    spinBoxVisible = Property(bool, lambda self: not self._box.isHidden(), setSpinBoxVisible)

    def _update_limits(self) -> None:
        steps = (self._limits[1] - self._limits[0]) / (self._step or 1.0)
        with QSignalBlocker(self._slider), QSignalBlocker(self._box):
            self._slider.setRange(0, int(min(max(math.ceil(steps - 1e-6), 1), _MOST_STEPS)))
            self._box.setRange(*self._limits)
            self._box.setSingleStep(self._step)
        self.setValue(self._value)

    def _show(self) -> None:
        span = (self._limits[1] - self._limits[0]) or 1.0
        with QSignalBlocker(self._slider), QSignalBlocker(self._box):
            place = (self._value - self._limits[0]) / span * QSlider.maximum(self._slider)
            self._slider.setValue(round(place))
            self._box.setValue(self._value)

    def _value_of(self, position: int) -> float:
        share = position / (QSlider.maximum(self._slider) or 1)
        return self._limits[0] + share * (self._limits[1] - self._limits[0])

    def _slider_moved(self, position: int) -> None:
        value = self._value_of(position)
        if self._tracking or not self._slider.isSliderDown():
            self.setValue(value)
        else:
            self.valueIsChanging.emit(value)

    def _released(self) -> None:
        self.setValue(self._value_of(QSlider.value(self._slider)))


class ctkRangeWidget(QWidget):  # noqa: N801
    """Two values within limits."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._boxes = (QDoubleSpinBox(self), QDoubleSpinBox(self))
        self._values = (0.0, 99.0)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for box in self._boxes:
            layout.addWidget(box)
            box.valueChanged.connect(self._edited)
        self.setRange(0.0, 99.0)

    def setValues(self, lower: float, upper: float) -> None:
        """Set both values; they are kept within the limits and in their order."""
        least, most = QDoubleSpinBox.minimum(self._boxes[0]), QDoubleSpinBox.maximum(self._boxes[0])
        lower, upper = sorted(min(max(float(value), least), most) for value in (lower, upper))
        before, self._values = self._values, (lower, upper)
        for box, value in zip(self._boxes, self._values, strict=True):
            with QSignalBlocker(box):
                box.setValue(value)
        if before[0] != lower:
            self.minimumValueChanged.emit(lower)
        if before[1] != upper:
            self.maximumValueChanged.emit(upper)
        if before != self._values:
            self.valuesChanged.emit(lower, upper)

    def _edited(self) -> None:
        self.setValues(*(QDoubleSpinBox.value(box) for box in self._boxes))

    def setMinimumValue(self, value: float) -> None:
        """Set the lower value."""
        self.setValues(value, max(value, self._values[1]))

    def setMaximumValue(self, value: float) -> None:
        """Set the upper value."""
        self.setValues(min(value, self._values[0]), value)

    minimumValue = Property(float, lambda self: self._values[0], setMinimumValue)
    maximumValue = Property(float, lambda self: self._values[1], setMaximumValue)

    def setRange(self, minimum: float, maximum: float) -> None:
        """Set the limits of both values."""
        for box in self._boxes:
            with QSignalBlocker(box):
                box.setRange(float(minimum), float(maximum))
        self.setValues(*self._values)

    def setMinimum(self, minimum: float) -> None:
        """Set the lower limit."""
        self.setRange(minimum, max(minimum, QDoubleSpinBox.maximum(self._boxes[0])))

    def setMaximum(self, maximum: float) -> None:
        """Set the upper limit."""
        self.setRange(min(maximum, QDoubleSpinBox.minimum(self._boxes[0])), maximum)

    minimum = Property(float, lambda self: QDoubleSpinBox.minimum(self._boxes[0]), setMinimum)
    maximum = Property(float, lambda self: QDoubleSpinBox.maximum(self._boxes[0]), setMaximum)

    def setSingleStep(self, step: float) -> None:
        """Set the step of both boxes."""
        for box in self._boxes:
            box.setSingleStep(float(step))

    singleStep = Property(
        float, lambda self: QDoubleSpinBox.singleStep(self._boxes[0]), setSingleStep
    )

    def setDecimals(self, decimals: int) -> None:
        """Set how many digits follow the decimal point."""
        for box in self._boxes:
            with QSignalBlocker(box):
                box.setDecimals(int(decimals))

    decimals = Property(int, lambda self: QDoubleSpinBox.decimals(self._boxes[0]), setDecimals)
