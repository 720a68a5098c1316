"""Gradient attribution: G_i = dF / dx_i."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..networks.twice import input_gradients_only


def gradient(
    score: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    *,
    differentiable: bool = False,
) -> torch.Tensor:
    """Gradient of the score with respect to the input (thesis ch. 2, IV; local attribution).

    Parameters
    ----------
    score : callable
        Maps x of shape (B, C, I, J[, K]) to logits of shape (B,); image b's logit must depend on
        image b only.
    x : Tensor of shape (B, C, I, J[, K])
    differentiable : bool
        Keep the graph, so that the map can be trained through.

    Returns
    -------
    Tensor of the shape of x

    Examples
    --------
    The gradient of a sum of squares is twice the input:

    >>> gradient(lambda x: (x**2).flatten(1).sum(1), torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[[[2., 6.]]]])
    """
    return score_and_gradient(score, x, differentiable=differentiable)[1]


def score_and_gradient(
    score: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    *,
    differentiable: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of shape (B,) and their :func:`gradient`, from one forward pass."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        logits = score(leaf)
        with input_gradients_only():
            (result,) = torch.autograd.grad(logits.sum(), leaf, create_graph=differentiable)
    return (logits, result) if differentiable else (logits.detach(), result)
