"""A segment that follows a threshold on an attribution while the slider is dragged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from AttribSegLib import mrml
from AttribSegLib.errors import InputError
from AttribSegLib.image import Image
from AttribSegLib.lesions import Lesion, lesion_table
from AttribSegLib.map_preview import MapPreview
from numpy.typing import NDArray

from . import names
from .labelmap import (
    Window,
    binary_labelmap,
    bounding_box,
    closed_surface,
    is_edited,
    mask_fingerprint,
    remember_written,
    segment_of,
    write_mask,
)
from .scenes import is_in_scene, named
from .tables import lesion_table_node


class LiveThreshold:
    """Thresholds an attribution into a segment, fast enough to follow a slider.

    While dragging, only the labelmap follows: :meth:`set` removes a closed surface, which would
    show another threshold, and :meth:`finish` makes it again.

    Parameters
    ----------
    attribution_node : vtkMRMLScalarVolumeNode
        May lie under linear transforms.
    segmentation_node : vtkMRMLSegmentationNode
        May lie under linear transforms; the segment agrees with the attribution in the world.
    segment_id : str
        Segment to write; its source is a binary labelmap.

    Raises
    ------
    InputError
        If a node is deleted or of another kind, the attribution has colours or voxels that are
        not finite, a transform is not linear, or there is no such segment.
    """

    def __init__(self, attribution_node: Any, segmentation_node: Any, segment_id: str) -> None:
        segment_of(segmentation_node, segment_id)
        self.attribution_node = attribution_node
        self.segmentation_node = segmentation_node
        self.segment_id = segment_id
        nominal = segmentation_node.GetAttribute(names.NOMINAL) == "1"
        self._image = mrml.image_from_volume_node(attribution_node, nominal=nominal)
        self._source = self._voxel_state()
        self._window: Window | None = None
        # Of the drag that goes on: what was last written, and the labelmap right after.
        self._mask: NDArray[np.bool_] | None = None
        self._threshold, self._geometry = 0.0, self._image.geometry
        self._preparation = (0.0, 0.0)
        self._written: tuple[Any, int] | None = None
        self._had_surface = False

    @cached_property
    def _preview(self) -> MapPreview:
        return MapPreview(self._image)

    def build(self) -> None:
        """Make the map ready, which takes a while; touches no node, so that a thread may do it."""
        self._preview  # noqa: B018  (made when it is first asked for)

    @property
    def range(self) -> tuple[float, float]:
        """Limits for a slider: the attribution's lowest positive value and its highest."""
        return self._preview.range

    @property
    def prepared(self) -> tuple[float, float]:
        """Minimum lesion volume in mL and smoothing in mm that are in force."""
        return self._preview.prepared

    @property
    def edited(self) -> bool:
        """Whether the segment holds what a person drew since it was last written.

        A segment that this program never wrote counts as drawn unless it is empty.

        Raises
        ------
        InputError
            If the segmentation or the segment is deleted.
        """
        segment = segment_of(self.segmentation_node, self.segment_id)
        state = _labelmap_state(segment)
        if self._written == state:
            return False
        node, known = self.segmentation_node, None
        if self._mask is not None:
            known = mask_fingerprint(node, self._mask, self._geometry)
        same = not is_edited(node, self.segment_id, known)
        if same:  # another segment of a shared labelmap was edited, or this one was saved
            self._written = state
        return not same

    def prepare(self, *, minimum_ml: float = 0.0, smoothing_mm: float = 0.0) -> None:
        """Smooth the map and drop small lesions, at all thresholds at once.

        Takes up to seconds; touches no node, so that it may run in another thread. Call
        :meth:`set` afterwards.

        Parameters
        ----------
        minimum_ml : float
            Smallest lesion, in mL.
        smoothing_mm : float
            Standard deviation of a Gaussian, in mm.

        Raises
        ------
        InputError
            If a value is negative or not finite, or the spacing is nominal.
        """
        # What finish() needs of it takes a second to import, which a window should not wait for.
        import scipy.ndimage  # noqa: F401  (loaded only)

        self._preview.prepare(minimum_ml=minimum_ml, smoothing_mm=smoothing_mm)

    def set(self, threshold: float, *, discard_edits: bool = False) -> int:
        """Make the segment what is above a threshold.

        The threshold and what the segment looks like are stored with the segmentation node.

        Parameters
        ----------
        threshold : float
            A voxel belongs to the segment when its attribution is strictly above.
        discard_edits : bool
            Overwrite what a person drew.

        Returns
        -------
        int
            Voxels in the segment.

        Raises
        ------
        InputError
            If the attribution or the segmentation is deleted, the attribution's voxels have
            changed, the segment was edited by hand, or the threshold is not finite. The segment
            is then as it was.
        """
        self._check_attribution()
        if not discard_edits and self.edited:
            raise InputError(
                f"segment {self.segment_id!r} of {named(self.segmentation_node)} was edited by "
                "hand; a threshold would replace the edits: keep a copy of the segmentation, or "
                "confirm"
            )
        preparation, mask = self.prepared, self._preview.mask(threshold)
        count = int(np.count_nonzero(mask))
        nominal = self._geometry.nominal
        geometry = mrml.geometry_from_volume_node(self.attribution_node, nominal=nominal)
        segmentation = self.segmentation_node.GetSegmentation()
        self._had_surface |= bool(segmentation.ContainsRepresentation(closed_surface()))
        window = self._window_of(mask, count)
        write_mask(self.segmentation_node, self.segment_id, mask, geometry, window=window)
        self._mask, self._threshold, self._geometry = mask, float(threshold), geometry
        self._preparation = preparation
        self._record()
        self._written = _labelmap_state(segmentation.GetSegment(self.segment_id))
        return count

    def lesions(self) -> list[Lesion]:
        """Lesions of what :meth:`set` last wrote; touches no node, so a thread may ask.

        At a threshold in the noise there are tens of thousands, which takes a second.
        """
        mask = self._mask
        return [] if mask is None else lesions_within(mask, self._attribution())

    def finish(self, lesions: Sequence[Lesion] | None = None) -> list[Lesion]:
        """End a drag: lesion table, closed surface where there was one, and an event.

        The lesion table that the segmentation node refers to, if any, is filled.

        Parameters
        ----------
        lesions : sequence of Lesion, optional
            What :meth:`lesions` gave since the last step; found here when absent.

        Returns
        -------
        list of Lesion
            Of the segment; empty when nothing was dragged since the last call.

        Raises
        ------
        InputError
            If the attribution, the segmentation or the segment is deleted, or the attribution's
            voxels have changed.
        """
        segment_of(self.segmentation_node, self.segment_id)
        if self._mask is None:
            return []
        self._check_attribution()
        node = self.segmentation_node
        if lesions is None or self.edited:
            lesions = self._lesions_now()
        node.Modified()
        mask, self._mask = self._mask, None
        table = node.GetNodeReference(names.TABLE)
        if table is not None:
            lesion_table_node(lesions, node=table, nominal=self._geometry.nominal)
        if self._had_surface:
            if not self.edited:
                # A surface of the whole window takes far longer than one of the lesions.
                write_mask(node, self.segment_id, mask, self._geometry)
            node.CreateClosedSurfaceRepresentation()
            self._had_surface = False
        return list(lesions)

    def _record(self) -> None:
        """What made the segment and what it looks like, for whoever saves the scene meanwhile."""
        node, (minimum_ml, smoothing_mm) = self.segmentation_node, self._preparation
        # Nobody is told of it before the end of the drag, or panels would be filled at every step.
        told = node.GetDisableModifiedEvent()
        node.SetDisableModifiedEvent(True)
        node.SetAttribute(names.THRESHOLD, repr(self._threshold))
        node.SetAttribute(names.MINIMUM_ML, repr(float(minimum_ml)))
        node.SetAttribute(names.SMOOTHING_MM, repr(float(smoothing_mm)))
        assert self._mask is not None
        written = mask_fingerprint(node, self._mask, self._geometry)
        remember_written(node, self.segment_id, written)
        node.SetDisableModifiedEvent(told)

    def _lesions_now(self) -> list[Lesion]:
        """Lesions of the segment, in which a person may have drawn since the last step."""
        if not self.edited:
            return self.lesions()
        mask = mrml.mask_from_segment(
            self.segmentation_node, self.segment_id, reference=self._geometry
        )
        return lesions_within(mask.array, self._attribution())

    def _attribution(self) -> Image:
        """Values, where the node was at the last step."""
        return Image(self._image.array, self._geometry)

    def _check_attribution(self) -> None:
        """Refuse an attribution other than the one that is being thresholded."""
        if not is_in_scene(self.attribution_node, "vtkMRMLScalarVolumeNode"):
            raise InputError(
                f"{named(self.attribution_node)} is not in the scene any more; it may be "
                "deleted, detect again"
            )
        if self._voxel_state() != self._source:
            raise InputError(
                f"{named(self.attribution_node)} has changed since its threshold was first "
                "moved; choose it again"
            )

    def _voxel_state(self) -> tuple[Any, int]:
        data = self.attribution_node.GetImageData()
        return data, 0 if data is None else data.GetMTime()

    def _window_of(self, mask: NDArray[np.bool_], count: int) -> Window:
        """Part of the grid to write, the same for as many thresholds as possible."""
        if self._window is None or np.count_nonzero(mask[self._window]) != count:
            window = bounding_box(self._preview.mask(0.0))
            # Thresholds below zero, or another preparation meanwhile, reach further.
            inside = np.count_nonzero(mask[window]) == count
            self._window = window if inside else bounding_box(mask)
        return self._window


def lesions_within(mask: NDArray[np.bool_], attribution: Image) -> list[Lesion]:
    """Lesions of a mask, looked for in its bounding box only.

    Parameters
    ----------
    mask : ndarray of bool, shape (I, J, K)
    attribution : Image
        On the grid of the mask.
    """
    window = bounding_box(mask)
    part = mask[window]
    if part.size == 0:
        return []
    start = tuple(span.start for span in window)
    whole = attribution.geometry
    origin = tuple(whole.to_lps(start))
    geometry = replace(whole, size=part.shape, origin=origin)
    found = lesion_table(Image(part, geometry), Image(attribution.array[window], geometry))
    return [
        replace(
            lesion,
            centre_ijk=tuple(c + first for c, first in zip(lesion.centre_ijk, start, strict=True)),
        )
        for lesion in found
    ]


def _labelmap_state(segment: Any) -> tuple[Any, int]:
    """What changes, in this process, whenever a segment is written."""
    labelmap = segment.GetRepresentation(binary_labelmap())
    return labelmap, 0 if labelmap is None else labelmap.GetMTime()
