"""The AttribSeg panel from the first click to a model that learned from a correction."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from attribseg_panel import HEALTHY, REPOSITORY, TUMOUR, voxels, workplace
from scipy import ndimage


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with workplace(tmp_path_factory.mktemp("panel")) as opened:
        yield opened


@pytest.fixture(scope="module")
def detected(place):
    """The tumour sample with its detection, made by the button."""
    volume = place.load(TUMOUR)
    return volume, place.detect(volume)


def test_opening_the_module_imports_no_torch():
    code = (
        "import sys; sys.path.insert(0, 'Testing')\n"
        "from headless.application import HeadlessApplication\n"
        "with HeadlessApplication() as app:\n"
        "    app.load_module('AttribSeg/AttribSeg.py')\n"
        "    app.process_events()\n"
        "    heavy = {'torch', 'monai', 'sklearn', 'matplotlib', 'nilearn'}\n"
        "    print('loaded', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert "loaded []" in done.stdout


def test_buttons_wait_for_what_they_need(place):
    assert not place.ui.trainButton.enabled
    assert not place.ui.evaluateButton.enabled
    assert not place.ui.addCorrectionButton.enabled


def test_detection_fills_the_panel_and_the_scene(place, detected):
    volume, nodes = detected
    assert nodes.pathological
    assert place.ui.probabilityBar.value == round(100 * nodes.probability)
    assert "pathological" in place.ui.probabilityBar.format
    assert nodes.table_node.GetNumberOfRows() >= 1
    assert place.ui.lesionTableView.mrmlTableNode() is nodes.table_node
    assert nodes.attribution_node.GetImageData().GetDimensions() == (
        volume.GetImageData().GetDimensions()
    )
    low, high = (
        nodes.attribution_node.GetDisplayNode().GetWindowLevelMin(),
        (nodes.attribution_node.GetDisplayNode().GetWindowLevelMax()),
    )
    assert low == pytest.approx(-high)
    truth = place.app.slicer.util.loadSegmentation(
        str(TUMOUR.with_name("SimulatedTumour_lesions.seg.nrrd"))
    )
    from AttribSegLib.mrml import mask_from_segment

    name = truth.GetSegmentation().GetNthSegmentID(0)
    lesion = mask_from_segment(truth, name, reference=volume).array
    found = mask_from_segment(nodes.segmentation_node, nodes.segment_id, reference=volume).array
    assert (lesion & found).sum() > 0.5 * found.sum()
    place.app.scene.RemoveNode(truth)
    place.picture("detect", "inputs", "detect")


def test_segment_follows_the_slider(place, detected):
    volume, nodes = detected
    slider = place.ui.thresholdSlider
    counts = []
    for share in (0.1, 0.3, 0.6):
        slider.setValue(slider.minimum + share * (slider.maximum - slider.minimum))
        counts.append(voxels(nodes.segmentation_node, nodes.segment_id, volume))
    assert counts[0] > counts[1] > counts[2] > 0
    attribution = place.app.slicer.util.arrayFromVolume(nodes.attribution_node)
    assert counts[2] <= np.count_nonzero(attribution > slider.value)
    place.app.process_events(0.5)  # the table follows after the drag
    rows = nodes.table_node.GetNumberOfRows()
    assert place.ui.lesionCountLabel.text.startswith(f"{rows} lesion")
    place.ui.modelThresholdButton.click()
    assert slider.value == pytest.approx(174, abs=1)


def test_smallest_lesion_and_smoothing_change_the_segment(place, detected):
    volume, nodes = detected
    ui, slider = place.ui, place.ui.thresholdSlider
    ui.minimumMlSpinBox.setValue(0.0)
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    slider.setValue(slider.minimum + 0.3 * (slider.maximum - slider.minimum))
    attribution = place.app.slicer.util.arrayFromVolume(nodes.attribution_node)
    components, count = ndimage.label(attribution > slider.value, np.ones((3, 3, 3)))
    sizes = np.bincount(components.ravel())[1:]
    assert count > 1
    assert voxels(nodes.segmentation_node, nodes.segment_id, volume) == sizes.sum()
    largest_ml = sizes.max() * 0.008
    ui.minimumMlSpinBox.setValue(0.9 * largest_ml)
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    kept = sizes[sizes * 0.008 >= ui.minimumMlSpinBox.value].sum()
    assert 0 < kept < sizes.sum()
    assert voxels(nodes.segmentation_node, nodes.segment_id, volume) == kept
    ui.minimumMlSpinBox.setValue(0.0)
    ui.smoothingSpinBox.setValue(4.0)
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    assert voxels(nodes.segmentation_node, nodes.segment_id, volume) not in (sizes.sum(), kept)
    ui.smoothingSpinBox.setValue(0.0)
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    ui.modelThresholdButton.click()
    place.app.process_events(0.5)


def test_double_click_jumps_to_the_lesion(place, detected):
    from AttribSegScene.tables import lesion_centre

    _, nodes = detected
    centre = lesion_centre(nodes.table_node, 0)
    red = place.app.scene.GetNodeByID("vtkMRMLSliceNodeRed")
    red.SetSliceOffset(centre[2] + 30)
    view = place.ui.lesionTableView
    view.doubleClicked.emit(view.model().index(0, 0))
    assert red.GetSliceOffset() == pytest.approx(centre[2], abs=2)


def test_overlay_can_be_hidden(place, detected):
    composite = place.app.scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    _, nodes = detected
    assert composite.GetForegroundVolumeID() == nodes.attribution_node.GetID()
    place.ui.overlayCheckBox.setChecked(False)
    assert composite.GetForegroundOpacity() == 0
    place.ui.overlayCheckBox.setChecked(True)
    assert composite.GetForegroundOpacity() == pytest.approx(0.6)


def test_views_show_map_segment_and_surface(place, detected):
    from AttribSegScene.tables import lesion_centre
    from matplotlib.image import imread

    volume, nodes = detected
    centre = lesion_centre(nodes.table_node, 0)
    display = nodes.segmentation_node.GetDisplayNode()
    pictures = {}
    for shown in (False, True):
        display.SetVisibility(shown)
        path = place.pictures / f"slice-{'with' if shown else 'without'}-segment.png"
        place.app.render_slice(
            path,
            "Axial",
            centre,
            background=volume,
            foreground=nodes.attribution_node if shown else None,
            opacity=0.5,
        )
        pictures[shown] = imread(path)[..., :3]
    # Anatomy is grey; the map and the segment are not.
    assert np.ptp(pictures[False], axis=2).max() < 0.02
    assert (np.ptp(pictures[True], axis=2) > 0.2).mean() > 0.005
    place.ui.show3DCheckBox.setChecked(True)
    path = place.app.render_3d(place.pictures / "surface.png", direction="SUPERIOR")
    surface = imread(path)[..., :3]
    assert ((surface[..., 0] - surface[..., 2]) > 0.2).mean() > 0.002
    place.ui.show3DCheckBox.setChecked(False)


def test_scene_survives_saving_and_reloading(place, detected):
    from AttribSegScene.detection_nodes import DetectionNodes

    volume, nodes = detected
    slider = place.ui.thresholdSlider
    slider.setValue(0.5 * slider.maximum)
    place.app.process_events(0.5)
    before = (
        voxels(nodes.segmentation_node, nodes.segment_id, volume),
        slider.value,
        place.ui.probabilityBar.format,
        place.ui.bundlePathLineEdit.currentPath,
        nodes.table_node.GetNumberOfRows(),
    )
    path = place.app.save_scene(place.folder / "scene.mrb")
    place.app.close_scene()
    assert place.parameters.segmentation is None
    assert not place.ui.thresholdSlider.enabled
    place.app.load_scene(path)
    again = DetectionNodes.of(place.parameters.segmentation)
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    after = (
        voxels(again.segmentation_node, again.segment_id, again.volume_node),
        pytest.approx(slider.value),
        place.ui.probabilityBar.format,
        place.ui.bundlePathLineEdit.currentPath,
        again.table_node.GetNumberOfRows(),
    )
    assert before == after
    slider.setValue(0.25 * slider.maximum)
    assert voxels(again.segmentation_node, again.segment_id, again.volume_node) > before[0]


def _correct_by_hand(place, node, segment_id, volume):
    """Add a block around a voxel of the segment, through the Segment Editor's own logic."""
    import slicer
    import vtk
    from AttribSegLib.mrml import mask_from_segment

    scene = place.app.scene
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(scene)
    logic.SetSegmentEditorNode(editor)
    editor.SetAndObserveSegmentationNode(node)
    editor.SetAndObserveSourceVolumeNode(volume)
    editor.SetSelectedSegmentID(segment_id)
    logic.UpdateReferenceGeometryImage()
    i, j, k = np.argwhere(mask_from_segment(node, segment_id, reference=volume).array)[0].tolist()
    change = slicer.vtkOrientedImageData()
    change.SetExtent(i - 2, i + 2, j - 2, j + 2, k - 2, k + 2)
    change.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    change.GetPointData().GetScalars().Fill(1)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    change.SetImageToWorldMatrix(matrix)
    logic.ModifySegmentByLabelmap(
        node, segment_id, change, logic.ModificationModeAdd, [0, -1, 0, -1, 0, -1], False, False
    )
    logic.SetSegmentEditorNode(None)
    scene.RemoveNode(editor)


