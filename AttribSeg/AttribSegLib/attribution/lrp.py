"""Layer-wise relevance propagation, through any network of known operations."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from ..errors import InputError
from ..networks.twice import plain_layers
from .lrp_operations import Propagation
from .lrp_rules import Relevance, Rule


def lrp(
    network: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    *,
    rule: str = "epsilon",
    epsilon: float = 1e-6,
    alpha: float = 2.0,
    beta: float = 1.0,
    merge_batch_norm: bool = False,
) -> torch.Tensor:
    r"""Relevance of every voxel by layer-wise propagation (Bach et al. 2015 [1]_).

    The logit is the relevance of the last layer; every operation hands its relevance back to its
    inputs until the image has it all. While the network runs, each of its operations is replaced
    by one whose backward pass does so:

    - convolutions and linear layers by ``rule``;
    - sums, means, average pooling, interpolation and residual additions in proportion to the
      summands, always by the epsilon rule;
    - rectifiers and other element-wise functions, and products with a constant, pass relevance
      on unchanged; so do normalisations, whose means and variances are taken for constants:
      split by a rule, their shift would absorb relevance as a bias does, or create it;
    - a maximum hands all to its winner; concatenation, indexing, padding and reshaping to where
      the value came from.

    A bias takes its share of the relevance and keeps it, as does a constant that is added, and
    under the alpha-beta rule it counts with the products of its own sign. Without them the
    relevance sums to the logit, up to epsilon; under the alpha-beta rule with beta > 0 only
    where every neuron has products of either sign.

    Parameters
    ----------
    network : callable
        Maps x to logits of shape (B,) or (B, 1); image b's logit must depend on image b only,
        so that a module must be in evaluation mode where it has batch norm or dropout.
    x : Tensor of shape (B, C, I, J[, K])
    rule : {"epsilon", "alpha-beta"}
        Behind a normalisation that passes relevance on, a neuron near zero can hold much of it,
        and the epsilon rule then hands back large values of both signs: through a trained
        network with normalisations, "alpha-beta" gives the steadier map.
    epsilon : float
        Keeps denominators away from zero, under either rule.
    alpha, beta : float
        Weights of what argues for and against in the alpha-beta rule; alpha - beta = 1.
    merge_batch_norm : bool
        Take batch norm for an affine layer under the epsilon rule, as if it were merged with the
        convolution before it. That keeps the epsilon rule steady, but its shift keeps relevance.

    Returns
    -------
    Tensor of the shape of x

    Raises
    ------
    InputError
        If a parameter is out of range, or the network has an operation that mixes activations
        in another way (attention, softmax, products of activations), which is named.

    References
    ----------
    .. [1] S. Bach et al., "On pixel-wise explanations for non-linear classifier decisions by
       layer-wise relevance propagation", PLoS ONE 10(7), 2015.

    Examples
    --------
    Summands 2 and 6 of a logit of 8:

    >>> lrp(lambda x: (2 * x).flatten(1).sum(1), torch.tensor([[[[1.0, 3.0]]]])).round(decimals=3)
    tensor([[[[2., 6.]]]])
    """
    if rule not in ("epsilon", "alpha-beta"):
        raise InputError(f"rule {rule!r}: epsilon or alpha-beta was expected")
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise InputError(f"epsilon {epsilon}: a positive number was expected")
    if not (math.isclose(alpha - beta, 1) and beta >= 0):
        raise InputError(f"alpha {alpha}, beta {beta}: alpha - beta = 1 and beta >= 0 are needed")
    for module in network.modules() if isinstance(network, nn.Module) else ():
        batch = isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats
        if module.training and (batch or isinstance(module, nn.modules.dropout._DropoutNd)):
            raise InputError(f"{type(module).__name__} in training mode: call network.eval() first")
    propagation = Propagation(Rule(rule, epsilon, alpha, beta, merge_batch_norm))
    with torch.enable_grad(), plain_layers():
        leaf = x.detach().requires_grad_(True)
        image = leaf.view_as(leaf)  # has a history, as activations have
        with propagation:
            logits = network(image)
        logits = propagation.now(logits)
        with torch.no_grad():
            expected = network(x.detach())
        _check(logits, expected, x)
        return torch.autograd.grad(logits, leaf, logits.detach())[0]


def _check(logits: torch.Tensor, expected: torch.Tensor, x: torch.Tensor) -> None:
    """Refuse a network that does something unseen."""
    if logits.numel() != x.shape[0]:
        raise InputError(f"logits of shape {tuple(logits.shape)}: one per image was expected")
    if not logits.requires_grad:
        raise InputError("lrp: the logits do not depend on the image")
    if not torch.allclose(logits, expected, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise InputError("lrp: the network is random or changes a view of an activation in place")
    nodes, seen = [logits.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        custom = isinstance(node, torch.autograd.function.BackwardCFunction)
        if custom and type(node) is not Relevance._backward_cls:
            raise InputError(f"lrp: no rule for the custom operation {node.name()}")
        nodes.extend(before for before, _ in node.next_functions)
