"""The effect Attribution: lesions kept or dropped by a click, and the brush."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from AttribSegLib.image import Geometry

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")


import vtk
from AttribSegLib import mrml
from effect_case import (
    AXIAL,
    FIRST,
    GRIDS,
    SECOND,
    SIZE,
    Case,
    case_maker,
    effect_application,
    lesion_map,
    transform_node,
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


# Lesions


@pytest.mark.parametrize("name", list(GRIDS))
def test_click_drops_a_lesion(make: Callable[..., Case], name: str) -> None:
    case = make(GRIDS[name])
    lesions = lesion_map() > 0.3
    case.fill(lesions)
    case.use("DROP")
    assert case.mouse.click(case.ras(FIRST))
    second = lesion_map() == np.float32(0.6)
    np.testing.assert_array_equal(case.mask, second)  # the speck touches the first at a corner
    assert "Dropped a lesion of 126 voxels" in case.message
    case.editor.undo()
    np.testing.assert_array_equal(case.mask, lesions)
    case.mouse.click(case.ras((0, 0, 0)))
    assert "no lesion of the selected segment there" in case.message
    np.testing.assert_array_equal(case.mask, lesions)


def test_what_may_not_be_edited_stays(make: Callable[..., Case]) -> None:
    case = make()
    case.fill(lesion_map() > 0.3)
    case.editor.node.SetSourceVolumeIntensityMask(True)
    case.editor.node.SetSourceVolumeIntensityMaskRange(100.0, 1000.0)
    case.use("DROP")
    case.mouse.click(case.ras(SECOND))
    second = lesion_map() == np.float32(0.6)
    left = second & (case.grey < 100)
    np.testing.assert_array_equal(case.mask & second, left)
    assert f"{left.sum()} voxels of this lesion lie outside the editable area" in case.message


def test_clicks_keep_lesions_one_after_the_other(make: Callable[..., Case]) -> None:
    case = make()
    third = (slice(2, 4), slice(20, 23), slice(13, 15))
    lesions = lesion_map() > 0.3
    lesions[third] = True
    second = lesion_map() == np.float32(0.6)
    case.fill(lesions)
    case.use("KEEP")
    case.mouse.click(case.ras(SECOND))
    np.testing.assert_array_equal(case.mask, second)
    np.testing.assert_array_equal(case.shown("Lesions to keep"), lesions)
    case.mouse.click(case.ras(FIRST))
    expected = lesions.copy()
    expected[third] = False
    np.testing.assert_array_equal(case.mask, expected)
    case.mouse.click(case.ras((0, 0, 0)))
    assert "no lesion there" in case.message
    np.testing.assert_array_equal(case.mask, expected)
    case.editor.undo()
    np.testing.assert_array_equal(case.mask, second)
    case.editor.undo()
    np.testing.assert_array_equal(case.mask, lesions)
    # After an undo it starts anew.
    case.mouse.click(case.ras((2, 20, 13)))
    assert case.mask.sum() == 12
    case.use("NONE")
    assert not case.shown("Lesions to keep").any()
    assert not case.mouse.click(case.ras(FIRST))


def test_lesions_of_the_preview_are_kept_in_an_empty_segment(make: Callable[..., Case]) -> None:
    case = make()
    case.options.threshold.value = 0.3
    case.use("KEEP")
    case.mouse.click(case.ras(SECOND))
    np.testing.assert_array_equal(case.mask, lesion_map() == np.float32(0.6))
    case.mouse.click(case.ras(FIRST))
    np.testing.assert_array_equal(case.mask, lesion_map() > 0.3)


def test_hidden_segment_is_asked_for_first(make: Callable[..., Case]) -> None:
    case = make()
    case.fill(lesion_map() > 0.3)
    case.segmentation.GetDisplayNode().SetSegmentVisibility("Lesions", False)
    for answer in (case.host.NotConfirmed, case.host.ConfirmedWithDialog):
        case.host.answer_hidden = answer
        for tool in ("DROP", "ERASE"):
            case.use(tool)
            assert case.mouse.click(case.ras(FIRST))
        np.testing.assert_array_equal(case.mask, lesion_map() > 0.3)
    case.host.answer_hidden = case.host.NotConfirmed
    case.options.threshold.value = 0.75
    case.options.apply.click()
    np.testing.assert_array_equal(case.mask, lesion_map() > 0.3)


# Brush


def distance_to_line(grid: Geometry, first: Any, last: Any) -> np.ndarray:
    """Distance of every voxel's centre to a line between two voxels' centres, in mm."""
    places = grid.to_ras(np.moveaxis(np.indices(grid.size), 0, -1))
    start, end = grid.to_ras(first), grid.to_ras(last)
    steps = np.linspace(0, 1, 121)  # so close that the nearest one errs by 3 microns
    return np.min(
        [np.linalg.norm(places - (start + s * (end - start)), axis=-1) for s in steps], axis=0
    )


@pytest.mark.parametrize("name", ["axial", "flipped"])
def test_stroke_paints_where_the_map_is_positive(make: Callable[..., Case], name: str) -> None:
    case = make(GRIDS[name])
    case.use("PAINT")
    case.options.radius.value = 4.0
    first, last = (4, 6, 8), (24, 6, 8)
    case.mouse.drag([case.ras(first), case.ras(last)])
    distance = distance_to_line(case.grid, first, last)
    mask, positive = case.mask, lesion_map() > 0
    # Half a pixel of the view, where the mouse is.
    assert mask[positive & (distance < 3.6)].all()
    assert not mask[~positive | (distance > 4.4)].any()
    assert (~positive & (distance < 3.6)).any()
    case.editor.undo()
    assert not case.mask.any()


@pytest.mark.parametrize("name", list(GRIDS))
@pytest.mark.parametrize("moved", [False, True])
def test_ball_is_round_in_space(make: Callable[..., Case], name: str, moved: bool) -> None:
    case = make(GRIDS[name])
    if moved:
        pose = transform_node(case.scene)
        for node in (case.volume, case.map, case.segmentation):
            node.SetAndObserveTransformNodeID(pose.GetID())
    world = mrml.geometry_from_volume_node(case.volume)
    first, last = (4, 6, 3), (24, 17, 13)
    case.effect.editing.begin_stroke(3.3, within="positive")
    case.effect.editing.extend_stroke(world.to_ras(first))
    case.effect.editing.extend_stroke(world.to_ras(last))
    case.effect.editing.finish_stroke()
    distance = distance_to_line(world, first, last)
    sure = np.abs(distance - 3.3) > 0.01
    expected = (distance < 3.3) & (lesion_map() > 0)
    np.testing.assert_array_equal(case.mask[sure], expected[sure])


def test_small_brush_paints_the_voxel_under_it(make: Callable[..., Case]) -> None:
    case = make()
    case.use("PAINT")
    case.options.radius.value = 0.1
    case.mouse.drag([case.ras((12, 12, 8)) + 0.3])
    assert np.argwhere(case.mask).tolist() == [[12, 12, 8]]


def test_a_stroke_is_one_step_back(make: Callable[..., Case]) -> None:
    case = make()
    case.use("PAINT")
    points = [case.ras((i, 10, 8)) for i in (6, 10, 14, 18)]
    case.mouse.show(points[0])
    case.mouse.press(points[0])
    for point in points[1:]:
        assert case.mouse.move(point)
        assert not case.mask.any()  # what is under the brush is shown, not yet written
        assert case.shown("Stroke").any()
    stroke = case.shown("Stroke")
    case.mouse.release(points[-1])
    assert not case.shown("Stroke").any()
    np.testing.assert_array_equal(case.mask, stroke)
    case.mouse.drag([case.ras((20, 20, 8))])
    assert case.mask.sum() > stroke.sum()
    case.editor.undo()
    np.testing.assert_array_equal(case.mask, stroke)
    case.editor.undo()
    assert not case.mask.any()
    assert not case.editor.logic.CanUndo()


def test_paint_only_above_the_threshold(make: Callable[..., Case]) -> None:
    case = make()
    case.options.threshold.value = 0.65
    case.use("PAINT")
    case.options.strict.click()
    case.options.radius.value = 8.0
    case.mouse.drag([case.ras(FIRST), case.ras((15, 7, 6))])
    mask = case.mask
    assert mask.any()
    assert not (mask & ~(lesion_map() > 0.65)).any()
    before = case.editor.logic.CanUndo()
    case.mouse.drag([case.ras((15, 20, 8))])
    assert "the map is too low there" in case.message
    np.testing.assert_array_equal(case.mask, mask)
    assert case.editor.logic.CanUndo() == before


def test_shift_swaps_paint_and_erase(make: Callable[..., Case]) -> None:
    case = make()
    everything = np.ones(SIZE, dtype=bool)
    case.fill(everything)
    case.use("PAINT")
    case.options.radius.value = 3.0
    corner = (0, 12, 8)  # the map is negative there
    case.mouse.drag([case.ras(corner)], shift=True)
    gone = everything & ~case.mask
    assert gone[corner]
    np.testing.assert_array_equal(gone, distance_to_line(AXIAL, corner, corner) <= 3.0)
    case.use("ERASE")
    case.mouse.drag([case.ras(FIRST)])
    assert not case.mask[FIRST]
    case.mouse.drag([case.ras(FIRST)], shift=True)
    assert case.mask[FIRST]
    case.mouse.drag([case.ras(corner)], shift=True)
    assert not case.mask[corner]


def test_brush_respects_masking_and_other_segments(make: Callable[..., Case]) -> None:
    import slicer

    case = make()
    part = np.zeros(SIZE, dtype=bool)
    part[:8] = True
    case.fill(part, "Part")
    case.editor.node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    case.use("PAINT")
    case.mouse.drag([case.ras((6, 10, 8)), case.ras((14, 10, 8))])
    assert case.mask.any()
    assert not (case.mask & part).any()
    np.testing.assert_array_equal(case.segment("Part"), part)


def test_brush_shows_its_size(make: Callable[..., Case]) -> None:
    case = make()
    case.use("PAINT")
    case.options.radius.value = 5.0
    centre = case.ras((12, 12, 8))
    case.mouse.show(centre)
    assert not case.mouse.move(centre)  # others may have the event
    actors = case.mouse.renderer.GetActors2D()
    assert actors.GetNumberOfItems() == 1
    bounds = actors.GetItemAsObject(0).GetMapper().GetInput().GetBounds()
    # 200 mm are 400 pixels.
    assert bounds[1] - bounds[0] == pytest.approx(20.0, abs=0.1)
    forward, backward = (
        vtk.vtkCommand.MouseWheelForwardEvent,
        vtk.vtkCommand.MouseWheelBackwardEvent,
    )
    assert not case.mouse.send(forward, centre)
    assert case.mouse.send(forward, centre, shift=True)
    assert case.options.radius.value == pytest.approx(6.0)
    assert case.mouse.send(backward, centre, shift=True)
    assert case.options.radius.value == pytest.approx(5.0)
    case.mouse.send(vtk.vtkCommand.LeaveEvent, centre)
    assert actors.GetNumberOfItems() == 0
    case.mouse.move(centre)
    case.use("NONE")
    assert actors.GetNumberOfItems() == 0


def test_leaving_the_effect_forgets_a_stroke(make: Callable[..., Case]) -> None:
    case = make()
    case.use("PAINT")
    point = case.ras((12, 12, 8))
    case.mouse.show(point)
    case.mouse.press(point)
    case.host.deactivate()
    assert case.preview is None
    case.host.activate()
    case.mouse.release(point)
    assert not case.mask.any()