def test_correction_goes_to_the_cohort_and_is_asked_about(place, detected):
    from AttribSegLib.cohort_editing import create_cohort
    from AttribSegLib.image_io import read_image
    from AttribSegLib.mrml import mask_from_segment
    from AttribSegScene.detection_nodes import DetectionNodes

    nodes = DetectionNodes.of(place.parameters.segmentation)
    volume = nodes.volume_node
    detected_voxels = voxels(nodes.segmentation_node, nodes.segment_id, volume)
    _correct_by_hand(place, nodes.segmentation_node, nodes.segment_id, volume)
    corrected = mask_from_segment(nodes.segmentation_node, nodes.segment_id, reference=volume).array
    assert corrected.sum() > detected_voxels
    cohort = place.folder / "study" / "cohort.csv"
    cohort.parent.mkdir()
    create_cohort(cohort, ("FLAIR",))
    place.ui.cohortPathLineEdit.setCurrentPath(str(cohort))
    place.app.answers["question"] = False
    before = place.ui.thresholdSlider.value
    place.ui.thresholdSlider.setValue(before * 0.8)
    assert place.ui.thresholdSlider.value == pytest.approx(before)
    unchanged = mask_from_segment(nodes.segmentation_node, nodes.segment_id, reference=volume).array
    assert np.array_equal(unchanged, corrected)

    place.ui.addCorrectionButton.click()
    place.wait()
    assert "is in the cohort" in place.message
    table = place.ui.cohortTableWidget
    assert table.rowCount == 1
    assert table.item(0, 0).text() == "corrected"
    assert place.parameters.learnsFrom == "image labels and lesion masks"
    case = cohort.parent / "cases"
    masks = {p.name: read_image(p).array != 0 for p in case.rglob("*.nii.gz")}
    stored = [name for name, mask in masks.items() if "lesions" in name]
    assert any(np.array_equal(masks[name], corrected) for name in stored)
    records = list(case.rglob("correction*.json"))
    assert records
    told = json.loads(records[0].read_text(encoding="utf-8"))
    assert told["author"]
    assert "DemoBundle" in json.dumps(told)


