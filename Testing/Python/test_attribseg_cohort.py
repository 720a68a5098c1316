"""Images of a cohort in the panel: they stay who they are, through loading, saving and sending."""

from __future__ import annotations

import numpy as np
import pytest
from attribseg_panel import HEALTHY, TUMOUR, workplace


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with workplace(tmp_path_factory.mktemp("panel")) as opened:
        yield opened


@pytest.fixture(scope="module")
def table(place):
    """A test patient among others, as this program writes cohorts: axes to the left, front, top."""
    from AttribSegLib.cohort_editing import add_case, create_cohort
    from AttribSegLib.image_io import read_image

    path = place.folder / "study" / "cohort.csv"
    create_cohort(path, ("FLAIR",))
    for number, (source, split) in enumerate([(HEALTHY, "train"), (TUMOUR, "test")]):
        image = read_image(source).reorient("LAS")
        channels = {"FLAIR": image.with_array(image.array * np.float32([0.4, 1][number]))}
        add_case(path, case=f"case{number}", patient=f"P{number}", label=number,
                 channels=channels, split=split)  # fmt: skip
    return path


def press_send(place, table):
    place.ui.cohortPathLineEdit.setCurrentPath(str(table))
    place.ui.addCorrectionButton.click()
    place.wait()
    return place.message


def test_a_test_patient_stays_one_after_saving_and_loading(place, table):
    from AttribSegLib.cohort_state import cohort_rows
    from AttribSegScene.detection_nodes import DetectionNodes

    case = next(row for row in cohort_rows(table) if row.case == "case1")
    volume = place.load(case.channels["FLAIR"])
    volume.SetName("anybody")
    place.detect(volume)
    told = "is in the cohort as case1 of patient P1 (test)"
    assert told in press_send(place, table)

    scene = place.app.save_scene(place.folder / "scene.mrb")
    place.app.close_scene()
    place.app.load_scene(scene)
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    nodes = DetectionNodes.of(place.parameters.segmentation)
    assert told in press_send(place, table)
    assert [(row.case, row.patient, row.split) for row in cohort_rows(table)] == [
        ("case0", "P0", "train"),
        ("case1", "P1", "test"),
    ]
    folders = sorted(path.name for path in (table.parent / "cases/case1/corrections").iterdir())
    assert folders == ["001", "002"]

    text = table.read_bytes()
    node = place.app.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = 20
    node.SetMatrixTransformToParent(place.app.slicer.util.vtkMatrixFromArray(matrix))
    nodes.volume_node.SetAndObserveTransformNodeID(node.GetID())
    assert "was moved since its lesions were detected" in press_send(place, table)
    assert table.read_bytes() == text


def test_all_cases_are_prepared_with_the_reference_of_the_form(place, table):
    from AttribSegLib.cohort_state import cohort_rows
    from AttribSegLib.image_io import read_image

    place.app.close_scene()
    ui = place.ui
    ui.referenceSelector.setCurrentNode(place.load(TUMOUR))
    for box in (ui.intersliceCheckBox, ui.registrationCheckBox, ui.brainCheckBox):
        box.setChecked(False)
    ui.standardiseCheckBox.setChecked(False)
    ui.cohortPathLineEdit.setCurrentPath(str(table))
    ui.addCaseGroupBox.collapsed = False
    ui.prepareCohortButton.click()
    place.wait()
    assert "Prepared cohort" in place.message, place.message
    healthy = next(row for row in cohort_rows(place.parameters.cohortPath) if row.label == 0)
    paths = healthy.channels["FLAIR"], table.parent / "cases/case0/FLAIR.nii.gz", TUMOUR
    matched, before, reference = (read_image(path).array for path in paths)

    def median(array):
        return np.median(array[array > array.min()])

    # Its histogram went to the reference's.
    assert median(matched) == pytest.approx(median(reference), rel=0.05)
    assert median(before) < 0.5 * median(reference)
