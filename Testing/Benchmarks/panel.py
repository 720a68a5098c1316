"""The AttribSeg panel: its construction, a drag step up to the picture, and the longest stop."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]


def measure() -> dict[str, float]:
    """Seconds to make the panel with all imports done; the rest on a volume of 1 mm.

    ``threshold_display_ms`` is a step of the panel's slider and the drawing of a slice view;
    ``window_block_ms`` the longest time that the event loop stands still while a detection of 182
    x 218 x 182 voxels runs, from the click to the threshold that can be dragged;
    ``window_block_send_ms`` the same for Send correction to a cohort of 100 cases, and
    ``window_block_surface_ms`` for a drag whose segment is shown in 3D.
    """
    sys.path.insert(0, str(REPOSITORY / "Testing"))
    from headless import HeadlessApplication

    with tempfile.TemporaryDirectory() as folder, HeadlessApplication() as app:
        widget = app.load_module(REPOSITORY / "AttribSeg" / "AttribSeg.py")
        widget.ui.workFolderLineEdit.setCurrentPath(folder)
        volume = _volume(Path(folder))
        block = _detect(app, widget, volume)
        drag = _drag(app, widget, volume, Path(folder) / "slice.png")
        surface = _drag_surface(widget)
        send = _send(widget, Path(folder))
        # Last: every further panel follows the scene, too.
        construction = median(_construction() for _ in range(7))
    return {
        "panel_construction_s": construction,
        "threshold_display_ms": 1000 * drag,
        "window_block_ms": 1000 * block,
        "window_block_send_ms": 1000 * send,
        "window_block_surface_ms": 1000 * surface,
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


def _longest_stop(widget: Any, act: Callable[[], Any]) -> float:
    """Do something; the longest time between two looks at the event loop until all is done."""
    from PySide6.QtWidgets import QApplication

    panel = widget.panel
    start = time.perf_counter()
    act()
    times = [time.perf_counter() - start]
    while panel.run.task is not None or not panel.detect.view.threshold.ready:
        start = time.perf_counter()
        QApplication.processEvents()
        times.append(time.perf_counter() - start)
        time.sleep(0.001)
    return max(times)


def _detect(app: Any, widget: Any, volume: object) -> float:
    """Press Detect; the longest stop, of three detections."""
    ui = widget.ui
    ui.inputVolumeSelector.setCurrentNode(volume)
    ui.demoBundleButton.click()
    app.process_events()
    longest = []
    for _ in range(3):
        longest.append(_longest_stop(widget, ui.detectButton.click))
        if ui.messageLabel.text:
            raise RuntimeError(ui.messageLabel.text)
    return median(longest)


def _drag_surface(widget: Any) -> float:
    """Steps of the slider while the segment is shown in 3D, and the surface after them."""
    slider = widget.ui.thresholdSlider
    widget.ui.show3DCheckBox.setChecked(True)
    longest = []
    for share in (0.3, 0.5, 0.4):
        value = slider.minimum + share * (slider.maximum - slider.minimum)
        longest.append(_longest_stop(widget, lambda value=value: slider.setValue(value)))
    widget.ui.show3DCheckBox.setChecked(False)
    return median(longest)


def _send(widget: Any, folder: Path) -> float:
    """Press Send correction, with a cohort of a hundred cases on the same grid."""
    from AttribSegLib.image_io import read_image, write_image

    scan = read_image(folder / "FLAIR.nrrd")
    write_image(scan.with_array(np.zeros_like(scan.array)), folder / "scan.nii.gz")
    rows = ["case,patient,label,split,FLAIR,lesions"]
    rows += [f"case{n},p{n},{n % 2},train,scan.nii.gz," for n in range(100)]
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    widget.ui.cohortPathLineEdit.setCurrentPath(str(folder / "cohort.csv"))
    longest = _longest_stop(widget, widget.ui.addCorrectionButton.click)
    if "is in the cohort" not in widget.ui.messageLabel.text:
        raise RuntimeError(widget.ui.messageLabel.text)
    return longest


def _drag(app: Any, widget: Any, volume: object, picture: Path) -> float:
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
