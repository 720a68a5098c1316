"""Constraints on attributions: the terms L_A added to the classification loss (thesis ch. 5)."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from .errors import InputError

#: L_A of an attribution that is zero everywhere: where every training starts.
UNSUP_AT_ZERO = math.log(2.0)

ALPHA_SCALES = ("voxels", "rms", "raw")
CONSTRAINTS = ("unsup", "sup", "unsup_tv", "erion", "ross", "none")


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
    return _mean(functional.softplus(attribution), brain)


def sup(
    attribution: torch.Tensor,
    lesions: torch.Tensor,
    brain: torch.Tensor | None = None,
    *,
    balanced: bool = False,
) -> torch.Tensor:
    r"""Voxels of a lesion mask should argue for "pathological", all others for "healthy" (eq. 5.8).

    .. math:: L_A = \frac{1}{N} \sum_i \operatorname{BCE}(\sigma(A_i(x)), m_i(x))

    With the empty masks of healthy images this is :func:`unsup`. Masks drawn by a person and
    corrected segmentations serve alike.

    Parameters
    ----------
    attribution : Tensor of shape (B, C, I, J[, K])
        Maps of images whose lesions are known.
    lesions : Tensor of shape (B, 1, I, J[, K]), bool
        m(x), for all channels.
    brain : Tensor of shape (B, 1, I, J[, K]), optional
        Average over these voxels only.
    balanced : bool
        Lesions and the rest of an image that has lesions count one half each, and every image
        alike [ours]. Lesions have few voxels: in the plain mean "healthy everywhere" costs next to
        nothing.

    Returns
    -------
    Tensor, scalar

    Examples
    --------
    >>> maps, lesions = torch.tensor([[[[2.0, -2.0]]]]), torch.tensor([[[[True, False]]]])
    >>> round(float(sup(maps, lesions)), 4)  # log(1 + exp(-2)) in both voxels
    0.1269
    """
    target = lesions.to(attribution.dtype).expand_as(attribution)
    values = functional.binary_cross_entropy_with_logits(attribution, target, reduction="none")
    if not balanced:
        return _mean(values, brain)
    counted = torch.ones_like(lesions) if brain is None else brain
    sums, kinds = values.new_zeros(len(values)), values.new_zeros(len(values))
    for kind in (lesions & counted, ~lesions & counted):
        inside = kind.to(values.dtype).expand_as(values).flatten(1)
        sizes = inside.sum(1)
        sums = sums + (values.flatten(1) * inside).sum(1) / sizes.clamp(min=1.0)
        kinds = kinds + (sizes > 0).to(values.dtype)
    return (sums / kinds.clamp(min=1.0)).mean()


def total_variation(attribution: torch.Tensor, brain: torch.Tensor | None = None) -> torch.Tensor:
    r"""Anisotropic total variation of a map (Erion et al. 2021; thesis ch. 5, eq. 5.1).

    .. math:: L_A = \frac{1}{N} \sum_i \sum_d |A_{i + e_d}(x) - A_i(x)|

    Parameters
    ----------
    attribution : Tensor of shape (B, C, I, J[, K])
    brain : Tensor of shape (B, 1, I, J[, K]), optional
        Only differences between two voxels inside count.

    Returns
    -------
    Tensor, scalar
        Mean over images and channels of the sum of absolute differences, per voxel.

    Examples
    --------
    >>> float(total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]])))  # (2 + 1 + 3) / 4
    1.5
    """
    total = attribution.new_zeros(())
    for axis in range(2, attribution.ndim):
        steps = attribution.diff(dim=axis).abs()
        if brain is not None:
            size = brain.shape[axis] - 1
            both = brain.narrow(axis, 0, size) & brain.narrow(axis, 1, size)
            steps = steps * both.to(steps.dtype)
        total = total + steps.sum()
    count = attribution.numel() if brain is None else float(brain.sum()) * attribution.shape[1]
    return total / max(count, 1.0)


def ross(attribution: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    r"""Right for the right reasons: no attribution where none should be (thesis ch. 5, eq. 5.3).

    .. math:: L_A = \sum_i (m_i(x) G_i(x))^2

    Ross et al. (2017) mark what is irrelevant; here that is the whole healthy image.

    Parameters
    ----------
    attribution : Tensor of shape (B, C, I, J[, K])
        Maps of healthy images.
    mask : Tensor of shape (B, 1, I, J[, K]), optional
        Irrelevant voxels; all of them when absent.

    Returns
    -------
    Tensor, scalar
        Sum over voxels, mean over images.

    Examples
    --------
    >>> float(ross(torch.tensor([[[[1.0, -2.0]]]])))
    5.0
    """
    masked = attribution if mask is None else attribution * mask.to(attribution.dtype)
    return masked.square().flatten(1).sum(1).mean()


def scale_attribution(attribution: torch.Tensor, scale: str) -> torch.Tensor:
    """Bring attributions to a scale on which alpha means the same on any grid.

    Parameters
    ----------
    attribution : Tensor of shape (B, C, I, J[, K])
    scale : {"voxels", "rms", "raw"}
        "voxels" multiplies by the number of voxels: F is a mean over patches, so that dF/dx_i is
        of order 1/N and N dF/dx_i of order one on any grid. "rms" divides by the root mean square
        of the whole batch, held constant: the constraint then sees the map's shape and cannot be
        met by making it larger. "raw" leaves the map as it is, as in the thesis, where alpha then
        is 1e6 to 1e10.

    Raises
    ------
    InputError
        If the scale is unknown.
    """
    if scale not in ALPHA_SCALES:
        raise InputError(f"alpha scale {scale!r}: one of {', '.join(ALPHA_SCALES)} was expected")
    if scale == "raw":
        return attribution
    if scale == "rms":
        # Squares of raw maps, around 1e-12, are far above the smallest single-precision number,
        # but their mean deserves double.
        rms = attribution.detach().double().square().mean().sqrt().clamp(min=1e-30)
        return attribution / rms.to(attribution.dtype)
    return attribution * float(attribution[0, 0].numel())


def _mean(values: torch.Tensor, brain: torch.Tensor | None) -> torch.Tensor:
    """Mean over all voxels, or over those of the brain."""
    if brain is None:
        return values.mean()
    mask = brain.to(values.dtype).expand_as(values)
    return (values * mask).sum() / mask.sum().clamp(min=1.0)
