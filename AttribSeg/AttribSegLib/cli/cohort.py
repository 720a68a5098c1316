"""Make a cohort table (CSV) out of a folder of images, or check one.

A FOLDER has the subfolders healthy and pathological, with one image per case (NAME.nii.gz, or
NAME_FLAIR.nii.gz and NAME_T1.nii.gz) or one folder per case (FLAIR.nii.gz, T1.nii.gz,
lesions.nii.gz, brain.nii.gz, or a DICOM series); or it is a BIDS dataset with participants.tsv.
Patients are split at random into training, validation and test. Given a CSV, every row and every
image is checked, all faults are listed at once, and the cohort is summed up.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .events import print_event

if TYPE_CHECKING:
    from pathlib import Path

    from ..cohort import Cohort

HELP = "make a cohort table out of a folder, or check one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``attribseg cohort``."""
    nothing = argparse.SUPPRESS  # options that are off need no "(default: None)" in the help
    parser.add_argument("source", metavar="FOLDER|CSV", help="folder of images, or table to check")
    parser.add_argument(
        "--out",
        metavar="CSV",
        default=nothing,
        help="table to write (needed for a FOLDER; for a CSV, a copy with its splits)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the split by patient")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--folders",
        dest="kind",
        action="store_const",
        const="folders",
        default=nothing,
        help="FOLDER holds healthy and pathological (found out when neither is given)",
    )
    kind.add_argument(
        "--bids",
        dest="kind",
        action="store_const",
        const="bids",
        default=nothing,
        help="FOLDER is a BIDS dataset",
    )
    parser.add_argument(
        "--channels",
        metavar="NAME[,NAME]",
        default=nothing,
        help="use only these channels of a FOLDER, such as FLAIR (all that are found otherwise)",
    )
    parser.add_argument(
        "--group-column",
        metavar="NAME",
        default=nothing,
        help="BIDS: column of participants.tsv with the group",
    )
    parser.add_argument(
        "--healthy",
        metavar="VALUE[,VALUE]",
        default=nothing,
        help="BIDS: groups that are healthy; all others are pathological",
    )
    parser.add_argument(
        "--nominal-spacing",
        action="store_true",
        default=nothing,
        help="the voxel sizes in a FOLDER are not known: nothing in mm or mL will be computed",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as a JSON line")


def run(args: argparse.Namespace) -> int:
    """Build or check a cohort and print its summary."""
    from pathlib import Path

    from ..cohort import read_cohort, write_cohort
    from ..errors import InputError

    options = vars(args)
    source = Path(args.source)
    out = options.get("out")
    if source.is_dir():
        if not out:
            raise InputError(f"{source}: give the table to write with --out COHORT.csv")
        cohort = _build(source, options)
    else:
        folder_only = ("kind", "channels", "group_column", "healthy", "nominal_spacing")
        given = [name for name in folder_only if options.get(name)]
        if given:
            flags = ", ".join("--" + (options["kind"] if n == "kind" else n) for n in given)
            raise InputError(
                f"{source}: {flags.replace('_', '-')} is for a folder of images; a table says it "
                "in its columns"
            )
        on_event = print_event if args.json else None
        cohort = read_cohort(source, seed=args.seed, on_event=on_event)
    if out:
        write_cohort(cohort, out)
    if args.json:
        table = str(out or source)
        print_event({"event": "done", "cohort": table, "summary": cohort.summary()})
        return 0
    print(describe(cohort))
    if out:
        print(f"written      {out}")
    return 0


def _build(source: Path, options: dict[str, Any]) -> Cohort:
    """The cohort of a folder; its kind is found out when not given."""
    from ..cohort_builder import cohort_from_bids, cohort_from_folders
    from ..errors import InputError

    kind = options.get("kind")
    if kind is None:
        if (source / "participants.tsv").is_file():
            kind = "bids"
        elif (source / "healthy").is_dir() or (source / "pathological").is_dir():
            kind = "folders"
        else:
            raise InputError(
                f"{source}: neither the folders healthy and pathological nor the "
                "participants.tsv of a BIDS dataset; see attribseg cohort --help"
            )
    common = {
        "seed": options["seed"],
        "channels": [name for name in options.get("channels", "").split(",") if name] or None,
        "nominal_spacing": bool(options.get("nominal_spacing")),
    }
    if kind == "bids":
        healthy = [value for value in options.get("healthy", "").split(",") if value]
        column = options.get("group_column")
        return cohort_from_bids(source, healthy=healthy, group_column=column, **common)
    return cohort_from_folders(source, **common)


def describe(cohort: Cohort) -> str:
    """Summary of a cohort for reading, with the grids of its images."""
    from collections import Counter

    from ..cohort_validation import describe_voxels
    from ..image_io import read_geometry

    facts = cohort.summary()
    lines = [
        f"cohort       {facts['source']}: {facts['cases']} cases of {facts['patients']} patients",
        f"channels     {', '.join(facts['channels'])}",
        f"masks        lesions for {facts['with_lesions']}, brain for {facts['with_brain']} cases",
        "",
        f"{'split':<12} {'healthy':>8} {'pathological':>13} {'patients':>9}",
    ]
    for name, counts in facts["splits"].items():
        lines.append(
            f"{name:<12} {counts['healthy']:>8} {counts['pathological']:>13} "
            f"{counts['patients']:>9}"
        )
    files = {(next(iter(case.channels.values())), case.nominal_spacing) for case in cohort.cases}
    grids = Counter(
        describe_voxels(read_geometry(path, nominal=nominal)) for path, nominal in files
    )
    lines.append("")
    for grid, count in grids.most_common(8):
        lines.append(f"grid         {grid}: {count} image{'s' if count > 1 else ''}")
    if len(grids) > 8:
        lines.append(f"             and {len(grids) - 8} other grids")
    if facts["slices"]:
        lines.append(f"slices       {facts['slices']} cases are axial slices")
    if facts["nominal_spacing"]:
        lines.append("spacing      nominal for some cases: nothing in mm or mL will be computed")
    return "\n".join(lines)
