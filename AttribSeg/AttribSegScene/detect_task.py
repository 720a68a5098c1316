"""Detection on nodes: volumes in, attribution, segmentation and table out."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from AttribSegLib.bundle_card import read_card
from AttribSegLib.errors import InputError
from AttribSegLib.jobs import Job

from .arguments import number_argument, path_argument
from .detection_files import DetectionFiles, read_detection
from .detection_nodes import DetectionNodes
from .inputs import case_name, mask_copy, nodes_by_channel, scans_from_nodes
from .results import detection_steps
from .runs import command_program, new_run_folder, require_in_scene, scan_files, write_scans
from .task import Task


def detect_task(
    volume: Any,
    bundle: str | Path,
    *,
    t1: Any = None,
    brain: Any = None,
    minimum_ml: float = 0.0,
    threshold: float | None = None,
    device: str = "auto",
    prepared: bool | None = None,
    work_folder: Path,
) -> Task[DetectionNodes]:
    """Make the run that detects the lesions of a volume.

    Parameters
    ----------
    volume : vtkMRMLScalarVolumeNode
        The bundle's first channel that is not T1; raw or prepared.
    bundle : path
        Bundle folder.
    t1 : vtkMRMLScalarVolumeNode, optional
    brain : vtkMRMLScalarVolumeNode or vtkMRMLSegmentationNode, optional
        Brain mask.
    minimum_ml : float
        Smaller lesions are dropped.
    threshold : float, optional
        Instead of the bundle's own.
    device : {"auto", "cpu", "cuda"}
    prepared : bool, optional
        Whether the volume is skull-stripped and on the atlas; found out by default.
    work_folder : Path
        The run gets a folder in it, which stays.

    Raises
    ------
    InputError
        If a volume is missing, of another kind or channel than the bundle's, or has no geometry;
        if the bundle cannot be read or the folder not be written.
    """
    card = read_card(path_argument(bundle, "bundle"))
    minimum_ml = number_argument(minimum_ml, "minimum lesion volume")
    threshold = None if threshold is None else number_argument(threshold, "threshold")
    if minimum_ml < 0:
        raise InputError(f"minimum lesion volume {minimum_ml} mL: at least 0 was expected")
    given = nodes = nodes_by_channel(card.channels, volume, t1)
    if prepared:  # nothing is left to register, so that a T1 has no use beside the model's channels
        nodes = {name: nodes[name] for name in card.channels}
    channels = scans_from_nodes(nodes)
    mask = None if brain is None else mask_copy(brain, volume, what="brain mask")
    case = case_name(volume)
    roles = [*channels, *([] if mask is None else ["brain"])]
    folder = new_run_folder(work_folder, "detect", case, plain=True)
    files = scan_files(folder, case, roles)
    arguments = [
        "detect",
        ",".join(f"{name}={files[name]}" for name in channels),
        *("--bundle", str(card.folder), "--out", str(folder / "output"), "--device", device),
        *("--minimum-ml", repr(minimum_ml)),
        *("--preprocess", "none" if prepared else "auto"),
    ]
    if mask is not None:
        arguments += ["--brain", str(files["brain"])]
    if threshold is not None:
        arguments += ["--threshold", repr(threshold)]
    title = f"Detecting lesions in {volume.GetName()}"
    output = folder / "output" / case
    first = nodes[card.channels[0]]  # on whose grid the results are

    def show(found: DetectionFiles) -> Generator[None, None, DetectionNodes]:
        require_in_scene(first, title, output)
        there = {name: node for name, node in given.items() if node.GetScene() is not None}
        return detection_steps(found, first, card=card, inputs=there)

    def write() -> None:
        write_scans(channels if mask is None else {**channels, "brain": mask()}, files)

    return Task(
        title,
        Job(arguments, folder=folder, program=command_program(), title=title),
        show,
        write=write,
        read=lambda: read_detection(output, list(channels)),
    )
