"""The section Convert and inspect: what a network becomes, and what is proved of it."""

from __future__ import annotations

from typing import Any

from AttribSegPanel.panel import Panel
from AttribSegPanel.run_section import RunSection
from AttribSegPanel.views import show_chart

from .parameters import DIMENSIONS

_NOTHING = "Choose a network or a trained model, and press the button."


class InspectSection:
    """Converts a network by name, or opens a trained model; shows report, certificate, depth."""

    def __init__(self, panel: Panel, run: RunSection) -> None:
        self._panel, self._run, ui = panel, run, panel.ui
        self._task: Any = None
        ui.inspectButton.connect("clicked(bool)", panel.guarded(self._on_inspect))
        ui.depthPlotButton.connect("clicked(bool)", panel.guarded(self._on_plot))

    def refresh(self) -> None:
        """Controls of a network wait while a model is chosen; the last result is shown."""
        ui, p = self._panel.ui, self._panel.parameters
        for widget in (
            ui.inspectNetworkComboBox,
            ui.inspectDimensionsComboBox,
            ui.inspectChannelsSpinBox,
            ui.inspectWidthSpinBox,
        ):
            widget.setEnabled(not p.inspectBundle)
        verdict, report = self._text()
        ui.certificateLabel.setText(verdict)
        if ui.reportText.plainText != report:
            ui.reportText.setPlainText(report)
        if ui.depthTableView.mrmlTableNode() is not p.inspectTable:
            ui.depthTableView.setMRMLTableNode(p.inspectTable)
            ui.depthTableView.resizeColumnsToContents()
        ui.depthPlotButton.setEnabled(p.inspectChart is not None)
        has_result = p.inspectReport is not None
        for widget in (ui.reportText, ui.depthTableView, ui.depthPlotButton):
            widget.setVisible(has_result)

    def forget(self) -> None:
        """The scene is closed; nothing of it is held."""
        self._task = None
        self._panel.ui.depthTableView.setMRMLTableNode(None)

    def _text(self) -> tuple[str, str]:
        """Verdict and report of the last inspection."""
        task, node = self._task, self._panel.parameters.inspectReport
        if task is not None and task.failure is not None:
            return f"Not certified: {task.failure.message}", ""
        if task is not None and not task.done:
            return "Converting, and looking for a proof ...", ""
        if node is None:
            return _NOTHING, ""
        verdict, _, report = (node.GetText() or "").partition("\n\n")
        return verdict, report.strip()

    def _on_inspect(self) -> None:
        p, before = self._panel.parameters, self._run.task
        self._run.toggle(self._panel.ui.inspectButton, self._make, self._on_inspected)
        if before is None:
            # It runs; one that was refused leaves the last result as it is.
            self._task = self._run.task
            p.inspectReport = p.inspectTable = p.inspectChart = None
            self._panel.refresh()

    def _make(self) -> Any:
        p = self._panel.parameters
        return self._panel.logic.inspectTask(
            network=p.inspectNetwork,
            dimensions=DIMENSIONS[p.inspectDimensions],
            inChannels=p.inspectChannels,
            width=p.inspectWidth,
            bundle=p.inspectBundle,
        )

    def _on_inspected(self, found: Any) -> None:
        p = self._panel.parameters
        p.inspectReport = found.text_node
        p.inspectTable = found.table_node
        p.inspectChart = found.chart_node
        show_chart(found.chart_node)

    def _on_plot(self) -> None:
        show_chart(self._panel.parameters.inspectChart)
