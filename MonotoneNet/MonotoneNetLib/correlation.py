"""Correlation between the channels of a layer with random weights (thesis ch. 6, prop. 6)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from AttribSegLib.errors import InputError
from numpy.typing import ArrayLike
from torch import nn

from .noise_pass import Layer, is_transposed


def predicted_correlation(
    weight_mean: float,
    weight_std: float,
    input_covariance: ArrayLike,
    input_mean: ArrayLike | None = None,
) -> float:
    r"""Correlation of two outputs :math:`y_a = \sum_i w_{ai} x_i` of independent weights.

    .. math:: \mathrm{corr} = \frac{\mu_w^2}{\mu_w^2 + \sigma_w^2 \rho}, \qquad
              \rho = \frac{\sum_i (C_{ii} + \mu_i^2)}{\sum_{ij} C_{ij}}

    (prop. 6). Here both the inputs and the weights are random, as they are before a network is
    drawn: the covariance of two outputs is :math:`\mu_w^2 \sum_{ij} C_{ij}`, and the variance of
    one is that plus :math:`\sigma_w^2 \sum_i E[x_i^2]`. Means of inputs count because a weight's
    chance moves an output by :math:`w_i \mu_i`. For weights that are drawn already that part is
    a constant of each output: leave ``input_mean`` out, and the quotient is that of the covariance
    and the variance over inputs alone.

    Parameters
    ----------
    weight_mean, weight_std : float
        Of the effective weights.
    input_covariance : array of shape (n, n)
        C, of the inputs of one output (all entries of a convolution's window).
    input_mean : array of shape (n,), optional
        Zeros if absent.

    Returns
    -------
    float
        In [0, 1]; NaN if the outputs do not vary.

    Raises
    ------
    InputError
        If shapes do not fit or the standard deviation is negative.

    Examples
    --------
    Nine uncorrelated inputs: positive weights alone make outputs correlated.

    >>> predicted_correlation(1.0, 1.0, np.eye(9)), predicted_correlation(0.0, 1.0, np.eye(9))
    (0.5, 0.0)
    """
    covariance = np.asarray(input_covariance, dtype=np.float64)
    mean = np.zeros(len(covariance)) if input_mean is None else np.asarray(input_mean, np.float64)
    if covariance.ndim != 2 or covariance.shape != (mean.size, mean.size):
        raise InputError(
            f"input covariance of shape {covariance.shape}, input mean of shape {mean.shape}: "
            "(n, n) and (n,) were expected"
        )
    if not weight_std >= 0:
        raise InputError(f"weight_std {weight_std}: a number of at least 0 was expected")
    power = float(np.trace(covariance) + mean @ mean)
    return _quotient(weight_mean, weight_std, float(covariance.sum()), power)


def predicted_correlation_of_layer(layer: Layer, x: torch.Tensor) -> float:
    r"""Proposition 6 for a layer as it is and the inputs that it receives.

    Of a window x of the input, :math:`\sum_{ij} C_{ij}` is the variance of :math:`\sum_i x_i` and
    :math:`\sum_i (C_{ii} + \mu_i^2)` the mean of :math:`\sum_i x_i^2`, over images and places: both
    come from one convolution with ones, and no covariance matrix is made. The bias is left out.

    Parameters
    ----------
    layer : Linear or convolution
    x : Tensor
        What the layer is called with.

    Returns
    -------
    float
        NaN for a convolution with groups, whose channels do not see the same inputs.
    """
    if getattr(layer, "groups", 1) != 1:
        return math.nan
    with torch.no_grad():
        weight, x = layer.weight.double(), x.double()
        ones = _with_one_channel_of_ones(layer).to(x)
        sums, power = ones(x), float(ones(x.square()).mean())
        mean, std = float(weight.mean()), float(weight.std(correction=0))
        return _quotient(mean, std, float(sums.var(correction=0)), power)


def measured_correlation(features: torch.Tensor, axis: int) -> float:
    r"""Correlation of two channels of a layer, on average over all pairs.

    Both covariance and variance are about the mean of all channels, as in prop. 6, where a weight
    is as random as an input, and as in the standard deviation of a whole layer:

    .. math:: \frac{\frac{1}{K (K - 1)} \sum_{a \ne b} E[(y_a - m)(y_b - m)]}
                   {\frac{1}{K} \sum_a E[(y_a - m)^2]}

    Parameters
    ----------
    features : Tensor
    axis : int
        Of the K channels.

    Returns
    -------
    float
        NaN for one channel, or for features that do not vary or are not finite.
    """
    y = features.detach().double()
    y = y - y.mean()
    channels = y.shape[axis]
    own = float(y.square().sum(axis).mean())
    both = float(y.sum(axis).square().mean())
    if channels < 2 or not math.isfinite(own + both) or own == 0:
        return math.nan
    return (both - own) / (own * (channels - 1))


def _quotient(mean: float, std: float, total: float, power: float) -> float:
    shared, single = mean**2 * total, std**2 * power
    if not (math.isfinite(shared + single) and shared + single > 0):
        return math.nan
    return shared / (shared + single)


def _with_one_channel_of_ones(layer: Layer) -> nn.Module:
    """The same layer with one output channel, ones as weights and no bias."""
    if isinstance(layer, nn.Linear):
        summed: Any = nn.Linear(layer.in_features, 1, bias=False)
    else:
        axes = len(layer.kernel_size)
        kinds: Any = (
            (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
            if is_transposed(layer)
            else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        )
        options: dict[str, Any] = {
            "stride": layer.stride,
            "padding": layer.padding,
            "dilation": layer.dilation,
            "padding_mode": layer.padding_mode,
            "bias": False,
        }
        if is_transposed(layer):
            options["output_padding"] = layer.output_padding
        summed = kinds[axes - 1](layer.in_channels, 1, layer.kernel_size, **options)
    nn.init.ones_(summed.weight)
    return summed
