"""Autoencoders that learn healthy images and score what they cannot reconstruct."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from .reconstruction import ReconstructionNetwork
from .twice import use_twice_layers

#: One group, over channels and voxels together. Batch statistics would tie an image's score to
#: its neighbours; instance norm would make latents blind to a feature's mean, and with it the
#: weights of an attention map, which are the derivatives with respect to these means, zero.
_NORM = ("GROUP", {"num_groups": 1})
_ACTIVATION = ("LEAKYRELU", {"negative_slope": 0.2})


class Autoencoder(ReconstructionNetwork):
    """Autoencoder with a dense latent vector (the dense AE compared by Baur et al. 2021).

    MONAI's AutoEncoder; its bottleneck, which can only be convolutional, is replaced by a linear
    layer down to the latent vector and one back. A latent that kept a grid would reconstruct
    lesions too.

    Parameters
    ----------
    **layout
        Parameters of :class:`.ReconstructionNetwork`.

    Raises
    ------
    InputError
        If a parameter is not one of the above.

    References
    ----------
    .. [1] C. Baur et al., "Autoencoders for unsupervised anomaly segmentation in brain MR images:
       a comparative study", Medical Image Analysis 69:101952, 2021.
    """

    def __init__(self, **layout: Any) -> None:
        super().__init__(**layout)
        from monai.networks.nets import AutoEncoder

        self.net = AutoEncoder(
            self.dimensions,
            self.in_channels,
            self.in_channels,
            self.channels,
            self.strides,
            act=_ACTIVATION,
            norm=_NORM,
        )
        coarse = (self.channels[-1], *self.coarse_size)
        self.net.intermediate = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(coarse), self.latent),
            nn.Linear(self.latent, math.prod(coarse)),
            nn.ReLU(),
            nn.Unflatten(1, coarse),
        )

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruction of images (B, C, I, J[, K])."""
        return self.crop(self.net(self.pad(x)))


class VariationalAutoencoder(ReconstructionNetwork):
    """Variational autoencoder (Kingma and Welling 2014), MONAI's VarAutoEncoder.

    The latent is a normal vector of independent entries. Scores, reconstructions and residuals
    use its mean, whatever the mode, and are thus reproducible; only training draws from it.

    Parameters
    ----------
    **layout
        Parameters of :class:`.ReconstructionNetwork`.

    Raises
    ------
    InputError
        If a parameter is not one of the above.
    """

    net: Any  # MONAI's, whose attributes have no types

    def __init__(self, **layout: Any) -> None:
        super().__init__(**layout)
        from monai.networks.nets import VarAutoEncoder

        net = VarAutoEncoder(
            self.dimensions,
            (self.in_channels, *self.padded_size),
            self.in_channels,
            self.latent,
            self.channels,
            self.strides,
            act=_ACTIVATION,
            norm=_NORM,
        )
        self.net = use_twice_layers(net)  # attention maps are differentiated twice in training

    def encode(
        self, x: torch.Tensor, layer: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latent mean and log variance, and the feature maps they came from.

        Parameters
        ----------
        x : Tensor of shape (B, C, I, J[, K])
        layer : int
            Which convolution of the encoder, counted from the image, the features are of.

        Returns
        -------
        mean, log_variance : Tensors of shape (B, latent)
        features : Tensor of shape (B, F, i, j[, k])
            Of the padded grid; after norm and rectifier.
        """
        values = self.pad(x)
        features = values
        for depth, block in enumerate(self.net.encode):
            values = block(values)
            if depth == layer:
                features = values
        flat = values.flatten(1)
        return self.net.mu(flat), self.net.logvar(flat), features

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Images (B, C, I, J[, K]) of latent vectors (B, latent)."""
        return self.crop(self.net.decode_forward(latent, use_sigmoid=False))

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """Image of the latent mean of images (B, C, I, J[, K])."""
        return self.decode(self.encode(x)[0])
