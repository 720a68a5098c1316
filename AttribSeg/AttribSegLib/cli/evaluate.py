"""Evaluate a bundle on a split of a cohort, beside the plain intensity threshold."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .events import print_event

HELP = "evaluate a bundle on a cohort"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``attribseg evaluate``."""
    parser.add_argument("cohort", type=Path, help="cohort table (CSV)")
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--split", choices=("test", "validation", "train"), default="test")
    parser.add_argument(
        "--mask-tuned",
        action="store_true",
        help="thresholds tuned on validation masks instead of the label-only ones",
    )
    parser.add_argument("--seed", type=int, default=0, help="of splits and of the bootstrap")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print events as JSON lines")


def run(args: argparse.Namespace) -> int:
    """Evaluate, write the report and print it."""
    from ..bundle import load_bundle
    from ..cohort import read_cohort
    from ..files import make_folder

    make_folder(args.out)
    bundle = load_bundle(args.bundle)
    checked = print_event if args.json else None
    cohort = read_cohort(args.cohort, seed=args.seed, on_event=checked)

    from ..assessment import assess
    from ..evaluation_report import write_evaluation
    from ..training.distributed import select_device

    total = len(cohort.in_split(args.split))

    def on_event(event: dict[str, Any]) -> None:
        if args.json:
            print_event({**event, "total": total})
        elif sys.stderr.isatty():
            print(f"\r{event['done']}/{total} cases", end="", file=sys.stderr, flush=True)

    evaluation = assess(
        bundle,
        cohort,
        split=args.split,
        mask_tuned=args.mask_tuned,
        device=select_device(args.device),
        seed=args.seed,
        on_event=on_event,
    )
    written = write_evaluation(
        evaluation,
        args.out,
        title=f"{args.bundle.name} on {args.cohort.name}, {args.split} split",
        description=bundle.description,
    )
    if args.json:
        paths = {kind: str(path) for kind, path in written.items()}
        print_event({"event": "done", "files": paths})
    else:
        print(written["markdown"].read_text(encoding="utf-8"))
        print("\n".join(f"{kind}: {path}" for kind, path in written.items()))
    return 0
