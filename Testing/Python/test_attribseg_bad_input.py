"""What goes wrong in the panel says so in the panel, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from attribseg_panel import REPOSITORY, TUMOUR, workplace

DEMONSTRATION = REPOSITORY / "Resources" / "DemoBundle"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with workplace(tmp_path_factory.mktemp("panel")) as opened:
        yield opened


@pytest.fixture
def scene(place):
    """An empty scene, the demonstration model chosen."""
    place.app.close_scene()
    place.ui.bundlePathLineEdit.setCurrentPath(str(DEMONSTRATION))
    yield place.app.scene
    if place.running:
        place.ui.cancelButton.click()
        place.wait()
    place.ui.workFolderLineEdit.setCurrentPath(str(place.folder / "runs"))


def volume(scene, array, *, name="FLAIR", kind="vtkMRMLScalarVolumeNode", origin=(9.0, 8.0, 7.0)):
    import slicer

    node = slicer.util.addVolumeFromArray(np.asarray(array), name=name, nodeClassName=kind)
    node.SetSpacing(2, 2, 2)
    node.SetOrigin(*origin)
    return node


def press_detect(place, node):
    place.ui.inputVolumeSelector.setCurrentNode(node)
    place.app.process_events()
    place.ui.detectButton.click()
    place.wait()
    return place.message


def test_no_volume(place, scene):
    place.ui.inputVolumeSelector.setCurrentNode(None)
    assert not place.ui.detectButton.enabled
    from AttribSegLib.errors import InputError

    with pytest.raises(InputError, match="no volume is chosen"):
        place.widget.logic.detectTask(None, DEMONSTRATION)


def test_volume_without_image_data(place, scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "FLAIR")
    assert "'FLAIR' has no image data" in press_detect(place, node)


def test_volume_without_geometry(place, scene):
    node = volume(scene, np.zeros((8, 8, 8), np.float32))
    node.SetSpacing(1, 1, 1)
    node.SetOrigin(0, 0, 0)
    message = press_detect(place, node)
    assert "'FLAIR' has no geometry" in message
    assert "load the original images" in message


def test_volume_of_spacing_zero(place, scene):
    node = volume(scene, np.zeros((8, 8, 8), np.float32))
    matrix = place.app.slicer.util.vtkMatrixFromArray(np.diag([0.0, 2.0, 2.0, 1.0]))
    node.SetIJKToRASMatrix(matrix)
    message = press_detect(place, node)
    assert "'FLAIR'" in message
    assert "voxel spacing" in message
    assert "three positive numbers were expected" in message


def test_colours(place, scene):
    node = volume(scene, np.zeros((8, 8, 8, 3), np.uint8), kind="vtkMRMLVectorVolumeNode")
    assert "3 components per voxel" in press_detect(place, node)


def test_four_dimensions(place, scene):
    node = volume(scene, np.zeros((8, 8, 8, 5), np.float32), kind="vtkMRMLVectorVolumeNode")
    message = press_detect(place, node)
    assert "5 components per voxel" in message
    assert "extract one volume" in message


def test_label_map(place, scene):
    node = volume(scene, np.zeros((8, 8, 8), np.uint8), kind="vtkMRMLLabelMapVolumeNode")
    assert "'FLAIR' is a label map" in press_detect(place, node)


def test_another_channel(place, scene):
    node = volume(scene, np.zeros((8, 8, 8), np.float32), name="patient_T1w")
    message = press_detect(place, node)
    assert "'patient_T1w' is T1 by its name, and FLAIR is expected" in message


def test_bundle_of_two_channels(place, scene, tmp_path):
    bundle = tmp_path / "two"
    shutil.copytree(DEMONSTRATION, bundle)
    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    config["channels"] = ["T1", "FLAIR"]
    (bundle / "config.json").write_text(json.dumps(config), encoding="utf-8")
    place.ui.bundlePathLineEdit.setCurrentPath(str(bundle))
    node = volume(scene, np.zeros((8, 8, 8), np.float32))
    assert "T1 is missing: choose it under Inputs" in press_detect(place, node)


def test_folder_that_is_no_bundle(place, scene, tmp_path):
    place.ui.bundlePathLineEdit.setCurrentPath(str(tmp_path))
    assert str(tmp_path) in place.ui.bundleCardLabel.text
    node = volume(scene, np.zeros((8, 8, 8), np.float32))
    assert str(tmp_path) in press_detect(place, node)


def test_brain_mask_of_another_grid(place, scene):
    node = volume(scene, np.ones((8, 8, 8), np.float32))
    mask = volume(
        scene, np.ones((4, 8, 8), np.uint8), name="mask", kind="vtkMRMLLabelMapVolumeNode"
    )
    place.ui.brainMaskSelector.setCurrentNode(mask)
    message = press_detect(place, node)
    place.ui.brainMaskSelector.setCurrentNode(None)
    assert "brain mask 'mask' lies on another grid than 'FLAIR'" in message


def test_segmentation_elsewhere(place, scene, tmp_path):
    from AttribSegLib.cohort_editing import create_cohort
    from AttribSegLib.image import Geometry, Image
    from AttribSegLib.mrml import segmentation_node_from_mask

    create_cohort(tmp_path / "cohort.csv", ("FLAIR",))
    node = volume(scene, np.ones((8, 8, 8), np.float32))
    far = Geometry((4, 4, 4), origin=(500.0, 0.0, 0.0))
    segmentation = segmentation_node_from_mask(
        Image(np.ones((4, 4, 4), bool), far), name="elsewhere", scene=scene
    )
    place.ui.cohortPathLineEdit.setCurrentPath(str(tmp_path / "cohort.csv"))
    place.ui.addCaseGroupBox.collapsed = False
    place.ui.caseVolumeSelector.setCurrentNode(node)
    place.ui.caseSegmentationSelector.setCurrentNode(segmentation)
    place.ui.addCaseButton.click()
    place.wait()
    assert "lesion mask 'elsewhere' has no voxel in 'FLAIR'" in place.message
    assert place.ui.cohortTableWidget.rowCount == 0


def test_segmentation_that_is_no_detection(place, scene):
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    place.ui.segmentationSelector.setCurrentNode(segmentation)
    place.app.process_events()
    assert "'drawn' does not come from a detection" in place.message
    assert not place.ui.thresholdSlider.enabled


def test_volume_deleted_while_the_detection_runs(place, scene):
    node = place.load(TUMOUR)
    place.ui.inputVolumeSelector.setCurrentNode(node)
    place.ui.detectButton.click()
    place.app.wait_until(lambda: place.widget.panel.run.task.state == "running")
    scene.RemoveNode(node)
    place.wait()
    assert "was deleted, or the scene was closed" in place.message
    folder = Path(place.message.split("its results are in ")[1].split("\n")[0])
    assert (folder / "detection.json").is_file()


def test_scene_closed_while_the_detection_runs(place, scene):
    node = place.load(TUMOUR)
    place.ui.inputVolumeSelector.setCurrentNode(node)
    place.ui.detectButton.click()
    place.app.wait_until(lambda: place.widget.panel.run.task.state == "running")
    place.app.close_scene()
    assert place.running
    place.wait()
    assert "nothing is lost" in place.message
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None


def test_scene_closed_while_a_correction_is_sent(place, scene, tmp_path):
    from AttribSegLib.cohort_editing import create_cohort
    from AttribSegLib.cohort_state import cohort_rows

    ui, table = place.ui, tmp_path / "cohort.csv"
    place.detect(place.load(TUMOUR))
    create_cohort(table, ("FLAIR",))
    ui.cohortPathLineEdit.setCurrentPath(str(table))
    ui.correctionPatientLineEdit.setText("P7")
    ui.addCorrectionButton.click()
    place.app.close_scene()
    place.wait()
    assert "is in the cohort as SimulatedTumour_FLAIR of patient P7" in place.message
    assert [row.patient for row in cohort_rows(table)] == ["P7"]
    # The new scene has a cohort of its own, or none.
    assert place.parameters.cohortPath == ""
    assert place.parameters.learnsFrom == "image labels alone"


def test_case_has_its_own_t1_and_brain_mask(place, scene, tmp_path):
    """Those under Inputs may be another patient's."""
    from AttribSegLib.cohort_editing import create_cohort
    from AttribSegLib.cohort_state import cohort_rows
    from AttribSegLib.image_io import read_image
    from AttribSegLib.mrml import image_from_volume_node

    ui, table, rng = place.ui, tmp_path / "cohort.csv", np.random.default_rng(0)
    create_cohort(table, ("FLAIR", "T1"))
    flair, t1, others = (
        volume(scene, rng.normal(size=(8, 8, 8)).astype(np.float32), name=name)
        for name in ("FLAIR", "T1", "T1 of another")
    )
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[2:6, 2:6, 2:6] = 1
    brain = volume(scene, mask, name="mask", kind="vtkMRMLLabelMapVolumeNode")
    ui.t1VolumeSelector.setCurrentNode(others)
    ui.cohortPathLineEdit.setCurrentPath(str(table))
    ui.addCaseGroupBox.collapsed = False
    ui.caseVolumeSelector.setCurrentNode(flair)
    ui.caseT1Selector.setCurrentNode(None)
    ui.addCaseButton.click()
    place.wait()
    assert "T1 is missing" in place.message
    ui.caseT1Selector.setCurrentNode(t1)
    ui.caseBrainSelector.setCurrentNode(brain)
    ui.addCaseButton.click()
    place.wait()
    (row,) = cohort_rows(table)
    np.testing.assert_array_equal(
        read_image(row.channels["T1"]).array, image_from_volume_node(t1).array
    )
    np.testing.assert_array_equal(
        read_image(row.brain).array != 0, image_from_volume_node(brain).array != 0
    )
    ui.caseBrainSelector.setCurrentNode(None)


