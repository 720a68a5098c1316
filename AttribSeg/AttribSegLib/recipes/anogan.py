"""Unsupervised baseline: f-AnoGAN, trained on healthy images alone (thesis ch. 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import nn

from ..errors import InputError
from ..networks.anogan import AnoGAN, gradient_penalty, only_trained
from . import Batch, BatchLoss, register
from .reconstruction import ReconstructionOptions, draw_normal, draws

__all__ = ["AnoGANRecipe"]


@register
@dataclass(frozen=True)
class AnoGANRecipe(ReconstructionOptions):
    r"""f-AnoGAN: a Wasserstein GAN of healthy images, then an encoder into its latent space.

    Of every step, one of three networks gets gradients. In the first stage, ``gan_share`` of the
    training, ``critic_steps`` steps of the critic D and one of the generator G take turns:

    .. math:: L_D = E[D(G(z))] - E[D(x)] + \lambda E[(\|\nabla D\|_2 - 1)^2], \quad
              L_G = -E[D(G(z))], \quad z \sim N(0, I).

    Then both are frozen and the encoder E is trained by the anomaly score itself (izi_f: from
    image to latent to image, with the critic's features; see :class:`.AnoGAN`):

    .. math:: L_E = \frac{1}{N} \|x - G(E(x))\|^2
              + \kappa \frac{1}{n} \|f(x) - f(G(E(x)))\|^2.

    Everything stays in float32, as the penalty is differentiated twice and the critic's values
    are differences of large numbers.

    Parameters
    ----------
    gan_share : float
        Share of all steps, above 0 and below 1, that the first stage takes.
    critic_steps : int
        Steps of the critic per step of the generator (5: Gulrajani et al. 2017).
    penalty_weight : float
        lambda (10: the same).
    kappa : float
        Weight of the critic's features (1: Schlegl et al. 2019).
    optimiser_options, learning_rate
        By default Adam's betas (0, 0.9) and 1e-4: Gulrajani et al. 2017, algorithm 1.
    average : float
        0 by default: the weights of a generator and a critic that circle each other are not
        those of one network, and an averaged generator would not be the one that the encoder
        was trained against.
    schedule : {"constant", "cosine"}
        Constant by default: a cosine would leave the encoder, which comes last, too little.
    filters, strides, latent
        See :class:`.ReconstructionOptions`.

    References
    ----------
    .. [1] T. Schlegl et al., "f-AnoGAN: fast unsupervised anomaly detection with generative
       adversarial networks", Medical Image Analysis 54:30-44, 2019.
    .. [2] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017.
    """

    name: ClassVar[str] = "f_anogan"
    network_class = AnoGAN

    optimiser_options: Mapping[str, Any] = field(default_factory=lambda: {"betas": [0.0, 0.9]})
    learning_rate: float = 1e-4
    schedule: str = "constant"
    average: float = 0.0
    gan_share: float = 0.6
    critic_steps: int = 5
    penalty_weight: float = 10.0
    kappa: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_number("penalty_weight", "kappa", least=0)
        self._require_number("gan_share", above=0)
        if not self.gan_share < 1:
            raise InputError(f"gan_share {self.gan_share}: a share below 1 was expected")
        self._require_number("critic_steps", least=1)
        self._require_whole("critic_steps")

    @property
    def first_epoch(self) -> int:
        """First epoch that belongs to the encoder alone; the last one where there is none."""
        # Rounded first: 0.7 of 10 is a little above 7 in floating point.
        return min(self.epochs, math.ceil(round(self.gan_share * self.epochs, 6)) + 1)

    @property
    def network_options(self) -> dict[str, Any]:
        """The weight of the critic's features."""
        return {"kappa": self.kappa}

    def part(self, batch: Batch) -> str:
        """Which network this step trains: "critic", "generator" or "encoder"."""
        if batch.progress >= self.gan_share:
            return "encoder"
        last_of_turn = batch.step % (self.critic_steps + 1) == self.critic_steps
        return "generator" if last_of_turn else "critic"

    def batch_loss(
        self, network: nn.Module, batch: Batch, *, mixed_precision: bool = False
    ) -> BatchLoss:
        """Loss of the one network that this step trains, on the healthy images."""
        net = cast(AnoGAN, network)
        part = self.part(batch)
        compute = {
            "critic": self._critic_loss,
            "generator": self._generator_loss,
            "encoder": self._encoder_loss,
        }[part]
        with only_trained(net, getattr(net, part)):
            total, watched = compute(net, batch)
        value = float(total.detach())
        terms = {name: float(term.detach()) for name, term in watched.items()}
        return BatchLoss(total, {"loss": value, part: value, **terms})

    def _critic_loss(
        self, net: AnoGAN, batch: Batch
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        source, real = draws(batch), net.pad(batch.healthy)
        generated = net.generator(draw_normal(source, real, len(real), net.latent)).detach()
        mix = torch.rand(len(real), generator=source).to(real.device)
        distance = net.criticise(real).mean() - net.criticise(generated).mean()
        penalty = gradient_penalty(net.criticise, real, generated, mix)
        loss = self.penalty_weight * penalty - distance
        return loss, {"distance": distance, "penalty": penalty}

    def _generator_loss(
        self, net: AnoGAN, batch: Batch
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        x = batch.healthy
        generated = net.generator(draw_normal(draws(batch), x, len(x), net.latent))
        return -net.criticise(generated).mean(), {}

    def _encoder_loss(
        self, net: AnoGAN, batch: Batch
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        image, features = (residual.mean() for residual in net.residuals(batch.healthy))
        return image + net.kappa * features, {"reconstruction": image, "features": features}
