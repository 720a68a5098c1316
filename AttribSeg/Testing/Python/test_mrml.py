from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.segmentation_file import LESION_TERMINOLOGY

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
vtk = pytest.importorskip("vtk", reason="vtk is not installed")

from AttribSegLib import mrml  # noqa: E402


def random_image(geometry: Geometry, rng: np.random.Generator) -> Image:
    return Image(rng.normal(size=geometry.size).astype(np.float32), geometry)


def random_mask(geometry: Geometry, rng: np.random.Generator) -> Image:
    array = np.zeros(geometry.size, dtype=bool)
    array[3:8, 2:7] = rng.random(array[3:8, 2:7].shape) > 0.5
    array[4, 4, 0] = True
    return Image(array, geometry)


def linear_transform(scene: Any, matrix: np.ndarray, parent: Any = None) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    values = vtk.vtkMatrix4x4()
    values.DeepCopy(matrix.ravel().tolist())
    node.SetMatrixTransformToParent(values)
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def rigid() -> np.ndarray:
    matrix = np.eye(4)
    angle = np.radians(25.0)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = (5.0, -7.0, 11.0)
    return matrix


def bent_transform(scene: Any) -> Any:
    spline = vtk.vtkThinPlateSplineTransform()
    for setter, shift in ((spline.SetSourceLandmarks, 0.0), (spline.SetTargetLandmarks, 3.0)):
        points = vtk.vtkPoints()
        for x, y, z in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9)):
            points.InsertNextPoint(x + (shift if x and y else 0.0), y, z)
        setter(points)
    spline.SetBasisToR()
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    node.SetAndObserveTransformToParent(spline)
    return node


def test_volume_round_trip(scene: Any, geometry: Geometry, rng: np.random.Generator) -> None:
    image = random_image(geometry, rng)
    node = mrml.volume_node_from_image(image, name="FLAIR", scene=scene)
    again = mrml.image_from_volume_node(node)
    np.testing.assert_array_equal(again.array, image.array)
    assert again.array.dtype == np.float32
    assert again.geometry == geometry
    assert node.GetName() == "FLAIR"
    assert node.GetDisplayNode() is not None


def test_physical_points_agree(scene: Any, geometry: Geometry, rng: np.random.Generator) -> None:
    image = random_image(geometry, rng)
    node = mrml.volume_node_from_image(image, name="FLAIR", scene=scene)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    for ijk in ((0, 0, 0), (3, 5, 0), tuple(n - 1 for n in geometry.size)):
        ras = matrix.MultiplyPoint((*ijk, 1.0))[:3]
        assert ras == pytest.approx(tuple(geometry.to_ras(ijk)))
        stored = node.GetImageData().GetScalarComponentAsDouble(*ijk, 0)
        assert stored == pytest.approx(float(image.array[ijk]))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (bool, np.uint8),
        (np.uint8, np.uint8),
        (np.int16, np.int16),
        (np.float16, np.float32),
        (np.float64, np.float64),
        (np.int64, np.int32),
        (">i2", np.int16),
    ],
)
def test_number_types(scene: Any, geometries: dict[str, Geometry], given: Any, stored: Any) -> None:
    grid = geometries["flipped"]
    values = (np.arange(np.prod(grid.size)).reshape(grid.size) % 2).astype(given)
    node = mrml.volume_node_from_image(Image(values, grid), name="v", scene=scene)
    again = mrml.image_from_volume_node(node).array
    assert again.dtype == stored
    np.testing.assert_array_equal(again, values)


def test_large_integers_are_kept(scene: Any, geometries: dict[str, Geometry]) -> None:
    grid = geometries["axial"]
    values = np.full(grid.size, 2**40, dtype=np.int64)
    node = mrml.volume_node_from_image(Image(values, grid), name="v", scene=scene)
    np.testing.assert_array_equal(mrml.image_from_volume_node(node).array, values)


def test_image_and_node_share_no_memory(scene: Any, geometries: dict[str, Geometry]) -> None:
    image = Image(np.zeros((11, 9, 7), dtype=np.float32), geometries["axial"])
    node = mrml.volume_node_from_image(image, name="v", scene=scene)
    image.array[:] = 5
    copy = mrml.image_from_volume_node(node)
    assert not copy.array.any()
    node.GetImageData().SetScalarComponentFromDouble(0, 0, 0, 0, 9.0)
    assert not copy.array.any()


