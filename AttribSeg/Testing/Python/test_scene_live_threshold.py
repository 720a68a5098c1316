from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.lesions import lesion_table, remove_small_lesions

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
vtk = pytest.importorskip("vtk", reason="vtk is not installed")

from AttribSegLib import mrml  # noqa: E402
from AttribSegScene import names  # noqa: E402
from AttribSegScene.live_threshold import LiveThreshold  # noqa: E402
from AttribSegScene.tables import lesion_table_node  # noqa: E402

ID = "Lesions"


def some_map(geometry: Geometry, rng: np.random.Generator) -> Image:
    array = rng.normal(size=geometry.size).astype(np.float32)
    array[:2] = array[:, :1] = 0.0  # outside the brain
    return Image(array, geometry)


def make(scene: Any, score_map: Image) -> tuple[Any, Any]:
    """An attribution node, and a segmentation that nobody has drawn in."""
    attribution = mrml.attribution_node(score_map, name="the map", scene=scene)
    empty = score_map.with_array(np.zeros(score_map.geometry.size, dtype=bool))
    return attribution, mrml.segmentation_node_from_mask(empty, name="found", scene=scene)


def segment_on(segmentation: Any, reference: Any, segment_id: str = ID) -> np.ndarray:
    return mrml.mask_from_segment(segmentation, segment_id, reference=reference).array


def labelmap(segmentation: Any, segment_id: str = ID) -> Any:
    return (
        segmentation.GetSegmentation().GetSegment(segment_id).GetRepresentation("Binary labelmap")
    )


def draw(segmentation: Any, mask: Image, segment_id: str = ID) -> None:
    """What the Segment Editor does: add a mask to a segment."""
    from vtk.util.numpy_support import numpy_to_vtk

    image = slicer.vtkOrientedImageData()
    image.SetExtent(*(bound for n in mask.geometry.size for bound in (0, n - 1)))
    voxels = numpy_to_vtk(mask.array.astype(np.uint8).ravel(order="F"), deep=True)
    image.GetPointData().SetScalars(voxels)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((np.diag([-1.0, -1, 1, 1]) @ mask.geometry.affine).ravel().tolist())
    image.SetGeometryFromImageToWorldMatrix(matrix)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(image, segmentation, segment_id, logic.MODE_MERGE_MASK)


def transform(scene: Any, shift: float, degrees: float) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved = vtk.vtkTransform()
    moved.Translate(shift, -2 * shift, 5.0)
    moved.RotateWXYZ(degrees, 0.3, 0.5, 1.0)
    node.SetMatrixTransformToParent(moved.GetMatrix())
    return node


def test_segment_is_what_lies_above(
    scene: Any, geometry: Geometry, rng: np.random.Generator
) -> None:
    score_map = some_map(geometry, rng)
    attribution, segmentation = make(scene, score_map)
    live = LiveThreshold(attribution, segmentation, ID)
    for threshold in (0.5, 1.5, 0.0, -0.5, 9.0, 1.0):
        expected = (score_map.array > threshold) & (score_map.array != 0)
        assert live.set(threshold) == expected.sum()
        np.testing.assert_array_equal(segment_on(segmentation, attribution), expected)
    low, high = live.range
    assert low == score_map.array[score_map.array > 0].min()
    assert high == score_map.array.max()


def test_nodes_under_transforms_agree(
    scene: Any, geometry: Geometry, rng: np.random.Generator
) -> None:
    score_map = some_map(geometry, rng)
    attribution, segmentation = make(scene, score_map)
    attribution.SetAndObserveTransformNodeID(transform(scene, 4.0, 20.0).GetID())
    live = LiveThreshold(attribution, segmentation, ID)
    live.set(1.0)
    np.testing.assert_array_equal(segment_on(segmentation, attribution), score_map.array > 1)
    segmentation.SetAndObserveTransformNodeID(transform(scene, -3.0, 35.0).GetID())
    live.set(0.5)
    np.testing.assert_array_equal(segment_on(segmentation, attribution), score_map.array > 0.5)
    attribution.SetAndObserveTransformNodeID(None)
    assert not live.edited
    live.set(0.8)
    above = score_map.with_array(score_map.array > 0.8)
    np.testing.assert_array_equal(segment_on(segmentation, attribution), above.array)
    expected = lesion_table(above, score_map)[0].centre_ras_mm
    assert live.finish()[0].centre_ras_mm == pytest.approx(expected, abs=1e-3)
    assert not live.edited


