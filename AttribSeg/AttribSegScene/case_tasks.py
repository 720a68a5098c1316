"""Volumes and corrected segments of the scene as cases of a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AttribSegLib.cohort_editing import add_case
from AttribSegLib.cohort_state import CohortRow, cohort_rows
from AttribSegLib.corrections import add_correction
from AttribSegLib.errors import InputError
from AttribSegLib.mrml import geometry_from_volume_node, image_from_volume_node, mask_from_segment

from .detection_nodes import DetectionNodes
from .inputs import case_name, mask_from_node, nodes_by_channel, scans_from_nodes
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
        If a volume is missing or unsuitable, or a mask is empty or elsewhere.
    """
    expected = cohort_channels(cohort)
    t1 = t1 if "T1" in expected else None
    channels = scans_from_nodes(nodes_by_channel(expected, volume, t1))
    brain_mask = None if brain is None else mask_from_node(brain, volume, what="brain mask")
    lesion_mask = None if lesions is None else mask_from_node(lesions, volume, what="lesion mask")
    case = case_name(volume)
    return Task(
        f"Adding {case} to {Path(cohort).name}",
        None,
        lambda row: row,
        read=lambda: add_case(
            cohort,
            case=case,
            patient=patient or case,
            label=label,
            channels=channels,
            brain=brain_mask,
            lesions=lesion_mask,
        ),
    )


def add_correction_task(
    segmentation: Any, cohort: str | Path, *, author: str, patient: str = "", t1: Any = None
) -> Task[CohortRow]:
    """Make the task that sends a corrected detection to a cohort, as a mask to learn from.

    Of a raw scan, its prepared images are sent, and the mask is brought to their grid. The lesions
    as they were detected are stored beside the correction. A volume that was loaded from the
    cohort corrects that case.

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
        For a cohort with the channel T1, where the scan was not raw.

    Raises
    ------
    InputError
        If the segmentation is no detection, its volume is deleted, or the cohort has other
        channels.
    """
    nodes = DetectionNodes.of(segmentation)
    if nodes.volume_node is None:
        raise InputError(
            f"the volume of {segmentation.GetName()!r} is no longer in the scene; load the scene "
            "with both"
        )
    expected = cohort_channels(cohort)
    grid = geometry_from_volume_node(nodes.volume_node)
    corrected = mask_from_segment(segmentation, nodes.segment_id, reference=grid)
    detected = None
    if nodes.detected_node is not None:
        detected = mask_from_segment(nodes.detected_node, nodes.segment_id, reference=grid)
    known = _row_of(nodes.volume_node, cohort)
    to_cohort = target = None
    if known is None and nodes.prepared_nodes:
        missing = [name for name in expected if name not in nodes.prepared_nodes]
        if missing or nodes.transform_node is None:
            raise InputError(
                f"{Path(cohort).name} needs the channel {', '.join(missing) or expected[0]} in the "
                "atlas, which this detection does not have; detect again with it, or choose "
                "another cohort"
            )
        channels = {n: image_from_volume_node(nodes.prepared_nodes[n]) for n in expected}
        to_cohort = affine_from_node(nodes.transform_node)
        target = channels[expected[0]].geometry
    else:
        channels = scans_from_nodes(nodes_by_channel(expected, nodes.volume_node, t1))
    case = case_name(nodes.volume_node) if known is None else known.case
    whose = patient or (case if known is None else known.patient)
    return Task(
        f"Sending the correction of {case} to {Path(cohort).name}",
        None,
        lambda row: row,
        read=lambda: add_correction(
            cohort,
            case=case,
            patient=whose,
            channels=channels,
            corrected=corrected,
            detected=detected,
            to_cohort=to_cohort,
            grid=target,
            author=author,
            bundle=nodes.bundle,
            record={"bundle_sha256": nodes.bundle_hash, "threshold": nodes.threshold},
        ),
    )


def cohort_channels(cohort: str | Path) -> tuple[str, ...]:
    """Channels of a cohort table.

    Raises
    ------
    InputError
        If there is no such table.
    """
    from AttribSegLib.editable_table import EditableTable

    return tuple(EditableTable(cohort).channels)


def _row_of(volume: Any, cohort: str | Path) -> CohortRow | None:
    """Case of a cohort whose file a volume was loaded from."""
    storage = volume.GetStorageNode()
    name = None if storage is None else storage.GetFullNameFromFileName()
    if not name or not Path(name).exists():
        return None
    for row in cohort_rows(cohort):
        for path in row.channels.values():
            if path.exists() and path.samefile(name):
                return row
    return None
