"""Any network made monotone (thesis ch. 6): positive weights, no biases, split activations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from AttribSegLib.errors import InputError
from torch import nn
from torch.nn.utils import parametrize

from ..activations import SplitActivation
from ..positivity import Positivity, make_positivity
from .admission import is_positive, refuse_or_plan
from .leaves import Kind
from .report import Change, ConversionReport, attach_report
from .rewriting import ModesDifferError, rewrite
from .sites import Site, Vouched, sites

#: What becomes of the signed weights of the given network.
SIGNED = ("raw", "absolute", "refuse")


def monotone(
    module: nn.Module,
    *,
    positivity: str | Positivity = "thesis",
    signed: str = "raw",
    allow: Sequence[Vouched] = (),
) -> nn.Module:
    """A monotone copy of a network: x >= y implies M(x) >= M(y), and M keeps signs.

    Every weight becomes phi(V) through a parametrization, biases become zero and frozen,
    normalisations are removed, activations r are split into r and -r(-x) over the channels.
    Poolings, paddings, upsamplings, dropout, residual additions and concatenations stay. The
    forward of each module is traced on its own; where it calls functional activations or norms,
    a graph module takes its place.

    Parameters
    ----------
    module : Module
        Left as it is. A network in monotone form already is copied unchanged.
    positivity : str or Positivity
        One of :data:`.POSITIVITIES`.
    signed : {"raw", "absolute", "refuse"}
        What becomes of a signed weight W, which is no phi(V). "raw": its numbers become V, so that
        a random initialisation is one of V. "absolute": V = phi^-1(abs(W)), for trained weights.
        "refuse": an error, unless W >= 0; then V = phi^-1(W).
    allow : sequence of str or class
        Modules, by dotted name or class, the user vouches for: they are increasing with f(0) = 0
        and are left as they are. Their children are converted nevertheless.

    Returns
    -------
    Module
        :func:`.conversion_report` tells what was changed, :func:`.certify` proves it monotone.

    Raises
    ------
    InputError
        If an option is unknown, or a module or the way a forward calls it cannot be monotone;
        named are the modules and the reasons.

    Examples
    --------
    >>> network = monotone(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
    >>> bool((network[0].weight >= 0).all()), network[1].activation
    (True, ReLU())
    """
    if signed not in SIGNED:
        raise InputError(f"signed {signed!r}: one of {', '.join(SIGNED)} was expected")
    form = make_positivity(positivity)
    network = copy.deepcopy(module)
    found = sites(network, allow)
    rewritten = refuse_or_plan(found, signed)
    changes: list[Change] = []
    replaced: dict[int, nn.Module] = {}
    converted: set[int] = set()
    for site in found:
        if site.vouched:
            continue
        if site.kind is Kind.LAYER:
            changes += _make_positive(site, form, signed, converted)
        elif site.kind is Kind.NORM:
            replaced[id(site.module)] = nn.Identity()
            changes.append(Change(site.name, "normalisation", site.class_name, "removed"))
        elif site.kind is Kind.ACTIVATION:
            split = SplitActivation(site.module).train(site.module.training)
            replaced[id(site.module)] = split
            changes.append(Change(site.name, "activation", str(site.module), "split"))
    network = _exchange(network, replaced)
    for plan in rewritten:
        site, functions = plan.site, f"functional {', '.join(plan.functions)}"
        try:
            made = rewrite(site.module, plan.graphs, plan.findings)
        except ModesDifferError as error:
            raise InputError(
                f"{site}: its forward differs between training and evaluation, so its {functions} "
                "cannot be replaced; call modules instead"
            ) from error
        network = _exchange(network, {id(site.module): made})
        changes.append(Change(site.name, "forward", functions, "modules in a graph"))
    vouched = tuple(str(site) for site in found if site.vouched)
    attach_report(network, ConversionReport(tuple(changes), vouched))
    return network


@torch.no_grad()
def _make_positive(site: Site, form: Positivity, signed: str, converted: set[int]) -> list[Change]:
    """Parametrise a layer's weight, and set its bias to zero for good."""
    layer: Any = site.module
    changes = []
    if not is_positive(layer):
        numbers = layer.weight.clone()
        parameter = id(layer.weight)
        layer.weight.abs_()
        positivity = copy.deepcopy(form)
        parametrize.register_parametrization(layer, "weight", positivity)
        if signed == "raw" or parameter in converted:  # a weight that two layers share is V by now
            layer.parametrizations.weight.original.copy_(numbers)
        converted.add(parameter)
        negative = int((numbers < 0).sum())
        before = f"{tuple(numbers.shape)}, {negative} of {numbers.numel()} negative"
        after = f"{type(positivity).__name__}, {_ORIGIN[signed]}"
        changes.append(Change(site.name, "weight", before, after))
    bias = layer.bias
    if bias is not None and (bias.requires_grad or bool((bias != 0).any())):
        bias.zero_().requires_grad_(False)
        changes.append(Change(site.name, "bias", f"{bias.numel()} numbers", "zero, frozen"))
    return changes


_ORIGIN = {"raw": "V = W", "absolute": "phi(V) = |W|", "refuse": "phi(V) = W"}


def _exchange(network: nn.Module, replaced: dict[int, nn.Module]) -> nn.Module:
    """Put modules in the place of others, everywhere."""
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in replaced:
                setattr(parent, name, replaced[id(child)])
    return replaced.get(id(network), network)
