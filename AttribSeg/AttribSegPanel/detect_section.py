"""The section Detect: a model on a volume, and the result looked at, changed and corrected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from AttribSegScene.results import remove_orphans
from AttribSegScene.scenes import is_in_scene

from .bindings import NodeBinding
from .bundle_card_view import BundleCardView
from .detection_view import DetectionView
from .panel import Panel
from .parameters import SCANS
from .resources import demonstration_bundle
from .run_section import RunSection


class DetectSection:
    """Starts detections and shows one of those in the scene."""

    def __init__(
        self, panel: Panel, run: RunSection, brain: NodeBinding, corrected: Callable[[Path], None]
    ) -> None:
        self._panel, self._run, self._brain, self._corrected = panel, run, brain, corrected
        ui = panel.ui
        self._card = BundleCardView(ui.bundleCardLabel)
        self.view = DetectionView(panel)
        for button, action in (
            (ui.detectButton, self._on_detect),
            (ui.demoBundleButton, self._on_demonstration),
            (ui.addCorrectionButton, self._on_add_correction),
        ):
            button.connect("clicked(bool)", panel.guarded(action))

    def refresh(self) -> None:
        """Card, buttons and the detection that the parameters name."""
        ui, p = self._panel.ui, self._panel.parameters
        remove_orphans(slicer.mrmlScene)
        self._card.show(p.bundleFolder)
        ready = p.inputVolume is not None and bool(p.bundleFolder)
        ui.detectButton.setEnabled(ready or self._run.task is not None)
        self.view.refresh()
        ui.addCorrectionButton.setEnabled(self.view.nodes is not None and bool(p.cohortPath))

    def forget(self) -> None:
        """The scene is closed; nothing of it is held."""
        self.view.forget()

    def _on_demonstration(self) -> None:
        self._panel.parameters.bundleFolder = str(demonstration_bundle())

    def _on_detect(self) -> None:
        p = self._panel.parameters
        self._run.toggle(
            self._panel.ui.detectButton,
            lambda: self._panel.logic.detectTask(
                p.inputVolume,
                p.bundleFolder,
                t1=p.t1Volume,
                brain=self._brain.node,
                minimumMl=p.minimumMl,
                device=p.device,
                prepared=True if p.scanIs == SCANS[1] else None,
            ),
            self.view.show_result,
        )

    def _on_add_correction(self) -> None:
        self.view.settle()
        p, ui = self._panel.parameters, self._panel.ui
        node, cohort = p.segmentation, p.cohortPath
        self._run.toggle(
            ui.addCorrectionButton,
            lambda: self._panel.logic.addCorrectionTask(
                self.view.require().segmentation_node,
                cohort,
                patient=ui.correctionPatientLineEdit.text.strip(),
            ),
            lambda row: self._on_correction_added(row, node, Path(cohort)),
        )

    def _on_correction_added(self, row: Any, node: Any, cohort: Path) -> None:
        self._panel.ui.correctionPatientLineEdit.setText("")  # the next one may be another's
        if is_in_scene(node, "vtkMRMLSegmentationNode"):  # else another scene has its own cohort
            self._corrected(cohort)
        self._panel.report(
            f"The correction is in the cohort as {row.case} of patient {row.patient} "
            f"({row.split or 'no split yet'}); the next training learns from it. {row.message}"
        )
