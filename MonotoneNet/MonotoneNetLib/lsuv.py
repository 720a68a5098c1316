"""LSUV, the initialisation that runs the whole network again for every layer.

Here as what :mod:`.initialisation` is compared with.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from AttribSegLib.errors import InputError
from torch import nn
from torch.nn.utils import parametrize

from .noise_pass import Layer, free_weight, linear_layers, noise_pass, spread
from .rescaling import divide_parameter_


@dataclass(frozen=True)
class LsuvLayer:
    """A layer, the standard deviation of its output before and after, and its divisions."""

    name: str
    before: float
    after: float
    divisions: int


@dataclass(frozen=True)
class LsuvReport:
    """What :func:`lsuv_` did: the layers in the order of their first calls, and forward passes."""

    layers: tuple[LsuvLayer, ...]
    passes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)


def lsuv_(
    module: nn.Module,
    noise: torch.Tensor,
    *,
    tolerance: float = 0.1,
    max_trials: int = 10,
    orthonormal: bool = True,
) -> LsuvReport:
    r"""Layer-sequential unit variance (Mishkin and Matas 2016, alg. 1).

    Layer by layer: run the whole network, and while :math:`|\mathrm{Var}(y) - 1|` is not under the
    tolerance divide the layer's weight by the standard deviation of its output and run again.
    Biases stay. The passes are made as those of :func:`.propagate_variance_`.

    Parameters
    ----------
    module : Module
        Changed in place, and left half-way after an error.
    noise : Tensor of shape (B, C, ...)
        The batch; the same one for all layers.
    tolerance : float
        Of the variance.
    max_trials : int
        Largest number of divisions of a layer.
    orthonormal : bool
        Make the weights orthonormal first, as published; positive ones, which cannot be, and other
        parametrised ones are left as they are.

    Returns
    -------
    LsuvReport

    Raises
    ------
    InputError
        If an option is out of range, no layer is reached, or a layer's output is constant or not
        finite; names the layer.

    References
    ----------
    .. [1] D. Mishkin and J. Matas, "All you need is a good init", ICLR 2016.
    """
    if not tolerance > 0 or max_trials < 1:
        raise InputError(
            f"tolerance {tolerance}, max_trials {max_trials}: a positive number and at least one "
            "trial were expected"
        )
    layers = linear_layers(module)
    if orthonormal:
        for layer in layers.values():
            if not parametrize.is_parametrized(layer, "weight"):
                nn.init.orthogonal_(layer.weight)
    #: First calls in a pass; of all layers to know their order, later of one.
    measured: dict[str, float] = {}
    wanted: set[str] = set()

    def watch(name: str, layer: Layer, x: torch.Tensor, y: torch.Tensor) -> None:
        if name in wanted and name not in measured:
            measured[name] = float(spread(y))

    def measure(*names: str) -> dict[str, float]:
        measured.clear()
        wanted.clear()
        wanted.update(names)
        module(noise)
        return dict(measured)

    done: list[LsuvLayer] = []
    passes, weights = 1, set()
    with torch.no_grad(), noise_pass(module, watch):
        order = list(measure(*layers))
        if not order:
            raise InputError(f"{type(module).__name__}: no Linear or convolution was reached")
        for name in order:
            layer = layers[name]
            if id(free_weight(name, layer)) in weights:
                continue
            weights.add(id(free_weight(name, layer)))
            before = sigma = measure(name)[name]
            passes, divisions = passes + 1, 0
            while not abs(sigma**2 - 1) < tolerance and divisions < max_trials:
                if not (0 < sigma < float("inf")):
                    raise InputError(
                        f"layer {name!r}: the standard deviation of its output is {sigma}, so its "
                        "weight cannot be divided by it; check what it receives"
                    )
                divide_parameter_(layer, "weight", torch.tensor(sigma))
                sigma = measure(name)[name]
                passes, divisions = passes + 1, divisions + 1
            done.append(LsuvLayer(name, before, sigma, divisions))
    return LsuvReport(tuple(done), passes)
