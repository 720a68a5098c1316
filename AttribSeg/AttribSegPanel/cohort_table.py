"""The table of a cohort: one row per case, and in which state it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import qt
import slicer
from AttribSegLib.cohort_editing import create_cohort
from AttribSegLib.cohort_state import CohortRow, cohort_rows
from AttribSegScene.stage import Stage, let_threads_work

from .panel import Panel

_COLUMNS = ("State", "Case", "Label", "Split", "Patient", "Lesions")
_POLL_MS = 50
_STATE_COLOURS = {"corrected": "#d8ecd8", "missing file": "#f7d4d4", "faulty": "#f7d4d4"}


class CohortTable:
    """Shows the cohort that the parameter ``cohortPath`` names; makes empty ones."""

    def __init__(self, panel: Panel) -> None:
        self._panel, ui = panel, panel.ui
        self._shown = ""
        self._checking: Stage | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._watch)
        ui.cohortTableWidget.setColumnCount(len(_COLUMNS))
        ui.cohortTableWidget.setHorizontalHeaderLabels(list(_COLUMNS))
        ui.cohortTableWidget.verticalHeader().setVisible(False)
        ui.newCohortButton.connect("clicked(bool)", panel.guarded(self._on_new_cohort))
        ui.reloadCohortButton.connect("clicked(bool)", panel.guarded(self.reload))

    def refresh(self) -> None:
        """Read the table when another one is chosen."""
        if self._panel.parameters.cohortPath != self._shown:
            self.reload()

    def forget(self) -> None:
        """Nothing is checked any more; the table is read again when it is asked for."""
        self._timer.stop()
        self._checking = None
        self._shown = ""

    @property
    def selected_case(self) -> str | None:
        """Case of the row that is selected."""
        table = self._panel.ui.cohortTableWidget
        item = table.item(table.currentRow(), _COLUMNS.index("Case"))
        return None if item is None else str(item.text())

    def reload(self) -> None:
        """Read the cohort table again; its images are checked by a thread.

        Raises
        ------
        InputError
            If it is no cohort table.
        """
        path = self._panel.parameters.cohortPath
        self._shown = path
        self._checking = None
        self._timer.stop()
        self._show([])
        self._panel.ui.cohortSummaryLabel.setText("")
        if not path:
            return
        self._show(cohort_rows(path, check_images=False))
        self._checking = Stage(lambda: cohort_rows(path))
        self._timer.start()

    def _watch(self) -> None:
        let_threads_work()
        stage, self._checking = self._checking, None
        with self._panel.guard():
            if stage is not None and not stage.finished():
                self._checking = stage
            elif stage is not None:
                self._show(stage.value)
        if self._checking is None:
            self._timer.stop()

    def _show(self, rows: Sequence[CohortRow]) -> None:
        table, chosen = self._panel.ui.cohortTableWidget, self.selected_case
        table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            self._fill(index, row)
            if row.case == chosen:
                table.setCurrentCell(index, 0)
        table.resizeColumnsToContents()
        healthy, pathological = (sum(row.label == label for row in rows) for label in (0, 1))
        unknown = len(rows) - healthy - pathological
        masks = sum(row.lesions is not None for row in rows)
        bad = sum(row.state in ("missing file", "faulty") for row in rows)
        self._panel.ui.cohortSummaryLabel.setText(
            f"{len(rows)} cases: {healthy} healthy, {pathological} pathological, "
            + (f"{unknown} without a label, " if unknown else "")
            + f"{masks} with lesion masks"
            + (f"; {bad} cannot be used (point at them)" if bad else "")
        )

    def _fill(self, index: int, row: CohortRow) -> None:
        """A row of the table."""
        label = {0: "healthy", 1: "pathological"}.get(row.label, "?")
        lesions = "yes" if row.lesions is not None else ""
        values = (row.state, row.case, label, row.split or "", row.patient, lesions)
        for column, value in enumerate(values):
            item = qt.QTableWidgetItem(str(value))
            if row.message:
                item.setToolTip(row.message)
            if row.state in _STATE_COLOURS:
                item.setBackground(qt.QBrush(qt.QColor(_STATE_COLOURS[row.state])))
                item.setForeground(qt.QBrush(qt.QColor("black")))  # dark themes write in white
            self._panel.ui.cohortTableWidget.setItem(index, column, item)

    def _on_new_cohort(self) -> None:
        name = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), "New cohort", "cohort.csv", "Cohort table (*.csv)"
        )
        if name:
            p = self._panel.parameters
            create_cohort(Path(name), ("FLAIR", "T1") if p.t1Volume is not None else ("FLAIR",))
            p.cohortPath = name
