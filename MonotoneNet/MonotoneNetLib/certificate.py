"""Proof, from its parts, that a network is monotone (thesis ch. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from AttribSegLib.errors import InputError
from torch import nn

from .activations import SplitActivation, activation_fault, pair_fault, unbounded_below
from .conversion.admission import check_forward, is_positive
from .conversion.leaves import Kind, module_fault, tampering
from .conversion.sites import Site, Vouched, sites
from .positivity import POSITIVITIES


class NotMonotone(InputError):  # noqa: N818  (says what the network is)
    """A network that is not monotone, or not known to be; the message names the part and why."""


@dataclass(frozen=True)
class Part:
    """One module and what was found about it.

    Parameters
    ----------
    name : str
        Dotted, "" for the network itself.
    module : str
        Its class.
    finding : str
        In words.
    """

    name: str
    module: str
    finding: str


@dataclass(frozen=True)
class Certificate:
    """What makes a network monotone: x >= y implies M(x) >= M(y), and M(0) = 0.

    It holds for the weights there were when it was made.

    Parameters
    ----------
    positivity : tuple of str
        Maps that give the layers their weights; "none" for a weight that happens to be >= 0.
    layers, weights : int
        Number of layers and of their weights, all of which were looked at.
    smallest_weight : float
        Of the effective weights; infinite if there are none.
    activations : tuple of str
        The different ones.
    by_construction : bool
        Whether training cannot change it: all weights from a positive map, all biases frozen, and
        nothing that only the user vouches for.
    vouched : tuple of str
        Modules that only the user's word makes admissible.
    parts : tuple of Part
        Every module.
    """

    positivity: tuple[str, ...]
    layers: int
    weights: int
    smallest_weight: float
    activations: tuple[str, ...]
    by_construction: bool
    vouched: tuple[str, ...]
    parts: tuple[Part, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        plain = asdict(self)
        plain["smallest_weight"] = self.smallest_weight if self.layers else None
        plain["parts"] = [asdict(part) for part in self.parts]
        return {key: list(v) if isinstance(v, tuple) else v for key, v in plain.items()}

    def __str__(self) -> str:
        """A summary, and one line for each module."""
        lasting = "by construction" if self.by_construction else "for the present weights"
        lines = [
            f"Monotone {lasting}: {self.layers} layers with {self.weights} weights, the smallest "
            f"{self.smallest_weight:.3g} ({', '.join(self.positivity) or 'no weights'}); "
            f"activations: {', '.join(self.activations) or 'none'}."
        ]
        if self.vouched:
            lines.append(f"The user vouches for {', '.join(self.vouched)}.")
        rows = [(part.name or "(network)", part.module, part.finding) for part in self.parts]
        widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
        return "\n".join(lines + [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows])


@torch.no_grad()
def certify(module: nn.Module, *, allow: Sequence[Vouched] = ()) -> Certificate:
    """Prove that a network is monotone, from its modules and the graphs of their forwards.

    Of every layer the effective weight is evaluated, whatever parametrization it has: all must be
    finite and >= 0, and the bias zero. Activations are of a known increasing kind, are evaluated
    on a grid of numbers, and unbounded below on a part of the channels, where there are two or
    more. Normalisations are not admitted. Every forward is traced, in training and in evaluation,
    and may only call what is increasing and zero at zero. No module may have forward hooks, or
    methods of its own beside those of its class.

    Parameters
    ----------
    module : Module
        Left as it is.
    allow : sequence of str or class
        Modules the user vouches for, see :func:`.monotone`; the certificate names them.

    Returns
    -------
    Certificate

    Raises
    ------
    NotMonotone
        If a part is not admissible; it is named with the reason.
    InputError
        If an entry of ``allow`` fits no module.

    Examples
    --------
    >>> network = nn.Linear(2, 1, bias=False)
    >>> network.weight.data = torch.tensor([[0.5, 2.0]])
    >>> print(certify(network))
    Monotone for the present weights: 1 layers with 2 weights, the smallest 0.5 (none); \
