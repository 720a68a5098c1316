"""Unsupervised baseline: attention of a VAE that must cover the healthy brain (thesis ch. 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import nn
from torch.nn import functional

from ..constraints import scale_attribution
from ..errors import InputError
from ..networks.autoencoder import VariationalAutoencoder
from ..networks.twice import input_gradients_only
from . import Batch, BatchLoss, register
from .autoencoder import VariationalAutoencoderRecipe

__all__ = ["Attention", "SilvaRodriguezRecipe", "extended_log_barrier"]

_SCALES = ("voxels", "raw")


def extended_log_barrier(z: torch.Tensor, t: float = 20.0) -> torch.Tensor:
    r"""Penalty of the constraint z <= 0, defined where it is violated too.

    .. math:: \psi_t(z) = \begin{cases} -\log(-z) / t & z \le -1/t^2 \\
              t z - \log(1/t^2) / t + 1/t & \text{otherwise} \end{cases}

    (Kervadec et al. 2019; thesis eq. 5.5). Convex, continuous and continuously differentiable:
    the line continues the logarithm with the slope t that it has at -1/t^2.

    Parameters
    ----------
    z : Tensor
    t : float
        Sharpness: for t to infinity the penalty is 0 where the constraint holds and infinite
        elsewhere.

    Returns
    -------
    Tensor of the shape of z

    Examples
    --------
    >>> extended_log_barrier(torch.tensor([-0.5, 0.0, 1.0]), t=20.0)
    tensor([ 0.0347,  0.3496, 20.3496])
    """
    bend = -1.0 / t**2
    # Clamped where the line is taken, or the logarithm's gradient there would be NaN.
    curve = -torch.log(-z.clamp(max=bend)) / t
    line = t * z + 2.0 * math.log(t) / t + 1.0 / t
    return torch.where(z <= bend, curve, line)


@dataclass(frozen=True)
class Attention:
    """Attention of images, with the latent that it is an attention of.

    Parameters
    ----------
    maps : Tensor of shape (B, 1, I, J[, K])
    mean, log_variance : Tensors of shape (B, latent)
    """

    maps: torch.Tensor
    mean: torch.Tensor
    log_variance: torch.Tensor


@register
@dataclass(frozen=True)
class SilvaRodriguezRecipe(VariationalAutoencoderRecipe):
    r"""VAE whose attention must cover the whole healthy brain (Silva-Rodriguez et al.).

    .. math:: L = L_{VAE} + \lambda_A \, \psi_t\Big(1 - \frac{1}{N} \sum_i \sigma(s_i)\Big),
              \quad s = \sum_k \alpha_k f_k, \quad
              \alpha_k = \frac{1}{n} \sum_j \frac{\partial \sum_l \mu_l}{\partial f_{kj}}

    with f the features of an early convolution of the encoder, of n voxels, mu the latent mean,
    and N the voxels of the brain (thesis ch. 5, eq. 5.4-5.5). An encoder that has learnt to
    attend to all of a healthy brain attends to a lesion out of proportion: the map is the
    attention itself. As in the paper, it is read without the sigmoid, which would saturate; the
    order of voxels is the same. The map is not zeroed outside the brain. The image's score is
    the mean squared residual, as for the VAE.

    A sigmoid's mean is below 1: its constraint is never met exactly, and the barrier acts
    through its line, a constant pull of t [ours].

    Parameters
    ----------
    attention_weight : float
        lambda_A.
    barrier : float
        t.
    attention_layer : int
        Convolution of the encoder, counted from the image, whose features are used.
    attention_scale : {"voxels", "raw"}
        "voxels" multiplies s by n, which makes alpha the sum instead of the mean of the
        derivatives; "raw" is the published mean. A raw s is of order 1/n: the larger the grid, the
        closer every sigmoid starts to a half, and the less the constraint moves [ours: on discs of
        192 x 192 its mean stayed below 0.6 for 150 steps; with "voxels" it was 1 after 25, and
        saturated].
        See :func:`.scale_attribution`.
    kl_weight, filters, strides, latent
        See :class:`.VariationalAutoencoderRecipe`.

    References
    ----------
    .. [1] J. Silva-Rodriguez, V. Naranjo and J. Dolz, "Constrained unsupervised anomaly
       segmentation", Medical Image Analysis 80:102526, 2022; BMVC 2021.
    .. [2] H. Kervadec et al., "Constrained deep networks: Lagrangian optimization via log-barrier
       extensions", arXiv:1904.04205, 2019.
    """

    name: ClassVar[str] = "silva_rodriguez"
    map_name: ClassVar[str] = "attention"

    attention_weight: float = 0.1
    barrier: float = 20.0
    attention_layer: int = 0
    attention_scale: str = "raw"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_number("attention_weight", "attention_layer", least=0)
        self._require_number("barrier", above=0)
        self._require_whole("attention_layer")
        self._require_choice("attention_scale", _SCALES)
        if self.attention_layer >= len(self.filters):
            raise InputError(
                f"attention_layer {self.attention_layer}: one of the {len(self.filters)} "
                "convolutions, counted from 0, was expected"
            )

    def attention(
        self, network: nn.Module, x: torch.Tensor, *, differentiable: bool = False
    ) -> Attention:
        """Attention before the sigmoid, upsampled to the grid of the images.

        Parameters
        ----------
        network : Module
        x : Tensor of shape (B, C, I, J[, K])
        differentiable : bool
            Keep the graph, so that the maps can be trained through.
        """
        net = cast(VariationalAutoencoder, network)
        with torch.enable_grad():
            # Frozen weights give features no graph to differentiate in; a leaf as input does.
            given = x if differentiable else x.detach().requires_grad_(True)
            mean, log_variance, features = net.encode(given, self.attention_layer)
            with input_gradients_only():
                (slopes,) = torch.autograd.grad(mean.sum(), features, create_graph=differentiable)
            weights = slopes.flatten(2).mean(2).reshape(*features.shape[:2], *(1,) * (x.ndim - 2))
            coarse = scale_attribution(
                (weights * features).sum(1, keepdim=True), self.attention_scale
            )
        mode = "bilinear" if net.dimensions == 2 else "trilinear"
        fine = functional.interpolate(coarse, net.padded_size, mode=mode, align_corners=False)
        result = Attention(net.crop(fine), mean, log_variance)
        if differentiable:
            return result
        return Attention(*(part.detach() for part in (result.maps, mean, log_variance)))

    def batch_loss(
        self, network: nn.Module, batch: Batch, *, mixed_precision: bool = False
    ) -> BatchLoss:
        """Loss of the VAE and barrier of the attention, on the healthy images.

        The encoder, which is differentiated twice, stays in float32.
        """
        net, x = cast(VariationalAutoencoder, network), batch.healthy
        found = self.attention(net, x, differentiable=True)
        vae = self.vae_loss(net, batch, found.mean, found.log_variance, mixed_precision)
        brain = net.brain(x).to(found.maps.dtype)
        inside = (found.maps.sigmoid() * brain).flatten(1).sum(1)
        covered = inside / brain.flatten(1).sum(1).clamp(min=1)
        penalty = extended_log_barrier(1.0 - covered, self.barrier).mean()
        total = vae.total + self.attention_weight * penalty
        terms = {
            **vae.terms,
            "loss": float(total.detach()),
            "barrier": float(penalty.detach()),
            "attention": float(covered.detach().mean()),
        }
        return BatchLoss(total, terms)

    def explain(self, network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (B,) and the attention before the sigmoid, (B, 1, I, J[, K])."""
        with torch.no_grad():
            scores = network(x)
        return scores, self.attention(network, x).maps
