"""The effect "Attribution": its real controls, on Slicer's real Segment Editor logic."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttribSegLib.image import Geometry, Image
from AttribSegLib.lesions import remove_small_lesions

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

import vtk
from AttribSegLib import mrml

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "AttribSeg" / "SegmentEditorAttribution" / "SegmentEditorAttribution.py"


def _rotation() -> np.ndarray:
    """A rotation about no axis of the patient."""
    axis = np.array([1.0, 2.0, -1.5]) / np.linalg.norm([1.0, 2.0, -1.5])
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(0.4) * cross + (1 - np.cos(0.4)) * cross @ cross


_SIZE, _SPACING, _ORIGIN = (30, 26, 18), (1.0, 1.25, 2.0), (-11.0, 13.0, 7.0)
GRIDS = {
    "axial": Geometry(_SIZE, _SPACING, _ORIGIN),
    "sagittal": Geometry(_SIZE, _SPACING, _ORIGIN, np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])),
    "flipped": Geometry(_SIZE, _SPACING, _ORIGIN, np.diag([1.0, -1.0, 1.0])),
    "oblique": Geometry(_SIZE, _SPACING, _ORIGIN, _rotation()),
    "left-handed oblique": Geometry(_SIZE, _SPACING, _ORIGIN, _rotation() @ np.diag([1, 1, -1.0])),
}
AXIAL = GRIDS["axial"]

#: Centres of two lesions of the map below, and of a speck that touches the first at a corner.
FIRST, SECOND, SPECK = (7, 7, 6), (21, 16, 10), (10, 10, 9)


def lesion_map() -> np.ndarray:
    """Two lesions and a speck over a healthy background with faint positive parts."""
    values = np.full(_SIZE, -0.2, dtype=np.float32)
    values[2:28, 2:24, 2:16] = 0.1
    values[5:10, 5:10, 4:9] = 0.8
    values[20:23, 14:19, 9:12] = 0.6
    values[SPECK] = 0.7
    return values


@pytest.fixture(scope="module")
def application() -> Iterator[Any]:
    from headless import HeadlessApplication

    # Slicer has every module's folder on its path.
    sys.path.insert(0, str(MODULE.parents[1]))
    with HeadlessApplication() as app:
        from headless import segment_editor

        segment_editor.install()
        app.load_module(MODULE)
        app.start_up()
        yield app


class Case:
    """A volume with its map and segmentation, and a Segment Editor with the effect."""

    def __init__(self, application: Any, grid: Geometry, values: np.ndarray | None) -> None:
        self.app, self.scene, self.grid = application, application.scene, grid
        grey = np.random.default_rng(1).normal(100, 20, grid.size).astype(np.float32)
        self.grey = grey
        self.volume = mrml.volume_node_from_image(Image(grey, grid), name="FLAIR", scene=self.scene)
        self.map: Any = None
        if values is not None:
            image = Image(values, grid)
            self.map = mrml.attribution_node(image, name="Relevance", scene=self.scene)
        empty = Image(np.zeros(grid.size, dtype=bool), grid)
        self.segmentation = mrml.segmentation_node_from_mask(
            empty, name="Lesions", scene=self.scene, reference_volume_node=self.volume
        )
        self.open(None)

    def open(self, node: Any) -> None:
        """Open a Segment Editor, with an earlier one's node if given, and choose the effect."""
        import slicer
        from headless.slice_mouse import SliceWidget

        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.editor.setMRMLScene(self.scene)
        self.editor.setMRMLSegmentEditorNode(
            node or self.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        )
        if node is None:
            self.edit(self.segmentation)
        self.editor.setActiveEffectByName("Attribution")
        self.host = self.editor.activeEffect()
        self.effect = self.host.self()
        self.options = self.effect.options
        self.mouse = SliceWidget(self.scene, self.host)

    def edit(self, segmentation: Any) -> None:
        """Choose what is edited, and the effect anew."""
        self.segmentation = segmentation
        self.editor.setActiveEffectByName("")
        self.editor.setSegmentationNode(segmentation)
        self.editor.setSourceVolumeNode(self.volume)
        self.editor.setActiveEffectByName("Attribution")

    @property
    def message(self) -> str:
        return str(self.options.message.text)

    @property
    def mask(self) -> np.ndarray:
        """The segment on the volume's grid."""
        return self.segment("Lesions")

    def segment(self, name: str, node: Any = None) -> np.ndarray:
        node = node or self.segmentation
        return mrml.mask_from_segment(node, name, reference=self.volume).array

    @property
    def preview(self) -> Any:
        """The preview's node."""
        return self.scene.GetFirstNodeByName("Attribution preview")

    def shown(self, name: str = "Above the threshold") -> np.ndarray:
        """What the preview shows under a name, on the volume's grid."""
        node = self.preview
        if node is None or node.GetSegmentation().GetSegment(name) is None:
            return np.zeros(self.grid.size, dtype=bool)
        if not node.GetDisplayNode().GetSegmentVisibility(name):
            return np.zeros(self.grid.size, dtype=bool)
        return self.segment(name, node)

    def fill(self, mask: np.ndarray, name: str = "Lesions") -> None:
        """Make a mask a segment, not through the editor."""
        from slicer import vtkSegment, vtkSegmentationConverter

        made = mrml.segmentation_node_from_mask(Image(mask, self.grid), scene=self.scene)
        labelmap = vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
        image = made.GetSegmentation().GetSegment("Lesions").GetRepresentation(labelmap)
        segmentation = self.segmentation.GetSegmentation()
        segment = segmentation.GetSegment(name)
        if segment is None:
            segment = vtkSegment()
            segment.SetName(name)
            segment.AddRepresentation(labelmap, image)
            segmentation.AddSegment(segment, name)
        else:
            segment.AddRepresentation(labelmap, image)
        self.scene.RemoveNode(made)

    def use(self, tool: str) -> None:
        """Press a tool's button."""
        self.options.tools[tool].click()

    def ras(self, ijk: Any) -> Any:
        """Point of a voxel's centre."""
        return self.grid.to_ras(ijk)


