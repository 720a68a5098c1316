"""The effect's controls."""

from __future__ import annotations

from typing import Any

import ctk
import qt
import slicer

from .mouse import DROP, ERASE, KEEP, NONE, PAINT, RADII_MM

#: Tools of the mouse, in the order of their buttons: name, label, explanation.
_TOOLS = (
    (NONE, "None", "The mouse moves the views as usual."),
    (
        KEEP,
        "Keep",
        "Click a lesion to keep it and drop the others. Further clicks bring more of them back.",
    ),
    (DROP, "Drop", "Click a lesion of the selected segment to take it out."),
    (
        PAINT,
        "Paint",
        "Draw with a ball; only voxels that the map marks are painted. Hold Shift to erase.",
    ),
    (ERASE, "Erase", "Draw with a ball that erases, whatever the map says."),
)


class Options:
    """Widgets of the options frame.

    Parameters
    ----------
    effect : qSlicerSegmentEditorScriptedEffect
        Owner of the frame.
    """

    def __init__(self, effect: Any) -> None:
        self.map = slicer.qMRMLNodeComboBox()
        self.map.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.map.showChildNodeTypes = False
        self.map.noneEnabled = True
        self.map.addEnabled = False
        self.map.removeEnabled = False
        self.map.renameEnabled = False
        self.map.setMRMLScene(slicer.mrmlScene)
        self.map.setToolTip("Attribution, or another map that is high in lesions.")
        effect.addLabeledOptionsWidget("Map:", self.map)

        self.threshold = ctk.ctkSliderWidget()
        self.threshold.setToolTip("Voxels of the map above this value are shown and applied.")
        effect.addLabeledOptionsWidget("Threshold:", self.threshold)

        self.minimum = _number(3, 0.01, 1000.0, " mL", "Smaller lesions are left out.")
        effect.addLabeledOptionsWidget("Smallest lesion:", self.minimum)
        tip = "Standard deviation of a Gaussian that the map is smoothed by, within the brain."
        self.smoothing = _number(1, 0.5, 20.0, " mm", tip)
        effect.addLabeledOptionsWidget("Smoothing:", self.smoothing)

        self.preview = qt.QCheckBox("Show what is above the threshold")
        effect.addOptionsWidget(self.preview)
        self.amount = qt.QLabel("")
        effect.addOptionsWidget(self.amount)

        self.apply = qt.QPushButton("Apply")
        self.apply.objectName = "AttributionApply"
        self.apply.setToolTip("Make the selected segment what is above the threshold.")
        effect.addOptionsWidget(self.apply)

        row = qt.QHBoxLayout()
        self.tools: dict[str, Any] = {}
        self._group = qt.QButtonGroup()
        for name, label, tip in _TOOLS:
            button = qt.QRadioButton(label)
            button.setToolTip(tip)
            self._group.addButton(button)
            row.addWidget(button)
            self.tools[name] = button
        self._row = row
        effect.addLabeledOptionsWidget("In slices:", row)

        self.radius = ctk.ctkSliderWidget()
        self.radius.decimals = 1
        self.radius.minimum = RADII_MM[0]
        self.radius.maximum = RADII_MM[1]
        self.radius.singleStep = 0.5
        self.radius.suffix = " mm"
        self.radius.setToolTip("Radius of the ball. Shift and the mouse wheel change it too.")
        self.radius_label = effect.addLabeledOptionsWidget("Brush:", self.radius)

        self.strict = qt.QCheckBox("Paint only what is above the threshold")
        self.strict.setToolTip("Otherwise every voxel with a positive value can be painted.")
        effect.addOptionsWidget(self.strict)

        self.message = qt.QLabel("")
        self.message.objectName = "AttributionMessage"
        self.message.wordWrap = True
        effect.addOptionsWidget(self.message)

    @property
    def tool(self) -> str:
        """The chosen tool."""
        return next((name for name, button in self.tools.items() if button.checked), NONE)

    def close(self) -> None:
        """Let go of the scene."""
        was_blocked = self.map.blockSignals(True)
        self.map.setMRMLScene(None)
        self.map.blockSignals(was_blocked)

    def set_quietly(self, **values: Any) -> None:
        """Set controls to values without their signals."""
        for name, value in values.items():
            widget = getattr(self, name)
            was_blocked = widget.blockSignals(True)
            if name == "map":
                widget.setCurrentNode(value)
            elif isinstance(value, bool):
                widget.checked = value
            else:
                widget.value = value
            widget.blockSignals(was_blocked)

    def set_tool_quietly(self, tool: str) -> None:
        """Choose a tool without its signal; what belongs to other tools is disabled."""
        for button in self.tools.values():
            button.blockSignals(True)
        self.tools.get(tool, self.tools[NONE]).checked = True
        for button in self.tools.values():
            button.blockSignals(False)
        brush = tool in (PAINT, ERASE)
        self.radius.enabled = brush
        self.radius_label.enabled = brush
        self.strict.enabled = tool == PAINT

    def set_range(self, lowest: float, highest: float) -> None:
        """Fit the threshold's slider to a map, without a signal."""
        was_blocked = self.threshold.blockSignals(True)
        # Three figures of the span are seen; more digits are noise on a slider.
        step = 10.0 ** _exponent(highest / 1000)
        self.threshold.decimals = max(0, -_exponent(highest / 1000))
        self.threshold.singleStep = step
        self.threshold.minimum = min(0.0, lowest)
        self.threshold.maximum = highest
        self.threshold.blockSignals(was_blocked)

    def say(self, text: str, *, wrong: bool = False) -> None:
        """Show a message below the controls."""
        self.message.text = text
        self.message.setStyleSheet("color: #b3261e; font-weight: bold" if wrong else "")


def _number(decimals: int, step: float, highest: float, unit: str, tip: str) -> Any:
    """A box for a number from zero up."""
    box = qt.QDoubleSpinBox()
    box.decimals = decimals
    box.minimum = 0.0
    box.maximum = highest
    box.singleStep = step
    box.suffix = unit
    # A map is prepared anew for every value: not while it is being typed.
    box.keyboardTracking = False
    box.setToolTip(tip)
    return box


def _exponent(value: float) -> int:
    """Power of ten at or below a positive value."""
    import math

    return math.floor(math.log10(value)) if value > 0 else 0
