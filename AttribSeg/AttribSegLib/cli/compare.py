"""Compare recipes on one cohort: train or reuse each, score all maps alike, write the report."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

HELP = "compare recipes, attributions and baselines on a cohort"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``attribseg compare``."""
    parser.add_argument("cohort", type=Path, help="cohort table (CSV)")
    parser.add_argument(
        "--recipes",
        type=Path,
        required=True,
        help="JSON file: recipes by name, what they share, seeds, attributions, post-processing",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for models and report")
    parser.add_argument(
        "--protocol",
        choices=("volumes", "2d"),
        default="volumes",
        help="2d: the 10 central slices of each volume become cases, matched in histogram, "
        "224 x 224, no augmentation; slices without lesion are healthy",
    )
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--seed", type=int, default=0, help="of splits that the table lacks")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--json", action="store_true", help="print events as JSON lines")


def run(args: argparse.Namespace) -> int:
    """Compare; returns the exit code."""
    from dataclasses import asdict

    from ..cohort import read_cohort
    from ..comparison.plan import Plan
    from ..errors import InputError
    from ..files import make_folder, read_json
    from ..training.augmentation import NO_AUGMENTATION
    from .events import JsonLines, ProgressBar, stop_on_interrupt

    content = read_json(args.recipes)
    if args.protocol == "2d" and isinstance(content, dict):
        common = {"augmentation": asdict(NO_AUGMENTATION), **content.get("common", {})}
        content = {**content, "common": common}
    try:
        plan = Plan.from_dict(content, folder=args.recipes.parent)
    except InputError as error:
        raise InputError(f"{args.recipes}: {error}") from error
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads {args.threads}: at least 1 was expected")
    report: Any = JsonLines() if args.json else ProgressBar()
    cohort = read_cohort(args.cohort, seed=args.seed, on_event=report)
    cohorts = {}
    if plan.sweep is not None:
        cohorts = {
            name: cohort if path is None else read_cohort(path, seed=args.seed)
            for name, path in plan.sweep.cohorts.items()
        }
    import torch

    from ..comparison.report import write_comparison
    from ..comparison.run import compare
    from ..slice_protocol import central_slices

    if args.threads:
        torch.set_num_threads(args.threads)
    make_folder(args.out)
    with closing(report), stop_on_interrupt() as stopped:
        description = f"{args.cohort.name}"
        if args.protocol == "2d":
            table = central_slices(cohort, args.out / "protocol-2d", on_event=report)
            cohort = read_cohort(table)
            description += (
                ", central slices (2D protocol): whether a slice is healthy is read from its mask, "
                "so that thresholds by labels rest on masks here, too"
            )
        comparison = compare(
            cohort,
            plan,
            args.out,
            sweep_cohorts=cohorts,
            split=args.split,
            device=args.device,
            description=description,
            on_event=report,
            should_stop=stopped,
        )
        written = write_comparison(comparison, args.out)
        report({"event": "written", "files": {kind: str(p) for kind, p in written.items()}})
    return 0
