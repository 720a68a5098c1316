"""Starting, pausing and resuming a training, and what it says on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from AttribSegLib.errors import InputError

from .panel import Panel
from .run_section import RunSection
from .views import show_chart

#: What an event of an epoch says, by its keys.
_SHOWN = (
    ("loss", "train_loss"),
    ("TPR", "validation_tpr"),
    ("TNR", "validation_tnr"),
    ("AUROC", "validation_auroc"),
)


class TrainingControl:
    """Trains on the cohort of the parameters, into their output folder.

    Parameters
    ----------
    panel : Panel
    run : RunSection
    options : callable
        Gives the options of the logic's ``trainTask``, from the recipe on.
    """

    def __init__(
        self, panel: Panel, run: RunSection, options: Callable[[], dict[str, Any]]
    ) -> None:
        self._panel, self._run, self._options = panel, run, options
        self._shown: Any = None  # the training whose chart was brought to the front
        for button, action in (
            (panel.ui.trainButton, self._on_train),
            (panel.ui.pauseButton, run.pause),
            (panel.ui.useBundleButton, self._on_use_bundle),
        ):
            button.connect("clicked(bool)", panel.guarded(action))

    def refresh(self) -> None:
        """Buttons: what there is in the output folder decides what they do."""
        ui, p = self._panel.ui, self._panel.parameters
        busy, state = self._run.task is not None, self._state()
        ui.trainButton.setEnabled(bool(p.cohortPath) and bool(p.outputFolder))
        ui.pauseButton.setEnabled(busy and ui.trainButton.text == "Cancel")
        if not busy:
            words = {"unfinished": "Resume training", "finished": "Train anew"}
            ui.trainButton.setText(words.get(state, "Start training"))
        ui.useBundleButton.setEnabled(state == "finished")

    def _state(self) -> str:
        """Whether the output folder holds a model, an unfinished training or nothing."""
        folder = Path(self._panel.parameters.outputFolder or "nothing")
        if (folder / "config.json").is_file():
            return "finished"
        return "unfinished" if (folder / "training" / "last.safetensors").is_file() else "none"

    def _on_train(self) -> None:
        p = self._panel.parameters
        state = self._state()
        replaces = self._run.task is None and state == "finished"
        if replaces and not slicer.util.confirmOkCancelDisplay(
            f"{p.outputFolder} holds a finished model. Replace it?"
        ):
            raise InputError(f"{p.outputFolder} was left as it is; choose another folder")
        self._run.toggle(
            self._panel.ui.trainButton,
            lambda: self._panel.logic.trainTask(
                p.cohortPath,
                p.outputFolder,
                **self._options(),
                resume=state == "unfinished",
                overwrite=state == "finished",
            ),
            self._on_trained,
            self._on_event,
            self._what_is_left,
        )

    def _what_is_left(self) -> str:
        """Of a training that was paused or cancelled."""
        if self._state() == "unfinished":
            return "Its whole epochs are saved: Resume training goes on after the last of them."
        return "Its first epoch was not through: nothing is saved, and it begins anew next time."

    def _on_event(self, event: dict[str, Any]) -> None:
        if event.get("event") != "epoch":
            return
        task: Any = self._run.task
        if task is not None and task is not self._shown:
            self._shown = task
            show_chart(task.plot.node)
        rates = [
            f"{word} {event[key]:.3g}"
            for word, key in _SHOWN
            if isinstance(event.get(key), (int, float))
        ]
        self._panel.ui.trainingLabel.setText(
            f"Epoch {event['epoch']} of {event['epochs']}: {', '.join(rates)}; "
            f"best so far: epoch {event['best_epoch']}"
        )

    def _on_trained(self, result: Any) -> None:
        metrics = ", ".join(f"{name} {value:.2f}" for name, value in result.bundle.metrics.items())
        self._panel.ui.trainingLabel.setText(f"Model: {result.bundle.folder} ({metrics})")

    def _on_use_bundle(self) -> None:
        self._panel.parameters.bundleFolder = self._panel.parameters.outputFolder
        self._panel.ui.detectCollapsibleButton.collapsed = False
