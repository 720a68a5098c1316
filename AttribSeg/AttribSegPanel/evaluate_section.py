"""The section Evaluate: a model on a split of a cohort."""

from __future__ import annotations

from typing import Any

from .panel import Panel
from .run_section import RunSection
from .views import show_chart


class EvaluateSection:
    """Runs an evaluation; its table and curves are nodes."""

    def __init__(self, panel: Panel, run: RunSection) -> None:
        self._panel, self._run = panel, run
        panel.ui.evaluateButton.connect("clicked(bool)", panel.guarded(self._on_evaluate))

    def refresh(self) -> None:
        """The button waits for a model and a cohort; the table comes back with the scene."""
        parameters = self._panel.parameters
        ready = bool(parameters.bundleFolder and parameters.cohortPath)
        self._panel.ui.evaluateButton.setEnabled(ready or self._run.task is not None)
        view = self._panel.ui.evaluationTableView
        if view.mrmlTableNode() is not parameters.evaluationTable:
            view.setMRMLTableNode(parameters.evaluationTable)

    def _on_evaluate(self) -> None:
        p, logic = self._panel.parameters, self._panel.logic
        self._run.toggle(
            self._panel.ui.evaluateButton,
            lambda: logic.evaluateTask(
                p.cohortPath,
                p.bundleFolder,
                split=p.split,
                maskTuned=p.maskTuned,
                device=p.device,
            ),
            self._on_evaluated,
        )

    def _on_evaluated(self, result: Any) -> None:
        self._panel.parameters.evaluationTable = result.table
        self._panel.ui.evaluationLabel.setText(
            f"{len(result.charts)} charts are in the plot view's list. The whole report: "
            f"{result.folder / 'evaluation.md'}"
        )
        if result.charts:
            show_chart(next(iter(result.charts.values())))
