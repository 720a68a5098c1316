"""A volume with lesions in the Segment Editor, for the tests of the effect; support code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import vtk
from AttribSegLib import mrml
from AttribSegLib.image import Geometry, Image

REPOSITORY = Path(__file__).resolve().parents[1]
MODULE = REPOSITORY / "AttribSeg" / "SegmentEditorAttribution" / "SegmentEditorAttribution.py"


def rotation() -> np.ndarray:
    """A rotation about no axis of the patient."""
    axis = np.array([1.0, 2.0, -1.5]) / np.linalg.norm([1.0, 2.0, -1.5])
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(0.4) * cross + (1 - np.cos(0.4)) * cross @ cross


SIZE, SPACING, ORIGIN = (30, 26, 18), (1.0, 1.25, 2.0), (-11.0, 13.0, 7.0)
GRIDS = {
    "axial": Geometry(SIZE, SPACING, ORIGIN),
    "sagittal": Geometry(SIZE, SPACING, ORIGIN, np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])),
    "flipped": Geometry(SIZE, SPACING, ORIGIN, np.diag([1.0, -1.0, 1.0])),
    "oblique": Geometry(SIZE, SPACING, ORIGIN, rotation()),
    "left-handed oblique": Geometry(SIZE, SPACING, ORIGIN, rotation() @ np.diag([1, 1, -1.0])),
}
AXIAL = GRIDS["axial"]

#: Centres of two lesions of the map below, and of a speck that touches the first at a corner.
FIRST, SECOND, SPECK = (7, 7, 6), (21, 16, 10), (10, 10, 9)


def lesion_map() -> np.ndarray:
    """Two lesions and a speck over a healthy background with faint positive parts."""
    values = np.full(SIZE, -0.2, dtype=np.float32)
    values[2:28, 2:24, 2:16] = 0.1
    values[5:10, 5:10, 4:9] = 0.8
    values[20:23, 14:19, 9:12] = 0.6
    values[SPECK] = 0.7
    return values


@contextmanager
def effect_application() -> Iterator[Any]:
    """Open the application with the effect registered."""
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


@contextmanager
def case_maker(application: Any) -> Iterator[Callable[..., Case]]:
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
    matrix[:3, :3], matrix[:3, 3] = rotation(), (5.0, -7.0, 11.0)
    values = vtk.vtkMatrix4x4()
    values.DeepCopy(matrix.ravel().tolist())
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "pose")
    node.SetMatrixTransformToParent(values)
    return node