def test_node_is_filled_again(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    node = mrml.volume_node_from_image(
        random_image(geometries["axial"], rng), name="a", scene=scene
    )
    node.SetAndObserveTransformNodeID(linear_transform(scene, rigid()).GetID())
    second = random_image(geometries["oblique"], rng)
    count = scene.GetNumberOfNodes()
    assert mrml.volume_node_from_image(second, name="b", node=node) is node
    assert scene.GetNumberOfNodes() == count
    again = mrml.image_from_volume_node(node)
    np.testing.assert_array_equal(again.array, second.array)
    assert again.geometry == second.geometry


def test_linear_parent_transforms_move_the_geometry(
    scene: Any, geometry: Geometry, rng: np.random.Generator
) -> None:
    image = random_image(geometry, rng)
    node = mrml.volume_node_from_image(image, name="v", scene=scene)
    shift = np.eye(4)
    shift[:3, 3] = (100.0, 0.0, -20.0)
    parent = linear_transform(scene, shift)
    node.SetAndObserveTransformNodeID(linear_transform(scene, rigid(), parent).GetID())
    moved = mrml.image_from_volume_node(node)
    np.testing.assert_array_equal(moved.array, image.array)
    corner = np.array([n - 1 for n in geometry.size])
    for ijk in (np.zeros(3), corner):
        expected = shift @ rigid() @ np.append(geometry.to_ras(ijk), 1.0)
        assert moved.geometry.to_ras(ijk) == pytest.approx(expected[:3])
    # Slicer's own hardening agrees.
    node.HardenTransform()
    assert mrml.image_from_volume_node(node).geometry.same_grid(moved.geometry, tolerance=1e-6)


def test_transforms_that_a_grid_cannot_follow(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    node = mrml.volume_node_from_image(
        random_image(geometries["oblique"], rng), name="FLAIR", scene=scene
    )
    node.SetAndObserveTransformNodeID(bent_transform(scene).GetID())
    with pytest.raises(InputError, match=r"'FLAIR' is under the transform 'bent'.*not linear"):
        mrml.image_from_volume_node(node)
    shear = np.eye(4)
    shear[0, 1] = 0.5
    node.SetAndObserveTransformNodeID(linear_transform(scene, shear).GetID())
    with pytest.raises(InputError, match=r"'FLAIR': .*orthonormal"):
        mrml.image_from_volume_node(node)


def test_extent_that_does_not_start_at_zero(scene: Any) -> None:
    data = vtk.vtkImageData()
    data.SetExtent(2, 5, 1, 3, 0, 4)
    data.AllocateScalars(vtk.VTK_FLOAT, 1)
    data.GetPointData().GetScalars().Fill(1.0)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    node.SetSpacing(2.0, 2.0, 2.0)
    node.SetAndObserveImageData(data)
    image = mrml.image_from_volume_node(node)
    assert image.array.shape == (4, 3, 5)
    assert image.geometry.to_ras((0, 0, 0)) == pytest.approx((4.0, 2.0, 0.0))


def test_volumes_that_are_refused(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    with pytest.raises(InputError, match="choose a volume"):
        mrml.image_from_volume_node(None)
    with pytest.raises(InputError, match="volume node was expected"):
        mrml.image_from_volume_node(scene.AddNewNodeByClass("vtkMRMLModelNode", "model"))
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(InputError, match="'empty' has no image data"):
        mrml.image_from_volume_node(empty)
    colour = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "RGB")
    data = vtk.vtkImageData()
    data.SetDimensions(3, 3, 3)
    data.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    colour.SetAndObserveImageData(data)
    with pytest.raises(InputError, match="'RGB' has 3 components"):
        mrml.image_from_volume_node(colour)
    image = random_image(geometries["axial"], rng)
    image.array[0, 0, 0] = np.nan
    bad = mrml.volume_node_from_image(image, name="bad", scene=scene)
    with pytest.raises(InputError, match="1 voxels that are NaN"):
        mrml.image_from_volume_node(bad)
    scene.RemoveNode(bad)
    with pytest.raises(InputError, match="'bad' is not in a scene"):
        mrml.image_from_volume_node(bad)
    with pytest.raises(InputError, match="scalar volume node of the scene"):
        mrml.volume_node_from_image(image, name="v", node=bad)


def test_scene_is_slicers_own_or_given(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator, monkeypatch: Any
) -> None:
    image = random_image(geometries["axial"], rng)
    monkeypatch.delattr(slicer, "mrmlScene", raising=False)
    with pytest.raises(InputError, match="no MRML scene"):
        mrml.volume_node_from_image(image, name="v")
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    assert mrml.volume_node_from_image(image, name="v").GetScene() is scene


def test_nominal_is_declared_by_the_caller(scene: Any, geometries: dict[str, Geometry]) -> None:
    image = Image(np.zeros((11, 9, 7), dtype=np.float32), geometries["axial"])
    node = mrml.volume_node_from_image(image, name="v", scene=scene)
    assert mrml.image_from_volume_node(node, nominal=True).geometry.nominal
    assert not mrml.image_from_volume_node(node).geometry.nominal


def test_attribution_colours_are_centred_at_zero(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    image = random_image(geometries["axial"], rng)
    node = mrml.attribution_node(image, scene=scene, limit=2.5)
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-2.5, 2.5)
    assert not display.GetAutoWindowLevel()
    table = display.GetColorNode().GetLookupTable()
    cold, zero, hot = (np.array(table.GetTableValue(index)) for index in (0, 128, 255))
    assert zero[3] == 0
    assert cold[2] > cold[0]
    assert hot[0] > hot[2]
    other = mrml.attribution_node(image, scene=scene, name="second")
    assert other.GetDisplayNode().GetColorNodeID() == display.GetColorNodeID()
    with pytest.raises(InputError, match="limit"):
        mrml.attribution_node(image, scene=scene, limit=-1.0)


def test_segment_round_trip(scene: Any, geometry: Geometry, rng: np.random.Generator) -> None:
    mask = random_mask(geometry, rng)
    volume = mrml.volume_node_from_image(random_image(geometry, rng), name="v", scene=scene)
    node = mrml.segmentation_node_from_mask(
        mask, name="found", scene=scene, colour=(0.1, 0.2, 0.3), reference_volume_node=volume
    )
    segment = node.GetSegmentation().GetSegment("Lesions")
    assert node.GetName() == segment.GetName() == "found"
    assert segment.GetColor() == pytest.approx((0.1, 0.2, 0.3))
    assert segment.GetTerminology() == LESION_TERMINOLOGY
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is volume
    for reference in (geometry, volume):
        again = mrml.mask_from_segment(node, "Lesions", reference=reference)
        assert again.array.dtype == bool
        np.testing.assert_array_equal(again.array, mask.array)
        assert again.geometry == geometry


def test_segments_of_one_shared_labelmap(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    grid = geometries["left-handed oblique"]
    first = random_mask(grid, rng)
    second = first.with_array(~first.array)
    node = mrml.segmentation_node_from_mask(first, scene=scene, segment_id="a")
    other = mrml.segmentation_node_from_mask(second, scene=scene, segment_id="b")
    node.GetSegmentation().CopySegmentFromSegmentation(other.GetSegmentation(), "b")
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    for key, mask in (("a", first), ("b", second)):
        again = mrml.mask_from_segment(node, key, reference=grid)
        np.testing.assert_array_equal(again.array, mask.array)


def test_segment_under_a_transform(
    scene: Any, geometry: Geometry, rng: np.random.Generator
) -> None:
    mask = random_mask(geometry, rng)
    node = mrml.segmentation_node_from_mask(mask, scene=scene)
    volume = mrml.volume_node_from_image(random_image(geometry, rng), name="v", scene=scene)
    transform = linear_transform(scene, rigid())
    for moved in (node, volume):
        moved.SetAndObserveTransformNodeID(transform.GetID())
    again = mrml.mask_from_segment(node, "Lesions", reference=volume)
    np.testing.assert_array_equal(again.array, mask.array)
    # The volume left where it was, the segment lies elsewhere.
    volume.SetAndObserveTransformNodeID(None)
    apart = mrml.mask_from_segment(node, "Lesions", reference=volume)
    assert (apart.array != mask.array).any()
    node.SetAndObserveTransformNodeID(bent_transform(scene).GetID())
    with pytest.raises(InputError, match="not linear"):
        mrml.mask_from_segment(node, "Lesions", reference=volume)


def test_segment_on_another_grid_agrees_with_slicer(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    coarse = geometries["oblique"]
    node = mrml.segmentation_node_from_mask(random_mask(coarse, rng), scene=scene)
    fine = replace(geometries["axial"], size=(30, 28, 26), spacing=(0.53, 0.61, 0.67))
    found = mrml.mask_from_segment(node, "Lesions", reference=fine)
    # The same by Slicer's resampling.
    labelmap = node.GetSegmentation().GetSegment("Lesions").GetRepresentation("Binary labelmap")
    volume = mrml.volume_node_from_image(
        Image(np.zeros(fine.size, dtype=np.uint8), fine), name="v", scene=scene
    )
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    grid, resampled = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    grid.DeepCopy(volume.GetImageData())
    grid.SetGeometryFromImageToWorldMatrix(matrix)
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        labelmap, grid, resampled, False
    )
    from vtk.util.numpy_support import vtk_to_numpy

    expected = vtk_to_numpy(resampled.GetPointData().GetScalars()).reshape(fine.size, order="F") > 0
    assert expected.sum() > 100
    assert (found.array != expected).sum() <= 0.01 * expected.sum()


def test_segmentation_of_a_transformed_volume(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator
) -> None:
    grid = geometries["flipped"]
    volume = mrml.volume_node_from_image(random_image(grid, rng), name="v", scene=scene)
    volume.SetAndObserveTransformNodeID(linear_transform(scene, rigid()).GetID())
    mask = random_mask(mrml.geometry_from_volume_node(volume), rng)
    node = mrml.segmentation_node_from_mask(mask, reference_volume_node=volume)
    again = mrml.mask_from_segment(node, "Lesions", reference=volume)
    np.testing.assert_array_equal(again.array, mask.array)
    # Edits are made on the volume where it lies, not where its file put it.
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    edited = slicer.vtkOrientedImageData()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(
        node.GetSegmentation().GetConversionParameter(name), edited, False
    )
    assert edited.GetOrigin() == pytest.approx(tuple(mask.geometry.to_ras((0, 0, 0))), abs=1e-4)


def test_segment_that_is_a_surface(scene: Any) -> None:
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(8.0)
    sphere.SetThetaResolution(48)
    sphere.SetPhiResolution(48)
    sphere.Update()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.SetAndObserveTransformNodeID(linear_transform(scene, rigid()).GetID())
    segment_id = node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball")
    # The sphere lies at RAS (5, -7, 11) under the transform.
    grid = Geometry((24, 24, 24), origin=(-5 - 11.5, 7 - 11.5, 11 - 11.5))
    mask = mrml.mask_from_segment(node, segment_id, reference=grid)
    assert mask.array.sum() == pytest.approx(4 / 3 * np.pi * 8.0**3, rel=0.1)
    assert np.argwhere(mask.array).mean(axis=0) == pytest.approx([11.5] * 3, abs=0.3)
    # Reading the segment has changed nothing.
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_empty_segment(scene: Any, geometry: Geometry) -> None:
    empty = Image(np.zeros(geometry.size, dtype=bool), geometry)
    node = mrml.segmentation_node_from_mask(empty, scene=scene)
    node.GetSegmentation().AddEmptySegment("blank", "blank")
    for segment in ("Lesions", "blank"):
        assert not mrml.mask_from_segment(node, segment, reference=geometry).array.any()


def test_segments_that_are_refused(scene: Any, geometries: dict[str, Geometry]) -> None:
    grid = geometries["axial"]
    mask = Image(np.ones(grid.size, dtype=bool), grid)
    node = mrml.segmentation_node_from_mask(mask, name="found", scene=scene)
    with pytest.raises(InputError, match="'found' has no segment 'x'; it has: Lesions"):
        mrml.mask_from_segment(node, "x", reference=grid)
    with pytest.raises(InputError, match="segmentation node was expected"):
        mrml.mask_from_segment(None, "x", reference=grid)
    with pytest.raises(InputError, match="volume node was expected"):
        mrml.mask_from_segment(node, "Lesions", reference=node)
    with pytest.raises(InputError, match="only 0 and 1"):
        mrml.segmentation_node_from_mask(mask.with_array(mask.array * 2), scene=scene)
    scene.RemoveNode(node)
    with pytest.raises(InputError, match="not in a scene"):
        mrml.mask_from_segment(node, "Lesions", reference=grid)
