"""Input x gradient: the first-order change of the score when a voxel is set to zero."""

from __future__ import annotations

import torch

from .gradient import gradient
from .path import Score


def input_times_gradient(
    score: Score, x: torch.Tensor, *, differentiable: bool = False
) -> torch.Tensor:
    """x_i dF/dx_i (Shrikumar et al. 2017; thesis ch. 2, IV; global attribution).

    Parameters
    ----------
    score : callable
        Maps (B, C, I, J[, K]) to logits (B,).
    x : Tensor of shape (B, C, I, J[, K])
    differentiable : bool
        Keep the graph, so that the map can be trained through.

    Returns
    -------
    Tensor of the shape of x

    Examples
    --------
    >>> input_times_gradient(lambda x: (x**2).flatten(1).sum(1), torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[[[ 2., 18.]]]])
    """
    return x.detach() * gradient(score, x, differentiable=differentiable)
