"""f-AnoGAN: a generator of healthy images, its critic, and an encoder back to the latent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .reconstruction import ReconstructionNetwork
from .twice import Conv2d, Conv3d, input_gradients_only

__all__ = ["AnoGAN", "gradient_penalty", "only_trained"]


def gradient_penalty(
    critic: Callable[[torch.Tensor], torch.Tensor],
    real: torch.Tensor,
    generated: torch.Tensor,
    mix: torch.Tensor,
) -> torch.Tensor:
    r"""Distance of a critic from slope 1 between real and generated images.

    .. math:: E\big[(\|\nabla_u D(u)\|_2 - 1)^2\big], \quad u = \epsilon x + (1 - \epsilon) G(z)

    (Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017, eq. 3).

    Parameters
    ----------
    critic : callable
        Maps (B, C, I, J[, K]) to values (B,).
    real, generated : Tensors of shape (B, C, I, J[, K])
    mix : Tensor of shape (B,)
        epsilon, drawn uniformly from [0, 1].

    Returns
    -------
    Tensor, scalar, to be trained through

    Examples
    --------
    A critic of slope 3:

    >>> x = torch.zeros(1, 1, 2, 2)
    >>> float(gradient_penalty(lambda u: 3 * u[:, 0, 0, 0], x, x, torch.ones(1)).detach())
    4.0
    """
    share = mix.reshape(-1, *(1,) * (real.ndim - 1))
    between = (share * real + (1 - share) * generated).detach().requires_grad_(True)
    with input_gradients_only():
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1.0).square().mean()


@contextmanager
def only_trained(network: nn.Module, trained: nn.Module) -> Iterator[None]:
    """Build a graph in which one part of a network is trained and all else is frozen.

    What is frozen gets no gradient, not even a zero: an optimiser leaves it alone, moments and
    all. On leaving, also by an error, everything is as it was; the graph stays as it was built.
    """
    own = {id(parameter) for parameter in trained.parameters()}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in own]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


class AnoGAN(ReconstructionNetwork):
    r"""Networks of f-AnoGAN (Schlegl et al. 2019).

    The generator G makes images from latent vectors, the critic D tells them from real ones, the
    encoder E finds the latent of an image. The anomaly score is

    .. math:: A(x) = \frac{1}{N} \|x - G(E(x))\|^2
              + \kappa \frac{1}{n} \|f(x) - f(G(E(x)))\|^2

    with f the n features of the critic's last convolution. The image residual is taken over the
    brain; the critic sees whole (padded) images, background included.

    Parameters
    ----------
    kappa : float
        Weight of the feature residual.
    **layout
        Parameters of :class:`.ReconstructionNetwork`; the convolutions are those of critic and
        encoder, mirrored in the generator.

    Raises
    ------
    InputError
        If a parameter is not one of the above.

    References
    ----------
    .. [1] T. Schlegl et al., "f-AnoGAN: fast unsupervised anomaly detection with generative
       adversarial networks", Medical Image Analysis 54:30-44, 2019.
    """

    def __init__(self, *, kappa: float = 1.0, **layout: Any) -> None:
        super().__init__(**layout)
        if not (math.isfinite(kappa) and kappa >= 0):
            raise InputError(f"kappa {kappa}: a number of at least 0 was expected")
        self.kappa = float(kappa)
        widths, strides = [self.in_channels, *self.channels], self.strides
        coarse = (self.channels[-1], *self.coarse_size)
        self.generator = _generator(widths[::-1], strides[::-1], self.latent, coarse)
        # Without normalisation, which would make the penalty on each image's slope meaningless
        # (batch norm) or hide intensities from the critic (instance norm).
        plain = _convolutions(self.dimensions, widths, strides, norm=False)
        normed = _convolutions(self.dimensions, widths, strides, norm=True)
        self.critic = _Head(plain, coarse, 1)
        self.encoder = _Head(normed, coarse, self.latent)

    def criticise(self, padded: torch.Tensor) -> torch.Tensor:
        """The critic's values (B,) of padded images: high for real ones."""
        return self.critic(padded)[:, 0]

    def residuals(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and feature residual of images, mean squares, (B,) each (before kappa)."""
        real = self.pad(x)
        generated = self.generator(self.encoder(real))
        difference = self.critic.features(real) - self.critic.features(generated)
        features = difference.float().square().flatten(1).mean(1)
        return self.error(x, self.unpad(generated)), features

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """G(E(x)) of images (B, C, I, J[, K])."""
        return self.unpad(self.generator(self.encoder(self.pad(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Anomaly score A(x) of shape (B,), less the offset."""
        image, features = self.residuals(x)
        return image + self.kappa * features - self.offset


class _Head(nn.Module):
    """Convolutions, then one linear layer."""

    def __init__(self, features: nn.Sequential, coarse: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.features = features
        self.linear = nn.Linear(math.prod(coarse), outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.features(x).flatten(1))


def _convolutions(
    dimensions: int, widths: Sequence[int], strides: Sequence[int], *, norm: bool
) -> nn.Sequential:
    convolution = Conv2d if dimensions == 2 else Conv3d
    layers: list[nn.Module] = []
    for (before, after), stride in zip(pairwise(widths), strides, strict=True):
        layers.append(convolution(before, after, 3, stride=stride, padding=1))
        if norm:
            layers.append(nn.GroupNorm(1, after))
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers)


def _generator(
    widths: Sequence[int], strides: Sequence[int], latent: int, coarse: Sequence[int]
) -> nn.Sequential:
    """Linear layer onto the coarsest grid, then upsampling and convolution by turns."""
    convolution = nn.Conv2d if len(coarse) == 3 else nn.Conv3d
    layers: list[nn.Module] = [nn.Linear(latent, math.prod(coarse)), nn.Unflatten(1, tuple(coarse))]
    for (before, after), stride in zip(pairwise(widths), strides, strict=True):
        layers.append(nn.GroupNorm(1, before))
        layers.append(nn.LeakyReLU(0.2))
        # Nearest neighbours and a convolution leave no chequerboard, as a transposed one does.
        layers.append(nn.Upsample(scale_factor=stride))
        layers.append(convolution(before, after, 3, padding=1))
    return nn.Sequential(*layers)