activations: none.
      (network)  Linear  2 weights >= 0.5 (none), no bias
    """
    found = sites(module, allow)
    parts: list[Part] = []
    layers: list[_Layer] = []
    activations: list[str] = []
    for site in found:
        if site.kind is Kind.LIST:
            continue
        if site.vouched:
            parts.append(Part(site.name, site.class_name, "the user vouches for it"))
            continue
        fault = module_fault(site.module)
        if fault:
            raise NotMonotone(f"{site}: {fault}")
        finding = "monotone"
        if site.kind is Kind.LAYER:
            layers.append(_layer(site))
            finding = str(layers[-1])
        elif site.kind is Kind.NORM:
            raise NotMonotone(
                f"{site}: a normalisation, which is not monotone; monotone() removes it"
            )
        elif site.kind in (Kind.SPLIT, Kind.ACTIVATION):
            finding = _activation(site)
            activations.append(finding)
        elif site.kind is Kind.CONTAINER:
            finding, called = _container(site, found)
            activations += called
        parts.append(Part(site.name, site.class_name, finding))
    vouched = tuple(str(site) for site in found if site.vouched)
    return Certificate(
        positivity=tuple(dict.fromkeys(layer.positivity for layer in layers)),
        layers=len(layers),
        weights=sum(layer.weights for layer in layers),
        smallest_weight=min((layer.smallest for layer in layers), default=float("inf")),
        activations=tuple(dict.fromkeys(activations)),
        by_construction=not vouched and all(layer.lasting for layer in layers),
        vouched=vouched,
        parts=tuple(parts),
    )


@dataclass(frozen=True)
class _Layer:
    """A layer that was found to be monotone."""

    positivity: str
    weights: int
    smallest: float
    bias: str
    lasting: bool

    def __str__(self) -> str:
        return f"{self.weights} weights >= {self.smallest:.3g} ({self.positivity}), {self.bias}"


def _layer(site: Site) -> _Layer:
    layer: Any = site.module
    weight, bias = layer.weight, layer.bias
    if not bool(weight.isfinite().all()):
        raise NotMonotone(f"{site}: a weight is not finite")
    smallest = float(weight.min()) if weight.numel() else float("inf")
    if smallest < 0:
        negative = int((weight < 0).sum())
        raise NotMonotone(
            f"{site}: {negative} of {weight.numel()} weights are negative, down to {smallest:.3g}; "
            "convert it with monotone()"
        )
    if bias is not None and bool((bias != 0).any()):
        raise NotMonotone(f"{site}: its bias is not zero, so that M(0) need not be; set it to zero")
    frozen = bias is None or not bias.requires_grad
    known = is_positive(layer) and all(
        type(each) in POSITIVITIES.values() and not tampering(each)
        for each in layer.parametrizations.weight
    )
    form = "none"
    if is_positive(layer):
        form = " of ".join(str(each) for each in layer.parametrizations.weight)
    what = "no bias" if bias is None else f"bias zero{' and frozen' if frozen else ', trainable'}"
    return _Layer(form, weight.numel(), smallest, what, known and frozen)


def _activation(site: Site) -> str:
    """What an activation is, if it is admissible."""
    activation: Any = site.module
    if isinstance(activation, SplitActivation):
        other = activation.other or activation.activation
        inner = [activation.activation, other]
        fault = next(filter(None, map(tampering, inner)), None) or pair_fault(*inner)
        described = f"split {activation.activation}"
        if activation.other is not None:
            described += f" and {other}"
    else:
        fault = _bare_fault(activation)
        described = str(activation)
    fault = fault or _numerical_fault(activation)
    if fault:
        raise NotMonotone(f"{site}: {fault}")
    return described


def _bare_fault(activation: nn.Module) -> str | None:
    """Why an activation may not work on all channels alike."""
    fault = activation_fault(activation)
    if not fault and not unbounded_below(activation):
        fault = (
            f"{type(activation).__name__} on all channels is bounded below, so that a "
            "counterfactual need not exist; split it with SplitActivation"
        )
    return fault


def _numerical_fault(activation: nn.Module) -> str | None:
    """Why the values of an activation are not increasing, or not zero at zero."""
    side = torch.logspace(-6, 2, 400, dtype=torch.float64)
    grid = torch.cat([-side.flip(0), torch.zeros(1, dtype=torch.float64), side])
    values = activation(torch.stack([grid, grid], dim=1))
    if not bool(values.isfinite().all()) or bool((values.diff(dim=0) < 0).any()):
        return f"{activation} is not increasing where it was evaluated"
    return None if bool((values[len(side)] == 0).all()) else f"{activation} is not zero at zero"


def _container(site: Site, found: Sequence[Site]) -> tuple[str, list[str]]:
    """How a forward was found to be monotone, and its functional activations."""
    fault, plan = check_forward(site, found)
    if fault:
        raise NotMonotone(f"{site}: {fault}")
    if plan is None:
        return "its forward is known", []
    called = []
    for each in (each for found_in in plan.findings for each in found_in.functional):
        if each.activation is None:
            raise NotMonotone(f"{site}: calls {each.name}, a normalisation; monotone() removes it")
        fault = _bare_fault(each.activation) or _numerical_fault(each.activation)
        if fault:
            raise NotMonotone(f"{site}: calls {each.name}: {fault}")
        called.append(str(each.activation))
    return "its forward was traced", called
