"""The networks of the study in their forms, each drawn in one of two ways."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from AttribSegLib.networks.patchgan import PatchGAN
from monai.networks.nets import ResNet
from MonotoneNetLib.conversion import monotone
from MonotoneNetLib.encoders import ConvolutionalEncoder
from MonotoneNetLib.initialisation import draw_standard_init_, propagate_variance_
from MonotoneNetLib.network import InterpretableMonotoneNet
from torch import nn

#: Form -> what figures and tables call it.
FORMS = {
    "batch": "standard, batch norm",
    "plain": "standard, no norm",
    "monotone": "monotone",
}
#: Initialisation -> what figures and tables call it.
INITS = {"kaiming": "Kaiming", "ours": "ours"}
_BLOCKS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
FEATURES = 8


def resnet(form: str, depth: int, *, width: float, channels: int, outputs: int) -> nn.Module:
    """A 2D ResNet in one of the forms; its first convolution has stride 2, as published."""
    block, layers = _BLOCKS[depth]
    body: nn.Module = ResNet(
        block,
        list(layers),
        [max(8, round(count * width)) for count in (64, 128, 256, 512)],
        spatial_dims=2,
        n_input_channels=channels,
        conv1_t_stride=2,
        num_classes=outputs,
        bias_downsample=False,
    )
    if form == "monotone":
        return monotone(body)
    return body if form == "batch" else without_norms(body)


def without_norms(module: nn.Module) -> nn.Module:
    """Put the identity in the place of every batch normalisation, in place."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    return module


def classifier(
    form: str,
    depth: int,
    init: str,
    *,
    width: float,
    size: int,
    seed: int,
    outputs: int = 6,
    centred: bool = False,
) -> InterpretableMonotoneNet:
    """An encoder and a ResNet above it, with a logit for each of the classes.

    Parameters
    ----------
    form, init : str
        Of :data:`FORMS` and :data:`INITS`; the latter is that of the encoder too.
    depth : {18, 34, 152}
    width : float
        Factor on the filters of the ResNet.
    size : int
        Of the images, and of the noise that "ours" measures on.
    seed : int
        Of weights and noise.
    outputs : int
        Classes.
    centred : bool
        Whether "ours" divides by the standard deviation, or by the root mean square.
    """
    body = resnet(form, depth, width=width, channels=FEATURES, outputs=outputs)
    return _above_encoder(body, init, size, seed=seed, centred=centred)


def patchgan(
    form: str, init: str, *, width: float, size: int, seed: int
) -> InterpretableMonotoneNet:
    """The same encoder and a PatchGAN above it, with one logit.

    Parameters
    ----------
    form : {"standard", "monotone"}
        The standard one has instance norm.
    init, width, size, seed
        As in :func:`classifier`.
    """
    body: nn.Module = PatchGAN(dimensions=2, in_channels=FEATURES, width=width)
    if form == "monotone":
        body = monotone(body)
    return _above_encoder(body, init, size, seed=seed, centred=False)


def perceptron(
    form: str, init: str, *, inputs: int, hidden: Sequence[int], outputs: int, seed: int
) -> nn.Module:
    """Linear layers with LeakyReLU between them, on the numbers themselves: no encoder below.

    Parameters
    ----------
    form : {"standard", "monotone"}
    init, seed
        As in :func:`classifier`.
    inputs, outputs : int
    hidden : sequence of int
        Units of the layers between.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise([inputs, *hidden, outputs]):
        layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
    network: nn.Module = nn.Sequential(*layers[:-1])
    if form == "monotone":
        network = monotone(network)
    draw(network, init, (inputs,), seed=seed, centred=False)
    return network


def _above_encoder(
    body: nn.Module, init: str, size: int, *, seed: int, centred: bool
) -> InterpretableMonotoneNet:
    encoder = ConvolutionalEncoder(
        dimensions=2, in_channels=1, features=FEATURES, kernels=(7, 3), norm="none"
    )
    network = InterpretableMonotoneNet(encoder, body)
    draw(network, init, (1, size, size), seed=seed, centred=centred)
    return network


def draw(
    network: nn.Module, init: str, shape: tuple[int, ...], *, seed: int, centred: bool
) -> dict[str, Any]:
    """Draw all weights; with "ours", rescale them on 50 noise images and tell by what."""
    generator = torch.Generator().manual_seed(seed)
    draw_standard_init_(network, generator=generator)
    if init == "kaiming":
        return {}
    noise = torch.randn(50, *shape, generator=generator)
    return propagate_variance_(network, noise, centred=centred).to_dict()
