"""Initialisation in one pass of noise, against one forward pass and against LSUV.

ResNet-152 2D with three channels of 64 x 64, 50 images of noise: the standard network with batch
norm (the ones that the thesis has) and its monotone form without. A forward pass is one without
gradients in training mode, as the network is made. LSUV as published runs the whole network for
every layer about twice, some 300 times in all, which with 50 images can take half an hour: it is
run once, to its end, on five images, and compared with ours on the same five.
"""

from __future__ import annotations

import time
from functools import partial

import torch
from AttribSegLib.networks import build_network
from MonotoneNetLib.conversion import monotone
from MonotoneNetLib.initialisation import draw_standard_init_, propagate_variance_
from MonotoneNetLib.lsuv import lsuv_
from timing import alternate, median_seconds

_IMAGES, _IMAGES_FOR_LSUV = 50, 5


def _network() -> torch.nn.Module:
    torch.manual_seed(0)
    network = build_network(
        "resnet152", dimensions=2, in_channels=3, norm="batch", activation="relu"
    )
    draw_standard_init_(network)
    return network


def _forward(network: torch.nn.Module, noise: torch.Tensor) -> None:
    with torch.no_grad():
        network(noise)


def _over_forward(network: torch.nn.Module, noise: torch.Tensor) -> tuple[float, float]:
    """Ratio, and seconds of an initialisation."""
    ours, forward = alternate(
        partial(propagate_variance_, network, noise), partial(_forward, network, noise)
    )
    return ours / forward, ours


def measure() -> dict[str, float]:
    """Ratios, and what stands behind them."""
    noise = torch.randn(_IMAGES, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ratio, seconds = _over_forward(_network(), noise)
    monotone_ratio, _ = _over_forward(monotone(_network()), noise)
    network, few = _network(), noise[:_IMAGES_FOR_LSUV]
    own = median_seconds(partial(propagate_variance_, network, few))
    network = _network()
    start = time.perf_counter()
    report = lsuv_(network, few)
    whole = time.perf_counter() - start
    return {
        "init_over_forward": ratio,
        "init_over_forward_monotone": monotone_ratio,
        "init_s": seconds,
        "init_speedup_over_lsuv": whole / own,
        "lsuv_s": whole,
        "lsuv_passes": float(report.passes),
    }
