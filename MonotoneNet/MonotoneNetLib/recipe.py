"""The monotone classifier (thesis ch. 6), trained and read like any other recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from AttribSegLib.channel_reduction import MAXIMUM, MEAN, channel_names
from AttribSegLib.errors import InputError
from AttribSegLib.networks import NETWORKS, build_network, is_known
from AttribSegLib.networks.batch_statistics import uses_batch_statistics
from AttribSegLib.recipes import Batch, BatchLoss, register
from AttribSegLib.recipes.classification import classification_loss
from AttribSegLib.recipes.options import TrainingOptions, lower_precision
from torch import nn

from .certificate import certify
from .constraints import (
    BINS,
    DIVERGENCES,
    feature_divergence,
    feature_gradient,
    negative_features,
)
from .conversion import monotone
from .counterfactuals import counterfactual
from .encoders import ENCODERS
from .initialisation import draw_standard_init_, propagate_variance_
from .network import InterpretableMonotoneNet
from .positivity import POSITIVITIES

#: Parts of the method that can be left out.
PARTS = ("monotone", "initialisation", "negative_features", "divergence", "feature_gradient")

#: Noise for the initialisation: images, and voxels along every axis at most.
_NOISE_IMAGES = {2: 8, 3: 2}
_NOISE_SIZE = {2: 128, 3: 64}


@register
@dataclass(frozen=True)
class MonotoneRecipe(TrainingOptions):
    r"""Encoder and monotone body, with constraints on the features between them.

    .. math:: L = L_C + \beta_{nF} L_{nF} + \beta_{dF} L_{dF} + \alpha_G L_G

    with :math:`L_C` the binary cross-entropy of the image class (thesis ch. 6, eq. 6.11). Maps
    are counterfactuals (eq. 6.15, 6.16): how much of each feature must go for the image to be
    called healthy by a margin.

    Parameters
    ----------
    network : str
        Of the body; see :mod:`AttribSegLib.networks`. Its normalisation layers are removed.
    filters, strides : sequences of int
        See :class:`.PatchGAN`.
    activation : str
        Of the body; an admissible one (see :func:`.monotone`).
    norm : str
        Normalisation of the body where it is left ordinary.
    positivity : {"thesis", "published"}
        How weights are made positive; see :mod:`.positivity`.
    features : int
        Channels of the encoder's output.
    encoder : {"convolutions", "unet"}
    encoder_kernels : sequence of int
    encoder_norm : {"all", "inner", "none"}
        See :class:`.ConvolutionalEncoder`. The published encoder has "all"; with it, and no norm
        in the body, the classes are hardly learned: sums of features whose means are zero, with
        positive weights, are nearly constant.
    negative_weight, divergence_weight, gradient_weight : float
        Weights of L_nF, L_dF and L_G.
    divergence : {"kl", "hellinger"}
    bins : int
        Of the histograms of L_dF.
    margin : float
        Logit m below which a counterfactual is healthy.
    sparsity : float
        Weight of the 1-norm of a counterfactual.
    ablate : sequence of str
        Parts to leave out, of :data:`PARTS`: "monotone" leaves the body ordinary, and
        counterfactuals then have both signs; "initialisation" leaves Kaiming's alone; the others
        leave out a constraint.

    The parameters of the training are those of :class:`.TrainingOptions`.

    Raises
    ------
    InputError
        Names the parameter and what was expected.
    """

    name: ClassVar[str] = "monotone"
    map_name: ClassVar[str] = "counterfactual"

    network: str = "patchgan"
    filters: Sequence[int] = (64, 128, 256, 512)
    strides: Sequence[int] = (2, 2, 2, 2)
    activation: str = "leaky_relu"
    norm: str = "instance"
    positivity: str = "thesis"
    features: int = 8
    encoder: str = "convolutions"
    encoder_kernels: Sequence[int] = (7, 3)
    encoder_norm: str = "none"
    negative_weight: float = 0.1
    divergence_weight: float = 1.0
    gradient_weight: float = 1e-3
    divergence: str = "kl"
    bins: int = BINS
    margin: float = -15.0
    sparsity: float = 1e-4
    ablate: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole_numbers("filters", "strides", "encoder_kernels")
        if not is_known(self.network):
            raise InputError(
                f"network {self.network!r}: one of {', '.join(NETWORKS)}, or a registered one, was "
                "expected"
            )
        self._require_choice("positivity", tuple(POSITIVITIES))
        self._require_choice("encoder", tuple(ENCODERS))
        self._require_choice("divergence", DIVERGENCES)
        self._require_number("features", least=1)
        self._require_number("bins", least=2)
        self._require_whole("features", "bins")
        self._require_number(
            "negative_weight", "divergence_weight", "gradient_weight", "sparsity", least=0
        )
        self._require_number("margin")
        parts = (self.ablate,) if isinstance(self.ablate, str) else tuple(self.ablate)
        for part in parts:
            if part not in PARTS:
                raise InputError(f"ablate {part!r}: of {', '.join(PARTS)} was expected")
        object.__setattr__(self, "ablate", parts)

    @property
    def reductions(self) -> tuple[str, ...]:
        """One feature channel, or all of them."""
        return (MEAN, MAXIMUM, *channel_names(self.features))

    def map_channels(self, channels: Sequence[str]) -> tuple[str, ...]:
        """One for every feature."""
        return tuple(f"feature{index + 1}" for index in range(self.features))

    def _keeps(self, part: str) -> bool:
        return part not in self.ablate

    def build(
        self, *, in_channels: int, dimensions: int, size: tuple[int, ...] | None = None
    ) -> nn.Module:
        """Untrained network, initialised on noise drawn from PyTorch's global generator.

        Raises
        ------
        InputError
            If the body cannot be made monotone; names the module.
        """
        encoder = ENCODERS[self.encoder](
            dimensions=dimensions,
            in_channels=in_channels,
            features=self.features,
            kernels=self.encoder_kernels,
            norm=self.encoder_norm,
        )
        patchgan: dict[str, Any] = {"filters": self.filters, "strides": self.strides}
        body = build_network(
            self.network,
            dimensions=dimensions,
            in_channels=self.features,
            width=self.width,
            norm=self.norm,
            activation=self.activation,
            **(patchgan if self.network == "patchgan" else {}),
        )
        if self._keeps("monotone"):
            body = monotone(body, positivity=self.positivity)
        draw_standard_init_(body)
        if self._keeps("initialisation"):
            limit = _NOISE_SIZE[dimensions]
            shape = [limit] * dimensions if size is None else [min(n, limit) for n in size]
            # Through the encoder: its features are correlated over voxels, which positive weights
            # add up to far more than independent noise. Not centred: positive weights also add
            # up means, and logits of 9 for all images are a bad start.
            with torch.no_grad():
                noise = encoder(torch.randn(_NOISE_IMAGES[dimensions], in_channels, *shape))
            propagate_variance_(body, noise, centred=False)
        return InterpretableMonotoneNet(encoder, body)

    def batch_loss(
        self, network: nn.Module, batch: Batch, *, mixed_precision: bool = False
    ) -> BatchLoss:
        """Loss of a batch (thesis ch. 6, eq. 6.11).

        Parameters
        ----------
        network : InterpretableMonotoneNet
        batch : Batch
        mixed_precision : bool
            bfloat16 autocast, except where the gradient by the features is differentiated.
        """
        encoder, body = _parts(network)
        count = len(batch.healthy)
        images = torch.cat([batch.healthy, batch.pathological])
        labels = torch.zeros(len(images), device=images.device)
        labels[count:] = 1.0
        differentiated = self._keeps("feature_gradient") and self.gradient_weight > 0
        with lower_precision(images, mixed_precision and not differentiated):
            features = encoder(images)
            healthy, pathological = features[:count], features[count:]
            if differentiated and not uses_batch_statistics(body):
                # Healthy images apart: the others need no graph of a gradient.
                first = body(healthy)
                logits = torch.cat([first, body(pathological)]).float()
            else:
                logits = body(torch.cat([healthy, pathological])).float()
                first = logits[:count]
        total, terms = classification_loss(logits, labels)
        if self._keeps("negative_features"):
            part = negative_features(healthy.float())
            total = total + self.negative_weight * part
            terms["negative_features"] = float(part.detach())
        if self._keeps("divergence"):
            part = feature_divergence(
                healthy.float(),
                pathological.float(),
                divergence=self.divergence,
                bins=self.bins,
            )
            total = total + self.divergence_weight * part
            terms["divergence"] = float(part.detach())
        if differentiated:
            part = feature_gradient(first, healthy)
            total = total + self.gradient_weight * part
            terms["feature_gradient"] = float(part.detach())
        terms["loss"] = float(total.detach().double())
        return BatchLoss(total, terms)

    def calibrate(self, network: nn.Module, scores: Sequence[float], labels: Sequence[int]) -> None:
        """Nothing: the logits of a classifier are trained to change sign between the classes."""

    def certificate(self, network: nn.Module) -> dict[str, Any]:
        """That the body is monotone; empty where it was left ordinary.

        Raises
        ------
        InputError
            Names the module that is not monotone.
        """
        return certify(_parts(network)[1]).to_dict() if self._keeps("monotone") else {}

    def explain(self, network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and counterfactual maps.

        Parameters
        ----------
        network : InterpretableMonotoneNet
        x : Tensor of shape (B, C, I, J[, K])

        Returns
        -------
        logits : Tensor of shape (B,)
        maps : Tensor of shape (B, F, I, J[, K])
            What is subtracted from every feature; zero for images below the margin already.
        """
        encoder, body = _parts(network)
        with torch.no_grad():
            features = encoder(x)
        found = counterfactual(
            body,
            features,
            margin=self.margin,
            sparsity=self.sparsity,
            signed=not self._keeps("monotone"),
        )
        return found.score_before, found.alpha


def _parts(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Encoder and body.

    Raises
    ------
    InputError
        If the network is not of this recipe.
    """
    if not isinstance(network, InterpretableMonotoneNet):
        raise InputError(f"{type(network).__name__}: an InterpretableMonotoneNet was expected")
    return network.encoder, network.body
