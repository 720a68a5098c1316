"""Corrections: what a person made of a detection becomes the lesion mask m(x) of a case.

With the constraint "sup" the next training learns from it (thesis ch. 5, eq. 5.8). Every
correction is a folder of its own, ``cases/CASE/corrections/001`` and so on, so that earlier ones
stay and the table is changed last, in one step.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .case_matching import grids_of_cases, same_image, shared_grid, turned, turned_grid
from .case_placement import (
    CASES,
    case_images,
    choose_split,
    images_of_channels,
    keep_assigned_splits,
    placed,
    require_grid,
)
from .cases import SLICE_ORIENTATION
from .cohort_state import CORRECTION, CohortRow, row_of_case
from .cohort_validation import describe_grid
from .editable_table import EditableTable
from .errors import InputError
from .files import atomic_folder, write_json
from .image import Geometry, Image
from .image_io import read_geometry, read_image, write_image
from .lesions import binary_array
from .preprocessing.mask_transfer import transfer_mask
from .provenance import file_hash
from .provenance import record as provenance_record
from .transform import Affine


@dataclass(frozen=True)
class _Drawn:
    """Masks as they were drawn, and on the grid of the cohort."""

    corrected: Image
    detected: Image | None
    lesions: Image
    detected_there: Image | None

    @property
    def moved(self) -> bool:
        """Whether the two grids differ."""
        return self.lesions is not self.corrected

    def counts(self) -> dict[str, Any]:
        """What the person changed, on the grid where it was changed."""
        after = self.corrected.array
        before = np.zeros_like(after) if self.detected is None else self.detected.array
        geometry = self.corrected.geometry
        counts: dict[str, Any] = {}
        for name, voxels in (
            ("added", after & ~before),
            ("removed", before & ~after),
            ("kept", before & after),
        ):
            count = int(np.count_nonzero(voxels))
            counts[f"{name}_voxels"] = count
            counts[f"{name}_ml"] = None if geometry.nominal else count * geometry.voxel_volume_ml
        return counts


def add_correction(
    cohort: str | Path,
    *,
    case: str,
    patient: str,
    channels: Mapping[str, Image],
    corrected: Image,
    detected: Image | None,
    brain: Image | None = None,
    to_cohort: Affine | None = None,
    grid: Geometry | None = None,
    author: str,
    bundle: str,
    record: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> CohortRow:
    """Send a corrected segment to a cohort as the ``lesions`` of its case.

    A case that is not in the table yet is added to it, with its images; of one that is, only the
    lesion mask changes. A patient stays in the split it is in, a new one goes to the training. In
    a table without splits, those drawn so far are written down first where the addition would
    change them (see :func:`.keep_assigned_splits`): no test patient ever becomes a training
    patient.

    Parameters
    ----------
    cohort : path
        The cohort table.
    case, patient : str
    channels : mapping of channel name to Image
        As the network sees them, on the grid of the cohort, their axes in any order; those that
        the table has no column for are left out.
    corrected : Image
        The segment after the correction, binary. An empty one says that there is no lesion.
    detected : Image or None
        The segment before, on the same grid; None where the person drew all of it.
    brain : Image, optional
        For a new case.
    to_cohort : Affine, optional
        From the space of ``corrected`` to that of ``channels``, where a raw scan was corrected.
    grid : Geometry, optional
        Of the cohort; that of ``channels`` when absent.
    author : str
        Who corrected it.
    bundle : str
        Folder of the bundle that detected it; empty if none did.
    record : mapping, optional
        Provenance of the detection.
    seed : int
        Of the trainings on this cohort; it only matters where the table has no splits.

    Returns
    -------
    CohortRow

    Raises
    ------
    InputError
        If grids, patient, label or image do not fit the table; what to do is said.
    OutputError
        If something cannot be written; the table is then as it was.
    """
    table = EditableTable(cohort)
    images = images_of_channels(table, case, channels)
    index = table.find(case)
    grids = grids_of_cases(table)
    like = shared_grid(grids) if index is None else _grid_of_row(table.parsed()[0][index])
    if like is not None:
        images = {name: turned(image, like) for name, image in images.items()}
        brain = None if brain is None else turned(brain, like)
        grid = None if grid is None else turned_grid(grid, like)
        if to_cohort is None:
            corrected = turned(corrected, like)
            detected = None if detected is None else turned(detected, like)
    drawn = _drawn(case, next(iter(images.values())), corrected, detected, to_cohort, grid)
    if index is None:
        label = int(drawn.lesions.array.any())
        if to_cohort is not None:
            _require_prepared_cohort(table, case, drawn.lesions.geometry, grids)
        require_grid(table, case, drawn.lesions.geometry, grids)
        images = case_images(table, case, label, images, brain, None)
        if _changes_draw(table, patient, label):
            keep_assigned_splits(table, seed=seed)
        values = {"split": choose_split(table, patient)}
        added: Any = placed(table, case, patient, label, images, values)
    else:
        _require_same_case(table, table.parsed()[0][index], patient, drawn.lesions, images)
        added = nullcontext()
    with added:
        index = table.find(case)
        assert index is not None  # found, or just added
        folder = _next_folder(table.folder / CASES / case / "corrections")
        content = provenance_record(
            case=case,
            patient=patient,
            author=author,
            bundle=_bundle(bundle),
            lesions="lesions.nii.gz",
            detected=None if detected is None else "detected.nii.gz",
            replaces=table.rows[index].get("lesions") or None,
            changes=drawn.counts(),
            transform=to_cohort.to_list() if to_cohort is not None else None,
            detection=dict(record or {}),
        )
        _write(folder, drawn, content)
        try:
            place = folder.relative_to(table.folder).as_posix()
            table.change(index, {"lesions": f"{place}/lesions.nii.gz"})
            table.write()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return row_of_case(cohort, case)


def _drawn(
    case: str,
    image: Image,
    corrected: Image,
    detected: Image | None,
    to_cohort: Affine | None,
    grid: Geometry | None,
) -> _Drawn:
    """Check the masks and bring them onto the grid of the cohort."""
    target = image.geometry if grid is None else grid
    if not target.same_grid(image.geometry):
        raise InputError(
            f"case {case}: its image lies on another grid ({describe_grid(image.geometry)}) than "
            f"the cohort ({describe_grid(target)}); send the prepared image"
        )
    masks: list[Image | None] = []
    for name, mask in (("corrected", corrected), ("detected", detected)):
        if mask is not None and not mask.geometry.same_grid(corrected.geometry):
            raise InputError(
                f"case {case}: the detected and the corrected segment lie on different grids; "
                "give both on the grid of the scan"
            )
        try:
            masks.append(None if mask is None else mask.with_array(binary_array(mask)))
        except InputError as error:
            raise InputError(f"case {case}: {name} segment: {error}") from error
    after, before = masks
    assert after is not None  # never None above
    if to_cohort is None and after.geometry.same_grid(target):
        return _Drawn(after, before, after, before)
    if to_cohort is None and grid is None:
        raise InputError(
            f"case {case}: the corrected segment lies on another grid "
            f"({describe_grid(after.geometry)}) than its image ({describe_grid(target)}); give the "
            "transform between them, or segment the image itself"
        )
    there = transfer_mask(after, target, to_cohort)
    if after.array.any() and not there.array.any():
        raise InputError(
            f"case {case}: nothing of the corrected segment lies in the image; check the transform "
            "between them"
        )
    moved = None if before is None else transfer_mask(before, target, to_cohort)
    return _Drawn(after, before, there, moved)


def _grid_of_row(row: Mapping[str, Any]) -> Geometry | None:
    """Grid of a case of the table; None where it cannot be read, which is told later."""
    path = next(iter(row["channels"].values()), None)
    try:
        return None if path is None else read_geometry(path, nominal=row["nominal_spacing"])
    except InputError:
        return None


def _require_prepared_cohort(
    table: EditableTable, case: str, grid: Geometry, grids: Sequence[tuple[str, Geometry]]
) -> None:
    """Refuse the prepared image of a raw scan where the others are on other grids, such as raw."""
    shared = shared_grid(grids)
    if grids and (shared is None or not shared.same_grid(grid)):
        raise InputError(
            f"case {case}: comes with its image in the atlas ({describe_grid(grid)}), where the "
            f"cases of {table.path} are not; prepare all cases of the cohort first and send it to "
            "the prepared cohort"
        )


def _require_same_case(
    table: EditableTable,
    row: Mapping[str, Any],
    patient: str,
    lesions: Image,
    images: Mapping[str, Image],
) -> None:
    """Refuse a correction of something else than what the table has under this name."""
    case = row["case"]
    if row["patient"] != patient:
        raise InputError(
            f"case {case}: is of patient {row['patient']} in {table.path}, not of {patient}; leave "
            "the patient out, or give another name to the case"
        )
    for name, image in images.items():
        path = row["channels"].get(name)
        if path is None:
            raise InputError(f"case {case}: {name} is empty in {table.path}; fill it first")
        if not same_image(read_image(path, nominal=row["nominal_spacing"]), image):
            raise InputError(
                f"case {case}: its {name} is another image than {path}; give another name to the "
                "case"
            )
    if row["slice"] is not None:  # the case is this slice alone
        lesions = lesions.reorient(SLICE_ORIENTATION).axial_slice(row["slice"])
    if row["label"] != int(lesions.array.any()):
        drawn = "holds lesions" if lesions.array.any() else "is empty"
        raise InputError(
            f"case {case}: has label {row['label']} in {table.path}, but the corrected segment "
            f"{drawn}; correct the label in the table, or the segment"
        )


def _changes_draw(table: EditableTable, patient: str, label: int) -> bool:
    """Whether one case more changes what splits are drawn from: the patients and their labels."""
    return label not in {row["label"] for row in table.parsed()[0] if row["patient"] == patient}


def _next_folder(parent: Path) -> Path:
    taken = [int(each.name) for each in parent.glob("*") if each.name.isdigit()]
    return parent / f"{max(taken, default=0) + 1:03d}"


def _bundle(folder: str) -> dict[str, Any] | None:
    """What a bundle is called and the hash of what it consists of."""
    if not folder:
        return None
    files = [Path(folder) / "config.json", Path(folder) / "models" / "model.safetensors"]
    known = all(path.is_file() for path in files)
    return {"folder": folder, "sha256": file_hash(files) if known else None}


def _write(folder: Path, drawn: _Drawn, content: Mapping[str, Any]) -> None:
    """The masks and their record, all or nothing."""
    with atomic_folder(folder) as temporary:
        write_image(drawn.lesions, temporary / "lesions.nii.gz")
        if drawn.detected_there is not None:
            write_image(drawn.detected_there, temporary / "detected.nii.gz")
        if drawn.moved:
            write_image(drawn.corrected, temporary / "lesions_native.nii.gz")
            if drawn.detected is not None:
                write_image(drawn.detected, temporary / "detected_native.nii.gz")
        write_json(temporary / CORRECTION, content)
