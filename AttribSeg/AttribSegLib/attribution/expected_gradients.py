"""Expected gradients: integrated gradients averaged over references from the data."""

from __future__ import annotations

import torch

from ..errors import InputError
from .memory import DEFAULT_MEMORY, batch_within
from .path import Score, score_and_path_gradient

#: Draws of (reference, position) per image at inference.
SAMPLES = 50


def expected_gradients(
    score: Score,
    x: torch.Tensor,
    *,
    references: torch.Tensor,
    samples: int = SAMPLES,
    zero_probability: float = 0.0,
    local: bool = False,
    seed: int = 0,
    common_draws: bool = True,
    memory: int = DEFAULT_MEMORY,
    differentiable: bool = False,
) -> torch.Tensor:
    r"""Expected gradients (Erion et al. 2021; thesis ch. 2, IV).

    .. math:: EG_i(x) = \mathbb{E}_{x' \sim X, a \sim U[0, 1]} \left[ (x_i - x'_i)
              \frac{\partial F}{\partial x_i}(x' + a (x - x')) \right]

    The positions a of an image are stratified (one in each of ``samples`` equal parts of the
    path), which changes nothing in the mean and lowers its variance.

    Parameters
    ----------
    score : callable
        Maps (B, C, I, J[, K]) to logits (B,).
    x : Tensor of shape (B, C, I, J[, K])
    references : Tensor of shape (R, C, I, J[, K])
        Images of the training set.
    samples : int
        Draws per image; 1 is the stochastic form used in training.
    zero_probability : float
        Probability that a draw's reference is the zero image instead (IEG).
    local : bool
        Mean gradient, not multiplied by x - x'.
    seed : int
        Of the draws, which are made on the CPU and alike on every device.
    common_draws : bool
        All images share their draws, so that a map does not depend on the images beside it. In
        training every image has draws of its own.
    memory : int
        Bytes that samples evaluated at once may take.
    differentiable : bool
        Keep the graph, so that the map can be trained through.

    Returns
    -------
    Tensor of the shape of x

    Raises
    ------
    InputError
        If the references do not fit x, or an option is out of range.

    Examples
    --------
    Of a sum, every gradient is one:

    >>> x = torch.tensor([[[[1.0, 3.0]]]])
    >>> expected_gradients(lambda x: x.flatten(1).sum(1), x, references=torch.ones(2, 1, 1, 2))
    tensor([[[[0., 2.]]]])
    """
    if samples < 1:
        raise InputError(f"samples {samples}: at least 1 was expected")
    if not 0 <= zero_probability <= 1:
        raise InputError(f"zero_probability {zero_probability}: a number from 0 to 1 was expected")
    if references.ndim != x.ndim or references.shape[1:] != x.shape[1:] or not len(references):
        raise InputError(
            f"references of shape {tuple(references.shape)}: (R, {', '.join(map(str, x.shape[1:]))}"
            ") was expected, like the images"
        )
    count = len(x)
    generator = torch.Generator().manual_seed(seed)
    shape = (1 if common_draws else count, samples)
    index = torch.randint(len(references), shape, generator=generator).expand(count, -1)
    zero = (torch.rand(shape, generator=generator) < zero_probability).expand(count, -1)
    offsets = torch.rand(shape, generator=generator, dtype=torch.float64).expand(count, -1)
    position = (torch.arange(samples) + offsets) / samples
    pairs = [(b, s) for b in range(count) for s in range(samples)]
    at_once = len(pairs) if differentiable else batch_within(score, x, memory)
    total = torch.zeros_like(x)
    for start in range(0, len(pairs), at_once):
        chunk = pairs[start : start + at_once]
        rows, columns = (torch.tensor(part) for part in zip(*chunk, strict=True))
        chosen = references[index[rows, columns]].to(x)
        chosen[zero[rows, columns]] = 0.0
        images = x.detach()[rows]
        _, gradients = score_and_path_gradient(
            score, images, chosen, position[rows, columns], differentiable=differentiable
        )
        values = gradients if local else gradients * (images - chosen)
        total = total.index_add(0, rows.to(x.device), values)
    return total / samples
