"""The main job, end to end, on a simulated cohort: what ``make demo`` runs.

Every step is a command that works the same on real images; the commands are printed as they run.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from AttribSegLib.cli import main as attribseg
from AttribSegLib.cohort import read_cohort


def run(*arguments: str) -> None:
    """Print a command, run it, and stop the demonstration if it fails."""
    print(f"\n$ attribseg {shlex.join(arguments)}", flush=True)
    code = attribseg(arguments)
    if code:
        sys.exit(code)


def main() -> None:
    """Simulate, train, detect, evaluate; end with the table and the paths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--subjects", type=int, default=60, help="per class")
    parser.add_argument("--lesions", default="tumour", help="ms, tumour or mixed")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.perf_counter()
    out: Path = args.out
    table, bundle = out / "cohort" / "cohort.csv", out / "bundle"
    count, seed = str(args.subjects), str(args.seed)
    run(
        *("simulate", str(out / "cohort"), "--healthy", count, "--pathological", count),
        *("--lesions", args.lesions, "--seed", seed, "--jobs", "2"),
    )
    run("cohort", str(table))
    run(
        *("train", str(table), "--out", str(bundle), "--epochs", str(args.epochs)),
        *("--batch-size", "4", "--false-positive-ml", "5", "--seed", seed, "--overwrite"),
    )
    test = [case for case in read_cohort(table, check_images=False).in_split("test") if case.label]
    images = [str(case.channels["FLAIR"]) for case in test[:3]]
    run(
        *("detect", *images, "--bundle", str(bundle), "--out", str(out / "detections")),
        *("--minimum-ml", "0.05"),
    )
    run("evaluate", str(table), "--bundle", str(bundle), "--out", str(out / "evaluation"))
    report = json.loads((out / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    (out / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"\nDone in {(time.perf_counter() - started) / 60:.1f} minutes. Look at:")
    pictures = sorted((out / "detections").glob("*/*_overlay.png"))
    segmentations = sorted((out / "detections").glob("*/*.seg.nrrd"))
    results = [
        out / "evaluation.json",
        out / "evaluation" / "evaluation.md",
        out / "evaluation" / "curves.png",
        bundle / "training" / "curves.png",
    ]
    for path in [*results, *pictures, *segmentations]:
        print(f"  {path}")


if __name__ == "__main__":
    main()
