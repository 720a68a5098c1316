"""The command ``attribseg``: one file per subcommand, each imported without torch.

A subcommand module has ``HELP`` (one line), ``add_arguments(parser)`` and ``run(args) -> int``;
it imports what it works with inside ``run``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from .. import __version__
from ..errors import Cancelled, InputError
from .control import listen_for_stop

_COMMANDS = ("simulate", "cohort", "preprocess", "train", "detect", "evaluate", "compare")


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Tells defaults, but not that a switch is off or an option not given."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def build_parser(commands: Mapping[str, Any] | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command; for ``commands`` see :func:`main`."""
    parser = argparse.ArgumentParser(
        prog="attribseg",
        description="Segment brain lesions from image-level labels: train a healthy/pathological "
        "classifier whose attributions are constrained, and read the lesions out of it.",
        epilog="A first run: attribseg simulate cohort --lesions tumour && attribseg train "
        "cohort/cohort.csv "
        "--out bundle && attribseg detect cohort/images/*.nii.gz --bundle bundle --out detections",
    )
    parser.add_argument("--version", action="version", version=f"attribseg {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {name: import_module(f".{name}", __name__) for name in _COMMANDS}
    for name, module in (modules | dict(commands or {})).items():
        sub = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=_HelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None, *, commands: Mapping[str, Any] | None = None) -> int:
    """Run a subcommand.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.
    commands : mapping of str to module, optional
        Further subcommands, which a package above this one offers; modules (or objects) with
        ``HELP``, ``add_arguments`` and ``run``, described by their docstring.

    Returns
    -------
    int
        0 when all went well, 2 for bad input (one line says what), 130 when stopped.
    """
    args = build_parser(commands).parse_args(argv)
    try:
        listen_for_stop()
        if getattr(args, "seed", 0) < 0:
            raise InputError(f"--seed {args.seed}: a number of at least 0 was expected")
        return int(args.run(args))
    except InputError as error:
        print(f"attribseg: error: {error}", file=sys.stderr)
        return 2
    except (Cancelled, KeyboardInterrupt) as error:
        print(f"attribseg: stopped. {error}".rstrip(), file=sys.stderr)
        return 130
