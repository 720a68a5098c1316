from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttribSegLib import mrml
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("vtk", reason="vtk is not installed")

from AttribSegScene import display  # noqa: E402
from AttribSegScene.live_threshold import LiveThreshold  # noqa: E402

GRID = Geometry((40, 40, 24), (2.0, 2.0, 3.0), (-39.0, -39.0, -34.5))  # LPS, centred at 0
#: RAS; where the attribution is highest.
PEAK = (-20.0, 10.0, 9.0)


@pytest.fixture
def nodes(scene: Any) -> tuple[Any, Any]:
    return make(scene)


def make(scene: Any) -> tuple[Any, Any]:
    """A grey volume and an attribution that falls off around its peak."""
    points = GRID.to_ras(np.stack(np.indices(GRID.size), axis=-1))
    distance = np.sqrt(((points - np.array(PEAK)) ** 2).sum(axis=-1))
    grey = Image(np.full(GRID.size, 50, dtype=np.int16), GRID)
    volume = mrml.volume_node_from_image(grey, name="FLAIR", scene=scene)
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 100)
    values = Image(np.maximum(30 - distance, 0).astype(np.float32), GRID)
    return volume, mrml.attribution_node(values, scene=scene)


def add_views(scene: Any) -> tuple[list[Any], list[Any]]:
    kinds = ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode")
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    made: list[list[Any]] = [[], []]
    for name in ("Red", "Green"):
        for kind, nodes in zip(kinds, made, strict=True):
            node = scene.CreateNodeByClass(kind)
            node.SetLayoutName(name)
            nodes.append(scene.AddNode(node))
            node.UnRegister(None)
    made[0][1].SetOrientation("Coronal")
    return made[0], made[1]


def test_overlay(scene: Any, nodes: tuple[Any, Any]) -> None:
    volume, attribution = nodes
    _, composites = add_views(scene)
    display.show_overlay(attribution, volume, opacity=0.4)
    for composite in composites:
        assert composite.GetBackgroundVolumeID() == volume.GetID()
        assert composite.GetForegroundVolumeID() == attribution.GetID()
        assert composite.GetForegroundOpacity() == 0.4
    display.show_overlay(attribution)
    assert composites[0].GetBackgroundVolumeID() == volume.GetID()
    with pytest.raises(InputError, match="opacity 2"):
        display.show_overlay(attribution, opacity=2.0)
    scene.RemoveNode(attribution)
    with pytest.raises(InputError, match="'Attribution': a volume node of the scene"):
        display.show_overlay(attribution)


def test_jump(scene: Any) -> None:
    slices, _ = add_views(scene)
    display.jump_to((12.0, -5.0, 33.0), scene=scene)
    for node in slices:
        matrix = node.GetSliceToRAS()
        assert [matrix.GetElement(i, 3) for i in range(3)] == [12.0, -5.0, 33.0]
    display.jump_to((1.0, 2.0, 3.0), scene=scene, centred=False)
    axial, coronal = (node.GetSliceToRAS() for node in slices)
    # The plane moves, the picture's middle does not.
    assert [axial.GetElement(i, 3) for i in range(3)] == [12.0, -5.0, 3.0]
    assert [coronal.GetElement(i, 3) for i in range(3)] == [12.0, 2.0, 33.0]
    for point in ((1.0, 2.0), (1.0, 2.0, float("nan"))):
        with pytest.raises(InputError, match="three finite coordinates"):
            display.jump_to(point, scene=scene)


def test_legend(scene: Any, nodes: tuple[Any, Any]) -> None:
    volume, attribution = nodes
    legend = display.colour_legend(attribution)
    assert legend.GetVisibility()
    assert legend.GetTitleText() == "Attribution"
    assert legend.GetPrimaryDisplayNode() is attribution.GetDisplayNode()
    assert attribution.GetDisplayNode().IsA("vtkMRMLScalarVolumeDisplayNode")
    assert display.colour_legend(attribution, visible=False) is legend
    assert not legend.GetVisibility()
    assert display.colour_legend(volume, title="FLAIR") is not legend
    bare = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "bare")
    with pytest.raises(InputError, match="'bare' has no display node"):
        display.colour_legend(bare)


def test_surfaces(scene: Any) -> None:
    mask = np.zeros(GRID.size, dtype=bool)
    mask[5:15, 5:15, 5:12] = True
    node = mrml.segmentation_node_from_mask(Image(mask, GRID), scene=scene)
    inner = node.GetSegmentation()
    display.show_3d(node)
    surface = inner.GetSegment("Lesions").GetRepresentation("Closed surface")
    assert surface.GetNumberOfPoints() > 100
    assert node.GetDisplayNode().GetVisibility3D()
    display.show_3d(node, False)
    assert not inner.ContainsRepresentation("Closed surface")
    assert node.GetDisplayNode().GetVisibility()  # in the slices
    scene.RemoveNode(node)
    with pytest.raises(InputError, match="a segmentation node of the scene"):
        display.show_3d(node)


@pytest.fixture
def app() -> Iterator[Any]:
    pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")
    from headless import HeadlessSlicer

    with HeadlessSlicer() as slicer_app:
        yield slicer_app


def test_slices_show_the_segment_of_each_threshold(app: Any, tmp_path: Path) -> None:
    """The picture itself follows the slider: its red part has the size of the segment's slice."""
    from matplotlib.image import imread

    volume, attribution = make(app.scene)
    empty = Image(np.zeros(GRID.size, dtype=bool), GRID)
    segmentation = mrml.segmentation_node_from_mask(
        empty, scene=app.scene, reference_volume_node=volume
    )
    live = LiveThreshold(attribution, segmentation, "Lesions")
    for threshold in (12.0, 22.0, 15.0):
        live.set(threshold)
        path = app.render_slice(
            tmp_path / "a.png", "Axial", PEAK, background=volume, field_of_view_mm=100.0
        )
        picture = imread(path)
        red = np.argwhere(picture[..., 0] > picture[..., 1] + 0.1)
        # Pixels of 0.2 mm; the level set is a disc around the peak, in the middle.
        assert len(red) * 0.04 == pytest.approx(np.pi * (30 - threshold) ** 2, rel=0.1)
        assert red.mean(axis=0) == pytest.approx((250, 250), abs=6)
