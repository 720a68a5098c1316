"""Errors that speak to the person at the keyboard."""

from __future__ import annotations

from collections.abc import Sequence


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line that names the file or value, says what was expected and what to
    do. The command line prints it alone and exits with code 2.
    """


class CohortError(InputError):
    """A cohort table with faults; all of them are listed at once.

    Parameters
    ----------
    source : str
        Name of the table.
    faults : sequence of str
        One line per fault, each with its row and reason.
    """

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = list(faults)
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        super().__init__("\n  ".join([f"{source}: {count} in the cohort table", *self.faults]))


class DivergedError(InputError):
    """A training whose loss is no longer finite; other parameters may work."""


class OutputError(InputError):
    """A result cannot be written (permissions, full disk, a file in the way)."""


class Cancelled(Exception):  # noqa: N818  (a request, not an error)
    """A long run was stopped on request; what it had saved can be resumed."""
