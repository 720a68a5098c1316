"""Bring a cohort of raw scans onto the MNI152 grid.

Writes cases/, cohort.csv (the prepared cohort), quality.csv and report.html (doubtful cases
first), and preprocessing.json. Cases done before with the same inputs and options are skipped; a
run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .events import print_event

HELP = "bring raw scans of a cohort to the atlas"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``attribseg preprocess``."""
    parser.add_argument("cohort", type=Path, metavar="COHORT", help="cohort table (CSV)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--spacing", type=int, default=1, choices=(1, 2), help="voxel size of the atlas grid, mm"
    )
    parser.add_argument(
        "--steps",
        help="steps to run, separated by commas: interslice, registration, brain, n4, match, "
        "standardise (default: all but n4 and match)",
    )
    parser.add_argument(
        "--n4",
        action="store_true",
        help="also correct the bias field: for multiple sclerosis, not for tumours, whose "
        "contrast it takes away",
    )
    parser.add_argument(
        "--brain-method", default="atlas", choices=("atlas", "hd-bet"), help="brain extraction"
    )
    parser.add_argument(
        "--allow-download", action="store_true", help="HD-BET may fetch its weights"
    )
    parser.add_argument("--atlas", default="", help="skull-stripped T1 instead of ICBM152")
    parser.add_argument(
        "--reference",
        default="",
        metavar="[CHANNEL=]FILE",
        help="image whose histogram is matched (adds the step match)",
    )
    parser.add_argument("--robust", action="store_true", help="standardise by median and quartiles")
    parser.add_argument(
        "--interslice-factor",
        type=float,
        default=1.5,
        metavar="F",
        help="slices further apart than F in-plane voxels are interpolated (default 1.5)",
    )
    parser.add_argument(
        "--background", type=float, default=0.0, help="value outside the brain (default 0)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="parallel processes")
    parser.add_argument(
        "--dask",
        default="",
        metavar="ADDRESS",
        help="work on the Dask cluster of this scheduler, such as tcp://host:8786, instead",
    )
    parser.add_argument("--force", action="store_true", help="do finished cases again")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is random")
    parser.add_argument("--json", action="store_true", help="print events as JSON lines")


def run(args: argparse.Namespace) -> int:
    """Preprocess, with a progress bar; 2 when any case failed."""
    from tqdm import tqdm

    from ..cohort import read_cohort
    from ..preprocess_cohort import preprocess_cohort
    from ..preprocessing.options import DEFAULT_STEPS, ChainOptions

    steps: tuple[str, ...] = DEFAULT_STEPS
    if args.steps is not None:
        steps = tuple(step.strip() for step in args.steps.split(",") if step.strip())
    if args.n4:
        steps = (*steps, "n4")
    if args.reference:
        steps = (*steps, "match")
    channel, _, reference = args.reference.partition("=")
    if not reference or Path(args.reference).exists():  # its name may hold an equals sign
        channel, reference = "", args.reference
    options = ChainOptions(
        steps=steps,
        spacing=args.spacing,
        atlas=args.atlas,
        brain_method=args.brain_method,
        allow_download=args.allow_download,
        reference=reference,
        reference_channel=channel,
        robust=args.robust,
        interslice_factor=args.interslice_factor,
        background=args.background,
        seed=args.seed,
    )
    # Images are checked case by case: one bad file must not stop the others.
    cohort = read_cohort(args.cohort, seed=args.seed, check_images=False, both_classes=False)
    with tqdm(total=len(cohort.cases), unit="case", disable=args.json) as bar:

        def show(event: dict[str, Any]) -> None:
            bar.update(event["done"] - bar.n)
            if event["event"] == "step":
                bar.set_postfix_str(f"{event['case']}: {event['step']}")
            if args.json:
                print_event(event)

        results = preprocess_cohort(
            cohort,
            args.out,
            options,
            jobs=args.jobs,
            dask=args.dask,
            force=args.force,
            on_event=show,
        )
    failed = [result for result in results if result.status == "failed"]
    flagged = [result for result in results if result.warnings]
    skipped = sum(result.status == "skipped" for result in results)
    if not args.json:
        print(
            f"{len(results) - len(failed)} of {len(results)} cases prepared ({skipped} before), "
            f"{len(flagged)} to look at -> {args.out / 'cohort.csv'}, {args.out / 'report.html'}"
        )
        for result in flagged:
            print(f"  look at {result.case.case}: {'; '.join(result.warnings)}")
    for result in failed:
        print(f"attribseg: failed: {result.reason}", file=sys.stderr)
    return 2 if failed else 0
