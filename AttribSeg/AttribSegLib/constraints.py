"""Constraints on attributions: the terms L_A added to the classification loss (thesis ch. 5)."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from .errors import InputError

#: L_A of an attribution that is zero everywhere: where every training starts.
UNSUP_AT_ZERO = math.log(2.0)

ALPHA_SCALES = ("voxels", "raw")
CONSTRAINTS = ("unsup", "none")


def unsup(attribution: torch.Tensor, brain: torch.Tensor | None = None) -> torch.Tensor:
    r"""Every voxel of a healthy image should argue for "healthy" (thesis ch. 5, eq. 5.7).

    .. math:: L_A = -\frac{1}{N} \sum_i \log(1 - \sigma(A_i(x))) = \frac{1}{N} \sum_i
              \operatorname{softplus}(A_i(x)), \quad x \text{ healthy}.

    Parameters
    ----------
    attribution : Tensor of shape (B, C, I, J[, K])
        Attribution maps of healthy images.
    brain : Tensor of shape (B, 1, I, J[, K]), optional
        Average over these voxels only; over all of them when absent, as in the thesis.

    Returns
    -------
    Tensor, scalar

    Examples
    --------
    >>> round(float(unsup(torch.zeros(1, 1, 2, 2))), 4)
    0.6931
    """
    values = functional.softplus(attribution)
    if brain is None:
        return values.mean()
    mask = brain.to(values.dtype).expand_as(values)
    return (values * mask).sum() / mask.sum().clamp(min=1.0)


def scale_attribution(attribution: torch.Tensor, scale: str) -> torch.Tensor:
    """Bring attributions to a scale on which alpha means the same on any grid.

    Parameters
    ----------
    attribution : Tensor of shape (B, C, I, J[, K])
    scale : {"voxels", "raw"}
        "voxels" multiplies by the number of voxels: F is a mean over patches, so that dF/dx_i is
        of order 1/N and N dF/dx_i of order one on any grid. "raw" leaves the map as it is, as in
        the thesis, where alpha then is 1e6 to 1e10.
    """
    if scale not in ALPHA_SCALES:
        raise InputError(f"alpha scale {scale!r}: one of {', '.join(ALPHA_SCALES)} was expected")
    if scale == "raw":
        return attribution
    return attribution * float(attribution[0, 0].numel())
