"""Kernel SHAP: Shapley values of super-voxels, estimated from sampled coalitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .lime import Score, by_supervoxels
from .memory import DEFAULT_MEMORY


def kernel_shap(
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
    r"""Shapley value of every super-voxel, by weighted regression (Lundberg and Lee 2017 [1]_).

    The Shapley value of a super-voxel is what it adds to the score, averaged over all orders in
    which super-voxels can replace the reference. Coalitions are drawn with the weights under
    which a linear regression of their scores has these values as its coefficients. Whatever the
    samples, the values of all super-voxels sum to F(x) - F(reference), as closely as the weight
    of 10^6 enforces it that Captum gives to these two scores.

    Parameters
    ----------
    score : callable
        Maps x of shape (B, C, I, J[, K]) to logits of shape (B,).
    x : Tensor of shape (B, C, I, J[, K])
    labels : int array of shape (I, J[, K]) or (B, I, J[, K]), or None
        Super-voxels 0 to n - 1, of all images or of each. None makes ``count`` by
        :func:`~.supervoxels.supervoxels` from the mean over each image's channels.
    samples : int
        Scores computed for each image; several times the number of super-voxels, for with fewer
        samples than super-voxels the values are not determined.
    reference : float or Tensor that broadcasts to the shape of x
        What a super-voxel outside the coalition shows.
    seed : int
        Every image starts from it.
    count : int
        About how many super-voxels to make where there are no labels.
    memory : int
        Bytes that one batch of samples may take.

    Returns
    -------
    Tensor of shape (B, 1, I, J[, K])
        The Shapley value of its super-voxel at every voxel.

    Raises
    ------
    InputError
        If Captum is missing, the labels do not fit the image or number fewer than two, or a
        parameter is out of range.

    References
    ----------
    .. [1] S. M. Lundberg, S.-I. Lee, "A unified approach to interpreting model predictions",
       NeurIPS 2017.
    """

    def explainer(score: Score) -> Any:
        from captum.attr import KernelShap

        return KernelShap(score)

    return by_supervoxels(
        "kernel_shap", explainer, score, x, labels, samples, reference, seed, count, memory
    )
