from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttribSegLib.detection import Detection, write_detection
from AttribSegLib.errors import InputError
from AttribSegLib.files import read_json, write_json
from AttribSegLib.image import Geometry, Image
from AttribSegLib.lesions import lesion_table
from AttribSegLib.preprocessing.prepared import Prepared
from AttribSegLib.thresholds import USER, Threshold
from AttribSegLib.transform import Affine

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
vtk = pytest.importorskip("vtk", reason="vtk is not installed")

from AttribSegLib import mrml  # noqa: E402
from AttribSegScene import names  # noqa: E402
from AttribSegScene.detection_nodes import DetectionNodes, detections_of  # noqa: E402
from AttribSegScene.live_threshold import LiveThreshold  # noqa: E402
from AttribSegScene.results import load_detection, read_detection  # noqa: E402
from AttribSegScene.tables import lesion_centre  # noqa: E402

THRESHOLD = 1.0
WARNINGS = ("a: 50 % of the brain; gone", "zweitens ä")
TO_ATLAS = Affine(np.array([[1.1, 0.1, 0, 7], [-0.1, 0.9, 0, -5], [0, 0, 1.2, 30], [0, 0, 0, 1.0]]))
ATLAS = Geometry((8, 9, 10), (2.0, 2.0, 2.0), (-8.0, 9.0, 1.0), np.diag([1.0, -1.0, 1.0]))


