"""Preprocessing on nodes: a raw scan in, the scan in the atlas and its transforms out."""

from __future__ import annotations

import csv
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.errors import InputError
from AttribSegLib.files import read_json
from AttribSegLib.image import Image
from AttribSegLib.jobs import Job
from AttribSegLib.mrml import volume_node_from_image
from AttribSegLib.transform import Affine

from .inputs import case_name, channel_by_name, mask_copy, scan_from_node
from .runs import command_program, new_run_folder, require_in_scene, scan_files, write_scans
from .task import Task
from .transforms import transform_node


@dataclass(frozen=True)
class PreprocessResult:
    """A scan in the atlas.

    Attributes
    ----------
    volumes : dict of str to vtkMRMLScalarVolumeNode
        Prepared channels.
    brain : vtkMRMLScalarVolumeNode
        Brain mask on the same grid.
    transforms : dict of str to vtkMRMLLinearTransformNode
        From each channel's own space to the atlas.
    warnings : tuple of str
        What makes the result doubtful.
    folder : Path
        Files of the run.
    montage : Path
        Picture of the steps.
    """

    volumes: dict[str, Any]
    brain: Any
    transforms: dict[str, Any]
    warnings: tuple[str, ...]
    folder: Path
    montage: Path


@dataclass(frozen=True)
class _Files:
    channels: dict[str, Image]
    brain: Image
    transforms: dict[str, Affine]
    #: Values shown as black and white.
    windows: dict[str, tuple[float, float]]
    record: Mapping[str, Any]


def preprocess_task(
    volume: Any,
    *,
    t1: Any = None,
    brain: Any = None,
    reference: Any = None,
    spacing: int = 2,
    steps: Sequence[str] | None = None,
    robust: bool = False,
    work_folder: Path,
) -> Task[PreprocessResult]:
    """Make the run that brings a scan to the atlas.

    Parameters
    ----------
    volume : vtkMRMLScalarVolumeNode
        Raw FLAIR; a T1 when its name says so and no other T1 is given.
    t1 : vtkMRMLScalarVolumeNode, optional
        Alone, without a volume, it is prepared by itself.
    brain : vtkMRMLScalarVolumeNode or vtkMRMLSegmentationNode, optional
        Brain mask on the volume's grid.
    reference : vtkMRMLScalarVolumeNode, optional
        Volume whose histogram the first channel gets.
    spacing : {1, 2}
        Of the atlas grid, mm.
    steps : sequence of str, optional
        Of ``preprocessing.options.STEPS``; the usual ones by default.
    robust : bool
        Standardise by median and quartiles.
    work_folder : Path
        The run gets a folder in it, which stays.

    Raises
    ------
    InputError
        If a volume is missing, unsuitable or has no geometry, or no step is asked for.
    """
    if volume is None and t1 is not None:
        volume, t1, main = t1, None, "T1"
    else:
        main = "FLAIR" if volume is None or t1 is not None else channel_by_name(volume)
    channels = {main: scan_from_node(volume)}
    if t1 is not None:
        channels["T1"] = scan_from_node(t1, what="T1")
    if steps is not None and not steps:
        raise InputError("no preprocessing step is chosen; tick at least one")
    mask = None if brain is None else mask_copy(brain, volume, what="brain mask")
    images = dict(channels)
    if reference is not None:
        images["reference"] = scan_from_node(reference, what="reference")
    case = case_name(volume)
    folder = new_run_folder(work_folder, "preprocess", case, plain=True)
    files = scan_files(folder, case, [*images, "brain"])
    table = folder / "inputs" / "case.csv"
    arguments = ["preprocess", str(table), "--out", str(folder / "output")]
    arguments += ["--spacing", str(spacing)]
    if steps is not None:
        arguments += ["--steps", ",".join(steps)]
    if reference is not None:
        arguments += ["--reference", f"{main}={files['reference']}"]
    if robust:
        arguments.append("--robust")
    title = f"Preparing {volume.GetName()}"
    done = folder / "output" / "cases" / case

    def write() -> None:
        write_scans(images if mask is None else {**images, "brain": mask()}, files)
        roles = [*channels, *(["brain"] if mask is not None else [])]
        with table.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["case", "patient", "label", *roles])
            writer.writerow([case, case, 1, *(files[role] for role in roles)])

    def show(found: _Files) -> Generator[None, None, PreprocessResult]:
        require_in_scene(volume, title, done)
        scene, name = volume.GetScene(), volume.GetName()
        nodes = {}
        for kind, image in {**found.channels, "brain": found.brain}.items():
            words = "brain" if kind == "brain" else f"{kind}, prepared"
            nodes[kind] = volume_node_from_image(
                image, name=f"{name} ({words})", scene=scene, window=found.windows[kind]
            )
            yield
            require_in_scene(volume, title, done)
        transforms = {
            channel: transform_node(t, name=f"{name} ({channel} to atlas)", scene=scene)
            for channel, t in found.transforms.items()
        }
        return PreprocessResult(
            {channel: nodes[channel] for channel in found.channels},
            nodes["brain"],
            transforms,
            tuple(found.record["warnings"]),
            done,
            done / f"{case}_montage.png",
        )

    return Task(
        title,
        Job(arguments, folder=folder, program=command_program(), title=title),
        show,
        write=write,
        read=lambda: _read(done, case, list(channels)),
    )


def _read(folder: Path, case: str, channels: Sequence[str]) -> _Files:
    from AttribSegLib.image_io import read_image
    from AttribSegLib.transform import read_transform

    brain = read_image(folder / f"{case}_brain.nii.gz")
    images = {name: read_image(folder / f"{case}_{name}.nii.gz") for name in channels}
    inside = brain.array != 0
    windows = {"brain": (0.0, 1.0)}
    for name, image in images.items():
        low, high = np.percentile(image.array[inside], (0.5, 99.5)).tolist()
        windows[name] = (low, max(high, low + 1e-3))
    return _Files(
        images,
        brain,
        {name: read_transform(folder / f"{case}_{name}_to_atlas.tfm") for name in channels},
        windows,
        read_json(folder / f"{case}.json"),
    )
