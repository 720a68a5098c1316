"""A training step under the attribution constraint over a plain one.

Configurations: ``constrained_step_2d`` is PatchGAN 2D at full width, batch 16 of 128 x 128;
``constrained_step_3d`` is PatchGAN 3D at a quarter of the width, batch 4 of 91 x 109 x 91. Half
of each batch is healthy; instance norm; AdamW.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from AttribSegLib.networks.twice import weight_gradients_only
from AttribSegLib.recipes import Batch
from AttribSegLib.recipes.attribution import AttributionRecipe
from timing import alternate

CONFIGURATIONS = {
    "constrained_step_2d": (1.0, 16, (128, 128)),
    "constrained_step_3d": (0.25, 4, (91, 109, 91)),
}


#: ``step_g``, ``step_eg`` and ``step_ieg``: what the constraint is put on, in 2D.
ATTRIBUTIONS = {
    "step_g": "gradient",
    "step_eg": "expected_gradients",
    "step_ieg": "integrated_expected_gradients",
}


def make_step(
    constraint: str,
    width: float,
    batch: int,
    size: tuple[int, ...],
    attribution: str = "gradient",
) -> Callable[[], None]:
    """One optimisation step as the trainer makes it, on noise."""
    torch.manual_seed(0)
    recipe = AttributionRecipe(
        constraint=constraint,
        attribution=attribution,
        width=width,
        norm="instance",
        optimiser="adamw",
    )
    network = recipe.build(in_channels=1, dimensions=len(size))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    healthy, pathological = torch.randn(2, batch // 2, 1, *size).unbind(0)
    brain = torch.ones(batch // 2, 1, *size, dtype=torch.bool)
    nothing = torch.zeros(batch // 2, dtype=torch.bool)
    references = torch.randn(batch, 1, *size)
    batch_seen = Batch(healthy, pathological, brain, brain, ~brain, nothing, references)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss = recipe.batch_loss(network, batch_seen)
        with weight_gradients_only():
            loss.total.backward()
        optimiser.step()

    return step


def measure() -> dict[str, float]:
    """Ratios, and the seconds behind them."""
    results = {}
    for name, (width, batch, size) in CONFIGURATIONS.items():
        constrained, plain = alternate(
            make_step("unsup", width, batch, size),
            make_step("none", width, batch, size),
            repetitions=9,
        )
        results[name] = constrained / plain
        results[f"{name}_plain_s"] = plain
    for name, attribution in ATTRIBUTIONS.items():
        width, batch, size = CONFIGURATIONS["constrained_step_2d"]
        constrained, plain = alternate(
            make_step("unsup", width, batch, size, attribution),
            make_step("none", width, batch, size),
            repetitions=9,
        )
        results[name] = constrained / plain
    return results
