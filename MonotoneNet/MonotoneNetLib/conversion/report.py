"""What a conversion changed, for people and for the record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from AttribSegLib.errors import InputError
from torch import fx, nn

_KEY = "monotone_conversion"


@dataclass(frozen=True)
class Change:
    """One change of one module.

    Parameters
    ----------
    name : str
        Dotted name of the module, "" for the network itself.
    kind : str
        "weight", "bias", "normalisation", "activation" or "forward".
    before, after : str
        In words.
    """

    name: str
    kind: str
    before: str
    after: str


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion changed.

    Parameters
    ----------
    changes : tuple of Change
    vouched : tuple of str
        Modules the user vouches for, which were left as they are.
    """

    changes: tuple[Change, ...]
    vouched: tuple[str, ...] = ()

    def count(self, kind: str) -> int:
        """Number of changes of a kind."""
        return sum(change.kind == kind for change in self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {
            "changes": [asdict(change) for change in self.changes],
            "vouched": list(self.vouched),
        }

    def __str__(self) -> str:
        """A summary and one line for each change."""
        lines = [self._summary()]
        rows = [(c.name or "(network)", c.kind, f"{c.before} -> {c.after}") for c in self.changes]
        widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
        lines += [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows]
        lines += [f"  {name}: left as it is, the user vouches for it" for name in self.vouched]
        return "\n".join(lines)

    def _summary(self) -> str:
        if not self.changes:
            return "Nothing to change: the network was in monotone form already."
        return (
            f"Monotone form: {self.count('weight')} weights made positive, "
            f"{self.count('bias')} biases zero and frozen, "
            f"{self.count('normalisation')} normalisations removed, "
            f"{self.count('activation')} activations split, "
            f"{self.count('forward')} forwards rewritten."
        )


def attach_report(network: nn.Module, report: ConversionReport) -> None:
    """Keep a report with its network, also in deep copies of it."""
    # A copied graph module keeps no other attribute than `meta`.
    holder = network.meta if isinstance(network, fx.GraphModule) else vars(network)
    holder[_KEY] = report


def conversion_report(network: nn.Module) -> ConversionReport:
    """What the conversion changed that made this network.

    Raises
    ------
    InputError
        If the network does not come from :func:`.monotone`.
    """
    holder = network.meta if isinstance(network, fx.GraphModule) else vars(network)
    report = holder.get(_KEY)
    if not isinstance(report, ConversionReport):
        raise InputError(
            f"{type(network).__name__}: no conversion report; it is not what monotone() returned"
        )
    return report
