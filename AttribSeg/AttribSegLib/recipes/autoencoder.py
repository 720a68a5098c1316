"""Unsupervised baselines: autoencoders trained on healthy images alone (thesis ch. 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import nn

from ..networks.autoencoder import Autoencoder, VariationalAutoencoder
from . import Batch, BatchLoss, register
from .options import lower_precision
from .reconstruction import ReconstructionOptions, draw_normal, draws


def kl_to_standard_normal(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    r"""KL divergence of a normal vector of independent entries from the standard one.

    .. math:: KL = \tfrac{1}{2} \sum_j (\mu_j^2 + \sigma_j^2 - \log \sigma_j^2 - 1)

    (Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014, appendix B), in nats, summed
    over the latent.

    Parameters
    ----------
    mean, log_variance : Tensors of shape (B, latent)

    Returns
    -------
    Tensor of shape (B,)

    Examples
    --------
    >>> kl_to_standard_normal(torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2))
    tensor([2.])
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).sum(1)


@register
@dataclass(frozen=True)
class AutoencoderRecipe(ReconstructionOptions):
    """Autoencoder with a dense latent, trained by the mean squared residual over the brain.

    See :class:`.Autoencoder`; parameters are those of :class:`.ReconstructionOptions`.
    """

    name: ClassVar[str] = "autoencoder"
    network_class = Autoencoder

    def batch_loss(
        self, network: nn.Module, batch: Batch, *, mixed_precision: bool = False
    ) -> BatchLoss:
        """Mean squared residual of the healthy images, within their brains."""
        net, x = cast(Autoencoder, network), batch.healthy
        with lower_precision(x, mixed_precision):
            reconstruction = net.reconstruct(x)
        loss = net.error(x, reconstruction).mean()
        value = float(loss.detach())
        return BatchLoss(loss, {"loss": value, "reconstruction": value})


@register
@dataclass(frozen=True)
class VariationalAutoencoderRecipe(ReconstructionOptions):
    r"""Variational autoencoder (An and Cho 2015; compared by Baur et al. 2021).

    .. math:: L = \frac{1}{N} \|x - \hat{x}\|^2 + \lambda \, KL

    with N values in the brain and KL in nats summed over the latent. The evidence lower bound
    of a decoder of unit variance has lambda = 2 / N: 3e-4 for a slice of 6,000 brain voxels.

    Parameters
    ----------
    kl_weight : float
        lambda.
    filters, strides, latent
        See :class:`.ReconstructionOptions`.

    References
    ----------
    .. [1] J. An and S. Cho, "Variational autoencoder based anomaly detection using reconstruction
       probability", SNU Data Mining Center, 2015.
    .. [2] C. Baur et al., Medical Image Analysis 69:101952, 2021.
    """

    name: ClassVar[str] = "variational_autoencoder"
    network_class = VariationalAutoencoder

    kl_weight: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_number("kl_weight", least=0)

    def batch_loss(
        self, network: nn.Module, batch: Batch, *, mixed_precision: bool = False
    ) -> BatchLoss:
        """Residual and KL divergence of the healthy images."""
        net, x = cast(VariationalAutoencoder, network), batch.healthy
        with lower_precision(x, mixed_precision):
            mean, log_variance, _ = net.encode(x)
        return self.vae_loss(net, batch, mean.float(), log_variance.float(), mixed_precision)

    def vae_loss(
        self,
        network: VariationalAutoencoder,
        batch: Batch,
        mean: torch.Tensor,
        log_variance: torch.Tensor,
        mixed_precision: bool,
    ) -> BatchLoss:
        """The loss, given the latent of the healthy images: (B, latent) each."""
        x = batch.healthy
        noise = draw_normal(draws(batch), mean, *mean.shape)
        with lower_precision(x, mixed_precision):
            reconstruction = network.decode(mean + noise * (0.5 * log_variance).exp())
        error = network.error(x, reconstruction).mean()
        kl = kl_to_standard_normal(mean, log_variance).mean()
        total = error + self.kl_weight * kl
        parts = {"loss": total, "reconstruction": error, "kl": kl}
        return BatchLoss(total, {name: float(part.detach()) for name, part in parts.items()})
