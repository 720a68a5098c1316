"""One detection of the scene: gauge, threshold, map over the anatomy, lesions."""

from __future__ import annotations

from typing import Any

import slicer
from AttribSegLib.errors import InputError
from AttribSegScene.detection_nodes import DetectionNodes
from AttribSegScene.display import colour_legend, jump_to, show_3d, show_overlay
from AttribSegScene.tables import lesion_centre

from .panel import Panel
from .threshold_control import ThresholdControl

_PATHOLOGICAL, _HEALTHY = "#e9955b", "#8fb3de"
_GAUGE = "QProgressBar { text-align: center; border: 1px solid #999999; border-radius: 3px; }"


class DetectionView:
    """Shows the detection that the parameter ``segmentation`` names, and what can be done to it.

    Attributes
    ----------
    nodes : DetectionNodes or None
        What is shown.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self.nodes: DetectionNodes | None = None
        self._shown_id: str | None = None
        self._overlay: tuple[str, float] | None = None
        ui = panel.ui
        self.threshold = ThresholdControl(panel, ui.lesionCountLabel.setText)
        ui.editButton.connect("clicked(bool)", panel.guarded(self._on_edit))
        ui.show3DCheckBox.connect("toggled(bool)", self._on_show_3d)
        ui.lesionTableView.connect("doubleClicked(QModelIndex)", self._on_lesion)

    def refresh(self) -> None:
        """The detection, its overlay, and what is enabled with it."""
        ui, p = self._panel.ui, self._panel.parameters
        identifier = None if p.segmentation is None else p.segmentation.GetID()
        try:
            if identifier != self._shown_id:
                self._shown_id = identifier
                self._overlay = None
                self._show(None)
                if identifier is not None:
                    self._show(DetectionNodes.of(p.segmentation))
            elif self.nodes is not None and _lost_one(self.nodes):
                self._show(DetectionNodes.of(p.segmentation))
        finally:
            for widget in (ui.editButton, ui.show3DCheckBox, ui.overlayCheckBox, ui.opacitySlider):
                widget.setEnabled(self.nodes is not None)
        if self.nodes is not None and self.nodes.attribution_node is not None:
            opacity = p.opacity if p.overlay else 0.0
            overlay = (self.nodes.attribution_node.GetID(), opacity)
            if overlay != self._overlay:  # else the views stay as the user has arranged them
                self._overlay = overlay
                show_overlay(self.nodes.attribution_node, self.nodes.volume_node, opacity=opacity)
                colour_legend(self.nodes.attribution_node, visible=p.overlay)

    def settle(self) -> None:
        """Record a threshold that was dragged a moment ago; see `ThresholdControl.settle`."""
        self.threshold.settle()

    def forget(self) -> None:
        """The scene is closed; nothing of it is held."""
        self._shown_id = None
        self.threshold.forget()
        self._show(None)

    def renew(self, nodes: DetectionNodes) -> None:
        """Show a detection that is new, or whose nodes were filled again."""
        self._shown_id = None
        self._panel.parameters.segmentation = nodes.segmentation_node
        self._panel.refresh()

    def show_result(self, nodes: DetectionNodes) -> None:
        """Show what a run found: its largest lesion, and whatever it doubts."""
        self.renew(nodes)
        self.jump_to_row(0)
        if nodes.warnings:
            text = "; ".join(nodes.warnings)
            self._panel.report(f"Look at this case, its result may be wrong: {text}", error=True)

    def jump_to_row(self, row: int) -> None:
        """Slices to a lesion of the table."""
        if self.nodes is None or self.nodes.table_node is None:
            return
        centre = lesion_centre(self.nodes.table_node, row)
        if centre is not None:
            jump_to(centre, scene=self.nodes.segmentation_node.GetScene())

    def require(self) -> DetectionNodes:
        """What is shown.

        Raises
        ------
        InputError
            If nothing is.
        """
        if self.nodes is None:
            raise InputError("no detection is shown; press Detect or choose one under Detection")
        return self.nodes

    def _show(self, nodes: DetectionNodes | None) -> None:
        """Gauge, slider, table of a detection."""
        self.nodes, ui = nodes, self._panel.ui
        bar = ui.probabilityBar
        if nodes is None:
            self.threshold.attach(None)
            bar.setValue(0)
            bar.setFormat("")
            ui.lesionTableView.setMRMLTableNode(None)
            ui.lesionCountLabel.setText("")
            return
        word = "pathological" if nodes.pathological else "healthy"
        colour = _PATHOLOGICAL if nodes.pathological else _HEALTHY
        bar.setValue(round(100 * nodes.probability))
        bar.setFormat(f"{word} ({nodes.probability:.2f})")
        bar.setStyleSheet(_GAUGE + f"QProgressBar::chunk {{ background-color: {colour}; }}")
        ui.lesionTableView.setMRMLTableNode(nodes.table_node)
        ui.lesionTableView.resizeColumnsToContents()
        self.threshold.attach(nodes)

    def _on_lesion(self, index: Any) -> None:
        with self._panel.guard():
            self.jump_to_row(index.row())

    def _on_show_3d(self, on: bool) -> None:
        with self._panel.guard():
            if self.nodes is not None:
                show_3d(self.nodes.segmentation_node, on)

    def _on_edit(self) -> None:
        nodes = self.require()
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.SegmentEditorWidget.editor
        editor.setSegmentationNode(nodes.segmentation_node)
        editor.setSourceVolumeNode(nodes.volume_node)


def _lost_one(nodes: DetectionNodes) -> bool:
    """Whether a node of a detection was deleted since they were looked for."""
    shown = (nodes.volume_node, nodes.attribution_node, nodes.table_node)
    return any(node is not None and node.GetScene() is None for node in shown)
