from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttribSegLib import mrml
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.transform import Affine, write_transform

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
vtk = pytest.importorskip("vtk", reason="vtk is not installed")

from AttribSegScene.transforms import affine_from_node, transform_node  # noqa: E402

MATRIX = np.array(
    [[0.9, 0.2, 0.0, 12.0], [-0.2, 1.1, 0.1, -4.0], [0, 0.1, 1.05, 30.0], [0, 0, 0, 1]]
)
FLIP = np.array([-1.0, -1.0, 1.0])


@pytest.fixture
def to_atlas() -> Affine:
    return Affine(MATRIX)


def test_points_go_from_the_source_to_the_target(
    scene: Any, to_atlas: Affine, rng: np.random.Generator
) -> None:
    node = transform_node(to_atlas, name="T", scene=scene)
    assert node.GetName() == "T"
    to_world = vtk.vtkGeneralTransform()
    node.GetTransformToWorld(to_world)
    for ras in rng.uniform(-80, 80, (5, 3)):
        there = to_world.TransformPoint(*ras)
        assert there == pytest.approx(tuple(to_atlas(ras * FLIP) * FLIP), abs=1e-6)
    assert affine_from_node(node) == to_atlas


def test_a_volume_under_it_lies_in_the_atlas(scene: Any, to_atlas: Affine) -> None:
    rotation = Affine(to_atlas.matrix)
    angle = np.radians(20)
    rotation.matrix[:3, :3] = [
        [np.cos(angle), -np.sin(angle), 0],
        [np.sin(angle), np.cos(angle), 0],
        [0, 0, 1],
    ]
    grid = Geometry((5, 6, 7), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    volume = mrml.volume_node_from_image(
        Image(np.zeros(grid.size, dtype=np.float32), grid), name="v", scene=scene
    )
    volume.SetAndObserveTransformNodeID(transform_node(rotation, scene=scene).GetID())
    moved = mrml.geometry_from_volume_node(volume)
    for ijk in ((0, 0, 0), (4, 0, 0), (1, 5, 6)):
        assert moved.to_lps(ijk) == pytest.approx(rotation(grid.to_lps(ijk)), abs=1e-6)


def test_a_file_gives_what_slicer_reads_in_it(scene: Any, to_atlas: Affine, tmp_path: Path) -> None:
    write_transform(to_atlas, tmp_path / "a.tfm")
    node = transform_node(tmp_path / "a.tfm", scene=scene)
    storage = scene.AddNewNodeByClass("vtkMRMLTransformStorageNode")
    storage.SetFileName(str(tmp_path / "a.tfm"))
    loaded = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    assert storage.ReadData(loaded)
    np.testing.assert_allclose(
        affine_from_node(node).matrix, affine_from_node(loaded).matrix, atol=1e-5
    )


def test_a_node_is_filled_again(scene: Any, to_atlas: Affine) -> None:
    node = transform_node(Affine(), scene=scene)
    count = scene.GetNumberOfNodes()
    assert transform_node(to_atlas, node=node, name="new") is node
    assert scene.GetNumberOfNodes() == count
    assert affine_from_node(node) == to_atlas
    parent = transform_node(to_atlas, scene=scene)
    node.SetAndObserveTransformNodeID(parent.GetID())
    assert affine_from_node(node) == to_atlas @ to_atlas


def test_transforms_that_are_refused(scene: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tfm: no such"):
        transform_node(tmp_path / "none.tfm", scene=scene)
    node = transform_node(Affine(), scene=scene, name="gone")
    scene.RemoveNode(node)
    with pytest.raises(InputError, match="'gone': a linear transform node"):
        transform_node(Affine(), node=node)
    with pytest.raises(InputError, match="'gone': a transform node"):
        affine_from_node(node)
    bent = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "bent")
    spline = slicer.vtkOrientedBSplineTransform()
    bent.SetAndObserveTransformToParent(spline)
    with pytest.raises(InputError, match="'bent' is not linear"):
        affine_from_node(bent)
