"""Volumes as runs take them: which channel they are, and which are refused."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image

pytest.importorskip("slicer", reason="slicer-core is not installed")

import slicer
from AttribSegLib import mrml
from AttribSegLib.cohort_editing import create_cohort
from AttribSegScene.case_tasks import add_case_task
from AttribSegScene.cohort_tasks import evaluate_task, prepare_cohort_task, train_task
from AttribSegScene.detect_task import detect_task
from AttribSegScene.inputs import (
    case_name,
    channel_by_name,
    mask_copy,
    mask_from_node,
    nodes_by_channel,
    require_channel,
    scan_from_node,
)
from AttribSegScene.preprocess_task import preprocess_task
from AttribSegScene.task import Task

BUNDLE = Path(__file__).resolve().parents[3] / "Resources" / "DemoBundle"
GRID = Geometry((6, 5, 4), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


@pytest.fixture
def scene():
    made = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(made)
    yield made
    made.Clear(False)


def volume(scene, name, array=None, grid=GRID):
    values = np.arange(120, dtype=np.float32).reshape(6, 5, 4) if array is None else array
    return mrml.volume_node_from_image(Image(values, grid), name=name, scene=scene)


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("FLAIR", "FLAIR"),
        ("p01_T1w", "T1"),
        ("sub-1_T1_to_FLAIR", "FLAIR"),
        ("MRHead", "FLAIR"),
        ("t1 mprage", "T1"),
        ("PT1000", "FLAIR"),
    ],
)
def test_channel_by_name(scene, name, channel):
    assert channel_by_name(volume(scene, name)) == channel


def test_channels_come_in_the_models_order(scene):
    flair, t1 = volume(scene, "a"), volume(scene, "b")
    assert list(nodes_by_channel(("T1", "FLAIR"), flair, t1).items()) == [
        ("T1", t1),
        ("FLAIR", flair),
    ]
    assert list(nodes_by_channel(("FLAIR",), flair, t1)) == ["FLAIR", "T1"]
    assert nodes_by_channel(("T1",), t1) == {"T1": t1}
    with pytest.raises(InputError, match="T1 is missing"):
        nodes_by_channel(("FLAIR", "T1"), flair)


def test_name_of_another_channel(scene):
    with pytest.raises(InputError, match="'x_T2w' is T2 by its name, and FLAIR is expected"):
        require_channel(volume(scene, "x_T2w"), "FLAIR")
    require_channel(volume(scene, "T2_FLAIR"), "FLAIR")
    require_channel(volume(scene, "anything"), "T1")


def test_scan_is_a_copy_in_the_world(scene):
    node = volume(scene, "FLAIR")
    image = scan_from_node(node)
    assert image.geometry.same_grid(GRID)
    np.testing.assert_array_equal(image.array.ravel()[:3], [0, 1, 2])


@pytest.mark.parametrize("direction", [np.eye(3), np.diag([-1.0, -1.0, 1.0])])
def test_without_geometry(scene, direction):
    grid = Geometry((6, 5, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), direction)
    with pytest.raises(InputError, match="has no geometry"):
        scan_from_node(volume(scene, "FLAIR", grid=grid))


def test_mask_of_visible_segments(scene):
    node = volume(scene, "FLAIR")
    first = np.zeros((6, 5, 4), dtype=bool)
    first[1:3, 1:3, 1:3] = True
    segmentation = mrml.segmentation_node_from_mask(
        Image(first, GRID), scene=scene, segment_id="one", reference_volume_node=node
    )
    second = np.zeros_like(first)
    second[4, 4, 3] = True
    other = mrml.segmentation_node_from_mask(Image(second, GRID), scene=scene, segment_id="two")
    segmentation.GetSegmentation().CopySegmentFromSegmentation(other.GetSegmentation(), "two")
    both = mask_from_node(segmentation, node)
    assert np.array_equal(both.array, first | second)
    segmentation.GetDisplayNode().SetSegmentVisibility("two", False)
    assert np.array_equal(mask_from_node(segmentation, node).array, first)
    segmentation.GetDisplayNode().SetSegmentVisibility("one", False)
    with pytest.raises(InputError, match="show the segments that shall count"):
        mask_from_node(segmentation, node)


def test_mask_on_another_grid(scene):
    node = volume(scene, "FLAIR")
    other = volume(scene, "mask", grid=Geometry((6, 5, 4), (1.0, 2.0, 3.0), (4.0, 5.0, 7.0)))
    with pytest.raises(InputError, match="lies on another grid than 'FLAIR'"):
        mask_from_node(other, node)


def test_names_of_files(scene):
    assert case_name(volume(scene, "3: FLAIR (axial)/1")) == "3-FLAIR-axial-1"
    assert case_name(volume(scene, "é")) == "volume"
    assert case_name(volume(scene, "x" * 300)) == "x" * 80


def test_runs_leave_no_folder_when_they_are_refused(scene, tmp_path):
    flair = volume(scene, "FLAIR")
    (tmp_path / "a,b").mkdir()
    with pytest.raises(InputError, match="a comma or an equals sign"):
        detect_task(flair, BUNDLE, work_folder=tmp_path / "a,b")
    with pytest.raises(InputError, match="a comma or an equals sign"):
        preprocess_task(flair, work_folder=tmp_path / "a,b")
    go_on = threading.Event()
    other = Task("Waiting", None, lambda value: value, read=go_on.wait)
    other.start()
    try:
        with pytest.raises(InputError, match="“Waiting” is still running"):
            detect_task(flair, BUNDLE, work_folder=tmp_path)
    finally:
        go_on.set()
        other.wait()
    assert [path.name for path in tmp_path.rglob("*")] == ["a,b"]


def test_a_mask_is_copied_before_it_is_worked_on(scene):
    """Its second half runs in a thread: no later change of a node reaches it."""
    node = volume(scene, "FLAIR")
    array = np.zeros((6, 5, 4), dtype=bool)
    array[1:3, 1:3, 1:3] = True
    segmentation = mrml.segmentation_node_from_mask(
        Image(array, GRID), scene=scene, segment_id="one", reference_volume_node=node
    )
    labels = volume(scene, "labels", array.astype(np.uint8))
    copies = [mask_copy(segmentation, node), mask_copy(labels, node)]
    scene.RemoveNode(segmentation)
    slicer.util.arrayFromVolume(labels)[:] = 0
    scene.RemoveNode(labels)
    scene.RemoveNode(node)
    for copy in copies:
        assert np.array_equal(copy().array, array)


def test_a_cohort_is_prepared_with_its_reference(scene, tmp_path):
    table = tmp_path / "cohort.csv"
    for channels, channel in ((("T1", "FLAIR"), "FLAIR"), (("T2",), "T2")):
        table.unlink(missing_ok=True)
        create_cohort(table, channels)
        task = prepare_cohort_task(
            table,
            tmp_path / "out",
            steps=["match"],
            reference=volume(scene, "FLAIR"),
            work_folder=tmp_path / "runs",
        )
        given = task.job.arguments[task.job.arguments.index("--reference") + 1]
        assert given.startswith(f"{channel}={tmp_path}")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda n, w: detect_task("FLAIR", BUNDLE, **w), "'FLAIR': a node of the kind"),
        (lambda n, w: detect_task(n, None, **w), "bundle None: a path was expected"),
        (lambda n, w: detect_task(n, BUNDLE, brain="x", **w), "brain mask 'x': a node"),
        (lambda n, w: detect_task(n, BUNDLE, t1="x", **w), "'x': a node"),
        (lambda n, w: detect_task(n, BUNDLE, minimum_ml="a", **w), "volume 'a': a finite number"),
        (lambda n, w: detect_task(n, BUNDLE, threshold=[], **w), "a finite number"),
        (lambda n, w: preprocess_task("x", **w), "'x': a node of the kind"),
        (lambda n, w: preprocess_task(n, brain=3, **w), "brain mask 3: a node"),
        (lambda n, w: evaluate_task(None, None, **w), "cohort table None: a path"),
        (lambda n, w: train_task(__file__, "o", recipe="attribution", **w), "a mapping"),
        (lambda n, w: train_task(__file__, "", recipe={}, **w), "folder for the model ''"),
        (lambda n, w: prepare_cohort_task(None, "o", **w), "cohort table None"),
        (lambda n, w: add_case_task(None, n, label=1), "cohort table None"),
    ],
)
def test_wrong_arguments_of_a_console_are_refused_in_words(scene, tmp_path, make, words):
    with pytest.raises(InputError, match=words):
        make(volume(scene, "FLAIR"), {"work_folder": tmp_path})
    assert not list(tmp_path.iterdir())
