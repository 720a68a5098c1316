"""The AttribSeg panel: its construction, a drag step up to the picture, and the longest stop."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]


def measure() -> dict[str, float]:
    """Seconds to make the panel with all imports done; the rest on a volume of 1 mm.

    ``threshold_display_ms`` is a step of the panel's slider and the drawing of a slice view;
    ``window_block_ms`` the longest time that the event loop stands still while a detection of 182
    x 218 x 182 voxels runs, from the click to the threshold that can be dragged.
    """
    sys.path.insert(0, str(REPOSITORY / "Testing"))
    from headless import HeadlessApplication

    with tempfile.TemporaryDirectory() as folder, HeadlessApplication() as app:
        widget = app.load_module(REPOSITORY / "AttribSeg" / "AttribSeg.py")
        widget.ui.workFolderLineEdit.setCurrentPath(folder)
        volume = _volume(Path(folder))
        block = _detect(app, widget, volume)
        drag = _drag(app, widget, volume, Path(folder) / "slice.png")
        # Last: every further panel follows the scene, too.
        construction = median(_construction() for _ in range(7))
    return {
        "panel_construction_s": construction,
        "threshold_display_ms": 1000 * drag,
        "window_block_ms": 1000 * block,
    }


def _construction() -> float:
    """Seconds for a further panel of the module."""
    import slicer

    start = time.perf_counter()
    slicer.modules.attribseg.createNewWidgetRepresentation()
    return time.perf_counter() - start


def _volume(folder: Path) -> object:
    """The sample with a tumour, at 1 mm."""
    import SimpleITK as sitk
    import slicer

    path = REPOSITORY / "AttribSeg" / "Resources" / "SampleData" / "SimulatedTumour_FLAIR.nii.gz"
    image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    grid = ([182, 218, 182], sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), (1.0, 1.0, 1.0))
    sitk.WriteImage(sitk.Resample(image, *grid, image.GetDirection()), str(folder / "FLAIR.nrrd"))
    return slicer.util.loadVolume(str(folder / "FLAIR.nrrd"))


def _detect(app: object, widget: object, volume: object) -> float:
    """Press Detect; the longest time between two looks at the event loop, of three detections."""
    from PySide6.QtWidgets import QApplication

    ui, panel = widget.ui, widget.panel
    ui.inputVolumeSelector.setCurrentNode(volume)
    ui.demoBundleButton.click()
    app.process_events()
    longest = []
    for _ in range(3):
        start = time.perf_counter()
        ui.detectButton.click()
        times = [time.perf_counter() - start]
        while panel.run.task is not None or not panel.detect.view.threshold.ready:
            start = time.perf_counter()
            QApplication.processEvents()
            times.append(time.perf_counter() - start)
            time.sleep(0.001)
        if ui.messageLabel.text:
            raise RuntimeError(ui.messageLabel.text)
        longest.append(max(times))
    return median(longest)


def _drag(app: object, widget: object, volume: object, picture: Path) -> float:
    """Seconds from a step of the slider to the axial slice view that shows it."""
    slider = widget.ui.thresholdSlider
    app.render_slice(picture, "Axial", background=volume)
    window = app.headless.view("Axial").render_window()
    times = []
    for share in np.linspace(0.2, 0.6, 30):
        start = time.perf_counter()
        slider.setValue(slider.minimum + share * (slider.maximum - slider.minimum))
        window.Render()
        times.append(time.perf_counter() - start)
    return median(times[5:])
