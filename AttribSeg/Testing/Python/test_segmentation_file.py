from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from AttribSegLib.errors import InputError, OutputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.segmentation_file import (
    LESION_TERMINOLOGY,
    read_segmentation,
    segment_names,
    write_segmentation,
)


def random_mask(geometry: Geometry, rng: np.random.Generator) -> Image:
    """A mask that keeps off the edges where the grid is large enough."""
    array = np.zeros(geometry.size, dtype=bool)
    array[3:8, 2:7, :3] = rng.random(array[3:8, 2:7, :3].shape) > 0.5
    array[4, 4, 0] = True
    return Image(array, geometry)


def load(scene: Any, path: Path) -> Any:
    """Slicer's own reading of a segmentation file."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def labelled_points(segment: Any) -> np.ndarray:
    """RAS coordinates of a segment's voxels, computed by VTK alone."""
    vtk = pytest.importorskip("vtk", reason="vtk is not installed")
    labelmap, matrix = segment.GetRepresentation("Binary labelmap"), vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    a, b, c, d, e, f = labelmap.GetExtent()
    points = [
        matrix.MultiplyPoint((i, j, k, 1.0))[:3]
        for k in range(e, f + 1)
        for j in range(c, d + 1)
        for i in range(a, b + 1)
        if labelmap.GetScalarComponentAsDouble(i, j, k, 0) == segment.GetLabelValue()
    ]
    return np.array(sorted(points)).reshape(-1, 3)


def test_slicer_reads_every_voxel_in_its_place(
    scene: Any, geometry: Geometry, rng: np.random.Generator, tmp_path: Path
) -> None:
    mask = random_mask(geometry, rng)
    write_segmentation(mask, tmp_path / "lesions.seg.nrrd")
    node = load(scene, tmp_path / "lesions.seg.nrrd")
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    points = labelled_points(node.GetSegmentation().GetNthSegment(0))
    expected = geometry.to_ras(np.argwhere(mask.array))
    assert len(points) == len(expected) > 0
    distances = np.linalg.norm(points[:, None] - expected[None], axis=2)
    assert distances.min(axis=1).max() < 1e-6
    assert distances.min(axis=0).max() < 1e-6


def test_slicer_reads_name_colour_terminology_and_grid(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator, tmp_path: Path
) -> None:
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    geometry = geometries["left-handed oblique"]
    path = tmp_path / "lesions.seg.nrrd"
    write_segmentation(
        random_mask(geometry, rng), path, name="Läsionen", colour=(0.25, 0.5, 1.0), segment_id="a"
    )
    segmentation = load(scene, path).GetSegmentation()
    assert list(segmentation.GetSegmentIDs()) == ["a"]
    segment = segmentation.GetNthSegment(0)
    assert segment.GetName() == "Läsionen"
    assert segment.GetColor() == pytest.approx((0.25, 0.5, 1.0))
    assert segment.GetTerminology() == LESION_TERMINOLOGY
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    assert logic.DeserializeTerminologyEntry(segment.GetTerminology(), entry)
    assert entry.GetTypeObject().GetCodeValue() == "52988006"
    assert entry.GetCategoryObject().GetCodeMeaning() == "Morphologically Altered Structure"
    assert entry.GetRegionObject().GetCodeMeaning() == "Brain"
    # Edits in Slicer are made on the mask's whole grid.
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    grid = slicer.vtkOrientedImageData()
    text = segmentation.GetConversionParameter(name)
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, grid, False)
    assert grid.GetExtent() == (0, 10, 0, 8, 0, 6)
    assert grid.GetSpacing() == pytest.approx(geometry.spacing)


def test_empty_mask_is_a_segment(
    scene: Any, geometries: dict[str, Geometry], tmp_path: Path
) -> None:
    mask = Image(np.zeros((11, 9, 7), dtype=np.uint8), geometries["oblique"])
    path = tmp_path / "none.seg.nrrd"
    write_segmentation(mask, path)
    segmentation = load(scene, path).GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    assert len(labelled_points(segmentation.GetNthSegment(0))) == 0
    again = read_segmentation(path)
    assert again.geometry == mask.geometry
    assert not again.array.any()


def test_round_trip(geometry: Geometry, rng: np.random.Generator, tmp_path: Path) -> None:
    mask = random_mask(geometry, rng)
    path = tmp_path / "new folder" / "a.seg.nrrd"
    write_segmentation(mask, path)
    again = read_segmentation(path)
    assert again.array.dtype == bool
    np.testing.assert_array_equal(again.array, mask.array)
    assert again.geometry == geometry
    assert [file.name for file in path.parent.iterdir()] == ["a.seg.nrrd"]