@pytest.fixture
def make(application: Any) -> Iterator[Callable[..., Case]]:
    """``make(grid=AXIAL, values=lesion_map())``: a `Case`, which is gone after the test."""
    cases: list[Case] = []

    def case(grid: Geometry = AXIAL, values: Any = "lesions") -> Case:
        made = Case(application, grid, lesion_map() if isinstance(values, str) else values)
        cases.append(made)
        return made

    yield case
    for made in cases:
        made.editor.deleteLater()
    application.close_scene()
    errors = list(application.errors)
    application.errors.clear()
    assert errors == []


def transform_node(scene: Any) -> Any:
    """A turn and a shift."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = _rotation(), (5.0, -7.0, 11.0)
    values = vtk.vtkMatrix4x4()
    values.DeepCopy(matrix.ravel().tolist())
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "pose")
    node.SetMatrixTransformToParent(values)
    return node


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
        application.wait_until(lambda: "preparing" not in case.options.amount.text, 10)
        expected = remove_small_lesions(Image(lesion_map() > 0.3, AXIAL), minimum).array
        assert expected.sum() == left
        np.testing.assert_array_equal(case.shown(), expected)
        case.options.apply.click()
        np.testing.assert_array_equal(case.mask, expected)


def test_smoothed_map(make: Callable[..., Case], application: Any) -> None:
    from AttribSegLib.map_preview import MapPreview

    case = make()
    smooth = MapPreview(Image(lesion_map(), AXIAL))
    smooth.prepare(smoothing_mm=2.0)
    case.options.threshold.value = 0.2
    case.options.smoothing.value = 2.0
    application.wait_until(lambda: "preparing" not in case.options.amount.text, 10)
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

    part = np.zeros(_SIZE, dtype=bool)
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
    part = np.zeros(_SIZE, dtype=bool)
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
        Image(np.zeros(_SIZE, dtype=bool), AXIAL), scene=case.scene
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
    elsewhere = Geometry(_SIZE, _SPACING, (50.0, 0.0, 0.0))
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
    elsewhere = Geometry(_SIZE, _SPACING, (50.0, 0.0, 0.0))
    image = Image(np.ones(_SIZE, dtype=np.float32), elsewhere)
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
        Image(np.zeros(_SIZE, dtype=bool), world),
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
    everything = np.ones(_SIZE, dtype=bool)
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
    part = np.zeros(_SIZE, dtype=bool)
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
    case = make(values=np.full(_SIZE, -1.0, dtype=np.float32))
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
    path = application.screenshot(frame, tmp_path / "options.png", width=460)
    assert path.stat().st_size > 2000
