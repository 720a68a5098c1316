"""Rules of layer-wise relevance propagation: how one operation hands relevance to its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import Function

Call = Callable[..., torch.Tensor]
#: From (relevance of the output, output, inputs) to the relevance of every input.
Share = Callable[[torch.Tensor, torch.Tensor, Sequence[torch.Tensor]], Sequence[torch.Tensor]]


@dataclass(frozen=True)
class Rule:
    """Rule of the weighted layers and of batch norm, and the stabiliser of all divisions."""

    name: str
    epsilon: float
    alpha: float
    beta: float
    merge_batch_norm: bool


class Relevance(Function):
    """An operation through which a backward pass carries relevance in place of gradients."""

    @staticmethod
    def forward(ctx: Any, share: Share, output: torch.Tensor, *inputs: torch.Tensor) -> Any:
        """Return the output, computed before; remember what its relevance is shared by."""
        ctx.share = share
        ctx.save_for_backward(output, *inputs)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Share the relevance of the output among the inputs."""
        output, *inputs = ctx.saved_tensors
        return (None, None, *ctx.share(gradients[0], output, inputs))


def passed_on(
    relevance: torch.Tensor, _: torch.Tensor, inputs: Sequence[torch.Tensor]
) -> Sequence[torch.Tensor]:
    """All relevance to the one input; summed where that was broadcast."""
    return [relevance.sum_to_size(inputs[0].shape)]


def in_proportion(call: Call, epsilon: float) -> Share:
    r"""Epsilon rule of an operation that is affine in its inputs (Bach et al. 2015, eq. 58).

    .. math:: R_i = \sum_j \frac{a_i w_{ij}}{z_j + \epsilon \, \mathrm{sign} z_j} R_j, \quad
              z_j = \sum_i a_i w_{ij} + b_j

    Parameters
    ----------
    call : callable
        The operation, as a function of its inputs alone.
    epsilon : float
    """

    def share(
        relevance: torch.Tensor, output: torch.Tensor, inputs: Sequence[torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        quotient = relevance / _away_from_zero(output, epsilon)
        gradients = _pulled_back(call, inputs, quotient)
        return [a * gradient for a, gradient in zip(inputs, gradients, strict=True)]

    return share


def by_sign(call: Call, weight: torch.Tensor, bias: torch.Tensor | None, rule: Rule) -> Share:
    r"""Alpha-beta rule of a convolution or linear layer (Bach et al. 2015, eq. 60).

    .. math:: R_i = \sum_j \Big(\alpha \frac{(a_i w_{ij})^+}{z_j^+}
                              - \beta \frac{(a_i w_{ij})^-}{z_j^-}\Big) R_j

    with z+ and z- the sums over i of the positive and the negative products, and of the bias by
    its own sign.

    Parameters
    ----------
    call : callable
        The layer as a function of (input, weight, bias).
    weight : Tensor
    bias : Tensor or None
    rule : Rule
    """

    def part(a: torch.Tensor, relevance: torch.Tensor, sign: int) -> torch.Tensor:
        # (a w)+ = a+ w+ + a- w- and (a w)- = a+ w- + a- w+.
        same, other = weight.clamp(min=0), weight.clamp(max=0)
        up, down = (same, other) if sign > 0 else (other, same)
        b = None if bias is None else (bias * sign).clamp(min=0) * sign
        halves = [a.clamp(min=0), a.clamp(max=0)]

        def summed(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
            return call(positive, up, b) + call(negative, down, None)

        total = summed(*halves)
        gradients = _pulled_back(summed, halves, relevance / (total + sign * rule.epsilon))
        return halves[0] * gradients[0] + halves[1] * gradients[1]

    def share(
        relevance: torch.Tensor, _: torch.Tensor, inputs: Sequence[torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        result = rule.alpha * part(inputs[0], relevance, 1)
        if rule.beta > 0:
            result = result - rule.beta * part(inputs[0], relevance, -1)
        return [result]

    return share


def _away_from_zero(z: torch.Tensor, epsilon: float) -> torch.Tensor:
    return z + torch.where(z >= 0, epsilon, -epsilon)


def _pulled_back(
    call: Call, inputs: Sequence[torch.Tensor], cotangent: torch.Tensor
) -> Sequence[torch.Tensor]:
    """Product of the cotangent with the Jacobian of the call at the inputs."""
    with torch.enable_grad():
        leaves = [a.detach().requires_grad_(True) for a in inputs]
        # A leaf that wants a gradient cannot be changed in place; a copy of it can.
        return torch.autograd.grad(call(*[leaf.clone() for leaf in leaves]), leaves, cotangent)
