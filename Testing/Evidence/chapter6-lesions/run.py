"""Study chapter6-lesions: counterfactual maps of a monotone network on tumours in FLAIR slices.

Uses the cohort of lgg-2d (made if it is not there). What is finished is not run again. Under 40
minutes on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from study import compare_on_lgg  # noqa: E402

if __name__ == "__main__":
    compare_on_lgg(HERE)
