"""Study chapter5-lgg: ``attribseg compare`` on tumours in FLAIR slices, on a small budget.

Uses the cohort of lgg-2d (made if it is not there). What is finished is not run again. Under 30
minutes on two cores.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lgg-2d"), str(HERE.parent)]

from AttribSegLib.files import write_text  # noqa: E402
from lgg_cohort import convert  # noqa: E402
from study import attribseg, data_folder  # noqa: E402

#: What is kept of the comparison beside this file.
KEPT = ("*.png", "table_*.csv")


def main() -> None:
    """Convert, compare, keep the report."""
    data = data_folder("lgg_flair_2d.npz")
    cohort = HERE.parent / "lgg-2d" / "work" / "cohort"
    table = cohort / "cohort.csv"
    if not table.is_file():
        convert(data / "lgg_flair_2d.npz", cohort)
    work = HERE / "work"
    threads = os.environ.get("OMP_NUM_THREADS")
    attribseg(
        *("compare", str(table), "--recipes", str(HERE / "recipes.json"), "--out", str(work)),
        *(("--threads", threads) if threads else ()),
    )
    for pattern in KEPT:
        for path in sorted(work.glob(pattern)):
            shutil.copyfile(path, HERE / path.name)
    head = (HERE / "results.template.md").read_text(encoding="utf-8")
    text = (work / "comparison.md").read_text(encoding="utf-8")
    write_text(HERE / "results.md", head + text.partition("\n")[2])
    print(f"written: {HERE / 'results.md'}")


if __name__ == "__main__":
    main()
