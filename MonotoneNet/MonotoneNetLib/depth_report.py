"""How features and gradients change with depth (thesis ch. 6, figs 6.4 to 6.6)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from AttribSegLib.errors import InputError
from torch import nn

from .correlation import measured_correlation, predicted_correlation_of_layer
from .noise_pass import Layer, channel_axis, noise_pass, spread


@dataclass(frozen=True)
class LayerStatistics:
    """The output of a Linear or a convolution, and the gradient by it.

    Parameters
    ----------
    name : str
        With the number of the call, from the second on.
    depth : int
        Calls before this one.
    std : float
        Standard deviation of all features.
    correlation : float
        Between two channels on average, see :func:`.measured_correlation`.
    predicted_correlation : float
        By prop. 6 from the layer's weights and inputs, see
        :func:`.predicted_correlation_of_layer`.
    gradient_std : float
        Standard deviation of the gradient; NaN if none was asked for or none reaches the layer.
    """

    name: str
    depth: int
    std: float
    correlation: float
    predicted_correlation: float
    gradient_std: float = math.nan


@dataclass(frozen=True)
class DepthReport:
    """Statistics of all layers in the order in which the network calls them."""

    layers: tuple[LayerStatistics, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON, in which what is not finite is None."""
        return {
            "layers": [
                {
                    key: None if isinstance(value, float) and not math.isfinite(value) else value
                    for key, value in asdict(layer).items()
                }
                for layer in self.layers
            ]
        }

    def __str__(self) -> str:
        width = max(len("layer"), *(len(layer.name) for layer in self.layers))
        lines = [f"{'layer':<{width}}  {'std':>9}  {'corr':>6}  {'prop. 6':>7}  {'gradient':>9}"]
        for layer in self.layers:
            lines.append(
                f"{layer.name:<{width}}  {layer.std:>9.3g}  {layer.correlation:>6.3f}  "
                f"{layer.predicted_correlation:>7.3f}  {layer.gradient_std:>9.3g}"
            )
        return "\n".join(lines)


def statistics_by_depth(
    module: nn.Module,
    noise: torch.Tensor,
    *,
    backward: bool = True,
    generator: torch.Generator | None = None,
) -> DepthReport:
    """Measure every Linear and convolution of a network on one batch of noise.

    The gradient is that of the network's output in a standard normal direction, by the output of
    each layer (thesis fig. 6.6). The pass is made as that of :func:`.propagate_variance_`; neither
    the network nor gradients that it has change.

    Parameters
    ----------
    module : Module
        Its output is a tensor.
    noise : Tensor of shape (B, C, ...)
    backward : bool
        Whether gradients are measured; they need memory for all features at once.
    generator : Generator, optional
        Source of the direction, on the device of the noise.

    Raises
    ------
    InputError
        If no layer is reached, or gradients are wanted of an output that is no tensor.
    """
    found: list[LayerStatistics] = []
    gradients: dict[int, float] = {}
    calls: dict[str, int] = {}

    def watch(name: str, layer: Layer, x: torch.Tensor, y: torch.Tensor) -> None:
        axis, depth = channel_axis(layer, y), len(found)
        calls[name] = calls.get(name, 0) + 1
        shown = name if calls[name] == 1 else f"{name} ({calls[name]})"
        features = y.detach()
        found.append(
            LayerStatistics(
                shown,
                depth,
                _std(features),
                measured_correlation(features, axis),
                predicted_correlation_of_layer(layer, x.detach()),
            )
        )
        if y.requires_grad:

            def keep(gradient: torch.Tensor) -> None:
                gradients[depth] = _std(gradient)

            y.register_hook(keep)

    with torch.set_grad_enabled(backward), noise_pass(module, watch):
        x = noise.detach().requires_grad_(backward)
        output = module(x)
        if backward:
            _pull_back(output, x, generator)
    if not found:
        raise InputError(f"{type(module).__name__}: no Linear or convolution was reached")
    return DepthReport(
        tuple(replace(each, gradient_std=gradients.get(each.depth, math.nan)) for each in found)
    )


def _std(values: torch.Tensor) -> float:
    """In double precision: networks that diverge leave the range of squares of single numbers."""
    return float(spread(values.double()))


def _pull_back(output: Any, x: torch.Tensor, generator: torch.Generator | None) -> None:
    """Run the backward pass of a standard normal direction, for the hooks on the way."""
    if not isinstance(output, torch.Tensor):
        raise InputError(
            f"the network gives a {type(output).__name__}: a tensor was expected, so that it has "
            "gradients; wrap the network, or use backward=False"
        )
    if output.requires_grad:
        direction = torch.empty_like(output).normal_(generator=generator)
        torch.autograd.grad(output, x, direction, allow_unused=True)
