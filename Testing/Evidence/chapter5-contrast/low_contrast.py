"""Two cohorts of the same simulated tumours: as they are, and after bias-field correction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from AttribSegLib.cohort import SPLITS, Case, Cohort, read_cohort, write_cohort
from AttribSegLib.files import read_json, write_json
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.preprocessing.n4 import correct_bias
from AttribSegLib.task_pool import run_tasks
from numpy.typing import NDArray

#: A slice is pathological from this share of its brain that is lesion; the thesis has 0.1 % of
#: the slice. It shows a healthy brain if so much of the slice is brain.
LEAST_LESION, LEAST_BRAIN = 0.005, 0.05


def chosen_pairs(table: Path, out: Path, pairs: dict[str, int]) -> Path:
    """The first subjects of every split, as many healthy ones as patients.

    Parameters
    ----------
    table : Path
    out : Path
        The new table.
    pairs : dict of str to int
        By split.
    """
    source = read_cohort(table, check_images=False)
    cases = []
    for split, count in pairs.items():
        members = source.in_split(split)
        for label in (0, 1):
            cases += [case for case in members if case.label == label][:count]
    write_cohort(Cohort(tuple(cases), source.channels, str(out)), out)
    return out


def corrected(table: Path, out: Path, shrink_mm: float, jobs: int = 1) -> Path:
    """The cohort with N4 applied to every image, healthy ones too; what is there is kept.

    Parameters
    ----------
    table : Path
        Cohort of volumes that were not standardised.
    out : Path
        Folder of the new cohort.
    shrink_mm : float
        Voxel size of the grid on which the field is estimated.
    jobs : int
    """
    written = out / "cohort.csv"
    if written.is_file():
        return written
    source = read_cohort(table, check_images=False)
    places = [out / "images" / f"{case.case}.nii.gz" for case in source.cases]
    tasks = [
        (case.channels["FLAIR"], path, shrink_mm)
        for case, path in zip(source.cases, places, strict=True)
        if not path.is_file()
    ]
    for done, (task, result) in enumerate(run_tasks(_correct, tasks, jobs=jobs), start=1):
        if isinstance(result, Exception):
            raise result
        print(f"N4 {done}/{len(tasks)}: {task[1].name}", flush=True)
    cases = [
        replace(case, channels={"FLAIR": path})
        for case, path in zip(source.cases, places, strict=True)
    ]
    write_cohort(Cohort(tuple(cases), ("FLAIR",), str(written)), written)
    return written


def _correct(task: tuple[Path, Path, float]) -> None:
    source, path, shrink_mm = task
    image = read_image(source)
    brain = image.with_array(image.array > 0)
    found = correct_bias(image, brain, shrink_mm=shrink_mm).image
    # Whole numbers as before, and none of the brain's may become the background's.
    values = np.where(brain.array, np.maximum(np.round(found.array), 1), 0)
    write_image(image.with_array(values.astype(np.int16)), path)


def as_slices(table: Path, out: Path, count: int) -> Path:
    """Axial slices of the volumes as cases; a patient's slices stay in the patient's split.

    Of a pathological volume as many slices as asked for, evenly over those with lesions. Each
    pathological patient has a healthy partner in the same split, of whom the same slices are
    taken: where a slice lies in the head says nothing about the class.

    Parameters
    ----------
    table : Path
        Cohort of volumes on one grid.
    out : Path
        Folder of the new table, ``cohort.csv``; the volumes stay where they are.
    count : int
        Slices per patient.
    """
    written = out / "cohort.csv"
    source = read_cohort(table, check_images=False)
    cases: list[Case] = []
    for split in SPLITS:
        members = source.in_split(split)
        healthy = [case for case in members if case.label == 0]
        pathological = [case for case in members if case.label == 1]
        for well, ill in zip(healthy, pathological, strict=True):
            brains = [read_image(c.channels["FLAIR"]).array > 0 for c in (well, ill)]
            assert ill.lesions is not None  # simulated patients have one
            for k in chosen_slices(read_image(ill.lesions).array != 0, brains, count):
                for case in (well, ill):
                    cases.append(replace(case, case=f"{case.case}-{k:02d}", slice=k))
    write_cohort(Cohort(tuple(cases), ("FLAIR",), str(written)), written)
    return written


def chosen_slices(
    lesions: NDArray[np.bool_], brains: list[NDArray[np.bool_]], count: int
) -> list[int]:
    """Slices with lesions and with both brains, evenly spaced, all of them where they are few.

    Parameters
    ----------
    lesions : ndarray of shape (I, J, K)
    brains : list of ndarrays of shape (I, J, K)
        The patient's own one last.
    count : int
    """
    own = np.maximum(brains[-1].sum(axis=(0, 1)), 1)
    fits = lesions.sum(axis=(0, 1)) > LEAST_LESION * own
    for brain in brains:
        fits &= brain.mean(axis=(0, 1)) > LEAST_BRAIN
    found = np.flatnonzero(fits)
    if len(found) <= count:
        return [int(k) for k in found]
    places = np.linspace(0, len(found) - 1, count + 2)[1:-1]
    return [int(k) for k in found[np.round(places).astype(int)]]


def contrasts(before: Path, after: Path, file: Path) -> list[dict[str, float | str]]:
    """Contrast of every tumour in both cohorts: its mean over that of the rest of the brain, - 1.

    The list is kept in a file, and read from there if it is.
    """
    if file.is_file():
        return list(read_json(file))
    rows: list[dict[str, float | str]] = []
    tables = [read_cohort(table, check_images=False).cases for table in (before, after)]
    for raw, done in zip(*tables, strict=True):
        if raw.lesions is None:
            continue
        lesions = read_image(raw.lesions).array != 0
        row: dict[str, float | str] = {"case": raw.case, "split": raw.split}
        row["lesion_ml"] = float(lesions.sum()) * read_image(raw.lesions).geometry.voxel_volume_ml
        for name, case in (("before", raw), ("after", done)):
            array = read_image(case.channels["FLAIR"]).array.astype(np.float64)
            rest = (array > 0) & ~lesions
            row[name] = float(array[lesions].mean() / array[rest].mean() - 1)
            row[f"{name}_sd"] = float(
                (array[lesions].mean() - array[rest].mean()) / array[rest].std()
            )
        rows.append(row)
    write_json(file, rows)
    return rows
