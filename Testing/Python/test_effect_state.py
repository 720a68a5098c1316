"""The effect Attribution: what can go wrong, what is saved, and what it looks like."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttribSegLib.image import Image

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")


from AttribSegLib import mrml
from effect_case import (
    AXIAL,
    FIRST,
    SIZE,
    Case,
    case_maker,
    effect_application,
    lesion_map,
)


@pytest.fixture(scope="module")
def application() -> Iterator[Any]:
    with effect_application() as app:
        yield app


@pytest.fixture
def make(application: Any) -> Iterator[Callable[..., Case]]:
    """``make(grid=AXIAL, values=lesion_map())``: a `Case`, which is gone after the test."""
    with case_maker(application) as made:
        yield made


# What can go wrong


def test_deleted_map(make: Callable[..., Case]) -> None:
    case = make()
    case.fill(lesion_map() > 0.3)
    case.scene.RemoveNode(case.map)
    case.options.threshold.value = 0.5
    assert "no attribution of 'FLAIR'" in case.message
    case.options.apply.click()
    case.use("PAINT")
    case.mouse.drag([case.ras(FIRST)])
    assert "no attribution of 'FLAIR'" in case.message
    np.testing.assert_array_equal(case.mask, lesion_map() > 0.3)
    # What needs no map still works.
    case.use("DROP")
    case.mouse.click(case.ras(FIRST))
    assert not case.mask[FIRST]


def test_map_without_a_positive_voxel(make: Callable[..., Case]) -> None:
    case = make(values=np.full(SIZE, -1.0, dtype=np.float32))
    assert "no positive voxel" in case.message
    assert not case.options.apply.enabled


def test_map_that_is_not_finite(make: Callable[..., Case]) -> None:
    values = lesion_map()
    values[0, 0, 0] = np.nan
    case = make(values=None)
    node = mrml.volume_node_from_image(Image(values, AXIAL), name="broken", scene=case.scene)
    case.options.map.setCurrentNode(node)
    assert "'broken' has 1 voxels that are NaN" in case.message
    assert not case.options.apply.enabled


def test_map_without_voxels(make: Callable[..., Case]) -> None:
    case = make(values=None)
    empty = case.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    case.options.map.setCurrentNode(empty)
    assert "'empty' has no image data" in case.message
    assert not case.options.apply.enabled


def test_nothing_selected(make: Callable[..., Case]) -> None:
    case = make()
    case.editor.node.SetSelectedSegmentID("")
    case.options.apply.click()
    assert "no segment is selected" in case.message
    case.use("PAINT")
    case.mouse.drag([case.ras(FIRST)])
    assert "no segment is selected" in case.message
    assert not case.editor.logic.CanUndo()


def test_no_source_volume_and_no_segmentation(make: Callable[..., Case]) -> None:
    case = make()
    case.editor.node.SetAndObserveSourceVolumeNode(None)
    case.options.apply.click()
    assert "no source volume" in case.message
    case.editor.node.SetAndObserveSegmentationNode(None)
    case.use("DROP")
    case.mouse.click(case.ras(FIRST))
    assert "no segmentation" in case.message


def test_scene_closed_while_the_effect_is_active(
    make: Callable[..., Case], application: Any
) -> None:
    case = make()
    case.use("PAINT")
    case.mouse.show(case.ras(FIRST))
    case.mouse.press(case.ras(FIRST))
    application.close_scene()
    application.process_events(0.1)
    case.host.deactivate()


# Saving


def test_parameters_survive_the_scene_file(
    make: Callable[..., Case], application: Any, tmp_path: Path
) -> None:
    case = make()
    second = mrml.attribution_node(Image(lesion_map() * 3, AXIAL), name="m2", scene=case.scene)
    case.options.map.setCurrentNode(second)
    case.options.threshold.value = 1.9
    case.options.minimum.value = 0.2
    application.wait_until(lambda: "preparing" not in case.options.amount.text, 10)
    case.options.radius.value = 7.5
    case.use("PAINT")  # for which it is meant
    case.options.strict.click()
    case.use("KEEP")
    shown = case.shown()
    case.editor.node.SetName("The editor")
    path = application.save_scene(tmp_path / "scene.mrb")
    case.editor.deleteLater()
    application.load_scene(path)
    scene = application.scene
    assert scene.GetFirstNodeByName("Attribution preview") is None
    case.volume = scene.GetFirstNodeByName("FLAIR")
    case.segmentation = scene.GetFirstNodeByName("Lesions")
    case.open(scene.GetFirstNodeByName("The editor"))
    assert case.options.map.currentNode().GetName() == "m2"
    assert case.options.threshold.value == pytest.approx(1.9)
    assert case.options.minimum.value == pytest.approx(0.2)
    assert case.options.radius.value == pytest.approx(7.5)
    assert case.options.strict.checked
    assert case.options.tool == "KEEP"
    application.wait_until(lambda: "preparing" not in case.options.amount.text, 10)
    np.testing.assert_array_equal(case.shown(), shown)


# The look


def test_preview_is_seen_in_slices(
    make: Callable[..., Case], application: Any, tmp_path: Path
) -> None:
    from matplotlib.image import imread

    case = make()
    case.options.threshold.value = 0.3
    pictures = []
    for shown in (True, False):
        case.options.preview.setChecked(shown)
        path = application.headless.render_slice(
            tmp_path / f"{shown}.png", centre_ras=case.ras(FIRST), background=case.volume
        )
        pictures.append(imread(path)[..., :3])
    yellow = pictures[0][..., 0] - pictures[0][..., 2]
    assert (yellow > 0.3).sum() > 100
    assert (pictures[1][..., 0] - pictures[1][..., 2]).max() < 0.05


def test_options_fit_a_narrow_panel(
    make: Callable[..., Case], application: Any, tmp_path: Path
) -> None:
    from PySide6.QtWidgets import QWidget

    case = make()
    frame = case.host.optionsFrame()
    assert QWidget.minimumSizeHint(frame).width() <= 460
    folder = Path(os.environ.get("ATTRIBSEG_SCREENSHOTS", tmp_path))
    path = application.screenshot(frame, folder / "effect-options.png", width=460)
    assert path.stat().st_size > 2000
