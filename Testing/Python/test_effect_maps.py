"""The effect Attribution: which map it takes, and where everything lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from AttribSegLib.image import Geometry, Image

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
    SPACING,
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


# Which map


def test_threshold_of_the_detection_comes_first(make: Callable[..., Case]) -> None:
    case = make()
    assert case.options.map.currentNode() is case.map  # by its colours and grid
    assert case.options.threshold.value == pytest.approx(0.4)  # half of the maximum
    other = mrml.attribution_node(
        Image(lesion_map() / 2, AXIAL), name="of the detection", scene=case.scene
    )
    case.segmentation.SetNodeReferenceID("AttribSeg.Attribution", other.GetID())
    case.segmentation.SetNodeReferenceID("AttribSeg.Volume", case.volume.GetID())
    case.segmentation.SetAttribute("AttribSeg.Threshold", "0.12345678901")
    case.segmentation.SetAttribute("AttribSeg.MinimumML", "0.001")
    case.editor.deleteLater()
    case.open(None)
    assert case.options.map.currentNode() is other
    assert case.host.doubleParameter("Threshold") == 0.12345678901
    assert case.host.doubleParameter("MinimumMl") == 0.001
    case.options.radius.value = 3.0  # showing the threshold has not rounded it
    assert case.host.doubleParameter("Threshold") == 0.12345678901
    np.testing.assert_array_equal(case.shown(), lesion_map() / 2 > 0.12345678901)


def test_map_of_another_detection_on_the_volume(make: Callable[..., Case]) -> None:
    case = make(values=None)
    assert "no attribution of 'FLAIR'" in case.message
    assert not case.options.apply.enabled
    coarse = Geometry((10, 9, 9), (3.0, 3.75, 4.0), (-10.0, 14.25, 8.0))
    other = mrml.volume_node_from_image(
        Image(np.ones(coarse.size, dtype=np.float32), coarse), name="map", scene=case.scene
    )
    detected = mrml.segmentation_node_from_mask(
        Image(np.zeros(SIZE, dtype=bool), AXIAL), scene=case.scene
    )
    detected.SetNodeReferenceID("AttribSeg.Attribution", other.GetID())
    detected.SetNodeReferenceID("AttribSeg.Volume", case.volume.GetID())
    case.host.deactivate()
    case.host.activate()
    assert case.options.map.currentNode() is other
    assert case.message == ""
    assert case.options.apply.enabled


def test_map_of_another_volume_is_not_taken(make: Callable[..., Case]) -> None:
    case = make(values=None)
    elsewhere = Geometry(SIZE, SPACING, (50.0, 0.0, 0.0))
    mrml.attribution_node(Image(lesion_map(), elsewhere), name="far away", scene=case.scene)
    case.host.deactivate()
    case.host.activate()
    assert "no attribution of 'FLAIR'" in case.message


def test_another_map_can_be_chosen(make: Callable[..., Case]) -> None:
    case = make()
    doubled = mrml.volume_node_from_image(
        Image(lesion_map() * 20, AXIAL), name="doubled", scene=case.scene
    )
    case.options.map.setCurrentNode(doubled)
    assert case.options.threshold.maximum == pytest.approx(16.0)
    assert case.options.threshold.value == pytest.approx(8.0)
    np.testing.assert_array_equal(case.shown(), lesion_map() * 20 > 8)
    case.host.deactivate()
    case.host.activate()
    assert case.options.map.currentNode() is doubled


def test_another_source_volume_brings_its_map(make: Callable[..., Case]) -> None:
    case = make()
    elsewhere = Geometry(SIZE, SPACING, (50.0, 0.0, 0.0))
    image = Image(np.ones(SIZE, dtype=np.float32), elsewhere)
    other = mrml.volume_node_from_image(image, name="T1", scene=case.scene)
    its_map = mrml.attribution_node(image, name="of T1", scene=case.scene)
    case.editor.node.SetAndObserveSourceVolumeNode(other)
    assert case.options.map.currentNode() is its_map
    case.editor.node.SetAndObserveSourceVolumeNode(case.volume)
    assert case.options.map.currentNode() is case.map


def test_changed_map_is_followed(make: Callable[..., Case]) -> None:
    case = make()
    halved = lesion_map() / 2
    mrml.volume_node_from_image(Image(halved, AXIAL), name="Relevance", node=case.map)
    case.options.threshold.value = 0.25
    np.testing.assert_array_equal(case.shown(), halved > 0.25)


# Geometry


@pytest.mark.parametrize("name", ["axial", "oblique"])
def test_all_under_one_transform(make: Callable[..., Case], name: str) -> None:
    case = make(GRIDS[name])
    pose = transform_node(case.scene)
    for node in (case.volume, case.map, case.segmentation):
        node.SetAndObserveTransformNodeID(pose.GetID())
    moved = mrml.geometry_from_volume_node(case.volume)
    case.options.threshold.value = 0.65
    np.testing.assert_array_equal(case.shown(), lesion_map() > 0.65)
    case.options.threshold.value = 0.3
    case.options.apply.click()
    np.testing.assert_array_equal(case.mask, lesion_map() > 0.3)
    case.use("DROP")
    assert case.mouse.click(moved.to_ras(SECOND))
    assert not case.mask[SECOND]
    assert case.mask[FIRST]


def test_result_in_world_of_a_volume_under_a_transform(make: Callable[..., Case]) -> None:
    case = make()
    case.volume.SetAndObserveTransformNodeID(transform_node(case.scene).GetID())
    world = mrml.geometry_from_volume_node(case.volume)
    mrml.attribution_node(Image(lesion_map(), world), name="Relevance", node=case.map)
    node = mrml.segmentation_node_from_mask(
        Image(np.zeros(SIZE, dtype=bool), world),
        scene=case.scene,
        reference_volume_node=case.volume,
    )
    case.edit(node)
    case.options.threshold.value = 0.3
    case.options.apply.click()
    np.testing.assert_array_equal(case.mask, lesion_map() > 0.3)


def test_map_on_another_grid(make: Callable[..., Case]) -> None:
    """A map that rises evenly is known between its voxels."""
    case = make(GRIDS["oblique"], values=None)
    coarse = Geometry((24, 22, 20), (4.0, 4.5, 5.0), (-60.0, -40.0, -40.0))
    slope = np.array([0.02, -0.01, 0.03])

    def rise(geometry: Geometry) -> np.ndarray:
        places = np.moveaxis(np.indices(geometry.size), 0, -1)
        return geometry.to_ras(places) @ slope

    image = Image(rise(coarse).astype(np.float32), coarse)
    node = mrml.volume_node_from_image(image, name="coarse", scene=case.scene)
    case.options.map.setCurrentNode(node)
    threshold = float(np.median(rise(case.grid)))
    case.host.setParameter("Threshold", repr(threshold))
    exact = rise(case.grid)
    sure = np.abs(exact - threshold) > 1e-4
    np.testing.assert_array_equal(case.shown()[sure], (exact > threshold)[sure])
    case.options.apply.click()
    np.testing.assert_array_equal(case.mask[sure], (exact > threshold)[sure])


def test_transform_that_is_not_linear(make: Callable[..., Case]) -> None:
    case = make()
    spline = vtk.vtkThinPlateSplineTransform()
    for setter, shift in ((spline.SetSourceLandmarks, 0.0), (spline.SetTargetLandmarks, 3.0)):
        points = vtk.vtkPoints()
        for x, y, z in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9)):
            points.InsertNextPoint(x + (shift if x and y else 0.0), y, z)
        setter(points)
    spline.SetBasisToR()
    bent = case.scene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    bent.SetAndObserveTransformToParent(spline)
    case.map.SetAndObserveTransformNodeID(bent.GetID())
    case.options.threshold.value = 0.5
    assert "not linear" in case.message
    case.options.apply.click()
    assert not case.mask.any()
