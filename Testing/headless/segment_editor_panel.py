"""Slicer's module Segment Editor as far as other modules send nodes to it."""

from __future__ import annotations

from typing import Any

from .compiled_modules import CompiledModule
from .mrml_widgets import qMRMLWidget


class SegmentEditorWidget(qMRMLWidget):
    """``slicer.qMRMLSegmentEditorWidget``: what is edited, in a ``vtkMRMLSegmentEditorNode``."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None

    def mrmlSegmentEditorNode(self) -> Any:
        """The node with the editor's state."""
        return self._node

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        """Use another node for the editor's state."""
        self._node = node

    def segmentationNode(self) -> Any:
        """The segmentation that is edited."""
        return self._node.GetSegmentationNode()

    def setSegmentationNode(self, node: Any) -> None:
        """Edit a segmentation, its first segment selected."""
        self._node.SetAndObserveSegmentationNode(node)
        if node is not None and node.GetSegmentation().GetNumberOfSegments():
            self.setCurrentSegmentID(node.GetSegmentation().GetNthSegmentID(0))

    def sourceVolumeNode(self) -> Any:
        """The volume behind the segmentation."""
        return self._node.GetSourceVolumeNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        """Set the volume behind the segmentation."""
        self._node.SetAndObserveSourceVolumeNode(node)

    def currentSegmentID(self) -> str:
        """The selected segment."""
        return str(self._node.GetSelectedSegmentID() or "")

    def setCurrentSegmentID(self, segment_id: str) -> None:
        """Select a segment."""
        self._node.SetSelectedSegmentID(segment_id)

    def setActiveEffectByName(self, name: str) -> None:
        """Choose an effect; "" for none."""
        self._node.SetActiveEffectName(name)


class SegmentEditorPanel(qMRMLWidget):
    """The module's panel; ``self().editor`` is the editor."""

    def __init__(self) -> None:
        super().__init__()
        self.editor = SegmentEditorWidget(self)

    def self(self) -> SegmentEditorPanel:
        """The panel's Python object."""
        return self

    def enter(self) -> None:
        """Find the editor's node, or make it."""
        import slicer

        node = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag("SegmentEditor")
            node = slicer.mrmlScene.AddNode(node)
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.editor.setMRMLSegmentEditorNode(node)

    def exit(self) -> None:
        """Nothing to undo."""


class SegmentEditorModule(CompiledModule):
    """``slicer.modules.segmenteditor``."""

    def __init__(self) -> None:
        super().__init__("SegmentEditor")
        self._panel: SegmentEditorPanel | None = None

    def widgetRepresentation(self) -> SegmentEditorPanel:
        """The panel, which is ``slicer.modules.SegmentEditorWidget`` from then on."""
        import slicer

        if self._panel is None:
            self._panel = slicer.modules.SegmentEditorWidget = SegmentEditorPanel()
        return self._panel