def test_two_runs_at_once(place, scene, tmp_path):
    node = place.load(TUMOUR)
    place.ui.inputVolumeSelector.setCurrentNode(node)
    place.ui.detectButton.click()
    place.ui.preprocessButton.click()
    assert "is still running; wait for its end or cancel it first" in place.message
    assert place.running
    place.wait()
    assert place.parameters.segmentation is not None


def processes_of_the_run(place):
    """The processes of the run that is under way; others of the test session do not count."""
    import psutil

    def started():
        found = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "detect" in process.cmdline():
                    found.append(process)
        return found

    place.app.wait_until(started)
    return started()


def test_cancel_ends_the_whole_process_tree(place, scene):
    import psutil

    node = place.load(TUMOUR)
    place.ui.inputVolumeSelector.setCurrentNode(node)
    place.ui.detectButton.click()
    assert place.ui.detectButton.text == "Cancel"
    processes = processes_of_the_run(place)
    place.ui.detectButton.click()
    place.wait()
    assert "stopped" in place.message
    assert place.ui.detectButton.text == "Detect"
    assert psutil.wait_procs(processes, timeout=30)[1] == []


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user"
)
def test_read_only_folder(place, scene, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    place.ui.workFolderLineEdit.setCurrentPath(str(closed))
    node = place.load(TUMOUR)
    assert "no permission to write" in press_detect(place, node)


def test_folder_that_cannot_be_made(place, scene, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("in the way", encoding="utf-8")
    place.ui.workFolderLineEdit.setCurrentPath(str(blocker / "runs"))
    node = place.load(TUMOUR)
    assert str(blocker) in press_detect(place, node)


def test_window_closes_while_a_run_is_under_way(place, scene):
    import psutil

    node = place.load(TUMOUR)
    place.ui.inputVolumeSelector.setCurrentNode(node)
    place.ui.detectButton.click()
    processes = processes_of_the_run(place)
    place.widget.panel.run.close()
    assert psutil.wait_procs(processes, timeout=30)[1] == []
    assert not place.running


def test_declined_packages(place, scene, monkeypatch):
    from AttribSegPanel import dependencies

    monkeypatch.setattr(dependencies, "missing", lambda: ["torch", "monai"])
    place.app.answers["question"] = False
    node = place.load(TUMOUR)
    message = press_detect(place, node)
    assert "torch, monai not installed, as you wished" in message
    question = place.app.messages[-1]
    assert question.kind == "question"
    assert "torch, monai" in question.text
    place.app.answers["question"] = True
