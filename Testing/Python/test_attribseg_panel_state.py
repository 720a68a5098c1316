"""What the panel keeps in order: deleted nodes, drags without a pause, runs of others."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

from attribseg_panel import HEALTHY, REPOSITORY, TUMOUR, workplace

DEMONSTRATION = REPOSITORY / "Resources" / "DemoBundle"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with workplace(tmp_path_factory.mktemp("panel")) as opened:
        yield opened


@pytest.fixture
def detected(place):
    """The tumour sample with its detection; that of the last test where it is whole."""
    from AttribSegScene.detection_nodes import DetectionNodes

    shown = place.parameters.segmentation
    nodes = None if shown is None else DetectionNodes.of(shown)
    whole = nodes is not None and None not in (nodes.volume_node, nodes.attribution_node)
    if not whole or nodes.case != TUMOUR.name.partition(".")[0]:
        place.app.close_scene()
        nodes = place.detect(place.load(TUMOUR))
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    place.ui.messageLabel.setText("")
    return nodes.volume_node, nodes


def drag(place, share):
    """A step of the slider, without the pause after which the lesions are measured."""
    slider = place.ui.thresholdSlider
    slider.setValue(slider.minimum + share * (slider.maximum - slider.minimum))
    return slider.value


def rows_of(place, nodes):
    """Lesions of the segment, counted independently of the table."""
    from AttribSegLib.mrml import mask_from_segment
    from scipy import ndimage

    mask = mask_from_segment(nodes.segmentation_node, nodes.segment_id, reference=nodes.volume_node)
    return ndimage.label(mask.array, np.ones((3, 3, 3)))[1]


def lesions_told(nodes):
    from AttribSegScene import names

    return int(nodes.table_node.GetAttribute(names.LESIONS))


def test_one_section_that_fails_does_not_stop_the_next(place):
    class Broken:
        def refresh(self):
            raise ValueError("broken")

    class Counting:
        count = 0

        def refresh(self):
            self.count += 1

    panel, last = place.widget.panel, Counting()
    before = list(panel.sections)
    panel.sections[:] = [Broken(), last]
    try:
        panel.refresh()
    finally:
        panel.sections[:] = before
    assert last.count == 1
    assert "broken" in place.message


def test_a_drag_counts_when_another_detection_is_chosen_at_once(place, detected):
    _, nodes = detected
    other = place.detect(place.load(HEALTHY))
    selector = place.ui.segmentationSelector
    selector.setCurrentNode(nodes.segmentation_node)
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    value = drag(place, 0.4)
    selector.setCurrentNode(other.segmentation_node)
    assert nodes.threshold == value
    assert not nodes.edited
    assert lesions_told(nodes) == rows_of(place, nodes)
    selector.setCurrentNode(nodes.segmentation_node)
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    assert place.ui.thresholdSlider.value == pytest.approx(value)
    asked = len(place.app.messages)
    drag(place, 0.5)
    assert len(place.app.messages) == asked


def test_a_drag_counts_when_the_scene_is_saved_at_once(place, detected):
    from AttribSegScene.detection_nodes import DetectionNodes

    value = drag(place, 0.35)
    path = place.app.save_scene(place.folder / "dragged.mrb")
    place.app.load_scene(path)
    again = DetectionNodes.of(place.parameters.segmentation)
    assert again.threshold == value
    assert not again.edited


def test_the_table_follows_when_slicer_begins_to_save(place, detected):
    _, nodes = detected
    drag(place, 0.55)
    place.app.scene.InvokeEvent(place.app.scene.StartSaveEvent)
    assert lesions_told(nodes) == rows_of(place, nodes)


def test_a_drag_counts_when_it_is_sent_at_once(place, detected):
    from AttribSegLib.cohort_editing import create_cohort

    cohort = place.folder / "sent" / "cohort.csv"
    cohort.parent.mkdir()
    create_cohort(cohort, ("FLAIR",))
    place.ui.cohortPathLineEdit.setCurrentPath(str(cohort))
    _, nodes = detected
    value = drag(place, 0.45)
    place.ui.addCorrectionButton.click()
    assert nodes.threshold == value
    place.wait()
    assert "is in the cohort" in place.message
    place.parameters.cohortPath = ""


def test_the_card_follows_a_model_that_is_trained_anew(place, tmp_path):
    bundle = tmp_path / "model"
    shutil.copytree(DEMONSTRATION, bundle)
    place.ui.bundlePathLineEdit.setCurrentPath(str(bundle))
    path = bundle / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    before = place.ui.bundleCardLabel.text
    config["channels"] = ["DWI"]
    path.write_text(json.dumps(config), encoding="utf-8")
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns + 10**9))
    place.widget.panel.refresh()
    assert "DWI" in place.ui.bundleCardLabel.text
    assert "DWI" not in before


def test_the_summary_counts_what_has_no_label_apart(place, tmp_path):
    table = tmp_path / "cohort.csv"
    rows = ["case,patient,label,split,FLAIR", "a,a,0,train,a.nrrd", "b,b,1,train,b.nrrd"]
    table.write_text("\n".join([*rows, "c,c,sick,train,c.nrrd"]) + "\n", encoding="utf-8")
    place.ui.cohortPathLineEdit.setCurrentPath(str(table))
    text = place.ui.cohortSummaryLabel.text
    assert text.startswith("3 cases: 1 healthy, 1 pathological, 1 without a label")
    place.parameters.cohortPath = ""


def test_a_training_is_closed_cleanly_with_the_window(place, tmp_path):
    """What it was at is told in its log; a process that is killed says nothing."""
    from AttribSegLib.simulation.cohort import simulate_cohort

    simulate_cohort(tmp_path, healthy=4, pathological=4, lesions="tumour", seed=3)
    ui = place.ui
    ui.cohortPathLineEdit.setCurrentPath(str(tmp_path / "cohort.csv"))
    ui.outputPathLineEdit.setCurrentPath(str(tmp_path / "model"))
    ui.epochsSpinBox.setValue(500)
    ui.widthSpinBox.setValue(0.03125)
    ui.batchSizeSpinBox.setValue(2)
    ui.trainDeviceComboBox.setCurrentText("cpu")
    ui.trainButton.click()
    assert place.message == ""
    place.app.wait_until(lambda: "Epoch 1" in ui.trainingLabel.text, timeout_s=300)
    task = place.widget.panel.run.task
    place.widget.panel.run.close()
    assert not task.job.alive
    assert task.job.exit_code == 130
    assert "whole epochs are saved" in task.log_path.read_text(encoding="utf-8")
    assert (tmp_path / "model" / "training" / "last.safetensors").is_file()


def test_a_pause_says_what_is_left(place, tmp_path):
    control = place.widget.panel.train._training
    place.ui.outputPathLineEdit.setCurrentPath(str(tmp_path))
    assert "nothing is saved" in control._what_is_left()
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "last.safetensors").write_bytes(b"")
    assert "after the last of them" in control._what_is_left()
    place.parameters.outputFolder = ""


def test_maps_and_label_maps_are_no_scans(place):
    from AttribSegScene.volumes import first_scan

    place.app.close_scene()
    volume, scene = place.load(TUMOUR), place.app.scene
    nodes = place.detect(volume)
    assert first_scan(scene) is volume
    scene.RemoveNode(volume)
    for kind in ("vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode"):
        scene.AddNewNodeByClass(kind)
    assert scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is nodes.attribution_node
    assert first_scan(scene) is None
    later = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "later")
    assert first_scan(scene) is later


def test_a_deleted_volume_leaves_the_panel_alive(place, detected, tmp_path):
    volume, nodes = detected
    place.app.scene.RemoveNode(volume)
    place.app.process_events()
    assert place.message == ""
    assert place.widget.panel.detect.view.nodes.volume_node is None
    # Sections after Detect follow, and the detection can still be thresholded.
    place.ui.cohortPathLineEdit.setCurrentPath(str(tmp_path / "none.csv"))
    assert "none.csv" in place.message
    place.parameters.cohortPath = ""
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    assert place.ui.thresholdSlider.enabled
    drag(place, 0.5)
    place.app.process_events(0.5)
    assert nodes.threshold == pytest.approx(place.ui.thresholdSlider.value)


def test_a_deleted_map_is_told_once_and_stops_no_other_section(place, detected, tmp_path):
    _, nodes = detected
    place.app.scene.RemoveNode(nodes.attribution_node)
    place.app.process_events()
    assert not place.ui.thresholdSlider.enabled
    assert place.message
    place.ui.messageLabel.setText("")
    place.ui.outputPathLineEdit.setCurrentPath(str(tmp_path / "model"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}", encoding="utf-8")
    place.widget.panel.refresh()
    assert place.ui.useBundleButton.enabled  # of the section Train
    assert place.message == ""
    place.parameters.outputFolder = ""
    assert place.ui.probabilityBar.format


def test_a_run_of_the_console_is_cancelled_from_the_panel(place, request):
    """Nobody polls it; it would block both modules until the program is started again."""
    from AttribSegScene.task import Task, running_task

    place.app.close_scene()
    gate = threading.Event()
    forgotten = Task("Forgotten", None, lambda value: value, write=gate.wait)
    forgotten.start()
    request.addfinalizer(forgotten.kill)
    place.ui.inputVolumeSelector.setCurrentNode(place.load(HEALTHY))
    place.ui.demoBundleButton.click()
    place.ui.detectButton.click()
    assert "“Forgotten” is still running" in place.message
    assert place.ui.cancelButton.enabled
    place.ui.cancelButton.click()
    gate.set()
    place.app.wait_until(lambda: running_task() is None, timeout_s=60)
    place.app.process_events(0.2)
    assert not place.ui.cancelButton.enabled
    assert "Forgotten: stopped" in place.ui.jobLabel.text
