"""Gradients on the straight path from a reference to an image: what IG, EG and IEG are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..errors import InputError
from .gradient import score_and_gradient

Score = Callable[[torch.Tensor], torch.Tensor]


def score_and_path_gradient(
    score: Score,
    x: torch.Tensor,
    reference: torch.Tensor,
    position: torch.Tensor,
    *,
    differentiable: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score and gradient at x' + a (x - x').

    Parameters
    ----------
    score : callable
        Maps (B, C, I, J[, K]) to logits (B,).
    x, reference : Tensors of shape (B, C, I, J[, K])
        Image x and reference x'; the reference may be anything that broadcasts to x.
    position : Tensor of shape (B,)
        Place a on the path: 0 at the reference, 1 at the image.
    differentiable : bool
        Keep the graph, so that the map can be trained through.

    Returns
    -------
    logits : Tensor of shape (B,)
    gradients : Tensor of shape (B, C, I, J[, K])
    """
    a = position.to(x).reshape(-1, *(1,) * (x.ndim - 1))
    return score_and_gradient(score, torch.lerp(reference, x, a), differentiable=differentiable)


def as_reference(reference: torch.Tensor | float, x: torch.Tensor) -> torch.Tensor:
    """Reference x' of every image, of the shape of x.

    Parameters
    ----------
    reference : float or Tensor
        One value everywhere, or an image that broadcasts to x.
    x : Tensor of shape (B, C, I, J[, K])

    Raises
    ------
    InputError
        If the reference does not fit x.
    """
    if not isinstance(reference, torch.Tensor):
        return torch.full_like(x, float(reference))
    try:
        return reference.to(x).expand_as(x)
    except RuntimeError as error:
        raise InputError(
            f"reference of shape {tuple(reference.shape)}: an image that fits {tuple(x.shape)} "
            "was expected"
        ) from error