def test_a_step_writes_in_place_and_tells_once_when_it_is_done(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    score_map = some_map(geometries["oblique"], rng)
    attribution, segmentation = make(scene, score_map)
    live = LiveThreshold(attribution, segmentation, ID)
    live.set(1.0)
    first, seen = labelmap(segmentation), []

    def look(caller: Any, event: str) -> None:
        seen.append(int(segment_on(segmentation, attribution).sum()))

    inner = segmentation.GetSegmentation()
    inner.AddObserver(inner.SourceRepresentationModified, look)
    counts = [live.set(threshold) for threshold in (0.2, 0.7, 2.0)]
    assert seen == counts
    assert labelmap(segmentation) is first
    # Only the part that can ever be above is stored.
    stored = np.argwhere(score_map.array > 0)
    assert first.GetExtent()[::2] == tuple(stored.min(axis=0))
    assert first.GetExtent()[1::2] == tuple(stored.max(axis=0))


def test_surface_is_made_again_at_the_end_only(scene: Any) -> None:
    grid = Geometry((20, 20, 20))
    distance = np.sqrt(((np.indices(grid.size) - 9.5) ** 2).sum(axis=0))
    score_map = Image(np.maximum(10 - distance, 0).astype(np.float32), grid)
    attribution, segmentation = make(scene, score_map)
    live = LiveThreshold(attribution, segmentation, ID)
    inner = segmentation.GetSegmentation()
    live.set(5.0)
    live.finish()
    assert not inner.ContainsRepresentation("Closed surface")  # was never asked for
    segmentation.CreateClosedSurfaceRepresentation()
    live.set(3.0)
    assert not inner.ContainsRepresentation("Closed surface")
    live.set(2.0)
    live.finish()
    surface = inner.GetSegment(ID).GetRepresentation("Closed surface")
    bounds = surface.GetBounds()
    assert bounds[1] - bounds[0] == pytest.approx(16, abs=1.5)  # radius 8 now
    live.finish()
    assert inner.GetSegment(ID).GetRepresentation("Closed surface") is surface


def test_other_segments_of_a_shared_labelmap_stay(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    grid = geometries["sagittal"]
    left = np.arange(grid.size[0])[:, None, None] < 5
    score_map = some_map(grid, rng)
    score_map = score_map.with_array(np.where(left, 0, score_map.array))
    half = np.broadcast_to(left, grid.size)
    attribution, segmentation = make(scene, score_map)
    inner = segmentation.GetSegmentation()
    inner.AddEmptySegment("other", "other")
    draw(segmentation, Image(half, grid), "other")
    draw(segmentation, Image(score_map.array > 2, grid))
    inner.CollapseBinaryLabelmaps(False)
    assert inner.GetNumberOfLayers() == 1
    live = LiveThreshold(attribution, segmentation, ID)
    live.set(0.5, discard_edits=True)
    np.testing.assert_array_equal(segment_on(segmentation, attribution), score_map.array > 0.5)
    np.testing.assert_array_equal(segment_on(segmentation, attribution, "other"), half)
    live.finish()
    assert not live.edited
    # What is drawn into a neighbour is no edit of this segment.
    inner.CollapseBinaryLabelmaps(False)
    assert inner.GetNumberOfLayers() == 1
    assert not live.edited
    before = segment_on(segmentation, attribution)
    draw(segmentation, Image((score_map.array < 0) & (score_map.array > -1), grid), "other")
    np.testing.assert_array_equal(segment_on(segmentation, attribution), before)
    assert not live.edited
    assert live.set(1.0) == segment_on(segmentation, attribution).sum()
    assert segment_on(segmentation, attribution, "other").sum() > half.sum()


def test_what_a_person_drew_is_not_overwritten(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    grid = geometries["axial"]
    score_map = some_map(grid, rng)
    attribution, segmentation = make(scene, score_map)
    live = LiveThreshold(attribution, segmentation, ID)
    live.set(1.0)
    corner = np.zeros(grid.size, dtype=bool)
    corner[0, 0, 0] = True
    draw(segmentation, Image(corner, grid))
    assert live.edited
    drawn = segment_on(segmentation, attribution)
    assert drawn.sum() == (score_map.array > 1).sum() + 1
    with pytest.raises(InputError, match="'Lesions' of 'found' was edited by hand"):
        live.set(0.5)
    np.testing.assert_array_equal(segment_on(segmentation, attribution), drawn)
    # The table tells of what is there, and the drawing stays one.
    assert sum(lesion.voxels for lesion in live.finish(live.lesions())) == drawn.sum()
    assert live.edited
    assert LiveThreshold(attribution, segmentation, ID).edited
    live.set(0.5, discard_edits=True)
    assert not live.edited
    assert segment_on(segmentation, attribution).sum() == (score_map.array > 0.5).sum()


def test_two_at_the_same_segment_know_of_each_other(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    attribution, segmentation = make(scene, some_map(geometries["axial"], rng))
    panel = LiveThreshold(attribution, segmentation, ID)
    panel.set(1.0)
    panel.finish()
    effect = LiveThreshold(attribution, segmentation, ID)
    assert not effect.edited
    effect.set(0.5)
    effect.finish()
    assert not panel.edited
    panel.set(0.7)


def test_a_segment_of_unknown_origin_counts_as_drawn(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    score_map = some_map(geometries["axial"], rng)
    attribution, segmentation = make(scene, score_map)
    assert not LiveThreshold(attribution, segmentation, ID).edited  # empty
    draw(segmentation, score_map.with_array(score_map.array > 1))
    assert LiveThreshold(attribution, segmentation, ID).edited
    segmentation.GetSegmentation().AddEmptySegment("new", "new")
    live = LiveThreshold(attribution, segmentation, "new")
    assert not live.edited
    assert live.set(1.0) == segment_on(segmentation, attribution, "new").sum() > 0


def test_small_lesions_and_smoothing(scene: Any, rng: np.random.Generator) -> None:
    grid = Geometry((20, 22, 18), (2.0, 2.0, 2.0))
    score_map = Image(rng.normal(size=grid.size).astype(np.float32), grid)
    attribution, segmentation = make(scene, score_map)
    live = LiveThreshold(attribution, segmentation, ID)
    live.prepare(minimum_ml=0.05)
    assert live.prepared == (0.05, 0.0)
    for threshold in (1.0, 1.3):
        live.set(threshold)
        above = score_map.with_array(score_map.array > threshold)
        expected = remove_small_lesions(above, 0.05).array
        assert 0 < expected.sum() < above.array.sum()
        np.testing.assert_array_equal(segment_on(segmentation, attribution), expected)
    live.prepare(smoothing_mm=4.0)
    assert live.set(1.2) < expected.sum()
    live.finish()
    assert float(segmentation.GetAttribute(names.SMOOTHING_MM)) == 4.0
    assert float(segmentation.GetAttribute(names.MINIMUM_ML)) == 0.0


def test_the_end_of_a_drag_is_recorded(
    scene: Any, geometry: Geometry, rng: np.random.Generator
) -> None:
    score_map = some_map(geometry, rng)
    attribution, segmentation = make(scene, score_map)
    table = lesion_table_node([], scene=scene, name="rows")
    segmentation.SetNodeReferenceID(names.TABLE, table.GetID())
    live = LiveThreshold(attribution, segmentation, ID)
    assert live.finish() == []
    live.set(1.0)
    measured = live.lesions()
    lesions = live.finish(measured)
    assert lesions == measured
    mask = score_map.with_array(score_map.array > 1)
    expected = lesion_table(mask, score_map)
    assert len(lesions) == len(expected) == table.GetNumberOfRows() > 1
    for one, other in zip(lesions, expected, strict=True):
        assert one.voxels == other.voxels
        assert one.centre_ijk == pytest.approx(other.centre_ijk)
        assert one.centre_ras_mm == pytest.approx(other.centre_ras_mm, abs=1e-3)
        assert one.mean_attribution == pytest.approx(other.mean_attribution)
    assert float(segmentation.GetAttribute(names.THRESHOLD)) == 1.0
    assert table.GetName() == "rows"


def test_nominal_spacing(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    attribution, segmentation = make(scene, some_map(geometries["axial"], rng))
    segmentation.SetAttribute(names.NOMINAL, "1")
    live = LiveThreshold(attribution, segmentation, ID)
    live.set(1.0)
    assert {lesion.volume_ml for lesion in live.finish()} == {None}
    with pytest.raises(InputError, match="nominal"):
        live.prepare(minimum_ml=0.1)


def test_nodes_that_are_gone_or_changed(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    attribution, segmentation = make(scene, some_map(geometries["axial"], rng))
    live = LiveThreshold(attribution, segmentation, ID)
    live.set(1.0)
    before = segment_on(segmentation, geometries["axial"])
    with pytest.raises(InputError, match="finite"):
        live.set(float("nan"))
    attribution.GetImageData().SetScalarComponentFromDouble(5, 5, 5, 0, 99.0)
    attribution.GetImageData().Modified()
    with pytest.raises(InputError, match="'the map' has changed"):
        live.set(0.5)
    live = LiveThreshold(attribution, segmentation, ID)
    scene.RemoveNode(attribution)
    with pytest.raises(InputError, match="'the map' is not in the scene"):
        live.set(0.5)
    np.testing.assert_array_equal(segment_on(segmentation, geometries["axial"]), before)
    attribution, segmentation = make(scene, some_map(geometries["axial"], rng))
    live = LiveThreshold(attribution, segmentation, ID)
    segmentation.GetSegmentation().RemoveSegment(ID)
    with pytest.raises(InputError, match="'found' has no segment 'Lesions'; it has: none"):
        live.set(0.5)
    scene.RemoveNode(segmentation)
    for use in (lambda: live.set(0.5), live.finish, lambda: live.edited):
        with pytest.raises(InputError, match=r"'found'.*may be deleted"):
            use()
    with pytest.raises(InputError, match="segmentation node of the scene"):
        LiveThreshold(attribution, None, ID)


def test_segments_made_of_surfaces_are_refused(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    attribution, segmentation = make(scene, some_map(geometries["axial"], rng))
    draw(segmentation, Image(np.ones((11, 9, 7), dtype=bool), geometries["axial"]))
    segmentation.CreateClosedSurfaceRepresentation()
    segmentation.SetSourceRepresentationToClosedSurface()
    with pytest.raises(InputError, match="made of surfaces"):
        LiveThreshold(attribution, segmentation, ID)


def test_a_step_can_be_undone(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    """What the Segment Editor saved before a step is not written over by the step."""
    score_map = some_map(geometries["axial"], rng)
    attribution, segmentation = make(scene, score_map)
    live = LiveThreshold(attribution, segmentation, ID)
    live.set(1.0)
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(segmentation.GetSegmentation())
    for threshold in (0.5, 0.2, 2.0):
        history.SaveState()
        live.set(threshold)
    for threshold in (0.2, 0.5, 1.0):
        history.RestorePreviousState()
        np.testing.assert_array_equal(
            segment_on(segmentation, attribution), score_map.array > threshold
        )
    # The step that is undone is not what this program wrote last: it asks before going on.
    assert live.edited
