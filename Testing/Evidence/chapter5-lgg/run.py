"""Study chapter5-lgg: ``attribseg compare`` on tumours in FLAIR slices, on a small budget.

Uses the cohort of lgg-2d (made if it is not there). What is finished is not run again. Under 30
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
