"""A training step of a monotone network over the same one with ordinary weights and no norm.

PatchGAN 3D at a quarter of the width (16-32-64-128), batch 4 of 91 x 109 x 91, AdamW, on the image
itself; and, beside it, on the eight features that the recipe gives its body.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from AttribSegLib.networks.patchgan import PatchGAN
from AttribSegLib.networks.twice import weight_gradients_only
from MonotoneNetLib.conversion import monotone
from MonotoneNetLib.initialisation import propagate_variance_
from timing import alternate
from torch import nn
from torch.nn import functional

_BATCH, _SIZE = 4, (91, 109, 91)


def make_step(network: nn.Module, channels: int) -> Callable[[], None]:
    """One optimisation step on noise."""
    x = torch.randn(_BATCH, channels, *_SIZE)
    labels = torch.arange(_BATCH).remainder(2).float()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss = functional.binary_cross_entropy_with_logits(network(x), labels)
        with weight_gradients_only():
            loss.backward()
        optimiser.step()

    return step


def measure() -> dict[str, float]:
    """Ratios, and the seconds behind them."""
    results = {}
    for channels, name in ((1, "monotone_step"), (8, "monotone_step_features")):
        torch.manual_seed(0)
        plain = PatchGAN(dimensions=3, in_channels=channels, width=0.25, norm="none")
        body = monotone(plain)
        # Logits of both stay small, so that neither computes with denormal numbers.
        for network in (plain, body):
            propagate_variance_(network, torch.randn(1, channels, *_SIZE), centred=False)
        positive, ordinary = alternate(
            make_step(body, channels), make_step(plain, channels), repetitions=9
        )
        results[name] = positive / ordinary
        results[f"{name}_plain_s"] = ordinary
    return results
