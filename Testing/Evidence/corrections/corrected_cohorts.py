"""Cohorts in which only some training patients have been corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from AttribSegLib.cohort import Case, Cohort, read_cohort, write_cohort
from AttribSegLib.errors import InputError


def corrected_patients(cohort: Cohort, count: int, *, seed: int) -> list[str]:
    """Training patients with lesions, in the order in which they are corrected: nested sets.

    Raises
    ------
    InputError
        If there are not so many.
    """
    names = sorted({c.patient for c in cohort.cases if c.split == "train" and c.label == 1})
    if not 0 <= count <= len(names):
        raise InputError(f"{count} corrected patients: 0 to {len(names)} were expected")
    order = np.random.default_rng([seed, 3]).permutation(len(names))
    return [names[place] for place in order[:count]]


def corrected_cohort(cohort: Cohort, patients: list[str]) -> Cohort:
    """The cohort with the masks of these training patients only; other splits stay as they are."""
    known = set(patients)

    def is_other(case: Case) -> bool:
        return case.split == "train" and case.patient not in known

    cases = tuple(replace(case, lesions=None) if is_other(case) else case for case in cohort.cases)
    return replace(cohort, cases=cases)


def write_once(table: Path, out: Path, count: int, *, seed: int) -> Path:
    """Table of a corrected cohort, made unless it is there."""
    path = out / f"{count}-{seed}.csv"
    if not path.is_file():
        cohort = read_cohort(table, check_images=False)
        chosen = corrected_patients(cohort, count, seed=seed)
        write_cohort(corrected_cohort(cohort, chosen), path)
    return path
