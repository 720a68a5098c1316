"""The selected segment, as the Segment Editor lets an effect see and change it.

Every change goes through the Segment Editor's own modification, so that its masking (editable
area, intensity range) and overwriting of other segments hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from AttribSegLib.errors import InputError
from numpy.typing import NDArray

from .labelmap import Window, array_to_world, extent_of, size, voxels


class Target:
    """What is edited, and on which grid.

    Parameters
    ----------
    host : qSlicerSegmentEditorScriptedEffect
        What Slicer gives an effect to work with.
    """

    def __init__(self, host: Any) -> None:
        self.host = host

    def node_and_grid(self) -> tuple[Any, Any]:
        """The edited segmentation node and the grid of its edits.

        Returns
        -------
        node : vtkMRMLSegmentationNode
        grid : vtkOrientedImageData
            In the node's coordinates, without voxels.

        Raises
        ------
        InputError
            If there is none, or no source volume.
        """
        editor = self.host.parameterSetNode()
        node = editor.GetSegmentationNode() if editor is not None else None
        if node is None:
            raise InputError("no segmentation: choose or make one above")
        if editor.GetSourceVolumeNode() is None:
            raise InputError("no source volume: choose one above")
        grid = self.host.referenceGeometryImage()
        if grid is None or min(grid.GetDimensions()) < 1:
            raise InputError(f"{node.GetName()!r} has no grid to edit on: choose a source volume")
        return node, grid

    def key(self) -> tuple[str, str]:
        """Identifiers of the segmentation and the selected segment."""
        editor = self.host.parameterSetNode()
        return editor.GetSegmentationNode().GetID(), editor.GetSelectedSegmentID() or ""

    def mask(self) -> NDArray[np.bool_]:
        """The selected segment on the grid of the edits, a copy, shape (I, J, K).

        Raises
        ------
        InputError
            If no segment is selected; also as :meth:`node_and_grid`.
        """
        node, grid = self.node_and_grid()
        if node.GetSegmentation().GetSegment(self.key()[1]) is None:
            raise InputError("no segment is selected: select the one to change, or add one")
        result = np.zeros(size(grid), dtype=bool, order="F")
        labelmap = self.host.selectedSegmentLabelmap()
        if labelmap is None or labelmap.IsEmpty():
            return result
        # The same lattice, but perhaps another part of it.
        start = np.array(labelmap.GetExtent()[::2]) - np.array(grid.GetExtent()[::2])
        values = voxels(labelmap) != 0
        low = np.maximum(start, 0)
        high = np.minimum(start + values.shape, result.shape)
        if (high > low).all():
            result[tuple(map(slice, low, high))] = values[
                tuple(map(slice, low - start, high - start))
            ]
        return result

    def index(self, point: Sequence[float]) -> tuple[int, ...]:
        """Voxel of the grid of the edits at a point (RAS, world coordinates, mm)."""
        node, grid = self.node_and_grid()
        inverse = np.linalg.inv(array_to_world(grid, node))
        place = inverse[:3, :3] @ np.asarray(point, dtype=float) + inverse[:3, 3]
        return tuple(int(n) for n in np.rint(place))

    def save_state(self) -> None:
        """What is done next can be undone in one step."""
        self.host.saveStateForUndo()

    def add(self, mask: NDArray[np.bool_], window: Window | None = None) -> None:
        """Add voxels to the segment; outside ``window`` there must be none."""
        self._modify(mask, "Add", window)

    def remove(self, mask: NDArray[np.bool_], window: Window | None = None) -> None:
        """Remove voxels from the segment; outside ``window`` there must be none."""
        self._modify(mask, "Remove", window)

    def replace(self, mask: NDArray[np.bool_]) -> None:
        """Make voxels the segment."""
        if self._on_grid():
            self._modify(mask, "Set", None)
            return
        # Slicer's "Set" puts the segment's voxels elsewhere when its grid is another one.
        self._modify(self.mask() & ~mask, "Remove", None)
        self._modify(mask, "Add", None)

    def _on_grid(self) -> bool:
        """Whether the selected segment lies on the grid of the edits."""
        node, grid = self.node_and_grid()
        labelmap = node.GetBinaryLabelmapInternalRepresentation(self.key()[1])
        same = slicer.vtkOrientedImageDataResample.DoGeometriesMatch
        return labelmap is None or labelmap.IsEmpty() or bool(same(labelmap, grid))

    def _modify(self, mask: NDArray[np.bool_], how: str, window: Window | None) -> None:
        modifier = self.host.defaultModifierLabelmap()
        if modifier is None:
            raise InputError("the segmentation has no grid to edit on: choose a source volume")
        np.copyto(voxels(modifier), mask, casting="unsafe")
        modifier.GetPointData().GetScalars().Modified()
        modifier.Modified()
        mode = getattr(slicer.qSlicerSegmentEditorAbstractEffect, f"ModificationMode{how}")
        if window is None:
            self.host.modifySelectedSegmentByLabelmap(modifier, mode)
        else:
            self.host.modifySelectedSegmentByLabelmap(modifier, mode, extent_of(window, modifier))
