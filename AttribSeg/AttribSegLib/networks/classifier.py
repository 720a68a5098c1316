"""Classifiers other than PatchGAN: MONAI's ResNet and DenseNet, and users' own modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .input_check import require_input
from .twice import use_twice_layers


class Classifier(nn.Module):
    """A network with one output per image, as logits of shape (B,).

    Parameters
    ----------
    body : Module
        Maps (B, C, I, J[, K]) to (B,) or (B, 1); its ordinary convolutions are given cheap second
        derivatives (see :mod:`.twice`).
    dimensions : {2, 3}
    in_channels : int
    """

    def __init__(self, body: nn.Module, *, dimensions: int, in_channels: int) -> None:
        super().__init__()
        self.dimensions, self.in_channels = dimensions, in_channels
        self.body = use_twice_layers(body)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logit F(x) of every image, shape (B,).

        Raises
        ------
        InputError
            If the input does not fit, or the body gives more than one number per image.
        """
        require_input(x, dimensions=self.dimensions, in_channels=self.in_channels)
        logits = self.body(x)
        if logits.numel() != len(x):
            raise InputError(
                f"the network's output has shape {tuple(logits.shape)}: one logit per image was "
                "expected"
            )
        return logits.reshape(len(x))


def resnet(
    depth: int, *, dimensions: int, in_channels: int, width: float, norm: str, activation: str
) -> Classifier:
    """MONAI's ResNet (He et al. 2016).

    Parameters
    ----------
    depth : {18, 34, 50, 152}
    dimensions, in_channels
        Of the input.
    width : float
        Factor on 64, 128, 256 and 512 filters.
    norm, activation : str
        See :class:`.PatchGAN`. Batch norm, the usual one, mixes the images of a batch.

    Raises
    ------
    InputError
        If an option is unknown.
    """
    from monai.networks.nets import ResNet

    layers = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 152: (3, 8, 36, 3)}
    widths = [_multiple_of_eight(count * width) for count in (64, 128, 256, 512)]
    body = ResNet(
        "basic" if depth < 50 else "bottleneck",
        list(layers[depth]),
        widths,
        spatial_dims=dimensions,
        n_input_channels=in_channels,
        num_classes=1,
        norm=_norm(norm),
        act=_activation(activation),
    )
    _give_blocks_their_options(body, _norm(norm), _activation(activation), dimensions)
    return Classifier(body, dimensions=dimensions, in_channels=in_channels)


def densenet(
    *, dimensions: int, in_channels: int, width: float, norm: str, activation: str
) -> Classifier:
    """MONAI's DenseNet-121 (Huang et al. 2017); see :func:`resnet`."""
    from monai.networks.nets import DenseNet121

    try:
        body = DenseNet121(
            spatial_dims=dimensions,
            in_channels=in_channels,
            out_channels=1,
            init_features=_multiple_of_eight(64 * width),
            growth_rate=_multiple_of_eight(32 * width),
            norm=_norm(norm),
            act=_activation(activation),
        )
    except ValueError as error:
        # Its transitions halve the channels, which then need not be a multiple of the groups.
        raise InputError(
            f"norm {norm!r} does not fit a DenseNet of width {width} ({error}); use another norm "
            "or a width of 1"
        ) from error
    return Classifier(body, dimensions=dimensions, in_channels=in_channels)


def _give_blocks_their_options(
    body: nn.Module, norm: Any, activation: Any, dimensions: int
) -> None:
    """Put the normalisation and the activation also into the residual blocks, in place.

    MONAI's ResNet gives both to its first layer only: its blocks have batch norm, which would mix
    the images of a batch, and rectifiers in place, whatever was asked for.
    """
    from monai.networks.layers.utils import get_act_layer, get_norm_layer

    for module in list(body.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, (nn.BatchNorm2d, nn.BatchNorm3d)):
                channels = child.num_features
                made = get_norm_layer(name=norm, spatial_dims=dimensions, channels=channels)
            elif isinstance(child, nn.ReLU):
                made = get_act_layer(name=activation)
            else:
                continue
            setattr(module, name, made)


def _multiple_of_eight(count: float) -> int:
    """Group norm needs groups."""
    return max(8, 8 * round(count / 8))


def _norm(name: str) -> Any:
    """MONAI's way to name a normalisation."""
    known: dict[str, Any] = {
        # Affine: MONAI initialises the weights of every norm.
        "instance": ("instance", {"affine": True}),
        "batch": "batch",
        "group": ("group", {"num_groups": 8}),
        "layer": ("group", {"num_groups": 1}),
    }
    if name not in known:
        raise InputError(f"norm {name!r}: one of {', '.join(known)} was expected here")
    return known[name]


def _activation(name: str) -> Any:
    # Not in place: relevance propagation and counterfactuals look at activations afterwards.
    known: dict[str, Any] = {
        "relu": ("relu", {"inplace": False}),
        "leaky_relu": ("leakyrelu", {"negative_slope": 0.2, "inplace": False}),
        "elu": ("elu", {"inplace": False}),
    }
    if name not in known:
        raise InputError(f"activation {name!r}: one of {', '.join(known)} was expected here")
    return known[name]
