"""The effect Attribution: what it is, and its threshold, on Slicer's real editor logic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from AttribSegLib.image import Geometry, Image
from AttribSegLib.lesions import remove_small_lesions

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")


from AttribSegLib import mrml
from effect_case import (
    AXIAL,
    GRIDS,
    MODULE,
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


# The effect in Slicer


def test_effect_says_what_it_is(make: Callable[..., Case]) -> None:
    import slicer

    case = make()
    assert (case.host.name, case.host.title) == ("Attribution", "Attribution")
    assert slicer.modules.segmenteditorattribution.hidden
    assert not case.effect.icon().isNull()
    assert case.effect.createCursor(case.mouse) is not None
    for word in ("Threshold", "Keep", "Drop", "Paint", "Erase", "undone"):
        assert word in case.effect.helpText()


def test_self_test_of_the_module(application: Any) -> None:
    import slicer

    slicer.modules.segmenteditorattribution.python_class("Test")().runTest()
    application.close_scene()


def test_modules_beside_the_effect_know_no_qt() -> None:
    import ast

    for path in (MODULE.parent / "AttributionEffect").glob("*.py"):
        if path.name != "options.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
            names = {alias.name for node in nodes for alias in node.names}
            assert not names & {"qt", "ctk"}, path.name


# Threshold


@pytest.mark.parametrize("name", list(GRIDS))
def test_slider_shows_what_is_above(make: Callable[..., Case], name: str) -> None:
    case = make(GRIDS[name])
    for threshold in (0.3, 0.65, 0.75, 0.05):
        case.options.threshold.value = threshold
        expected = lesion_map() > threshold
        np.testing.assert_array_equal(case.shown(), expected)
        assert case.options.amount.text.startswith(f"{expected.sum()} voxels")
        ml = expected.sum() * 1.0 * 1.25 * 2.0 / 1000
        assert f"{ml:.2f} mL" in case.options.amount.text
    assert not case.mask.any()


def test_preview_is_no_part_of_the_scene(make: Callable[..., Case]) -> None:
    case = make()
    node = case.preview
    assert node.GetHideFromEditors()
    assert not node.GetSaveWithScene()
    assert not node.GetDisplayNode().GetSaveWithScene()
    count = case.scene.GetNumberOfNodes()
    case.host.deactivate()
    assert case.preview is None
    assert case.scene.GetNumberOfNodes() == count - 2  # the node and how it is displayed
    case.host.activate()
    assert case.shown().any()


def test_preview_can_be_switched_off(make: Callable[..., Case]) -> None:
    case = make()
    case.options.preview.click()
    assert not case.shown().any()
    assert case.options.amount.text == ""
    case.options.threshold.value = 0.65
    assert not case.shown().any()
    case.options.preview.click()
    np.testing.assert_array_equal(case.shown(), lesion_map() > 0.65)


def test_apply_undo_and_redo(make: Callable[..., Case]) -> None:
    case = make()
    case.options.threshold.value = 0.65
    case.options.apply.click()
    high = lesion_map() > 0.65
    np.testing.assert_array_equal(case.mask, high)
    assert f"{high.sum()} voxels" in case.message
    case.options.threshold.value = 0.3
    case.options.apply.click()
    np.testing.assert_array_equal(case.mask, lesion_map() > 0.3)
    case.editor.undo()
    np.testing.assert_array_equal(case.mask, high)
    case.editor.undo()
    assert not case.mask.any()
    case.editor.redo()
    np.testing.assert_array_equal(case.mask, high)


def test_small_lesions_are_left_out(make: Callable[..., Case], application: Any) -> None:
    case = make()
    case.options.threshold.value = 0.3
    # The speck is 0.0025 mL by itself, but belongs to the first lesion.
    for minimum, left in ((0.2, 126), (0.0, 171), (1.0, 0)):
        case.options.minimum.value = minimum
        application.wait_until(lambda: "preparing" not in case.options.amount.text)
        expected = remove_small_lesions(Image(lesion_map() > 0.3, AXIAL), minimum).array
        assert expected.sum() == left
        np.testing.assert_array_equal(case.shown(), expected)
        case.options.apply.click()
        np.testing.assert_array_equal(case.mask, expected)


def test_a_map_that_is_ready_while_it_is_shown_is_shown_again(
    make: Callable[..., Case], application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threading import Event

    case = make()
    case.options.threshold.value = 0.3
    editing, ready = case.effect.editing, Event()
    current = editing.refresh()
    work, show = current._work, editing.show

    def held(*asked: float) -> None:
        ready.wait(60)
        work(*asked)

    def show_and_be_ready(threshold: float) -> int:
        count = show(threshold)
        ready.set()
        current.wait()
        return int(count)

    monkeypatch.setattr(current, "_work", held)
    case.options.minimum.value = 0.2
    monkeypatch.setattr(editing, "show", show_and_be_ready)
    case.effect.update_preview()
    assert "preparing" in case.options.amount.text
    assert case.shown().sum() == 171
    monkeypatch.setattr(editing, "show", show)
    application.wait_until(lambda: "preparing" not in case.options.amount.text)
    assert case.shown().sum() == 126


def test_smoothed_map(make: Callable[..., Case], application: Any) -> None:
    from AttribSegLib.map_preview import MapPreview

    case = make()
    smooth = MapPreview(Image(lesion_map(), AXIAL))
    smooth.prepare(smoothing_mm=2.0)
    case.options.threshold.value = 0.2
    case.options.smoothing.value = 2.0
    application.wait_until(lambda: "preparing" not in case.options.amount.text)
    assert 0 < smooth.mask(0.2).sum() != (lesion_map() > 0.2).sum()
    np.testing.assert_array_equal(case.shown(), smooth.mask(0.2))
    assert case.options.threshold.maximum == pytest.approx(smooth.range[1])
    case.options.apply.click()
    np.testing.assert_array_equal(case.mask, smooth.mask(0.2))


def test_nominal_spacing_has_no_millilitres(make: Callable[..., Case]) -> None:
    case = make()
    case.segmentation.SetNodeReferenceID("AttribSeg.Attribution", case.map.GetID())
    case.segmentation.SetAttribute("AttribSeg.Threshold", "0.3")
    case.segmentation.SetAttribute("AttribSeg.Nominal", "1")
    case.editor.deleteLater()
    case.open(None)
    assert case.options.amount.text == f"{(lesion_map() > 0.3).sum()} voxels"
    assert not case.options.minimum.enabled
    assert not case.options.smoothing.enabled
    case.options.apply.click()
    assert "mL" not in case.message
    np.testing.assert_array_equal(case.mask, lesion_map() > 0.3)


def test_apply_does_not_overtake_the_smallest_lesion(make: Callable[..., Case]) -> None:
    case = make()
    case.options.threshold.value = 0.3
    case.options.minimum.value = 0.2
    case.options.apply.click()
    assert case.mask.sum() == 126


def test_editable_area_and_intensities_hold(make: Callable[..., Case]) -> None:
    case = make()
    import slicer

    part = np.zeros(SIZE, dtype=bool)
    part[:8] = True
    case.fill(part, "Part")
    case.options.threshold.value = 0.3
    node = slicer.vtkMRMLSegmentationNode
    above = lesion_map() > 0.3
    case.editor.node.SetMaskMode(node.EditAllowedOutsideAllSegments)
    case.options.apply.click()
    np.testing.assert_array_equal(case.mask, above & ~part)
    np.testing.assert_array_equal(case.segment("Part"), part)
    case.editor.undo()
    case.editor.node.SetMaskMode(node.EditAllowedEverywhere)
    case.editor.node.SetOverwriteMode(case.editor.node.OverwriteNone)
    case.editor.node.SetSourceVolumeIntensityMask(True)
    case.editor.node.SetSourceVolumeIntensityMaskRange(100.0, 1000.0)
    case.options.apply.click()
    np.testing.assert_array_equal(case.mask, above & (case.grey >= 100))


@pytest.mark.parametrize("overwrite", ["OverwriteAllSegments", "OverwriteNone"])
def test_other_segments_are_overwritten_as_chosen(
    make: Callable[..., Case], overwrite: str
) -> None:
    case = make()
    part = np.zeros(SIZE, dtype=bool)
    part[:8] = True
    case.fill(part, "Part")
    case.editor.node.SetOverwriteMode(getattr(case.editor.node, overwrite))
    case.options.threshold.value = 0.3
    case.options.apply.click()
    above = lesion_map() > 0.3
    np.testing.assert_array_equal(case.mask, above)
    kept = part if overwrite == "OverwriteNone" else part & ~above
    np.testing.assert_array_equal(case.segment("Part"), kept)


def test_segment_of_another_grid(make: Callable[..., Case]) -> None:
    case = make()
    coarse = Geometry((15, 13, 9), (2.0, 2.5, 4.0), (-10.5, 13.6, 8.0))
    mask = np.zeros(coarse.size, dtype=bool)
    mask[5:14, 6:12, 2:8] = True
    node = mrml.segmentation_node_from_mask(
        Image(mask, coarse), scene=case.scene, reference_volume_node=case.volume
    )
    case.edit(node)
    case.options.threshold.value = 0.3
    case.options.apply.click()
    np.testing.assert_array_equal(case.mask, lesion_map() > 0.3)
