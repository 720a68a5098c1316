"""The MonotoneNet panel, put together from its sections."""

from __future__ import annotations

from typing import Any

from AttribSegPanel.bindings import NodeBinding, PathBinding, WorkFolder
from AttribSegPanel.dependencies import versions
from AttribSegPanel.panel import Panel
from AttribSegPanel.run_section import RunSection

from .inspect_section import InspectSection
from .maps_section import MapsSection
from .train_section import TrainSection


class MonotoneNetPanel(Panel):
    """All sections of the module MonotoneNet."""

    def __init__(self, ui: Any, logic: Any) -> None:
        super().__init__(ui, logic)
        self.run = RunSection(self)
        self.brain = NodeBinding(ui.brainMaskSelector, self, "brainMask")
        self.inspect = InspectSection(self, self.run)
        self.train = TrainSection(self, self.run)
        self.maps = MapsSection(self, self.run, self.brain)
        paths = (
            (ui.inspectBundlePathLineEdit, "inspectBundle"),
            (ui.cohortPathLineEdit, "cohortPath"),
            (ui.outputPathLineEdit, "outputFolder"),
            (ui.bundlePathLineEdit, "bundleFolder"),
        )
        self.sections = [
            self.brain,
            *(PathBinding(widget, self, name) for widget, name in paths),
            self.inspect,
            self.train,
            self.maps,
        ]
        self._work_folder = WorkFolder(ui.workFolderLineEdit, logic)
        for button in (ui.inspectCollapsibleButton, ui.detectCollapsibleButton):
            # What is hidden while a section is closed would come back when it is opened.
            button.connect("contentsCollapsed(bool)", lambda _: self.refresh())
        ui.versionsLabel.setText(", ".join(f"{k} {v}" for k, v in versions().items()))

    def settle(self) -> None:
        """A threshold that is being dragged counts as it is."""
        with self.guard():
            self.maps.view.settle()

    def forget_scene(self) -> None:
        """The scene is closed: no node of it is held."""
        self.inspect.forget()
        self.maps.forget()
