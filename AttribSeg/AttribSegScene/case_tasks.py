"""Volumes and corrected segments of the scene as cases of a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AttribSegLib.case_matching import case_of_image, same_voxels
from AttribSegLib.cohort_editing import add_case
from AttribSegLib.cohort_state import CohortRow
from AttribSegLib.corrections import add_correction
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.mrml import geometry_from_volume_node, image_from_volume_node, segment_copy

from .arguments import path_argument
from .detection_nodes import DetectionNodes
from .inputs import case_name, file_of, mask_copy, nodes_by_channel, scans_from_nodes
from .scenes import is_in_scene
from .task import Task
from .transforms import affine_from_node


def add_case_task(
    cohort: str | Path,
    volume: Any,
    *,
    label: int,
    patient: str = "",
    t1: Any = None,
    brain: Any = None,
    lesions: Any = None,
) -> Task[CohortRow]:
    """Make the task that adds a volume of the scene to a cohort.

    Parameters
    ----------
    cohort : path
        Table of the cohort; its channels decide which volumes are taken.
    volume : vtkMRMLScalarVolumeNode
    label : {0, 1}
        Healthy or pathological.
    patient : str
        Whose image it is; by default a patient of its own, by the volume's name.
    t1 : vtkMRMLScalarVolumeNode, optional
        For cohorts that have the channel T1.
    brain, lesions : vtkMRMLSegmentationNode or vtkMRMLScalarVolumeNode, optional
        Masks.

    Raises
    ------
    InputError
        If a volume is missing or unsuitable, or a mask lies elsewhere. An empty mask, or an image
        that the cohort has already, makes the task fail.
    """
    expected = cohort_channels(cohort)
    t1 = t1 if "T1" in expected else None
    if t1 is None and "T1" in expected and len(expected) > 1:
        raise InputError(
            f"{Path(cohort).name} has the channels {', '.join(expected)}; T1 is missing: choose "
            "that of this case"
        )
    channels = scans_from_nodes(nodes_by_channel(expected, volume, t1))
    brain_mask = None if brain is None else mask_copy(brain, volume, what="brain mask")
    lesion_mask = None if lesions is None else mask_copy(lesions, volume, what="lesion mask")
    case = case_name(volume)

    def add() -> CohortRow:
        found = case_of_image(cohort, channels, name=case)
        if found is not None and found.case:
            raise InputError(
                f"case {case}: its image is case {found.case} of patient {found.patient} in "
                f"{Path(cohort).name} already; nothing is to be added"
            )
        return add_case(
            cohort,
            case=case,
            patient=patient or (case if found is None else found.patient),
            label=label,
            channels=channels,
            brain=None if brain_mask is None else brain_mask(),
            lesions=None if lesion_mask is None else lesion_mask(),
        )

    return Task(f"Adding {case} to {Path(cohort).name}", None, lambda row: row, read=add)


def add_correction_task(
    segmentation: Any, cohort: str | Path, *, author: str, patient: str = "", t1: Any = None
) -> Task[CohortRow]:
    """Make the task that sends a corrected detection to a cohort, as a mask to learn from.

    A volume that is a case of the cohort, by the file it was loaded from or by its voxels,
    corrects that case. Of another raw scan, its prepared images are sent, and the mask is brought
    to their grid. The lesions as they were detected are stored beside the correction.

    Parameters
    ----------
    segmentation : vtkMRMLSegmentationNode
        Of a detection.
    cohort : path
        Table of the cohort.
    author : str
        Who corrected.
    patient : str
        Whose image it is; by default that of the case, or the volume's name.
    t1 : vtkMRMLScalarVolumeNode, optional
        For a cohort with the channel T1, where the detection had none.

    Raises
    ------
    InputError
        If the segmentation is no detection, its volume is deleted or moved, or the cohort has
        other channels. Faults of the cohort make the task fail.
    """
    if not author:
        raise InputError("author: the name of whoever corrected was expected")
    nodes = DetectionNodes.of(segmentation)
    expected = cohort_channels(cohort)
    grid = _grid_of(nodes)
    corrected = segment_copy(segmentation, nodes.segment_id, reference=grid)
    detected = None
    if nodes.detected_node is not None:
        detected = segment_copy(nodes.detected_node, nodes.segment_id, reference=grid)
    to_cohort = None
    prepared: dict[str, Image] = {}
    if nodes.prepared_nodes and nodes.transform_node is not None:
        to_cohort = affine_from_node(nodes.transform_node)
        prepared = {
            name: image_from_volume_node(nodes.prepared_nodes[name])
            for name in expected
            if name in nodes.prepared_nodes
        }
    given = {**({} if t1 is None else {"T1": t1}), **nodes.input_nodes}
    scans = scans_from_nodes({name: given[name] for name in expected if name in given})
    missing = [name for name in expected if name not in (prepared if to_cohort else scans)]
    if missing:
        raise InputError(
            f"{Path(cohort).name} needs the channel {', '.join(missing)}, which this detection "
            "does not have (any more); detect again with it, or choose another cohort"
        )
    name, source = case_name(nodes.volume_node), nodes.source or file_of(nodes.volume_node)
    bundle, record = nodes.bundle, {"bundle_sha256": nodes.bundle_hash}
    threshold = nodes.threshold

    def send() -> CohortRow:
        found = case_of_image(cohort, scans, source=source, name=name) if scans else None
        images, transform = scans, None
        if to_cohort is not None and (found is None or not found.case):
            found = case_of_image(cohort, prepared, name=name) or found
            images, transform = prepared, to_cohort
        return add_correction(
            cohort,
            case=name if found is None else found.case or name,
            patient=patient or (name if found is None else found.patient),
            channels=images,
            corrected=corrected(),
            detected=None if detected is None else detected(),
            to_cohort=transform,
            grid=None if transform is None else images[expected[0]].geometry,
            author=author,
            bundle=bundle,
            record={**record, "threshold": threshold},
        )

    title = f"Sending the correction of {name} to {Path(cohort).name}"
    return Task(title, None, lambda row: row, read=send)


def _grid_of(nodes: DetectionNodes) -> Geometry:
    """Grid of a detection's volume, which is still where it was segmented.

    Raises
    ------
    InputError
        If the volume is deleted, or moved without its detection.
    """
    if not is_in_scene(nodes.volume_node, "vtkMRMLVolumeNode"):
        raise InputError(
            f"the volume of {nodes.segmentation_node.GetName()!r} is no longer in the scene; load "
            "the scene with both"
        )
    grid, then = geometry_from_volume_node(nodes.volume_node), nodes.grid
    if nodes.attribution_node is not None:
        there = geometry_from_volume_node(nodes.attribution_node)
    else:
        there = then or grid
    # The way to the atlas begins where the scan was.
    begins = then if nodes.transform_node is not None and then is not None else grid
    if not (same_voxels(grid, there) and same_voxels(grid, begins)):
        raise InputError(
            f"{nodes.volume_node.GetName()!r} was moved since its lesions were detected; move it "
            "back (module Transforms), or detect again"
        )
    return grid


def cohort_channels(cohort: str | Path) -> tuple[str, ...]:
    """Channels of a cohort table.

    Raises
    ------
    InputError
        If there is no such table.
    """
    from AttribSegLib.editable_table import EditableTable

    return tuple(EditableTable(path_argument(cohort, "cohort table")).channels)
