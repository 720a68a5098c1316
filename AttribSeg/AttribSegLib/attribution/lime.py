"""LIME: a linear model of the score over super-voxels switched on and off."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from . import require_available
from .memory import DEFAULT_MEMORY, batch_within
from .supervoxels import supervoxels

#: Width of the kernel over the cosine distance to the whole image.
_KERNEL_WIDTH = 0.25
#: Weight of the squared coefficients against that of the samples.
_RIDGE = 1.0

Score = Callable[[torch.Tensor], torch.Tensor]


def lime(
    score: Score,
    x: torch.Tensor,
    *,
    labels: np.ndarray | torch.Tensor | None = None,
    samples: int = 1000,
    reference: float | torch.Tensor = 0.0,
    seed: int = 0,
    count: int = 100,
    memory: int = DEFAULT_MEMORY,
) -> torch.Tensor:
    r"""Coefficients of a local linear model over super-voxels (LIME; Ribeiro et al. 2016 [1]_).

    Each sample keeps every super-voxel with probability 1/2 and sets the others to the reference.
    A ridge regression of the score on what was kept is weighted by exp(-d^2 / 0.25^2), with d =
    1 - sqrt(fraction kept), the cosine distance to the whole image. The distance is taken
    between the switches, not between the images, whose cosine means little once intensities are
    standardised.

    Parameters
    ----------
    score : callable
        Maps x of shape (B, C, I, J[, K]) to logits of shape (B,).
    x : Tensor of shape (B, C, I, J[, K])
    labels : int array of shape (I, J[, K]) or (B, I, J[, K]), or None
        Super-voxels 0 to n - 1, of all images or of each. None makes ``count`` by
        :func:`~.supervoxels.supervoxels` from the mean over each image's channels.
    samples : int
        Scores computed for each image.
    reference : float or Tensor that broadcasts to the shape of x
        What a super-voxel that is switched off shows.
    seed : int
        Every image starts from it.
    count : int
        About how many super-voxels to make where there are no labels.
    memory : int
        Bytes that one batch of samples may take.

    Returns
    -------
    Tensor of shape (B, 1, I, J[, K])
        The coefficient of its super-voxel at every voxel.

    Raises
    ------
    InputError
        If Captum is missing, the labels do not fit the image or number fewer than two, or a
        parameter is out of range.

    References
    ----------
    .. [1] M. T. Ribeiro, S. Singh, C. Guestrin, "'Why should I trust you?' Explaining the
       predictions of any classifier", KDD 2016.
    """

    def explainer(score: Score) -> Any:
        from captum._utils.models.linear_model import SkLearnRidge
        from captum.attr import Lime

        ridge = SkLearnRidge(alpha=_RIDGE)
        return Lime(score, interpretable_model=ridge, similarity_func=_similarity)

    return by_supervoxels(
        "lime", explainer, score, x, labels, samples, reference, seed, count, memory
    )


def by_supervoxels(
    method: str,
    explainer: Callable[[Score], Any],
    score: Score,
    x: torch.Tensor,
    labels: np.ndarray | torch.Tensor | None,
    samples: int,
    reference: float | torch.Tensor,
    seed: int,
    count: int,
    memory: int,
) -> torch.Tensor:
    """Map of a Captum method that gives each super-voxel a coefficient, image by image.

    ``explainer`` makes Captum's object from the score; the other parameters, the result and the
    errors are those of :func:`lime`.
    """
    require_available(method)
    if samples < 2:
        raise InputError(f"samples {samples}: at least 2 were expected")
    x = x.detach()
    try:
        off = torch.as_tensor(reference, dtype=x.dtype, device=x.device).expand_as(x)
    except RuntimeError as error:
        raise InputError(
            f"reference of shape {tuple(torch.as_tensor(reference).shape)}: a number or an image "
            f"of shape {tuple(x.shape)} was expected"
        ) from error
    regions = _regions(x, labels, count)
    together = min(samples, batch_within(score, x, memory))
    found = explainer(score)
    maps = []
    # Captum draws from PyTorch's own generator, which the caller finds as it was.
    with torch.random.fork_rng(devices=[]):
        for b in range(x.shape[0]):
            torch.default_generator.manual_seed(seed)
            coefficients = found.attribute(
                x[b : b + 1],
                baselines=off[b : b + 1],
                feature_mask=regions[b][None, None],
                n_samples=samples,
                perturbations_per_eval=together,
                return_input_shape=False,
            )
            maps.append(coefficients.flatten().to(x)[regions[b]][None])
    return torch.stack(maps)


def _regions(x: torch.Tensor, labels: np.ndarray | torch.Tensor | None, count: int) -> torch.Tensor:
    """Super-voxels of every image, shape (B, I, J[, K])."""
    shape = (x.shape[0], *x.shape[2:])
    if labels is None:
        means = x.mean(1).cpu().double().numpy()
        made = np.stack([supervoxels(mean, count=count) for mean in means])
        result = torch.as_tensor(made, device=x.device)
    else:
        result = torch.as_tensor(labels, device=x.device)
        if result.is_floating_point() or tuple(result.shape) not in (shape, shape[1:]):
            raise InputError(
                f"labels of type {result.dtype} and shape {tuple(result.shape)}: integers of "
                f"shape {shape[1:]} or {shape} were expected"
            )
        result = result.long().expand(shape)
    for image in result:
        known = image.unique()
        if len(known) < 2 or known[0] != 0 or known[-1] != len(known) - 1:
            raise InputError(
                f"labels {int(known[0])} to {int(known[-1])}, {len(known)} of them: 0 to n - 1 "
                "with n at least 2 were expected"
            )
    return result


def _similarity(_: torch.Tensor, __: torch.Tensor, kept: torch.Tensor, **___: Any) -> float:
    distance = 1 - math.sqrt(float(kept.double().mean()))
    return math.exp(-(distance**2) / _KERNEL_WIDTH**2)
