"""The section Train: cases of a cohort, a recipe, a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AttribSegLib.cohort_editing import remove_case
from AttribSegLib.errors import InputError

from .bindings import NodeBinding
from .cohort_table import CohortTable
from .panel import Panel
from .parameters import ATTRIBUTIONS, LABELS, LEARNS_FROM, POST_PROCESSING, SPACINGS
from .preprocess_section import chosen_steps
from .run_section import RunSection
from .training_control import TrainingControl


def recipe_from_parameters(parameters: Any) -> dict[str, Any]:
    """The recipe of the form, as `attribseg train --recipe` reads it."""
    shared = {
        "width": parameters.width,
        "epochs": parameters.epochs,
        "batch_size": parameters.batchSize,
        "optimiser": parameters.optimiser,
        "learning_rate": parameters.learningRate,
    }
    constraint = LEARNS_FROM[parameters.learnsFrom]
    if constraint is None:
        return {"recipe": "supervised", **shared}
    if constraint == "sup":
        # What a few corrected cases need to be heard: see Testing/Evidence/corrections.
        shared |= {"balanced": True, "masked_share": 0.5}
    return {
        "recipe": "attribution",
        "constraint": constraint,
        "attribution": ATTRIBUTIONS[parameters.attribution],
        "network": parameters.network,
        "alpha": parameters.alpha or "auto",
        **shared,
    }


class TrainSection:
    """Edits the cohort and trains on it."""

    def __init__(self, panel: Panel, run: RunSection) -> None:
        self._panel, self._run, ui = panel, run, panel.ui
        self._cohort = CohortTable(panel)
        self._brain = NodeBinding(ui.caseBrainSelector, panel, "caseBrain")
        self._training = TrainingControl(panel, run, self._options)
        for button, action in (
            (ui.addCaseButton, self._on_add_case),
            (ui.removeCaseButton, self._on_remove_case),
            (ui.prepareCohortButton, self._on_prepare_cohort),
        ):
            button.connect("clicked(bool)", panel.guarded(action))

    def refresh(self) -> None:
        """Table, buttons and labels of the cohort and the model in the parameters."""
        ui, p = self._panel.ui, self._panel.parameters
        self._cohort.refresh()
        self._brain.refresh()
        has_cohort = bool(p.cohortPath)
        for button in (ui.addCaseButton, ui.removeCaseButton):
            button.setEnabled(has_cohort and self._run.task is None)
        ui.prepareCohortButton.setEnabled(has_cohort)
        for control in (ui.attributionComboBox, ui.networkComboBox, ui.alphaSpinBox):
            control.setEnabled(LEARNS_FROM[p.learnsFrom] is not None)  # what it constrains, and how
        self._training.refresh()

    def reload(self) -> None:
        """Read the cohort table again."""
        self._cohort.reload()

    def forget(self) -> None:
        """The scene is closed, or the panel goes away."""
        self._cohort.forget()

    def show_corrected(self, path: Path) -> None:
        """After a correction: its cohort, and training from masks."""
        parameters = self._panel.parameters
        parameters.cohortPath = str(path)
        parameters.learnsFrom = next(k for k, v in LEARNS_FROM.items() if v == "sup")
        self.reload()

    def _options(self) -> dict[str, Any]:
        """What the form says, for `trainTask`."""
        p = self._panel.parameters
        return {
            "recipe": recipe_from_parameters(p),
            "device": p.trainDevice,
            "seed": p.seed,
            "falsePositiveMl": p.falsePositiveMl,
            "postProcessing": POST_PROCESSING[p.postProcessing],
        }

    def _on_add_case(self) -> None:
        p, ui = self._panel.parameters, self._panel.ui
        self._run.toggle(
            ui.addCaseButton,
            lambda: self._panel.logic.addCaseTask(
                p.cohortPath,
                p.caseVolume,
                label=LABELS[p.caseLabel],
                patient=ui.casePatientLineEdit.text.strip(),
                t1=p.caseT1,
                brain=self._brain.node,
                lesions=p.caseSegmentation,
            ),
            self._on_added,
        )

    def _on_added(self, row: Any) -> None:
        self.reload()
        self._panel.report(f"{row.case} is in the cohort ({row.state}). {row.message}".strip())

    def _on_remove_case(self) -> None:
        case = self._cohort.selected_case
        if case is None:
            raise InputError("no case is selected; click its row in the table first")
        remove_case(Path(self._panel.parameters.cohortPath), case)
        self.reload()

    def _on_prepare_cohort(self) -> None:
        p = self._panel.parameters
        table = Path(p.cohortPath)
        self._run.toggle(
            self._panel.ui.prepareCohortButton,
            lambda: self._panel.logic.prepareCohortTask(
                p.cohortPath,
                table.parent / f"{table.stem}-prepared",
                spacing=SPACINGS[p.spacing],
                steps=chosen_steps(p),
                reference=p.referenceVolume,
                robust=p.robust,
            ),
            self._on_cohort_prepared,
        )

    def _on_cohort_prepared(self, path: Path) -> None:
        self._panel.parameters.cohortPath = str(path)
        self._panel.report(
            f"Prepared cohort: {path}. Look at {path.parent / 'report.html'} before training."
        )
