"""Simulated brains with the lesion shapes of real patients, and nested parts of them."""

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
from AttribSegLib.cohort import Case, Cohort, read_cohort, write_cohort
from AttribSegLib.errors import InputError
from AttribSegLib.image_io import read_image
from study import Study, attribseg


def cohort_of(study: Study) -> Cohort:
    """The simulated cohort without small loads; made if it is not there.

    The lesion shapes are those of all patients but the ones that are tested on. Pathological cases
    with less than the least volume are left out of every split: in trials no image-level label
    could be learned from them.
    """
    settings = study.settings
    kept = study.work / "cohort" / "large_loads.csv"
    if kept.is_file():
        return read_cohort(kept, check_images=False)
    table = kept.with_name("cohort.csv")
    if not table.is_file():
        shapes = study.work / "shapes"
        for folder in sorted((study.data / "ms" / "mni").iterdir()):
            if folder.name not in settings["patients"]:
                (shapes / folder.name).mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / "lesions.nii.gz", shapes / folder.name / "lesions.nii.gz")
        numbers = settings["simulation"]
        attribseg(
            *("simulate", str(table.parent), "--lesion-shapes", str(shapes)),
            *(part for name, value in numbers.items() for part in (f"--{name}", str(value))),
            *("--jobs", str(study.jobs)),
        )
    cohort = read_cohort(table, check_images=False)
    write_cohort(cohort.select(lambda case: has_load(case, settings["least_lesions_ml"])), kept)
    return read_cohort(kept, check_images=False)


def has_load(case: Case, least_ml: float) -> bool:
    """Whether a case is healthy or has at least that much lesion."""
    if case.lesions is None:
        return True
    mask = read_image(case.lesions)
    return bool((mask.array > 0).sum() * mask.geometry.voxel_volume_ml >= least_ml)


def nested_part(cohort: Cohort, count: int, seed: int) -> Cohort:
    """A cohort with so many training patients of each class, all else as it was.

    The first ``count`` of an order that the seed draws, so that a larger part holds the smaller
    ones. The patients of the larger class are repeated, under names of their own, until there are
    as many rows as before: an epoch has as many steps, and the rates the same course.

    Raises
    ------
    InputError
        If a class has fewer training patients.
    """
    training = cohort.in_split("train")
    sizes = [sum(case.label == label for case in training) for label in (0, 1)]
    larger = int(np.argmax(sizes))
    chosen: list[Case] = []
    for label in (0, 1):
        members = [case for case in training if case.label == label]
        patients = sorted({case.patient for case in members})
        if not 0 < count <= len(patients):
            raise InputError(f"{count} training patients of class {label}: 1 to {len(patients)}")
        order = np.random.default_rng([seed, label]).permutation(len(patients))[:count]
        allowed = {patients[place] for place in order}
        kept = [case for case in members if case.patient in allowed]
        rows = sizes[label] if label == larger else len(kept)
        for number in range(rows):
            turn, place = divmod(number, len(kept))
            case = kept[place]
            chosen.append(replace(case, case=f"{case.case}-{turn}") if turn else case)
    rest = [case for case in cohort.cases if case.split != "train"]
    return Cohort((*chosen, *rest), cohort.channels, cohort.source)


def real_case(study: Study, name: str) -> Case:
    """A real patient as a case of the test split."""
    folder = study.data / "ms" / "mni" / name
    given: dict[str, Any] = {"case": name, "patient": name, "label": 1, "split": "test"}
    channels = {"FLAIR": folder / "FLAIR.nii.gz"}
    return Case(**given, channels=channels, lesions=folder / "lesions.nii.gz")
