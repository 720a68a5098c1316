"""The effect's operations on nodes: everything but widgets and mouse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from AttribSegLib.errors import InputError
from numpy.typing import NDArray

from .aligned_map import AlignedMap, alignment_key
from .attribution_choice import Settings, find_map, noted_settings
from .brush import Stroke
from .labelmap import array_to_world, bounding_window, geometry_in_world, size
from .lesion_picking import KeptLesions, lesion_at
from .preview import CANDIDATES, ERASER, STROKE, THRESHOLD, Preview
from .target import Target

#: Role of the chosen map in the Segment Editor's node (Slicer puts the effect's name before it).
_MAP = "Map"
#: Parameter: source volume and segmentation that it was chosen for.
_MAP_FOR = "MapFor"


class AttributionEditing:
    """Editing of the selected segment with a map.

    Parameters
    ----------
    host : qSlicerSegmentEditorScriptedEffect
        What Slicer gives an effect to work with.
    """

    def __init__(self, host: Any) -> None:
        self.host = host
        self.target = Target(host)
        self._map: AlignedMap | None = None
        self._key: tuple[Any, ...] | None = None
        self._preview: Preview | None = None
        self._preview_key: tuple[Any, ...] | None = None
        self._shown: tuple[Any, ...] | None = None
        self._count = 0
        self._kept: KeptLesions | None = None
        self._kept_of: tuple[str, str] | None = None
        self._after_keep: NDArray[np.bool_] | None = None
        self._stroke: Stroke | None = None
        self._erases = False

    # Map

    @property
    def map_node(self) -> Any | None:
        """The chosen map."""
        return self.host.nodeReference(_MAP) if self.host.parameterSetNode() else None

    @map_node.setter
    def map_node(self, node: Any | None) -> None:
        self.host.setNodeReference(_MAP, node)

    def choose_map(self) -> None:
        """Choose the source volume's map, where none is chosen or the volume is another one."""
        editor = self.host.parameterSetNode()
        if editor is None or editor.GetSegmentationNode() is None:
            return
        source = editor.GetSourceVolumeNode()
        now = f"{source.GetID() if source else ''} {editor.GetSegmentationNode().GetID()}"
        before = self.host.parameter(_MAP_FOR) if self.host.parameterDefined(_MAP_FOR) else ""
        if self.map_node is None or now != before:
            found = find_map(editor.GetSegmentationNode(), source)
            # A map that a person has chosen is better than none.
            if found is not None or self.map_node is source:
                self.map_node = found
            self.host.setParameter(_MAP_FOR, now)

    def refresh(self) -> AlignedMap:
        """The chosen map on the grid of the edits, as the nodes are now.

        Raises
        ------
        InputError
            If there is no segmentation, source volume, map or grid, or the map cannot be used.
        """
        segmentation_node, grid = self.target.node_and_grid()
        node = self.map_node
        if node is None:
            self._map = self._key = None
            name = self.host.parameterSetNode().GetSourceVolumeNode().GetName()
            raise InputError(
                f"no attribution of {name!r} in the scene: detect lesions with the AttribSeg "
                "module first, or choose a map above"
            )
        key = alignment_key(node, segmentation_node, grid)
        if key != self._key or self._map is None:
            self._map = self._key = None
            nominal = noted_settings(segmentation_node, node).nominal
            self._map = AlignedMap(node, segmentation_node, grid, nominal=nominal)
            self._key = key
        return self._map

    # Threshold

    def first_settings(self) -> Settings:
        """Settings to start with: those of the detection, or half of the map's maximum."""
        highest = self.refresh().range[1]
        noted = noted_settings(self.target.node_and_grid()[0], self.map_node)
        return noted if noted.threshold is not None else Settings(highest / 2)

    def show(self, threshold: float) -> int:
        """Show what is above a threshold; voxels of it."""
        current = self.refresh()
        preview = self._make_preview()
        shown = (self._key, threshold, current.prepared)
        if shown != self._shown or not preview.visible(THRESHOLD):
            mask = current.mask(threshold)
            preview.show(THRESHOLD, mask, current.window(mask, threshold))
            self._shown, self._count = shown, int(np.count_nonzero(mask))
        return self._count

    def hide(self) -> None:
        """Show nothing above the threshold."""
        self._hide(THRESHOLD)

    def apply(self, threshold: float) -> str:
        """Make the selected segment what is above a threshold; what has come of it.

        Raises
        ------
        InputError
            If no segment is selected; also as :meth:`refresh`.
        """
        current = self.refresh()
        current.wait()
        self.target.mask()  # refuses before a state is saved for nothing
        self.target.save_state()
        self.target.replace(current.mask(threshold))
        count = int(np.count_nonzero(self.target.mask()))
        return f"The segment now has {amount(count, current.voxel_volume_ml)}."

    # Lesions

    def drop(self, point: Sequence[float]) -> str:
        """Take the lesion at a point out of the selected segment; what has come of it.

        Parameters
        ----------
        point : sequence of float
            RAS, in world coordinates, in mm.

        Raises
        ------
        InputError
            If there is none.
        """
        lesion = lesion_at(self.target.mask(), self.target.index(point))
        if lesion is None:
            raise InputError("no lesion of the selected segment there: click on one to drop it")
        self.target.save_state()
        self.target.remove(lesion, bounding_window(lesion))
        left = int(np.count_nonzero(self.target.mask() & lesion))
        if left:
            return f"{left} voxels of this lesion lie outside the editable area and stay."
        return f"Dropped a lesion of {int(np.count_nonzero(lesion))} voxels."

    def keep(self, point: Sequence[float], threshold: float) -> str:
        """Keep the lesion at a point and drop all others that have not been clicked.

        The candidates are the lesions of the segment at the first click, or, where it is empty,
        what is above the threshold. They stay until the segment is edited in another way.

        Parameters
        ----------
        point : sequence of float
            RAS, in world coordinates, in mm.
        threshold : float

        Returns
        -------
        str
            What has come of it.

        Raises
        ------
        InputError
            If there is none.
        """
        segment, of = self.target.mask(), self.target.key()
        same = self._after_keep is not None and np.array_equal(segment, self._after_keep)
        if self._kept is None or of != self._kept_of or not same:
            candidates = segment if segment.any() else self.refresh().mask(threshold)
            self._kept, self._kept_of = KeptLesions(candidates), of
            self._after_keep = segment
        kept = self._kept
        if not kept.keep(self.target.index(point)):
            raise InputError("no lesion there: click on one to keep it")
        self.target.save_state()
        superfluous, missing = segment & ~kept.kept, kept.kept & ~segment
        for change, mask in ((self.target.remove, superfluous), (self.target.add, missing)):
            if mask.any():
                change(mask, bounding_window(mask))
        self._after_keep = self.target.mask()
        window = bounding_window(kept.candidates)
        self._make_preview().show(CANDIDATES, kept.candidates, window)
        count = int(np.count_nonzero(self._after_keep))
        return f"Kept {count} voxels; click further lesions to keep them too."

    def forget_kept(self) -> None:
        """The next click to keep a lesion starts anew."""
        self._kept = self._after_keep = None
        self._hide(CANDIDATES)

    # Brush

    @property
    def painting(self) -> bool:
        """Whether a stroke has begun."""
        return self._stroke is not None

    def begin_stroke(self, radius_mm: float, *, within: str | None, threshold: float = 0.0) -> None:
        """Put the brush down.

        Parameters
        ----------
        radius_mm : float
        within : {"positive", "threshold"} or None
            What the brush may paint: where the map is positive, or what is above ``threshold``.
            None to erase, wherever.
        threshold : float

        Raises
        ------
        InputError
            If no segment is selected, or there is no map to paint by.
        """
        node, grid = self.target.node_and_grid()
        self.target.mask()
        allowed = None
        if within is not None:
            current = self.refresh()
            allowed = current.array > 0 if within == "positive" else current.mask(threshold)
        self._stroke = Stroke(array_to_world(grid, node), size(grid), radius_mm, allowed)
        self._erases = within is None

    def extend_stroke(self, point: Sequence[float]) -> None:
        """Move the brush to a point: RAS, in world coordinates, in mm."""
        if self._stroke is not None:
            self._stroke.add(point)
            name = ERASER if self._erases else STROKE
            self._make_preview().show(name, self._stroke.mask, self._stroke.window)

    def finish_stroke(self) -> None:
        """Lift the brush: the whole stroke becomes one change of the segment.

        Raises
        ------
        InputError
            If the brush passed over nothing that it may paint.
        """
        stroke, erases = self._stroke, self._erases
        self.cancel_stroke()
        if stroke is None:
            return
        if stroke.window is None or not stroke.mask.any():
            why = "the volume does not reach there" if erases else "the map is too low there"
            raise InputError(f"nothing under the brush: {why}")
        self.target.save_state()
        change = self.target.remove if erases else self.target.add
        change(stroke.mask, stroke.window)

    def cancel_stroke(self) -> None:
        """Lift the brush without changing anything."""
        self._stroke = None
        self._hide(STROKE)
        self._hide(ERASER)

    # Preview

    def close(self) -> None:
        """Leave nothing in the scene or in memory."""
        self._stroke = None
        if self._preview is not None:
            self._preview.remove()
        self._preview = self._preview_key = self._shown = None
        self._map = self._key = None
        self._kept = self._after_keep = None

    def _make_preview(self) -> Preview:
        """The preview for the segmentation and grid of now."""
        node, grid = self.target.node_and_grid()
        place = array_to_world(grid, node).tobytes()
        key = (node.GetID(), node.GetTransformNodeID(), grid.GetExtent(), place)
        if self._preview is None or not self._preview.alive or key != self._preview_key:
            if self._preview is not None:
                self._preview.remove()
            self._preview = Preview(node, geometry_in_world(grid, node))
            self._preview_key = key
            self._shown = None
        return self._preview

    def _hide(self, name: str) -> None:
        if self._preview is not None and self._preview.alive:
            self._preview.hide(name)


def amount(voxels: int, voxel_volume_ml: float | None) -> str:
    """How much a number of voxels is, for people."""
    known = f", {voxels * voxel_volume_ml:.2f} mL" if voxel_volume_ml is not None else ""
    return f"{voxels} voxels{known}"
