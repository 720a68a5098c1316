"""Placing a new case in a cohort: its images beside the table, its row at the end, its split."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .case_matching import shared_grid
from .cohort import Case, assign_splits
from .cohort_table import SPLITS, check_table
from .cohort_validation import describe_grid
from .editable_table import EditableTable
from .errors import CohortError, InputError
from .files import atomic_folder
from .image import Geometry, Image
from .image_io import write_image
from .lesions import binary_array

#: Images of added cases, beside the table.
CASES = "cases"


def images_of_channels(
    table: EditableTable, case: str, channels: Mapping[str, Image]
) -> dict[str, Image]:
    """Images of a case for the channels of a table, in its order; others are left out.

    Raises
    ------
    InputError
        If one is missing.
    """
    missing = [name for name in table.channels if name not in channels]
    if missing:
        raise InputError(
            f"case {case}: channel {missing[0]} is missing; {table.path} has "
            f"{', '.join(table.channels)}"
        )
    return {name: channels[name] for name in table.channels}


def case_images(
    table: EditableTable,
    case: str,
    label: int,
    channels: Mapping[str, Image],
    brain: Image | None,
    lesions: Image | None,
) -> dict[str, Image]:
    """Images of a new case by their columns, checked as :func:`.read_cohort` will check them.

    Raises
    ------
    InputError
        Names the first that cannot be used.
    """
    images = images_of_channels(table, case, channels)
    reference = next(iter(images))
    for name, image in images.items():
        if not np.isfinite(image.array).all():
            raise InputError(f"case {case}: {name} has NaN or infinite voxels; replace them first")
        if image.array.min() == image.array.max():
            raise InputError(f"case {case}: {name} is constant; no brain is visible")
    for name, mask in (("brain", brain), ("lesions", lesions)):
        if mask is not None:
            try:
                images[name] = mask.with_array(binary_array(mask))
            except InputError as error:
                raise InputError(f"case {case}: {name}: {error}") from error
    for name, image in images.items():
        if not image.geometry.same_grid(images[reference].geometry):
            raise InputError(
                f"case {case}: {name} lies on another grid ({describe_grid(image.geometry)}) than "
                f"{reference} ({describe_grid(images[reference].geometry)}); resample one onto the "
                "other"
            )
    if brain is not None and not images["brain"].array.any():
        raise InputError(f"case {case}: the brain mask is empty; leave it out, or fill it")
    if label == 0 and lesions is not None and images["lesions"].array.any():
        raise InputError(
            f"case {case}: healthy (label 0), but its lesion mask is not empty; give label 1 or "
            "leave the mask out"
        )
    return images


def require_grid(
    table: EditableTable, case: str, grid: Geometry, grids: Sequence[tuple[str, Geometry]]
) -> None:
    """Refuse a case that no training could take together with the others.

    Where images of several patients share one grid it is that of the networks. Where they do not,
    they are raw scans, still to be prepared, and nothing can be said.

    Parameters
    ----------
    table : EditableTable
    case : str
    grid : Geometry
        Of the new case.
    grids : sequence of (str, Geometry)
        Patient and grid of the others; see :func:`.grids_of_cases`.

    Raises
    ------
    InputError
        If the others share a grid that is not this one.
    """
    shared = shared_grid(grids)
    if shared is None or len({patient for patient, _ in grids}) < 2 or shared.same_grid(grid):
        return
    raise InputError(
        f"case {case}: its grid ({describe_grid(grid)}) is not that of {table.path} "
        f"({describe_grid(shared)}); send the prepared image, or prepare the cohort anew"
    )


def choose_split(table: EditableTable, patient: str, asked: str | None = None) -> str:
    """Split of a new case: that of its patient, as no patient may be in two.

    Raises
    ------
    InputError
        If another one is asked for, or one where the table has none.
    """
    if asked is not None and asked not in SPLITS:
        raise InputError(f"split {asked!r}: expected one of {', '.join(SPLITS)}")
    if not table.has_splits:
        if asked is not None and table.rows:
            raise InputError(
                f"split {asked!r}: the other cases of {table.path} have none, patients are split "
                "at random; leave it empty, or fill the column for every case"
            )
        return asked or ""
    own = [row["split"] for row in table.rows if row.get("patient") == patient]
    if own and asked is not None and asked != own[0]:
        raise InputError(
            f"split {asked!r}: patient {patient} is in {own[0]} already; keep a patient in one "
            "split"
        )
    return own[0] if own else asked or "train"


@contextmanager
def placed(
    table: EditableTable,
    case: str,
    patient: str,
    label: int,
    images: Mapping[str, Image],
    cells: Mapping[str, str],
) -> Iterator[Path]:
    """Write the images of a new case and add its row to the table, which is not yet written.

    If anything fails after that, the images are removed again.

    Yields
    ------
    Path
        Folder of the images.

    Raises
    ------
    InputError
        If the row is faulty, such as by a name that is in use.
    OutputError
        If the images cannot be written.
    """
    if not case or not patient:
        raise InputError(f"case {case!r} of patient {patient!r}: both need a name")
    folder = _free_folder(table.folder / CASES, case)
    values = {"case": case, "patient": patient, "label": str(label), **cells}
    for name in images:
        values[name] = f"{CASES}/{folder.name}/{name}.nii.gz"
    if next(iter(images.values())).geometry.nominal:
        values["nominal_spacing"] = "1"
    table.add(values)
    rows, faults = table.parsed()
    added = rows[-1]["row"]
    found = [*faults, *check_table([Case(**row) for row in rows], both_classes=False)]
    wrong = [text for row, text in found if row == added]
    if wrong:
        raise InputError(f"{table.path}: {wrong[0]}")
    with atomic_folder(folder) as temporary:
        for name, image in images.items():
            write_image(image, temporary / f"{name}.nii.gz")
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def keep_assigned_splits(table: EditableTable, *, seed: int = 0) -> None:
    """Write down the splits that a table without them has had so far.

    They are drawn from all patients of the table: one patient more, or one more label of a
    patient, and others would move, also from the test split into the training. A table that
    could not be trained on so far has no split to keep and is left as it is.

    Parameters
    ----------
    table : EditableTable
        Changed, not written.
    seed : int
        Of the trainings on this cohort.

    Raises
    ------
    CohortError
        If rows are faulty, so that splits cannot be told.
    """
    if table.has_splits or not table.rows:
        return
    rows, faults = table.parsed()
    cases = [Case(**row) for row in rows]
    faults = [*faults, *check_table(cases, both_classes=False)]
    if faults:
        raise CohortError(str(table.path), [text for _, text in faults])
    cases = assign_splits(cases, seed=seed)
    for split in ("train", "validation"):
        if {case.label for case in cases if case.split == split} != {0, 1}:
            return
    for index, case in enumerate(cases):
        table.change(index, {"split": case.split})


def _free_folder(parent: Path, case: str) -> Path:
    """A folder that holds nothing yet: images of a removed case of this name stay."""
    folder, number = parent / case, 1
    while folder.exists():
        number += 1
        folder = parent / f"{case}-{number}"
    return folder
