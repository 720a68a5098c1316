"""The AttribSeg panel as a user has it, for the tests that press its buttons; support code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headless.application import HeadlessApplication

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLES = REPOSITORY / "AttribSeg" / "Resources" / "SampleData"
TUMOUR = SAMPLES / "SimulatedTumour_FLAIR.nii.gz"
HEALTHY = SAMPLES / "SimulatedHealthy_FLAIR.nii.gz"
HEAD = SAMPLES / "SimulatedHead_FLAIR.nii.gz"


class Workplace:
    """The application, the opened module and what a person does with them."""

    def __init__(self, app: HeadlessApplication, folder: Path) -> None:
        self.app = app
        self.widget = app.load_module(REPOSITORY / "AttribSeg" / "AttribSeg.py")
        self.ui = self.widget.ui
        self.folder = folder
        self.pictures = Path(os.environ.get("ATTRIBSEG_SCREENSHOTS", folder / "pictures"))
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.ui.workFolderLineEdit.setCurrentPath(str(folder / "runs"))

    @property
    def parameters(self) -> Any:
        return self.widget.panel.parameters

    @property
    def message(self) -> str:
        """What the top of the panel says."""
        return str(self.ui.messageLabel.text)

    @property
    def running(self) -> bool:
        return self.widget.panel.run.task is not None

    def load(self, path: Path) -> Any:
        import slicer

        return slicer.util.loadVolume(str(path))

    def wait(self, seconds: float = 300) -> None:
        """Until nothing runs."""
        self.app.wait_until(lambda: not self.running, timeout_s=seconds)
        self.app.process_events()

    def detect(self, volume: Any) -> Any:
        """Choose the demonstration model, press Detect, and give the detection's nodes."""
        from AttribSegScene.detection_nodes import DetectionNodes

        self.ui.inputVolumeSelector.setCurrentNode(volume)
        self.ui.demoBundleButton.click()
        self.ui.detectButton.click()
        self.wait()
        assert self.message == "", self.message
        self.app.wait_until(lambda: self.widget.panel.detect.view.threshold.ready, timeout_s=120)
        return DetectionNodes.of(self.parameters.segmentation)

    def picture(self, name: str, *open_sections: str) -> None:
        """A picture of the panel with some of its sections open."""
        for section in ("inputs", "preprocess", "detect", "train", "evaluate", "job"):
            button = getattr(self.ui, f"{section}CollapsibleButton")
            button.collapsed = section not in open_sections
        paths = [
            getattr(self.ui, f"{path}LineEdit")
            for path in ("bundlePath", "cohortPath", "outputPath", "workFolder")
        ]
        before = [edit.currentPath for edit in paths]
        for edit, path in zip(paths, before, strict=True):  # folders of nobody's machine
            edit.blockSignals(True)
            edit.setCurrentPath(Path(path).name)
        self.app.process_events()
        self.app.screenshot(self.widget.parent, self.pictures / f"{name}.png")
        for edit, path in zip(paths, before, strict=True):
            edit.setCurrentPath(path)
            edit.blockSignals(False)


@contextmanager
def workplace(folder: Path) -> Iterator[Workplace]:
    """Open the application with the AttribSeg panel."""
    with HeadlessApplication() as app:
        yield Workplace(app, folder)


def voxels(node: Any, segment_id: str, volume: Any) -> int:
    """Voxels of a segment on a volume's grid."""
    from AttribSegLib.mrml import mask_from_segment

    return int(mask_from_segment(node, segment_id, reference=volume).array.sum())
