"""Constraints on interpretable features (thesis ch. 6, eq. 6.11).

Healthy images shall have no positive features, so that whatever argues for pathology is a positive
feature of a pathological image; their negative features shall look alike in both classes, so that
these cannot tell them apart; and no voxel of a healthy image shall weigh much.
"""

from __future__ import annotations

import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.twice import input_gradients_only

#: Divergences between distributions of negative features.
DIVERGENCES = ("kl", "hellinger")
BINS = 50
_TINY = 1e-6


def negative_features(features: torch.Tensor) -> torch.Tensor:
    r"""L_nF: positive part of the features of healthy images.

    .. math:: L_{nF} = \frac{1}{N} \sum_n \max(f_n, 0)

    Parameters
    ----------
    features : Tensor of shape (H, F, I, J[, K])

    Returns
    -------
    Tensor, scalar
        Mean over images, channels and voxels, as in the published code; the thesis has the sum.
    """
    return features.clamp_min(0).mean()


def feature_divergence(
    healthy: torch.Tensor,
    pathological: torch.Tensor,
    *,
    divergence: str = "kl",
    bins: int = BINS,
) -> torch.Tensor:
    r"""L_dF: how differently negative features are distributed in the two classes.

    .. math:: L_{dF} = \mathrm{KL}(P_0, P_1) = \sum_b P_0(b) \log \frac{P_0(b)}{P_1(b)}

    or the Hellinger distance
    :math:`\sqrt{\tfrac12 \sum_b (\sqrt{P_0(b)} - \sqrt{P_1(b)})^2}`, of the histograms of every
    feature channel (:func:`parzen_histogram`) from the least value in either class to zero; the
    mean over channels. A channel without negative features in one of the classes counts nothing.

    Parameters
    ----------
    healthy, pathological : Tensors of shape (H or P, F, I, J[, K])
    divergence : {"kl", "hellinger"}
    bins : int

    Returns
    -------
    Tensor, scalar

    Raises
    ------
    InputError
        If the divergence is unknown.
    """
    if divergence not in DIVERGENCES:
        raise InputError(f"divergence {divergence!r}: one of {', '.join(DIVERGENCES)}")
    a, b = (f.transpose(0, 1).flatten(1) for f in (healthy, pathological))
    low = torch.minimum(a.detach().amin(1), b.detach().amin(1)).clamp_max(-_TINY)
    p, q = (parzen_histogram(x, low, bins=bins) for x in (a, b))
    known = (p.detach().sum(1) > 0) & (q.detach().sum(1) > 0)
    if divergence == "kl":
        # What is added to empty bins keeps the divergence finite, and zero where P0 = P1.
        p, q = p + _TINY, q + _TINY
        distance = (p * (p.log() - q.log())).sum(1)
    else:
        # As one minus the overlap: its gradient is finite, but for that of the root at zero.
        overlap = ((p + _TINY) * (q + _TINY)).sqrt().sum(1) / (1 + bins * _TINY)
        distance = ((1 - overlap).clamp_min(0) + _TINY**2).sqrt()
    return (distance * known).sum() / len(distance)


def parzen_histogram(values: torch.Tensor, low: torch.Tensor, *, bins: int = BINS) -> torch.Tensor:
    r"""Differentiable histograms of negative numbers, one per row.

    With bin centres :math:`c_b` a bin's width w apart, from ``low`` to 0, and the triangular
    Parzen kernel

    .. math:: P(b) \propto \sum_{n: v_n < 0} \max(0, 1 - |v_n - c_b| / w).

    A number falls into the two bins around it only, which is all that is computed.

    Parameters
    ----------
    values : Tensor of shape (R, N)
        Only negative ones count.
    low : Tensor of shape (R,)
        Negative; lowest bin centre of every row.
    bins : int

    Returns
    -------
    Tensor of shape (R, bins)
        Every row sums to one, or is zero where nothing is negative.

    Raises
    ------
    InputError
        If there are fewer than two bins.

    Examples
    --------
    >>> parzen_histogram(torch.tensor([[-1.0, -0.75, 2.0]]), torch.tensor([-1.0]), bins=3)
    tensor([[0.7500, 0.2500, 0.0000]])
    """
    if bins < 2:
        raise InputError(f"bins {bins}: at least 2 were expected")
    counted = (values.detach() < 0).to(values.dtype)
    width = -low / (bins - 1)
    place = ((values - low[:, None]) / width[:, None]).clamp(0, bins - 1)
    # Of a network that has diverged, the loss shall be NaN; NaN is no place in a histogram.
    lower = place.detach().nan_to_num(0).floor().clamp(max=bins - 2)
    share = place - lower
    index = lower.long()
    histogram = values.new_zeros(len(values), bins)
    histogram = histogram.scatter_add(1, index, (1 - share) * counted)
    histogram = histogram.scatter_add(1, index + 1, share * counted)
    return histogram / counted.sum(1, keepdim=True).clamp_min(1)


def feature_gradient(logits: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    r"""L_G: influence of the features of healthy images on their logits.

    .. math:: L_G = \lVert \partial M / \partial f \rVert_1

    Differentiable with respect to the network's weights. A regulariser: on its own it would make
    the classifier constant.

    Parameters
    ----------
    logits : Tensor of shape (H,)
        M(f).
    features : Tensor of shape (H, F, I, J[, K])
        f, part of the logits' graph.

    Returns
    -------
    Tensor, scalar
        Sum over channels and voxels, mean over images.
    """
    with input_gradients_only():
        (gradient,) = torch.autograd.grad(logits.sum(), features, create_graph=True)
    return gradient.abs().sum() / len(features)
