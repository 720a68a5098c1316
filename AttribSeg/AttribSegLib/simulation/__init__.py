"""Simulated cohorts: brains drawn from the ICBM152 tissue maps, half of them with lesions.

One idea per file: `fields` (smooth random fields), `template` (tissue maps), `anatomy` (a
subject's shape), `contrast` (intensities, noise), `confounders` (bright structures that are not
lesions), `lesions`, `tumours`, `shapes` (lesions planted from masks), `signature` (a scanner that
gives the class away), `subject` and `cohort`; `head` puts a subject's brain in a head (tissues in
`head_tissue`), as a raw scan shows it.
"""

from .cohort import simulate_cohort
from .head import Head, acquire_stack, simulate_head
from .subject import Subject, simulate_subject

__all__ = [
    "Head",
    "Subject",
    "acquire_stack",
    "simulate_cohort",
    "simulate_head",
    "simulate_subject",
]
