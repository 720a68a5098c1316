"""Simulate a cohort of healthy and pathological brains in MNI152 space, with exact lesion masks.

Writes cohort.csv, images/, lesions/ and simulation.json. The same seed gives the same cohort.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .events import print_event

HELP = "simulate a cohort of healthy and pathological brains"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``attribseg simulate``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the cohort")
    parser.add_argument("--healthy", type=int, default=40, metavar="N", help="healthy subjects")
    parser.add_argument(
        "--pathological", type=int, default=40, metavar="N", help="pathological subjects"
    )
    parser.add_argument(
        "--modality", default="FLAIR", choices=("FLAIR", "T1"), help="contrast of the images"
    )
    parser.add_argument(
        "--spacing", type=int, default=2, choices=(1, 2), help="voxel size of the atlas grid, mm"
    )
    parser.add_argument(
        "--lesions",
        default="ms",
        choices=("ms", "tumour", "mixed"),
        help="many small lesions as in multiple sclerosis, one tumour, or either by chance",
    )
    parser.add_argument(
        "--lesion-shapes",
        type=Path,
        metavar="DIR",
        help="plant the masks below this folder (*lesion*.nii.gz in MNI152 space) instead",
    )
    parser.add_argument(
        "--scanner-signature",
        type=float,
        default=0.0,
        metavar="STRENGTH",
        help="artefact that gives the class away, to see whether a method falls for it; "
        "0 for none, 1 for a visible one, negative to swap the classes",
    )
    parser.add_argument(
        "--corner-mark",
        default="none",
        choices=("none", "pathological", "healthy"),
        help="class whose images carry a small bright cube in a corner, another such shortcut",
    )
    parser.add_argument(
        "--mark-brightness",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="of that cube, as a share of the brain's brightest voxel: above 0, at most 1",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is random")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="parallel processes")
    parser.add_argument("--json", action="store_true", help="print events as JSON lines")


def run(args: argparse.Namespace) -> int:
    """Simulate, with a progress bar, and print where the table is."""
    from tqdm import tqdm

    from ..simulation import simulate_cohort

    total = max(args.healthy + args.pathological, 0)
    with tqdm(total=total, unit="subject", disable=args.json) as bar:

        def show(event: dict[str, Any]) -> None:
            bar.update(event["done"] - bar.n)
            if args.json:
                print_event(event)

        table = simulate_cohort(
            args.out,
            healthy=args.healthy,
            pathological=args.pathological,
            modality=args.modality,
            spacing=args.spacing,
            lesions=args.lesions,
            lesion_shapes=args.lesion_shapes,
            scanner_signature=args.scanner_signature,
            corner_mark=args.corner_mark,
            mark_brightness=args.mark_brightness,
            seed=args.seed,
            jobs=args.jobs,
            on_event=show,
        )
    if args.json:
        print_event({"event": "done", "cohort": str(table)})
    else:
        print(table)
    return 0
