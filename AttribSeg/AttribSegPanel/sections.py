"""The AttribSeg panel, put together from its sections."""

from __future__ import annotations

from typing import Any

from .bindings import NodeBinding, PathBinding, WorkFolder
from .dependencies import versions
from .detect_section import DetectSection
from .evaluate_section import EvaluateSection
from .panel import Panel
from .preprocess_section import PreprocessSection
from .run_section import RunSection
from .train_section import TrainSection


class AttribSegPanel(Panel):
    """All sections of the module AttribSeg."""

    def __init__(self, ui: Any, logic: Any) -> None:
        super().__init__(ui, logic)
        self.run = RunSection(self)
        self.brain = NodeBinding(ui.brainMaskSelector, self, "brainMask")
        self.preprocess = PreprocessSection(self, self.run, self.brain)
        self.train = TrainSection(self, self.run)
        self.detect = DetectSection(self, self.run, self.brain, self.train.show_corrected)
        self.evaluate = EvaluateSection(self, self.run)
        paths = (
            (ui.bundlePathLineEdit, "bundleFolder"),
            (ui.cohortPathLineEdit, "cohortPath"),
            (ui.outputPathLineEdit, "outputFolder"),
        )
        self.sections = [
            self.brain,
            *(PathBinding(widget, self, name) for widget, name in paths),
            self.preprocess,
            self.detect,
            self.train,
            self.evaluate,
        ]
        self._work_folder = WorkFolder(ui.workFolderLineEdit, logic)
        ui.versionsLabel.setText(", ".join(f"{k} {v}" for k, v in versions().items()))

    def settle(self) -> None:
        """A threshold that is being dragged counts as it is."""
        with self.guard():
            self.detect.view.settle()

    def forget_scene(self) -> None:
        """The scene is closed: no node of it is held."""
        self.detect.forget()
        self.train.forget()
        self.ui.evaluationTableView.setMRMLTableNode(None)
