"""Threshold, smallest lesion and smoothing: the segment follows while they are changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from math import floor, log10

import qt
import slicer
from AttribSegLib.bundle_card import read_card
from AttribSegLib.errors import InputError
from AttribSegScene import names
from AttribSegScene.detection_nodes import DetectionNodes
from AttribSegScene.live_threshold import LiveThreshold
from AttribSegScene.stage import Stage, let_threads_work

from .panel import Panel

#: So long after the last step of a drag, the lesion table and the surface are made anew.
_FINISH_MS = 300
_POLL_MS = 30


class ThresholdControl:
    """Slider and spin boxes of a detection.

    A step of the slider changes the segment at once; what takes longer (smoothing, dropping small
    lesions, measuring the lesions) is done by a thread that a timer watches.

    Parameters
    ----------
    panel : Panel
    told : callable
        Gets a line on the lesions after every change.
    """

    def __init__(self, panel: Panel, told: Callable[[str], None]) -> None:
        self._panel, self._told = panel, told
        self._nodes: DetectionNodes | None = None
        self._live: LiveThreshold | None = None
        self._model_threshold = self._value = 0.0
        self._may_discard = self._moved = False
        self._building: Stage | None = None
        self._preparing: Stage | None = None
        self._measuring: Stage | None = None
        ui = panel.ui
        self._finish_timer = qt.QTimer()
        self._finish_timer.setSingleShot(True)
        self._finish_timer.setInterval(_FINISH_MS)
        self._finish_timer.connect("timeout()", self._measure)
        self._watch_timer = qt.QTimer()
        self._watch_timer.setInterval(_POLL_MS)
        self._watch_timer.connect("timeout()", self._watch)
        ui.thresholdSlider.connect("valueChanged(double)", self._on_threshold)
        ui.minimumMlSpinBox.connect("valueChanged(double)", self._on_map_option)
        ui.smoothingSpinBox.connect("valueChanged(double)", self._on_map_option)
        ui.modelThresholdButton.connect("clicked(bool)", panel.guarded(self._on_model_threshold))
        self._enable(False)

    @property
    def ready(self) -> bool:
        """Whether nothing is under way: all that the controls say is in force."""
        return not (self._watch_timer.active or self._finish_timer.active)

    def attach(self, nodes: DetectionNodes | None) -> None:
        """Control a detection; None lets go of the last one, whose drag is brought to its end.

        Raises
        ------
        InputError
            If its attribution or segmentation is deleted.
        """
        with contextlib.suppress(InputError):  # then it went with the nodes that it was for
            self.settle()
        self.forget()
        if nodes is None:
            return
        self._nodes = nodes
        self._live = LiveThreshold(
            nodes.attribution_node, nodes.segmentation_node, nodes.segment_id
        )
        self._model_threshold = _threshold_of_model(nodes)
        self._value = nodes.threshold
        self._building = Stage(self._live.build)
        table = nodes.table_node
        self._tell(0 if table is None else int(table.GetAttribute(names.LESIONS) or 0))
        self._watch_timer.start()

    def settle(self) -> None:
        """Bring a drag to its end at once: threshold and lesion table say what the segment holds.

        Called before anything reads them; otherwise they follow after a pause.

        Raises
        ------
        InputError
            If the detection was deleted.
        """
        waits = self._finish_timer.active or self._measuring is not None
        self._finish_timer.stop()
        self._measuring = None
        if waits and self._live is not None:
            self._may_discard = False
            self._tell(len(self._live.finish()))

    def forget(self) -> None:
        """Let go of the detection as it is, such as when its scene is closed."""
        self._finish_timer.stop()
        self._watch_timer.stop()
        self._building = self._preparing = self._measuring = None
        self._nodes = self._live = None
        # The map is made ready for the spin boxes, but the segment stays as it was detected.
        self._may_discard = self._moved = False
        self._enable(False)

    def _enable(self, on: bool) -> None:
        for widget in (self._panel.ui.thresholdSlider, self._panel.ui.modelThresholdButton):
            widget.setEnabled(on)

    def _set_range(self) -> None:
        assert self._live is not None
        low, high = self._live.range
        low = min(low, self._value, self._model_threshold)
        high = max(high, self._value, self._model_threshold)
        step = (high - low) / 500 or 1.0
        slider = self._panel.ui.thresholdSlider
        was_blocked = slider.blockSignals(True)
        slider.decimals = max(0, min(6, 2 - floor(log10(step))))
        slider.minimum, slider.maximum, slider.singleStep = low, high, step
        slider.blockSignals(was_blocked)

    def _put_back(self) -> None:
        """The slider to where it was, without a step."""
        slider = self._panel.ui.thresholdSlider
        was_blocked = slider.blockSignals(True)
        slider.setValue(self._value)
        slider.blockSignals(was_blocked)

    def _on_threshold(self, value: float) -> None:
        live = self._live
        if live is None:
            return
        with self._panel.guard():
            if not self._may_overwrite(live):
                self._put_back()
                return
            self._moved = True
            voxels = live.set(value, discard_edits=self._may_discard)
            self._value = value
            self._told(f"{voxels} voxels{self._volume_of(voxels)}")
            self._finish_timer.start()

    def _may_overwrite(self, live: LiveThreshold) -> bool:
        """Ask once per drag before what a person drew is replaced."""
        if not self._may_discard and live.edited:
            self._may_discard = bool(
                slicer.util.confirmYesNoDisplay(
                    "This segment was corrected by hand. Replace the corrections by the "
                    "threshold? (Send them to the cohort first to keep them.)"
                )
            )
            return self._may_discard
        return True

    def _on_model_threshold(self) -> None:
        self._panel.ui.thresholdSlider.setValue(self._model_threshold)

    def _on_map_option(self, _: float) -> None:
        """Smoothing and smallest lesion change the map that is compared."""
        if self._live is not None:
            self._moved = True
            self._watch_timer.start()

    def _measure(self) -> None:
        """The drag is over: find its lesions."""
        if self._live is not None:
            self._measuring = Stage(self._live.lesions)
            self._watch_timer.start()

    def _watch(self) -> None:
        let_threads_work()
        with self._panel.guard():
            try:
                busy = self._watch_building() or (self._watch_preparing() | self._watch_measuring())
            except Exception:
                self._building = self._preparing = self._measuring = None
                self._watch_timer.stop()
                raise
            if not busy:
                self._watch_timer.stop()

    def _watch_building(self) -> bool:
        """Whether the map of a detection that was just attached is still being read."""
        if self._building is None or self._live is None:
            return False
        if not self._building.finished():
            return True
        self._building = None
        self._set_range()
        self._put_back()
        self._enable(self._live.range[1] > 0)
        return False

    def _watch_preparing(self) -> bool:
        """Whether the map is being made ready; begins with it when the spin boxes ask for it."""
        live, ui = self._live, self._panel.ui
        if live is None:
            return False
        if self._preparing is not None:
            if not self._preparing.finished():
                return True
            self._preparing = None
            self._set_range()
            if self._moved:
                self._on_threshold(ui.thresholdSlider.value)
        minimum_ml, smoothing_mm = ui.minimumMlSpinBox.value, ui.smoothingSpinBox.value
        if (minimum_ml, smoothing_mm) == live.prepared:
            return False
        if self._moved:
            self._told("working ...")
        self._preparing = Stage(
            lambda: live.prepare(minimum_ml=minimum_ml, smoothing_mm=smoothing_mm)
        )
        return True

    def _watch_measuring(self) -> bool:
        """Whether lesions are being measured; shows them when that is through."""
        if self._measuring is None or self._live is None:
            return False
        if not self._measuring.finished():
            return True
        lesions, self._measuring = self._measuring.value, None
        if not self._finish_timer.active:  # else the next step of the drag is there already
            self._may_discard = False
            self._tell(len(self._live.finish(lesions)))
        return False

    def _tell(self, lesions: int) -> None:
        count = f"{lesions} lesion{'s' if lesions != 1 else ''}"
        self._told(f"{count}. Double-click one to see it." if lesions else "No lesion.")

    def _volume_of(self, voxels: int) -> str:
        if self._nodes is None or self._nodes.nominal:
            return ""
        i, j, k = self._nodes.attribution_node.GetSpacing()
        return f", {voxels * i * j * k / 1000:.2f} mL"


def _threshold_of_model(nodes: DetectionNodes) -> float:
    """The bundle's own threshold; the detection's where the bundle is not here."""
    try:
        return read_card(nodes.bundle).threshold
    except InputError:
        return nodes.threshold
