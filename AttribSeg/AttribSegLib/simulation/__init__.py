"""Simulated cohorts: brains drawn from the ICBM152 tissue maps, half of them with lesions.

One idea per file: `fields` (smooth random fields), `template` (tissue maps), `anatomy` (a
subject's shape), `contrast` (intensities, noise), `confounders` (bright structures that are not
lesions), `lesions`, `tumours`, `shapes` (lesions planted from masks), `signature` (a scanner that
gives the class away), `subject` and `cohort`.
"""

from .cohort import simulate_cohort
from .subject import Subject, simulate_subject

__all__ = ["Subject", "simulate_cohort", "simulate_subject"]
