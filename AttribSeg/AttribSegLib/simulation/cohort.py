"""A simulated cohort on disk: images, lesion masks and the table that names them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import InputError
from ..files import make_folder, write_json, write_text
from ..image_io import write_image
from ..task_pool import run_tasks
from .shapes import find_lesion_shapes
from .subject import check_options, simulate_subject

_CLASSES = ("healthy", "pathological")

#: Shares of training, validation and test within each class.
_SPLITS = (("train", 0.6), ("validation", 0.2), ("test", 0.2))


@dataclass(frozen=True)
class _Case:
    """What one process needs to simulate and write one case."""

    name: str
    label: int
    seed: np.random.SeedSequence
    folder: Path
    options: dict[str, Any]


def simulate_cohort(
    out: str | Path,
    *,
    healthy: int,
    pathological: int,
    modality: str = "FLAIR",
    spacing: float = 2,
    lesions: str = "ms",
    lesion_shapes: str | Path | None = None,
    scanner_signature: float = 0.0,
    corner_mark: str = "none",
    mark_brightness: float = 1.0,
    seed: int = 0,
    jobs: int = 1,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Simulate healthy and pathological subjects and write them as a cohort.

    A case depends on the seed, its class and its number alone: a larger cohort, or more
    processes, gives the same images. The table is written last, so that a cohort with a table is
    complete.

    Parameters
    ----------
    out : path
        Folder for ``cohort.csv``, ``images/``, ``lesions/`` and ``simulation.json``.
    healthy, pathological : int
        Number of subjects per class.
    modality : {"FLAIR", "T1"}
    spacing : {1, 2}
        Voxel size of the MNI152 grid, mm.
    lesions : {"ms", "tumour", "mixed"}
    lesion_shapes : path, optional
        Folder with lesion masks in MNI152 space, planted instead of drawn lesions.
    scanner_signature : float
        Strength of an artefact that gives the class away (0: none; negative: classes swapped).
    corner_mark : {"none", "pathological", "healthy"}
        Class whose images carry a small bright cube in a corner.
    mark_brightness : float
        Of that cube, as a share of the brain's brightest voxel: above 0, at most 1.
    seed : int
    jobs : int
        Processes that work at the same time.
    on_event : callable, optional
        Called with ``{"event": "progress", "done": k, "total": n, "case": name}``.

    Returns
    -------
    Path
        The table, with columns case, patient, label, split, the modality, lesions.

    Raises
    ------
    InputError
        For bad values, or if ``out`` holds images of another cohort.
    OutputError
        If a file cannot be written.
    """
    _check_counts(healthy, pathological, seed, jobs)
    check_options(modality, spacing, lesions, scanner_signature, corner_mark, mark_brightness)
    shapes = find_lesion_shapes(lesion_shapes) if lesion_shapes is not None else []
    out = Path(out)
    options = {
        "modality": modality,
        "spacing": spacing,
        "lesions": lesions,
        "lesion_shapes": tuple(shapes),
        "scanner_signature": scanner_signature,
        "corner_mark": corner_mark,
        "mark_brightness": mark_brightness,
    }
    cases = [
        _Case(
            f"{_CLASSES[label]}-{number + 1:03d}",
            label,
            np.random.SeedSequence(seed, spawn_key=(label, number)),
            out,
            options,
        )
        for label, count in enumerate((healthy, pathological))
        for number in range(count)
    ]
    make_folder(out)
    _refuse_other_images(out, cases)
    # An old table must not describe the images of a run that was stopped.
    table = out / "cohort.csv"
    table.unlink(missing_ok=True)

    drawn: dict[str, dict[str, Any]] = {}
    for done, (case, drawing) in enumerate(run_tasks(_simulate_case, cases, jobs=jobs), start=1):
        if isinstance(drawing, Exception):
            raise drawing
        drawn[case.name] = drawing
        if on_event is not None:
            on_event({"event": "progress", "done": done, "total": len(cases), "case": case.name})
    write_json(
        out / "simulation.json",
        {
            "version": __version__,
            "healthy": healthy,
            "pathological": pathological,
            **options,
            "lesion_shapes": [shape.as_posix() for shape in shapes],
            "seed": seed,
            "cases": {case.name: drawn[case.name] for case in cases},
        },
    )
    write_text(table, _table(cases, modality, seed))
    return table


def _simulate_case(case: _Case) -> dict[str, Any]:
    subject = simulate_subject(case.label, seed=case.seed, **case.options)
    write_image(subject.image, case.folder / "images" / f"{case.name}.nii.gz")
    if case.label == 1:
        write_image(subject.lesions, case.folder / "lesions" / f"{case.name}.nii.gz")
    return subject.parameters


def _table(cases: list[_Case], modality: str, seed: int) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "patient", "label", "split", modality, "lesions"])
    for label in (0, 1):
        members = [case for case in cases if case.label == label]
        for case, split in zip(members, _splits(len(members), label, seed), strict=True):
            mask = f"lesions/{case.name}.nii.gz" if label == 1 else ""
            image = f"images/{case.name}.nii.gz"
            writer.writerow([case.name, case.name, label, split, image, mask])
    return stream.getvalue()


def _splits(count: int, label: int, seed: int) -> list[str]:
    """Shuffled splits of one class; from three cases on, none is empty."""
    held_out = [max(round(share * count), 1) if count >= 3 else 0 for _, share in _SPLITS[1:]]
    names = ["train"] * (count - sum(held_out))
    for (name, _), number in zip(_SPLITS[1:], held_out, strict=True):
        names += [name] * number
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, label)))
    return [str(name) for name in rng.permutation(names)]


def _check_counts(healthy: int, pathological: int, seed: int, jobs: int) -> None:
    if healthy < 0 or pathological < 0 or healthy + pathological < 1:
        raise InputError(
            f"{healthy} healthy and {pathological} pathological subjects: at least one was expected"
        )
    if seed < 0:
        raise InputError(f"seed {seed}: zero or a positive number was expected")
    if jobs < 1:
        raise InputError(f"jobs {jobs}: at least one process was expected")


def _refuse_other_images(out: Path, cases: list[_Case]) -> None:
    """A smaller cohort over a larger one would leave images that its table does not name."""
    wanted = {f"{case.name}.nii.gz" for case in cases}
    for folder in (out / "images", out / "lesions"):
        others = sorted(p.name for p in folder.glob("*.nii.gz") if p.name not in wanted)
        if others:
            raise InputError(
                f"{folder}: holds {len(others)} images of another cohort, such as {others[0]}; "
                "choose an empty folder"
            )
