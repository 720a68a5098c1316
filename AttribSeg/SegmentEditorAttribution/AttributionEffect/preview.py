"""What the effect shows before anything is changed: segments of a node of its own.

The node is in no list of the application and is not saved with the scene.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from AttribSegLib.image import Geometry
from AttribSegLib.segmentation_file import Colour
from AttribSegScene.labelmap import binary_labelmap, write_mask
from numpy.typing import NDArray

from .labelmap import Window

#: Voxels above the threshold.
THRESHOLD = "Above the threshold"
#: Lesions that a click can keep.
CANDIDATES = "Lesions to keep"
#: Voxels under the brush, until the button is released.
STROKE = "Stroke"
ERASER = "Erased stroke"

_COLOURS: dict[str, Colour] = {
    THRESHOLD: (1.0, 0.85, 0.0),
    CANDIDATES: (0.35, 0.65, 1.0),
    STROKE: (0.2, 1.0, 0.4),
    ERASER: (1.0, 1.0, 1.0),
}
_FILLED = {STROKE: 0.5, ERASER: 0.5, THRESHOLD: 0.25, CANDIDATES: 0.0}


class Preview:
    """Masks shown over the views, on the grid of the edits.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
        The preview lies under its transform.
    geometry : Geometry
        Grid of the edits, in world coordinates.
    """

    def __init__(self, segmentation_node: Any, geometry: Geometry) -> None:
        self._geometry = geometry
        self._scene = segmentation_node.GetScene()
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName("Attribution preview")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        self.node = self._scene.AddNode(node)
        self.node.CreateDefaultDisplayNodes()
        self.node.GetDisplayNode().SetSaveWithScene(False)
        self.node.SetAndObserveTransformNodeID(segmentation_node.GetTransformNodeID())
        self.node.GetSegmentation().SetSourceRepresentationName(binary_labelmap())

    @property
    def alive(self) -> bool:
        """Whether the node is still in the scene; closing the scene removes it."""
        return self.node.GetScene() is not None

    def show(self, name: str, mask: NDArray[np.bool_], window: Window | None) -> None:
        """Show a mask.

        Parameters
        ----------
        name : {THRESHOLD, CANDIDATES, STROKE, ERASER}
        mask : ndarray of bool, shape (I, J, K)
        window : tuple of slice or None
            Box that holds all true voxels; None when there are none.
        """
        if window is None:
            self.hide(name)
            return
        display = self.node.GetDisplayNode()
        if self.node.GetSegmentation().GetSegment(name) is None:
            self.node.GetSegmentation().AddEmptySegment(name, name, _COLOURS[name])
            display.SetSegmentOpacity2DFill(name, _FILLED[name])
            display.SetSegmentVisibility3D(name, False)
        write_mask(self.node, name, mask, self._geometry, window=window)
        display.SetSegmentVisibility(name, True)

    def hide(self, name: str) -> None:
        """Show nothing under a name."""
        if self.visible(name):
            self.node.GetDisplayNode().SetSegmentVisibility(name, False)

    def visible(self, name: str) -> bool:
        """Whether something is shown under a name."""
        if self.node.GetSegmentation().GetSegment(name) is None:
            return False
        return bool(self.node.GetDisplayNode().GetSegmentVisibility(name))

    def remove(self) -> None:
        """Leave the scene as it was."""
        if self.alive:
            display = self.node.GetDisplayNode()
            if display is not None:
                self._scene.RemoveNode(display)
            self._scene.RemoveNode(self.node)
