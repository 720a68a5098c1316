"""Detection at 2 mm and full width: seconds, and memory over the process before it."""

from __future__ import annotations

import torch
from AttribSegLib.recipes.attribution import AttributionRecipe
from timing import median_seconds, peak_mb, resident_mb


def measure() -> dict[str, float]:
    """Logit and gradient map of one 91 x 109 x 91 image, PatchGAN 3D 64-128-256-512."""
    recipe = AttributionRecipe(width=1.0, norm="instance")
    network = recipe.build(in_channels=1, dimensions=3).eval().requires_grad_(False)
    x = torch.randn(1, 1, 91, 109, 91)
    before = resident_mb()
    recipe.explain(network, x)
    memory = peak_mb() - before
    return {
        "detect_2mm_s": median_seconds(lambda: recipe.explain(network, x)),
        "detect_2mm_mb": memory,
    }
