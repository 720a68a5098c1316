"""Which modules of a network can become monotone, and which forwards must be rewritten for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from AttribSegLib.errors import InputError
from torch import nn
from torch.nn.utils import parametrize

from ..activations import pair_fault
from ..positivity import Positivity
from .graph_check import Around, Findings, check_graph
from .known_forwards import has_known_forward
from .leaves import Kind, module_fault
from .sites import Site
from .tracing import Graphs, UntraceableError, trace

#: Faults that an error names; the others are counted.
_TOLD = 5


@dataclass(frozen=True)
class Rewriting:
    """A forward with functional activations or norms.

    Parameters
    ----------
    site : Site
    graphs : pair of Graph
        In training and in evaluation.
    findings : pair of Findings
        In these graphs.
    """

    site: Site
    graphs: Graphs
    findings: tuple[Findings, ...]

    @property
    def functions(self) -> list[str]:
        """Names of what is to be replaced."""
        return sorted({each.name for found in self.findings for each in found.functional})


def refuse_or_plan(found: Sequence[Site], signed: str) -> list[Rewriting]:
    """The forwards to rewrite, children first.

    Parameters
    ----------
    found : sequence of Site
    signed : str
        See :func:`.monotone`.

    Raises
    ------
    InputError
        If a module cannot be monotone; the first few are named with their reasons.
    """
    faults: list[str] = []
    rewritten: list[Rewriting] = []
    for site in found:
        if site.vouched:
            continue
        fault = module_fault(site.module)
        if not fault and site.kind is Kind.LAYER:
            fault = _layer_fault(site.module, signed)
        if not fault and site.kind is Kind.ACTIVATION:
            fault = pair_fault(site.module, site.module)
        if not fault and site.kind is Kind.CONTAINER:
            fault, plan = check_forward(site, found)
            if plan and plan.functions:
                rewritten.append(plan)
        if fault:
            faults.append(f"{site}: {fault}")
    if faults:
        more = f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
        raise InputError(f"cannot be made monotone: {'; '.join(faults[:_TOLD])}{more}")
    return rewritten[::-1]


def check_forward(site: Site, found: Sequence[Site]) -> tuple[str | None, Rewriting | None]:
    """Why a container's own forward is not monotone, if so, and what it calls.

    Parameters
    ----------
    site : Site
        Of the container.
    found : sequence of Site
        Of the whole network: the modules it may call, and who is vouched for.
    """
    if has_known_forward(site.module):
        return None, None
    parts = {id(each.module): each.vouched for each in found}
    try:
        graphs = trace(site.module)
    except UntraceableError as error:
        return (
            f"its forward cannot be traced ({error}); if between its modules it only does what is "
            "increasing with f(0) = 0, vouch for it with allow, "
            f"e.g. allow=[{site.class_name!r}]"
        ), None
    findings = tuple(
        check_graph(graph, Around(site.module, parts, training))
        for graph, training in zip(graphs, (True, False), strict=True)
    )
    fault = next((each.faults[0] for each in findings if each.faults), None)
    return fault, Rewriting(site, graphs, findings)


def is_positive(layer: nn.Module) -> bool:
    """Whether a positive map, and nothing else, is the parametrization of a layer."""
    if not parametrize.is_parametrized(layer, "weight"):
        return False
    lists: Any = layer.parametrizations
    return list(lists) == ["weight"] and all(isinstance(p, Positivity) for p in lists["weight"])


def _layer_fault(layer: Any, signed: str) -> str | None:
    if parametrize.is_parametrized(layer):
        return None if is_positive(layer) else "parametrised already; remove that first"
    if not bool(layer.weight.isfinite().all()):
        return "a weight is not finite"
    if signed == "refuse" and bool((layer.weight < 0).any()):
        return "negative weights; use signed='absolute', or 'raw' for random ones"
    return None