def detection(geometry: Geometry, *, seed: int = 0, raw: bool = False) -> Detection:
    """A detection of two channels, as if a bundle had made it."""
    rng = np.random.default_rng(seed)

    def image(grid: Geometry) -> Image:
        return Image(rng.normal(size=grid.size).astype(np.float32), grid)

    attribution = image(geometry)
    mask = attribution.with_array(attribution.array > THRESHOLD)
    found = Detection(
        image(geometry),
        1.5,
        0.8175,
        attribution,
        mask,
        lesion_table(mask, attribution),
        Threshold(THRESHOLD, USER),
        by_channel={"FLAIR": image(geometry), "T1 'w';,+": image(geometry)},
    )
    if not raw:
        return found
    channels = {"FLAIR": image(ATLAS), "T1 'w';,+": image(ATLAS)}
    brain = Image(np.ones(ATLAS.size, dtype=bool), ATLAS)
    transforms = {"FLAIR": TO_ATLAS, "T1 'w';,+": Affine()}
    prepared = Prepared(
        channels, brain, transforms, dict.fromkeys(channels, geometry), warnings=WARNINGS
    )
    return replace(found, atlas=detection(ATLAS), prepared=prepared)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``write(detection, name=..., bundle=...)`` gives the folder that it is written to."""
    # The picture takes longer than all the rest, and no node is made of it.
    monkeypatch.setattr("AttribSegLib.overlay.save_overlay", lambda *given, **named: None)

    def make(found: Detection, *, name: str = "p1", bundle: str = "abc") -> Path:
        record = {
            "inputs": {"FLAIR": "f.nii.gz", "T1 'w';,+": "t.nii.gz"},
            "bundle": "models/mine",
            "bundle_sha256": bundle,
            "minimum_ml": 0.0,
        }
        write_detection(found, tmp_path / name, name=name, record=record)
        return tmp_path / name

    return make


def volume_of(scene: Any, found: Detection) -> Any:
    return mrml.volume_node_from_image(found.image, name="FLAIR", scene=scene)


def lesions(node: Any, reference: Any) -> np.ndarray:
    return mrml.mask_from_segment(node, names.SEGMENT_ID, reference=reference).array


def shown_colours(node: Any) -> list[list[float]]:
    """Window and colours of an attribution."""
    display = node.GetDisplayNode()
    table = display.GetColorNode().GetLookupTable()
    window = [display.GetWindowLevelMin(), display.GetWindowLevelMax(), 0.0, 0.0]
    return [window, *([*table.GetTableValue(i)] for i in (0, 90, 128, 200, 255))]


def rigid(scene: Any) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    moved = vtk.vtkTransform()
    moved.Translate(12.0, -7.0, 30.0)
    moved.RotateWXYZ(33.0, 0.2, 1.0, 0.4)
    node.SetMatrixTransformToParent(moved.GetMatrix())
    return node


def test_results_lie_on_the_volume(scene: Any, geometry: Geometry, write: Any) -> None:
    found = detection(geometry)
    volume = volume_of(scene, found)
    nodes = load_detection(write(found), volume)
    again = mrml.image_from_volume_node(nodes.attribution_node)
    assert again.geometry == mrml.geometry_from_volume_node(volume)
    np.testing.assert_array_equal(again.array, found.attribution.array)
    for name, image in found.by_channel.items():
        node = nodes.channel_attribution_nodes[name]
        np.testing.assert_array_equal(mrml.image_from_volume_node(node).array, image.array)
    for node in (nodes.segmentation_node, nodes.detected_node):
        np.testing.assert_array_equal(lesions(node, volume), found.mask.array)
    assert nodes.detected_node.GetHideFromEditors()
    assert not nodes.detected_node.GetDisplayNode().GetVisibility()
    assert nodes.table_node.GetNumberOfRows() == len(found.lesions)
    assert lesion_centre(nodes.table_node, 0) == pytest.approx(
        found.lesions[0].centre_ras_mm, abs=0.01
    )
    assert (nodes.probability, nodes.threshold) == (0.8175, THRESHOLD)
    assert nodes.pathological
    assert (nodes.case, nodes.bundle, nodes.bundle_hash) == ("p1", "models/mine", "abc")
    assert nodes.transform_node is None
    assert not nodes.prepared_nodes
    assert nodes.warnings == []
    assert not nodes.edited
    # The Segment Editor works on the volume's grid.
    assert nodes.segmentation_node.GetNodeReference("referenceImageGeometryRef") is volume


def test_a_volume_under_a_transform(scene: Any, geometry: Geometry, write: Any) -> None:
    """What was detected in the world lies in the world, and agrees with the volume there."""
    found = detection(geometry)
    volume = volume_of(scene, found)
    volume.SetAndObserveTransformNodeID(rigid(scene).GetID())
    folder = write(found)
    with pytest.raises(InputError, match="'FLAIR' lies on another grid"):
        load_detection(folder, volume)  # it was detected before the volume was moved
    world = mrml.geometry_from_volume_node(volume)
    moved = replace(
        found,
        image=Image(found.image.array, world),
        attribution=Image(found.attribution.array, world),
        mask=Image(found.mask.array, world),
        by_channel={},
    )
    nodes = load_detection(write(moved), volume)
    assert nodes.attribution_node.GetParentTransformNode() is None
    assert mrml.geometry_from_volume_node(nodes.attribution_node) == world
    np.testing.assert_array_equal(lesions(nodes.segmentation_node, volume), found.mask.array)
    live = LiveThreshold(nodes.attribution_node, nodes.segmentation_node, names.SEGMENT_ID)
    live.set(0.5)
    expected = found.attribution.array > 0.5
    np.testing.assert_array_equal(lesions(nodes.segmentation_node, volume), expected)
    # The grid of the Segment Editor is that of the moved volume.
    converter, edited = slicer.vtkSegmentationConverter, slicer.vtkOrientedImageData()
    name = converter.GetReferenceImageGeometryParameterName()
    text = nodes.segmentation_node.GetSegmentation().GetConversionParameter(name)
    converter.DeserializeImageGeometry(text, edited, False)
    assert edited.GetOrigin() == pytest.approx(tuple(world.to_ras((0, 0, 0))), abs=1e-3)


def test_a_raw_scan(scene: Any, geometries: dict[str, Geometry], write: Any) -> None:
    found = detection(geometries["oblique"], raw=True)
    nodes = load_detection(write(found), volume_of(scene, found))
    assert sorted(nodes.prepared_nodes) == ["FLAIR", "T1 'w';,+"]
    for name, node in nodes.prepared_nodes.items():
        prepared = mrml.image_from_volume_node(node)
        assert prepared.geometry == ATLAS
        np.testing.assert_array_equal(prepared.array, found.prepared.channels[name].array)
    # A point of the scan and where it lies in the atlas, both in RAS.
    point = np.array([11.0, -23.0, 5.0])
    to_parent = vtk.vtkMatrix4x4()
    nodes.transform_node.GetMatrixTransformToParent(to_parent)
    flip = np.array([-1.0, -1.0, 1.0])
    expected = TO_ATLAS(point * flip) * flip
    assert to_parent.MultiplyPoint((*point, 1.0))[:3] == pytest.approx(tuple(expected), abs=1e-4)


def test_detecting_again_fills_the_same_nodes(
    scene: Any, geometries: dict[str, Geometry], write: Any
) -> None:
    first = detection(geometries["axial"], raw=True)
    volume = volume_of(scene, first)
    nodes = load_detection(write(first), volume)
    nodes.segmentation_node.CreateClosedSurfaceRepresentation()
    count = scene.GetNumberOfNodes()
    second = detection(geometries["axial"], seed=5, raw=True)
    again = load_detection(write(second), volume)
    assert again == nodes
    assert scene.GetNumberOfNodes() == count
    for node in (again.segmentation_node, again.detected_node):
        np.testing.assert_array_equal(lesions(node, volume), second.mask.array)
    assert again.segmentation_node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert not again.edited
    # Once the scan itself is prepared, there is nothing left in the atlas.
    third = load_detection(write(replace(detection(geometries["axial"]), by_channel={})), volume)
    assert third.segmentation_node is nodes.segmentation_node
    assert third.transform_node is None
    assert not third.prepared_nodes
    assert not third.channel_attribution_nodes
    assert DetectionNodes.of(third.segmentation_node) == third
    assert nodes.transform_node.GetScene() is None


def test_other_bundles_and_corrections_get_their_own_nodes(
    scene: Any, geometries: dict[str, Geometry], write: Any
) -> None:
    found = detection(geometries["axial"])
    volume = volume_of(scene, found)
    nodes = load_detection(write(found), volume)
    other = load_detection(write(found, name="p2", bundle="def"), volume)
    assert other.segmentation_node is not nodes.segmentation_node
    # Somebody removes the lesions by hand.
    segmentation = nodes.segmentation_node.GetSegmentation()
    segmentation.GetSegment(names.SEGMENT_ID).GetRepresentation("Binary labelmap").Initialize()
    assert nodes.edited
    third = load_detection(write(found), volume)
    assert third.segmentation_node is not nodes.segmentation_node
    assert third.attribution_node is not nodes.attribution_node
    assert nodes.edited
    np.testing.assert_array_equal(lesions(nodes.detected_node, volume), found.mask.array)
    assert len(detections_of(volume)) == 3
    assert third.segmentation_node.GetName() != nodes.segmentation_node.GetName()


def test_what_a_user_deleted_is_made_again(
    scene: Any, geometries: dict[str, Geometry], write: Any
) -> None:
    found = detection(geometries["axial"])
    volume = volume_of(scene, found)
    folder = write(found)
    nodes = load_detection(folder, volume)
    scene.RemoveNode(nodes.attribution_node)
    scene.RemoveNode(nodes.detected_node)
    left = DetectionNodes.of(nodes.segmentation_node)
    assert left.attribution_node is None
    assert left.detected_node is None
    again = load_detection(folder, volume)
    assert again.segmentation_node is nodes.segmentation_node
    assert again.attribution_node.GetScene() is scene
    np.testing.assert_array_equal(lesions(again.detected_node, volume), found.mask.array)
    again.segmentation_node.GetSegmentation().RemoveSegment(names.SEGMENT_ID)
    assert load_detection(folder, volume).segmentation_node is not nodes.segmentation_node


def test_nominal_spacing(scene: Any, geometries: dict[str, Geometry], write: Any) -> None:
    grid = replace(geometries["axial"], nominal=True)
    found = detection(grid)
    nodes = load_detection(write(found), volume_of(scene, found))
    assert nodes.nominal
    assert nodes.table_node.GetTable().GetColumnByName("Voxels") is not None
    assert lesion_centre(nodes.table_node, 0) is None


def test_folders_that_are_refused(
    scene: Any, geometries: dict[str, Geometry], write: Any, tmp_path: Path
) -> None:
    found = detection(geometries["axial"])
    volume = volume_of(scene, found)
    with pytest.raises(InputError, match=r"detection\.json: no such file"):
        load_detection(tmp_path, volume)
    folder = write(found)
    shifted = Image(found.image.array, replace(found.image.geometry, origin=(0.0, 0.0, 0.0)))
    other = mrml.volume_node_from_image(shifted, name="other", scene=scene)
    count = scene.GetNumberOfNodes()
    with pytest.raises(InputError, match="'other' lies on another grid than the detection in"):
        load_detection(folder, other)
    summary = read_json(folder / "detection.json")
    write_json(folder / "detection.json", {**summary, "probability": None})
    with pytest.raises(InputError, match=r"detection\.json.*detect again"):
        load_detection(folder, volume)
    write_json(folder / "detection.json", summary)
    (folder / "p1_lesions.nii.gz").unlink()
    with pytest.raises(InputError, match=r"p1_lesions\.nii\.gz: no such file"):
        load_detection(folder, volume)
    assert scene.GetNumberOfNodes() == count
    scene.RemoveNode(volume)
    with pytest.raises(InputError, match="not in a scene"):
        load_detection(write(found), volume)
    with pytest.raises(InputError, match="does not come from a detection"):
        DetectionNodes.of(scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    with pytest.raises(InputError, match="a segmentation node of the scene was expected"):
        DetectionNodes.of(volume)


def test_case_named_like_its_files(scene: Any, geometries: dict[str, Geometry], write: Any) -> None:
    name = "a_attribution_b"
    found = read_detection(write(detection(geometries["axial"]), name=name))
    assert sorted(found.by_channel) == ["FLAIR", "T1 'w';,+"]


@pytest.fixture
def app() -> Iterator[Any]:
    pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")
    from headless import HeadlessSlicer

    with HeadlessSlicer() as slicer_app:
        yield slicer_app


@pytest.mark.parametrize("kind", ["left-handed oblique", "sagittal", "axial"])
def test_saved_and_loaded(
    app: Any, kind: str, geometries: dict[str, Geometry], write: Any, tmp_path: Path
) -> None:
    """An MRB of a detection whose threshold was moved, loaded into a scene that is not empty."""
    found = detection(geometries[kind], raw=True)
    name = "Fälle; 1: a|b"
    source = write(found, name="x")
    summary = read_json(source / "detection.json")
    summary["record"]["bundle"] = name
    write_json(source / "detection.json", summary)
    volume = volume_of(app.scene, found)
    nodes = load_detection(source, volume)
    live = LiveThreshold(nodes.attribution_node, nodes.segmentation_node, names.SEGMENT_ID)
    live.set(1.25)
    live.finish()
    colours = shown_colours(nodes.attribution_node)
    shutil.rmtree(source)
    assert app.scene.WriteToMRB(str(tmp_path / "scene.mrb"), None)
    app.scene.Clear(False)
    mrml.attribution_node(found.attribution, scene=app.scene)  # takes the first identifiers
    assert app.scene.ReadFromMRB(str(tmp_path / "scene.mrb"), False)

    segmentations = app.scene.GetNodesByClass("vtkMRMLSegmentationNode")
    every = [segmentations.GetItemAsObject(i) for i in range(segmentations.GetNumberOfItems())]
    nodes = next(DetectionNodes.of(node) for node in every if not node.GetHideFromEditors())
    assert (nodes.bundle, nodes.threshold, nodes.probability) == (name, 1.25, 0.8175)
    assert nodes.warnings == list(WARNINGS)
    assert sorted(nodes.prepared_nodes) == ["FLAIR", "T1 'w';,+"]
    assert sorted(nodes.channel_attribution_nodes) == ["FLAIR", "T1 'w';,+"]
    assert nodes.volume_node.GetName() == "FLAIR"
    assert nodes.transform_node.GetName() == "FLAIR to atlas"
    assert nodes.detected_node.GetHideFromEditors()
    assert not nodes.detected_node.GetDisplayNode().GetVisibility()
    np.testing.assert_allclose(shown_colours(nodes.attribution_node), colours, atol=1e-3)
    grid = found.image.geometry  # Slicer may store left-handed volumes in another order
    for node, image in (
        (nodes.volume_node, found.image),
        (nodes.attribution_node, found.attribution),
        (nodes.channel_attribution_nodes["T1 'w';,+"], found.by_channel["T1 'w';,+"]),
    ):
        loaded = mrml.image_from_volume_node(node).resample(grid, interpolation="nearest")
        np.testing.assert_array_equal(loaded.array, image.array)
    expected = found.attribution.array > 1.25
    np.testing.assert_array_equal(lesions(nodes.segmentation_node, grid), expected)
    np.testing.assert_array_equal(lesions(nodes.detected_node, grid), found.mask.array)
    rows = nodes.table_node.GetNumberOfRows()
    assert rows == len(lesion_table(Image(expected, grid), found.attribution))
    assert lesion_centre(nodes.table_node, 0) is not None
    # The threshold goes on where it was.
    assert not nodes.edited
    live = LiveThreshold(nodes.attribution_node, nodes.segmentation_node, names.SEGMENT_ID)
    assert live.set(0.5) == (found.attribution.array > 0.5).sum()
    np.testing.assert_array_equal(
        lesions(nodes.segmentation_node, grid), found.attribution.array > 0.5
    )
    live.finish()
    assert not nodes.edited
