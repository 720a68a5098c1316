"""The study's slices: those that the studies on lgg_flair_2d share, made smaller if so set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AttribSegLib.cohort import read_cohort, write_cohort
from AttribSegLib.errors import InputError
from coarser import coarser_cohort


def smaller_cohort(table: Path, settings: dict[str, Any], work: Path) -> Path:
    """Cohort with what the settings leave of it.

    Parameters
    ----------
    table : Path
        Cohort table of slices.
    settings : dict
        "halved": blocks of 2 x 2 pixels are averaged, a quarter of the work everywhere;
        "validation_step": of validation only slices whose number is a multiple are kept. Their
        counterfactuals are much of a run's time, and what they choose depends on the number of
        patients more than on that of their slices.
    work : Path
        Where the smaller cohort is written.

    Raises
    ------
    InputError
        If the step is not a whole number from 1 on.
    """
    step = settings["validation_step"]
    if not isinstance(step, int) or step < 1:
        raise InputError(f"validation_step {step!r}: a whole number from 1 on was expected")
    if settings["halved"]:
        table = coarser_cohort(table, work / "halved")
    if step == 1:
        return table
    cohort = read_cohort(table, check_images=False)
    kept = cohort.select(lambda c: c.split != "validation" or (c.slice or 0) % step == 0)
    out = work / f"validation_step_{step}.csv"
    write_cohort(kept, out)
    return out