def test_case_of_the_scene_is_added_and_removed(place, detected):
    volume = place.load(HEALTHY)
    place.ui.addCaseGroupBox.collapsed = False
    place.ui.caseVolumeSelector.setCurrentNode(volume)
    place.ui.caseLabelComboBox.setCurrentText("healthy")
    place.ui.casePatientLineEdit.setText("volunteer")
    place.ui.addCaseButton.click()
    place.wait()
    table = place.ui.cohortTableWidget
    rows = [[table.item(r, c).text() for c in range(6)] for r in range(table.rowCount)]
    assert rows[1][:3] == ["ready", "SimulatedHealthy_FLAIR", "healthy"]
    assert rows[1][4] == "volunteer"
    place.picture("train", "train")
    table.selectRow(1)
    table.setCurrentCell(1, 0)
    place.ui.removeCaseButton.click()
    assert table.rowCount == 1


def test_training_is_paused_resumed_and_used(place, detected, training_cohort):
    ui = place.ui
    ui.cohortPathLineEdit.setCurrentPath(str(training_cohort))
    assert ui.cohortTableWidget.rowCount == 12
    ui.constraintComboBox.setCurrentText("image labels and lesion masks")
    ui.epochsSpinBox.setValue(2)
    ui.widthSpinBox.setValue(0.03125)
    ui.batchSizeSpinBox.setValue(2)
    ui.falsePositiveSpinBox.setValue(20.0)
    ui.trainDeviceComboBox.setCurrentText("cpu")
    out = place.folder / "model"
    ui.outputPathLineEdit.setCurrentPath(str(out))
    assert ui.trainButton.text == "Start training"
    ui.trainButton.click()
    assert ui.trainButton.text == "Cancel"
    place.app.wait_until(lambda: "Epoch 1" in ui.trainingLabel.text, timeout_s=300)
    place.picture("training", "train", "job")
    ui.pauseButton.click()
    place.wait()
    assert (out / "training" / "last.safetensors").is_file()
    assert not (out / "config.json").exists()
    assert ui.trainButton.text == "Resume training"
    ui.trainButton.click()
    place.wait()
    assert place.message == ""
    assert (out / "config.json").is_file()
    assert "sup" in (out / "config.json").read_text(encoding="utf-8")
    # The chart goes on where the paused training ended.
    epochs = place.app.slicer.util.getNode("Training of model: epochs")
    assert place.app.slicer.util.arrayFromTableColumn(epochs, "epoch").tolist() == [1, 2]
    charts = place.app.slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert len(charts) == 2
    kinds = {chart.GetName().rsplit(": ")[-1] for chart in charts}
    assert {"losses", "rates"} <= kinds
    for chart in charts[:2]:
        place.app.render_plot(place.pictures / f"{chart.GetName().rsplit(': ')[-1]}.png", chart)
    ui.useBundleButton.click()
    assert place.parameters.bundleFolder == str(out)


def test_evaluation_makes_table_and_curves(place, training_cohort):
    ui = place.ui
    ui.cohortPathLineEdit.setCurrentPath(str(training_cohort))
    ui.bundlePathLineEdit.setCurrentPath(str(REPOSITORY / "Resources" / "DemoBundle"))
    ui.evaluateButton.click()
    place.wait()
    assert place.message == ""
    table = place.parameters.evaluationTable
    assert table.GetNumberOfRows() > 5
    assert ui.evaluationTableView.mrmlTableNode() is table
    names = [
        place.app.scene.GetNthNodeByClass(n, "vtkMRMLPlotChartNode").GetName()
        for n in range(place.app.scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode"))
    ]
    assert any("DemoBundle" in name for name in names)
    place.picture("evaluate", "evaluate")


@pytest.fixture(scope="module")
def training_cohort(tmp_path_factory) -> Path:
    """Twelve small simulated brains, with lesion masks."""
    from AttribSegLib.simulation.cohort import simulate_cohort

    folder = tmp_path_factory.mktemp("cohort")
    simulate_cohort(folder, healthy=6, pathological=6, lesions="tumour", seed=3)
    return folder / "cohort.csv"