def test_file_is_small_and_8_bit(tmp_path: Path) -> None:
    geometry = Geometry((80, 80, 80))
    write_segmentation(
        Image(np.zeros(geometry.size, dtype=bool), geometry), tmp_path / "a.seg.nrrd"
    )
    content = (tmp_path / "a.seg.nrrd").read_bytes()
    assert b"type: unsigned char" in content
    assert b"encoding: gzip" in content
    assert len(content) < 80**3 / 50


def test_two_overlapping_segments_saved_by_slicer(
    scene: Any, geometries: dict[str, Geometry], rng: np.random.Generator, tmp_path: Path
) -> None:
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from AttribSegLib import mrml

    geometry = geometries["oblique"]
    first, second = random_mask(geometry, rng), random_mask(geometry, rng)
    assert (first.array & second.array).any()
    node = mrml.segmentation_node_from_mask(first, scene=scene, segment_id="one", name="Lesion")
    other = mrml.segmentation_node_from_mask(second, scene=scene, segment_id="two", name="Edema")
    node.GetSegmentation().CopySegmentFromSegmentation(other.GetSegmentation(), "two")
    path = tmp_path / "slicer.seg.nrrd"
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
    assert segment_names(path) == {"one": "Lesion", "two": "Edema"}
    for key, mask in (("one", first), ("Lesion", first), ("two", second), ("Edema", second)):
        found = read_segmentation(path, key).resample(geometry, interpolation="nearest")
        np.testing.assert_array_equal(found.array, mask.array)
    with pytest.raises(InputError, match=r"2 segments .*'Lesion', 'Edema'.*name the one"):
        read_segmentation(path)
    with pytest.raises(InputError, match="no segment is named 'Tumour'; the file has 'Lesion'"):
        read_segmentation(path, "Tumour")


def test_segments_that_share_a_layer(tmp_path: Path) -> None:
    image = Image(np.arange(27, dtype=np.uint8).reshape(3, 3, 3) % 3, Geometry((3, 3, 3))).to_sitk()
    for n, value in enumerate((1, 2)):
        image.SetMetaData(f"Segment{n}_ID", f"s{n}")
        image.SetMetaData(f"Segment{n}_Name", "same")
        image.SetMetaData(f"Segment{n}_LabelValue", str(value))
    path = tmp_path / "shared.seg.nrrd"
    sitk.WriteImage(image, str(path))
    assert read_segmentation(path, "s0").array[..., 1].all()
    assert read_segmentation(path, "s1").array.sum() == 9
    with pytest.raises(InputError, match="2 segments are named 'same'"):
        read_segmentation(path, "same")


def test_faulty_files(tmp_path: Path) -> None:
    grid = Geometry((4, 4, 4))
    mask = Image(np.ones(grid.size, dtype=bool), grid)
    with pytest.raises(InputError, match="no such file"):
        read_segmentation(tmp_path / "missing.seg.nrrd")
    text = tmp_path / "text.seg.nrrd"
    text.write_text("not a segmentation", encoding="utf-8")
    with pytest.raises(InputError, match=r"text.seg.nrrd: cannot be read"):
        read_segmentation(text)
    whole = tmp_path / "whole.seg.nrrd"
    write_segmentation(mask, whole)
    cut = tmp_path / "cut.seg.nrrd"
    cut.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"cut.seg.nrrd: cannot be read"):
        read_segmentation(cut)
    plain = tmp_path / "plain.nrrd"
    sitk.WriteImage(mask.to_sitk(), str(plain))
    with pytest.raises(InputError, match="no segments in the header"):
        read_segmentation(plain)
    fractional = mask.to_sitk()
    fractional.SetMetaData("Segmentation_MasterRepresentation", "Fractional labelmap")
    sitk.WriteImage(fractional, str(plain))
    with pytest.raises(InputError, match="Fractional labelmap"):
        read_segmentation(plain)


def test_faulty_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Geometry((4, 4, 4))
    mask = Image(np.ones(grid.size, dtype=bool), grid)
    with pytest.raises(InputError, match=r"ends in \.seg\.nrrd"):
        write_segmentation(mask, tmp_path / "mask.nrrd")
    with pytest.raises(InputError, match="colour"):
        write_segmentation(mask, tmp_path / "a.seg.nrrd", colour=(255, 0, 0))
    with pytest.raises(InputError, match="only 0 and 1"):
        write_segmentation(mask.with_array(np.full(grid.size, 3)), tmp_path / "a.seg.nrrd")

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sitk, "WriteImage", full_disk)
    with pytest.raises(OutputError, match="disk is full"):
        write_segmentation(mask, tmp_path / "a.seg.nrrd")
    assert list(tmp_path.iterdir()) == []
