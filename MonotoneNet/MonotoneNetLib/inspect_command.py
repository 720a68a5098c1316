"""Convert a network to monotone form, or open a bundle of one, and show what it is.

Writes report.txt (what the conversion changed, and the certificate in words), certificate.json,
depth.csv and depth.png (features and gradients by depth on noise, by initialisation).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = "convert a network to monotone form, or open a bundle, and show what it is"

#: Options that describe a network; with a bundle they are its own.
_OF_A_NETWORK = ("network", "dimensions", "in_channels", "width", "norm", "activation")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``inspect``."""
    nothing = argparse.SUPPRESS
    parser.add_argument("--bundle", type=Path, help="folder of a trained monotone model")
    group = parser.add_argument_group("network", "to convert, instead of a bundle")
    group.add_argument(
        "--network",
        default=nothing,
        help="patchgan (default), resnet18, resnet34, resnet50, resnet152, densenet121 or a "
        "registered one",
    )
    group.add_argument("--dimensions", type=int, choices=(2, 3), default=nothing, help="default 3")
    group.add_argument("--in-channels", type=int, default=nothing, metavar="N", help="default 1")
    group.add_argument(
        "--width", type=float, default=nothing, help="factor on the number of filters (default 1)"
    )
    group.add_argument("--norm", default=nothing, help="normalisation before (default instance)")
    group.add_argument("--activation", default=nothing, help="default leaky_relu")
    group.add_argument(
        "--positivity", default=nothing, help="how weights are made positive (default thesis)"
    )
    parser.add_argument("--size", type=int, default=64, help="of the noise, voxels along an axis")
    parser.add_argument("--seed", type=int, default=0, help="of weights and noise")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--json", action="store_true", help="print events as JSON lines")


def run(args: argparse.Namespace) -> int:
    """Inspect; events ``progress`` on the way and ``done`` with the files."""
    from AttribSegLib.cli.events import print_event
    from AttribSegLib.errors import InputError
    from AttribSegLib.files import make_folder

    options = {name: value for name, value in vars(args).items() if name in _OF_A_NETWORK}
    positivity = vars(args).get("positivity")
    if args.bundle is not None and (options or positivity):
        named = next(iter(options), "positivity").replace("_", "-")
        raise InputError(f"--{named}: belongs to a network to convert; a bundle says it itself")
    if args.size < 1:
        raise InputError(f"--size {args.size}: at least 1 voxel was expected")
    make_folder(args.out)

    from .inspection import bundle_bodies, converted_bodies, inspect, write_inspection

    steps = ["build", "certify", "statistics", "write"]

    def tell(event: dict[str, Any]) -> None:
        if args.json:
            print_event(event)

    def begin(step: str) -> None:
        done = {"done": steps.index(step), "total": len(steps)}
        tell({"event": "progress", "step": step, **done})

    begin("build")
    if args.bundle is not None:
        bodies = bundle_bodies(args.bundle, seed=args.seed)
    else:
        bodies = converted_bodies(**options, positivity=positivity or "thesis", seed=args.seed)
    found = inspect(bodies, size=args.size, seed=args.seed, on_step=begin)
    begin("write")
    files = write_inspection(found, args.out)
    summary = str(found.certificate).splitlines()[0]
    tell(
        {
            "event": "done",
            "files": {kind: str(path) for kind, path in files.items()},
            "summary": summary,
            "by_construction": found.certificate.by_construction,
        }
    )
    if not args.json:
        print(files["report"].read_text(encoding="utf-8"))
        print("\n".join(f"{kind}: {path}" for kind, path in files.items()))
    return 0
