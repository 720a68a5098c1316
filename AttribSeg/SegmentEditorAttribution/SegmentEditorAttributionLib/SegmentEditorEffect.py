"""The Segment Editor effect "Attribution": between its controls and its operations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from AttribSegLib.errors import InputError
from AttributionEffect.aligned_map import AlignedMap
from AttributionEffect.editing import AttributionEditing, amount
from AttributionEffect.mouse import NONE, Mouse
from AttributionEffect.options import Options
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect

_ICON = Path(__file__).parents[1] / "Resources" / "Icons" / "SegmentEditorAttribution.png"
_DEFAULTS = {
    "Tool": NONE,
    "Threshold": 0.0,
    "MinimumMl": 0.0,
    "SmoothingMm": 0.0,
    "ShowPreview": 1,
    "BrushRadiusMm": 5.0,
    "PaintAboveThreshold": 0,
}
#: Interval at which the end of preparing a map is looked for.
_POLL_MS = 50


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    """Segments a volume by a map of it, and corrects the result lesion by lesion.

    Parameters
    ----------
    scripted_effect : qSlicerSegmentEditorScriptedEffect
        What Slicer gives an effect to work with.
    """

    def __init__(self, scripted_effect: Any) -> None:
        scripted_effect.name = "Attribution"
        scripted_effect.title = "Attribution"
        scripted_effect.perSegment = True
        scripted_effect.requireSegments = True
        AbstractScriptedSegmentEditorEffect.__init__(self, scripted_effect)
        self.editing = AttributionEditing(scripted_effect)
        self.mouse = Mouse(scripted_effect, self.editing, self._attempt)
        self.options: Options | None = None
        self._map_is_wrong = False
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self.update_preview)

    # What Slicer asks of an effect

    def clone(self) -> Any:
        """A second effect, for another Segment Editor."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        copy = effects.qSlicerSegmentEditorScriptedEffect(None)
        copy.setPythonSource(__file__.replace("\\", "/"))
        return copy

    def icon(self) -> Any:
        """Icon of the effect's button."""
        return qt.QIcon(str(_ICON)) if _ICON.exists() else qt.QIcon()

    def helpText(self) -> str:
        """What the effect does, for the Segment Editor's help."""
        return _HELP

    def createCursor(self, view_widget: Any) -> Any:
        """Cursor over the views."""
        return qt.QCursor(qt.Qt.CrossCursor)

    def setupOptionsFrame(self) -> None:
        """Make the controls."""
        options = self.options = Options(self.scriptedEffect)
        options.map.connect("currentNodeChanged(vtkMRMLNode*)", self._on_map_chosen)
        options.threshold.connect("valueChanged(double)", self.updateMRMLFromGUI)
        options.minimum.connect("valueChanged(double)", self.updateMRMLFromGUI)
        options.smoothing.connect("valueChanged(double)", self.updateMRMLFromGUI)
        options.radius.connect("valueChanged(double)", self.updateMRMLFromGUI)
        options.preview.connect("toggled(bool)", self.updateMRMLFromGUI)
        options.strict.connect("toggled(bool)", self.updateMRMLFromGUI)
        for button in options.tools.values():
            button.connect("toggled(bool)", self._on_tool_chosen)
        options.apply.connect("clicked()", self.onApply)

    def setMRMLDefaults(self) -> None:
        """Parameters of a new Segment Editor node."""
        for name, value in _DEFAULTS.items():
            self.scriptedEffect.setParameterDefault(name, value)

    def activate(self) -> None:
        """The effect has been chosen."""
        self._choose_map()
        self.updateGUIFromMRML()

    def deactivate(self) -> None:
        """Another effect has been chosen, or none."""
        self._timer.stop()
        self.mouse.stop()
        self.editing.close()
        if self.options is not None:
            self.options.say("")

    def cleanup(self) -> None:
        """Let go of everything that would keep this object alive."""
        self.deactivate()
        self._timer.disconnect("timeout()", self.update_preview)
        if self.options is not None:
            self.options.close()
        self.options = None

    def sourceVolumeNodeChanged(self) -> None:
        """Another volume is segmented."""
        if self.scriptedEffect.active():
            self._choose_map()
            self.updateGUIFromMRML()

    def referenceGeometryChanged(self) -> None:
        """The grid of the edits is another one."""
        if self.scriptedEffect.active():
            self.editing.cancel_stroke()
            self.updateGUIFromMRML()

    def layoutChanged(self) -> None:
        """The views are others."""
        self.mouse.hide_outline()

    def updateGUIFromMRML(self) -> None:
        """Controls show the parameters."""
        if self.options is None or self.scriptedEffect.parameterSetNode() is None:
            return
        effect = self.scriptedEffect
        self.options.set_tool_quietly(effect.parameter("Tool"))
        self.options.set_quietly(
            map=self.editing.map_node,
            minimum=effect.doubleParameter("MinimumMl"),
            smoothing=effect.doubleParameter("SmoothingMm"),
            preview=bool(effect.integerParameter("ShowPreview")),
            radius=effect.doubleParameter("BrushRadiusMm"),
            strict=bool(effect.integerParameter("PaintAboveThreshold")),
        )
        usable = self._attempt(self._fit_slider)
        self.options.apply.enabled = usable
        if usable:
            if self._map_is_wrong:
                self._say("")
            self.update_preview()
        else:
            self.editing.hide()
            self._amount("")
        self._map_is_wrong = not usable

    def updateMRMLFromGUI(self, *_: Any) -> None:
        """Parameters are what the controls show."""
        if self.options is None:
            return
        effect, options = self.scriptedEffect, self.options
        # All are read first: the first to be set makes the controls show the parameters again.
        # As text, since Slicer keeps six digits of a number.
        values = {
            "MinimumMl": repr(float(options.minimum.value)),
            "SmoothingMm": repr(float(options.smoothing.value)),
            "BrushRadiusMm": repr(float(options.radius.value)),
            "ShowPreview": int(options.preview.checked),
            "PaintAboveThreshold": int(options.strict.checked),
        }
        # The slider rounds: a threshold that it has only shown stays as exact as it was.
        threshold = float(options.threshold.value)
        if abs(threshold - effect.doubleParameter("Threshold")) > options.threshold.singleStep / 2:
            values["Threshold"] = repr(threshold)
        for name, value in values.items():
            effect.setParameter(name, value)
        self.update_preview()

    def onApply(self) -> None:
        """Make the selected segment what is above the threshold."""
        if not self.scriptedEffect.confirmCurrentSegmentVisible():
            return
        self._attempt(self._apply)

    def processInteractionEvents(self, interactor: Any, event: int, view_widget: Any) -> bool:
        """The mouse in a view; True when nobody else shall get the event."""
        return self.mouse.event(interactor, event, view_widget)

    # Threshold

    def update_preview(self) -> None:
        """Show what is above the threshold now; comes back while the map is prepared for it."""
        if not self.scriptedEffect.active() or self.options is None:
            self._timer.stop()
            return
        self._attempt(self._show)

    def _show(self) -> None:
        self._timer.stop()
        current = self._prepare()
        busy = current.busy  # asked once: the map may be ready before what it was is shown
        if busy:
            self._timer.start()
        # A smoothed map is lower.
        self._fit_slider()
        if not self.scriptedEffect.integerParameter("ShowPreview"):
            self.editing.hide()
            self._amount("")
            return
        count = self.editing.show(self.scriptedEffect.doubleParameter("Threshold"))
        text = amount(count, current.voxel_volume_ml)
        self._amount(f"{text}; preparing the map…" if busy else text)

    def _prepare(self) -> AlignedMap:
        """The map, asked to drop small lesions and to be smoothed as the parameters say."""
        current = self.editing.refresh()
        effect = self.scriptedEffect
        current.prepare(effect.doubleParameter("MinimumMl"), effect.doubleParameter("SmoothingMm"))
        return current

    def _apply(self) -> str:
        self._prepare()
        qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            return self.editing.apply(self.scriptedEffect.doubleParameter("Threshold"))
        finally:
            qt.QApplication.restoreOverrideCursor()

    def _fit_slider(self) -> None:
        """Range and value of the threshold's slider."""
        assert self.options is not None
        current = self.editing.refresh()
        highest = current.range[1]
        if highest <= 0:
            raise InputError(
                f"{current.name!r} has no positive voxel on the grid of the edits: nothing in it "
                "argues for a lesion; choose another map"
            )
        threshold = self.scriptedEffect.doubleParameter("Threshold")
        self.options.set_range(0.0, max(highest, threshold))
        self.options.set_quietly(threshold=threshold)
        known = current.voxel_volume_ml is not None
        self.options.minimum.enabled = self.options.smoothing.enabled = known

    def _choose_map(self) -> None:
        before = self.editing.map_node
        self.editing.choose_map()
        if self.editing.map_node is not before:
            self._start_anew()

    def _on_map_chosen(self, node: Any) -> None:
        if node is not self.editing.map_node:
            self.editing.map_node = node
            self._start_anew()
            self.updateGUIFromMRML()

    def _start_anew(self) -> None:
        """Settings of another map."""

        def choose() -> None:
            first = self.editing.first_settings()
            effect = self.scriptedEffect
            effect.setParameter("MinimumMl", repr(first.minimum_ml))
            effect.setParameter("SmoothingMm", repr(first.smoothing_mm))
            effect.setParameter("Threshold", repr(first.threshold))

        self._attempt(choose)

    def _on_tool_chosen(self, chosen: bool) -> None:
        if chosen and self.options is not None:
            self.mouse.stop()
            self.editing.forget_kept()
            self.options.say("")
            self.scriptedEffect.setParameter("Tool", self.options.tool)
            self.updateGUIFromMRML()

    # Messages

    def _attempt(self, action: Callable[[], str | None]) -> bool:
        """Do something; what it says, or what a person can mend, is shown in the options."""
        try:
            self._say(action())
        except InputError as error:
            self._say(str(error), wrong=True)
            return False
        return True

    def _say(self, text: str | None, *, wrong: bool = False) -> None:
        if self.options is not None and text is not None:
            self.options.say(text, wrong=wrong)

    def _amount(self, text: str) -> None:
        if self.options is not None:
            self.options.amount.text = text


_HELP = """<html>Segment lesions by a map of the source volume, such as the attribution that the
AttribSeg module computes.
<ul style="margin: 0">
<li><b>Threshold:</b> voxels above it are shown in yellow; <b>Apply</b> makes them the selected
segment. Lesions below the smallest one are left out, and the map can be smoothed.</li>
<li><b>Keep:</b> click a lesion in a slice view to keep it and drop all others; click the outlined
ones to bring them back. In an empty segment the yellow ones can be kept.</li>
<li><b>Drop:</b> click a lesion to take it out of the segment.</li>
<li><b>Paint:</b> draw with a ball that paints only where the map is positive, or above the
threshold. <b>Shift</b> erases instead, Shift and the mouse wheel change the size.</li>
<li><b>Erase:</b> draw with a ball that erases; Shift paints.</li>
</ul>
The editable area, the intensity range and the overwriting of other segments hold as for every
effect, and every change can be undone.</html>"""
