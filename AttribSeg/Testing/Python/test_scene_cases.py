"""Volumes and corrections of the scene become the right case of a cohort, or are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.cohort import read_cohort
from AttribSegLib.cohort_editing import add_case, create_cohort
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.lesions import lesion_table
from AttribSegLib.transform import Affine

pytest.importorskip("slicer", reason="slicer-core is not installed")

import slicer
from AttribSegLib import mrml
from AttribSegScene.case_tasks import add_case_task, add_correction_task
from AttribSegScene.detection_files import DetectionFiles
from AttribSegScene.results import remove_orphans, show_detection

GRID = Geometry((12, 11, 10), (2.0, 2.0, 2.0), (-11.0, 12.0, 4.0), np.diag([1.0, -1.0, 1.0]))
RAW = Geometry((12, 11, 10), (2.0, 2.0, 3.0), (-11.0, -12.0, 1.0))
#: As a program that turns the axes over loads it.
OVER = "LAI"


@pytest.fixture
def scene():
    made = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(made)
    yield made
    made.Clear(False)


def scan(seed, grid=GRID):
    return Image(np.random.default_rng(seed).normal(100, 9, grid.size).astype(np.float32), grid)


def lesions(grid=GRID):
    array = np.zeros(grid.size, bool)
    array[4:8, 4:7, 4:6] = True
    return Image(array, grid)


def volume(scene, image, name="FLAIR"):
    return mrml.volume_node_from_image(image, name=name, scene=scene)


def detect(node, mask, *, inputs=None, prepared=None, to_atlas=None):
    """The nodes of a detection whose lesions are ``mask``."""
    attribution = mask.with_array(mask.array.astype(np.float32))
    summary = {
        "case": "x",
        "probability": 0.9,
        "class": "pathological",
        "threshold": {"value": 0.5},
        "record": {"minimum_ml": 0.0, "bundle": "", "bundle_sha256": "abc"},
        "lesion_volume_ml": 1.0,
    }
    found = DetectionFiles(
        Path("nowhere"),
        summary,
        attribution,
        mask,
        lesion_table(mask, attribution),
        1.0,
        prepared=prepared or {},
        to_atlas=to_atlas,
        channels=tuple(inputs or ["FLAIR"]),
    )
    return show_detection(found, node, inputs=inputs)


def send(nodes, table, **more):
    return add_correction_task(nodes.segmentation_node, table, author="A. Reader", **more).wait()


@pytest.fixture
def table(tmp_path):
    """A prepared cohort: case7 of P7 is in the test split."""
    path = tmp_path / "study" / "cohort.csv"
    create_cohort(path, ["FLAIR"])
    for number, split in ((1, "train"), (2, "train"), (7, "test")):
        add_case(path, case=f"case{number}", patient=f"P{number}", label=1, split=split,
                 channels={"FLAIR": scan(number)})  # fmt: skip
    return path


@pytest.mark.parametrize("orientation", ["LAS", OVER])
def test_a_case_of_the_cohort_is_known_by_its_voxels(scene, table, orientation):
    node = volume(scene, scan(7).reorient(orientation), name="anything")
    nodes = detect(node, lesions().reorient(orientation))
    row = send(nodes, table)
    assert (row.case, row.patient, row.split) == ("case7", "P7", "test")
    assert row.state == "corrected"
    stored = read_image(row.lesions)
    assert stored.geometry.same_grid(GRID)
    assert np.array_equal(stored.array, lesions().array)
    assert len(read_cohort(table, both_classes=False).cases) == 3


def test_a_new_image_of_a_patient_of_the_test_split_stays_there(scene, table):
    nodes = detect(volume(scene, scan(70), name="second visit"), lesions())
    row = send(nodes, table, patient="P7")
    assert (row.case, row.patient, row.split) == ("second-visit", "P7", "test")
    with pytest.raises(InputError, match=r"is of patient P7 .* leave the patient out"):
        send(nodes, table, patient="P8")


@pytest.mark.parametrize("turned", [False, True])
def test_a_volume_that_was_moved_since_is_refused(scene, table, turned):
    node = volume(scene, scan(50))
    nodes = detect(node, lesions())
    if turned:  # the voxels stay where they are: saving and loading does that
        mrml.volume_node_from_image(scan(50).reorient(OVER), name="FLAIR", node=node)
        assert np.array_equal(read_image(send(nodes, table).lesions).array, lesions().array)
        return
    node.SetOrigin([value + 20 for value in node.GetOrigin()])
    before = table.read_bytes()
    for _ in range(2):
        with pytest.raises(InputError, match="'FLAIR' was moved since its lesions were detected"):
            send(nodes, table)
        scene.RemoveNode(nodes.attribution_node)  # known without it, too
    assert table.read_bytes() == before


def test_channels_are_those_that_were_detected_in(scene, tmp_path):
    path = tmp_path / "cohort.csv"
    create_cohort(path, ["FLAIR", "T1"])
    flair, t1 = volume(scene, scan(1), "a"), volume(scene, scan(2), "b")
    nodes = detect(t1, lesions(), inputs={"T1": t1, "FLAIR": flair})
    row = send(nodes, path)
    assert np.array_equal(read_image(row.channels["T1"]).array, scan(2).array)
    assert np.array_equal(read_image(row.channels["FLAIR"]).array, scan(1).array)
    scene.RemoveNode(flair)
    with pytest.raises(InputError, match="needs the channel FLAIR"):
        send(nodes, path)


def test_one_t1_of_two_visits_tells_the_patient(scene, tmp_path):
    path = tmp_path / "cohort.csv"
    create_cohort(path, ["FLAIR", "T1"])
    add_case(path, case="first", patient="P1", label=1, split="test",
             channels={"FLAIR": scan(1), "T1": scan(2)})  # fmt: skip
    flair, t1 = volume(scene, scan(3), "second"), volume(scene, scan(2), "T1")
    row = send(detect(flair, lesions(), inputs={"FLAIR": flair, "T1": t1}), path)
    assert (row.case, row.patient, row.split) == ("second", "P1", "test")


def raw_detection(scene, seed):
    node = volume(scene, scan(seed, RAW), name=f"raw{seed}")
    prepared = {"FLAIR": scan(seed + 100)}
    return detect(node, lesions(RAW), prepared=prepared, to_atlas=Affine(np.diag([1, -1, 1, 1.0])))


def test_a_raw_scan_goes_to_a_prepared_cohort_or_to_its_own_case(scene, table, tmp_path):
    raw = tmp_path / "raw" / "cohort.csv"
    create_cohort(raw, ["FLAIR"])
    add_case(raw, case="r1", patient="p1", label=1, channels={"FLAIR": scan(31, RAW)})
    row = send(raw_detection(scene, 31), raw)  # the scan itself: its mask is not moved
    assert row.case == "r1"
    assert np.array_equal(read_image(row.lesions).array, lesions(RAW).array)
    before = raw.read_bytes()
    other = raw_detection(scene, 32)
    with pytest.raises(InputError, match="prepare all cases of the cohort first"):
        send(other, raw)
    assert raw.read_bytes() == before
    row = send(other, table)
    assert row.case == "raw32"
    assert np.array_equal(read_image(row.channels["FLAIR"]).array, scan(132).array)
    assert json.loads((row.lesions.parent / "correction.json").read_text(encoding="utf-8"))[
        "transform"
    ]


def test_a_prepared_image_of_a_raw_scan_is_known_too(scene, table):
    add_case(table, case="p31", patient="P31", label=1, split="test",
             channels={"FLAIR": scan(131)})  # fmt: skip
    row = send(raw_detection(scene, 31), table)
    assert (row.case, row.patient, row.split) == ("p31", "P31", "test")


def test_a_case_is_added_with_its_own_t1_and_brain_mask(scene, tmp_path):
    path = tmp_path / "cohort.csv"
    create_cohort(path, ["FLAIR", "T1"])
    flair, t1 = volume(scene, scan(1)), volume(scene, scan(2), "T1")
    brain = volume(scene, lesions().with_array(lesions().array.astype(np.uint8)), "brain")
    segmentation = mrml.segmentation_node_from_mask(
        lesions(), scene=scene, reference_volume_node=flair
    )
    row = add_case_task(path, flair, label=1, t1=t1, brain=brain, lesions=segmentation).wait()
    assert np.array_equal(read_image(row.channels["T1"]).array, scan(2).array)
    for mask in (row.brain, row.lesions):
        assert np.array_equal(read_image(mask).array != 0, lesions().array)
    flair.SetName("under another name")  # it could fall into another split
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"is case FLAIR of patient FLAIR in cohort\.csv already"):
        add_case_task(path, flair, label=1, t1=t1, patient="another").wait()
    assert path.read_bytes() == before


def test_a_file_of_the_cohort_is_known_after_the_volume_lost_it(scene, table):
    """By the path at the time of the detection: the voxels alone would not tell."""
    path = read_cohort(table, both_classes=False).cases[2].channels["FLAIR"]
    node = volume(scene, scan(7))
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    node.SetAndObserveStorageNodeID(storage.GetID())
    nodes = detect(node, lesions())
    assert Path(nodes.source) == path
    node.SetAndObserveStorageNodeID(None)
    write_image(scan(8), path)  # another image under this name is not taken for it
    with pytest.raises(InputError, match="case case7: its FLAIR is another image"):
        send(nodes, table)


def test_the_hidden_copy_goes_with_its_detection(scene):
    first, second = (detect(volume(scene, scan(n), f"v{n}"), lesions()) for n in (1, 2))
    drawn = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    remove_orphans(scene)
    assert first.detected_node.GetScene() is not None
    scene.RemoveNode(first.segmentation_node)
    remove_orphans(scene)
    assert first.detected_node.GetScene() is None
    assert second.detected_node.GetScene() is not None
    assert drawn.GetScene() is not None
