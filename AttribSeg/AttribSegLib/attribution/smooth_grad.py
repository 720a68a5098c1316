"""SmoothGrad: the gradient averaged over noisy copies of the image."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ..errors import InputError
from .gradient import gradient
from .memory import DEFAULT_MEMORY, batch_within


def smooth_grad(
    score: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
    times_input: bool = False,
    memory: int = DEFAULT_MEMORY,
) -> torch.Tensor:
    r"""Mean gradient of the score over noisy copies of each image (SmoothGrad) [1]_.

    .. math:: \frac{1}{n} \sum_{s=1}^{n} \nabla F(x + \varepsilon_s), \quad
              \varepsilon_s \sim \mathcal{N}(0, \sigma^2), \quad
              \sigma = \mathrm{noise} \cdot (\max x - \min x)

    Parameters
    ----------
    score : callable
        Maps x of shape (B, C, I, J[, K]) to logits of shape (B,); image b's logit must depend on
        image b only.
    x : Tensor of shape (B, C, I, J[, K])
    samples : int
        Noisy copies of each image.
    noise : float
        Standard deviation of the noise as a fraction of the image's range, over all channels.
    seed : int
        Every image of the batch meets the same noise up to its scale, so its map depends neither
        on its neighbours nor on ``memory``.
    times_input : bool
        Multiply the mean gradient by the image.
    memory : int
        Bytes that one batch of noisy copies may take.

    Returns
    -------
    Tensor of the shape of x

    Raises
    ------
    InputError
        If there is less than one sample, or the noise is negative.

    References
    ----------
    .. [1] D. Smilkov et al., "SmoothGrad: removing noise by adding noise", arXiv:1706.03825, 2017.

    Examples
    --------
    A linear score has the same gradient everywhere:

    >>> smooth_grad(lambda x: 2 * x.flatten(1).sum(1), torch.tensor([[[[1.0, 3.0]]]]), samples=4)
    tensor([[[[2., 2.]]]])
    """
    if samples < 1:
        raise InputError(f"samples {samples}: at least 1 was expected")
    if not (math.isfinite(noise) and noise >= 0):
        raise InputError(f"noise {noise}: a number of 0 or more was expected")
    x = x.detach()
    together = batch_within(score, x, memory)
    return torch.stack(
        [_mean_gradient(score, image, samples, noise, seed, together) for image in x]
    ) * (x if times_input else 1)


def _mean_gradient(
    score: Callable[[torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    samples: int,
    noise: float,
    seed: int,
    together: int,
) -> torch.Tensor:
    """Mean gradient of one image (C, I, J[, K]), ``together`` noisy copies at a time."""
    generator = torch.Generator().manual_seed(seed)
    deviation = noise * (image.max() - image.min())
    total = torch.zeros_like(image)
    for start in range(0, samples, together):
        # Drawn one by one: what a larger draw returns is not what several small ones do.
        draws = [
            torch.randn(image.shape, generator=generator, dtype=image.dtype)
            for _ in range(min(together, samples - start))
        ]
        noisy = image + deviation * torch.stack(draws).to(image.device)
        total += gradient(score, noisy).sum(0)
    return total / samples
