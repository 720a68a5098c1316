"""IEG: expected gradients that now and then start from zero."""

from __future__ import annotations

import torch

from .expected_gradients import SAMPLES, expected_gradients
from .memory import DEFAULT_MEMORY
from .path import Score

#: Probability p0 of the zero reference (thesis ch. 5).
ZERO_PROBABILITY = 0.25


def integrated_expected_gradients(
    score: Score,
    x: torch.Tensor,
    *,
    references: torch.Tensor,
    samples: int = SAMPLES,
    zero_probability: float = ZERO_PROBABILITY,
    local: bool = False,
    seed: int = 0,
    common_draws: bool = True,
    memory: int = DEFAULT_MEMORY,
    differentiable: bool = False,
) -> torch.Tensor:
    r"""Integrated expected gradients (thesis ch. 5).

    .. math:: IEG = p_0 \, IG + (1 - p_0) \, EG

    Expected gradients whose reference is the zero image with probability :math:`p_0`. Trained
    through them, a network gives good maps whichever attribution is read later: with expected
    gradients alone the zero reference of integrated gradients is never seen.

    Parameters
    ----------
    score, x, references, samples, local, seed, common_draws, memory, differentiable
        As for :func:`.expected_gradients`.
    zero_probability : float
        :math:`p_0`; 0 gives expected gradients, 1 integrated gradients.

    Returns
    -------
    Tensor of the shape of x
    """
    return expected_gradients(
        score,
        x,
        references=references,
        samples=samples,
        zero_probability=zero_probability,
        local=local,
        seed=seed,
        common_draws=common_draws,
        memory=memory,
        differentiable=differentiable,
    )
