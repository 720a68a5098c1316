"""Activations of monotone networks: convex on half of the channels, concave on the others.

With positive weights, rectifiers r alone give convex functions only. Thesis ch. 6: r on one half
of the channels and -r(-x) on the other; by prop. 5 little is lost then.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from AttribSegLib.errors import InputError
from torch import nn

from .splitting import split_rectifier


class SplitActivation(nn.Module):
    """r(x) on the first half of the channels (axis 1), -q(-x) on the rest; q is r unless given.

    Of an odd number of channels the first half has one more; a single channel gets r, and is then
    bounded below if r is. After a Linear layer on inputs of more than two axes, axis 1 is not that
    of the features: the halves are then positions, which is monotone as well.

    Parameters
    ----------
    activation : Module
        r: ReLU, LeakyReLU, ELU, CELU, SELU, Identity or Tanh. It is copied, and works out of place.
    other : Module, optional
        q, where the halves shall differ. Tanh is bounded and needs a partner for which the pair is
        unbounded below: ``SplitActivation(nn.Tanh(), nn.ReLU())``, whose second half is min(x, 0).

    Raises
    ------
    InputError
        If the pair is not admissible, see :func:`pair_fault`.

    Examples
    --------
    >>> SplitActivation(nn.ReLU())(torch.tensor([[-1.0, -1.0], [2.0, 2.0]]))
    tensor([[ 0., -1.],
            [ 2.,  0.]])
    """

    def __init__(self, activation: nn.Module, other: nn.Module | None = None) -> None:
        super().__init__()
        fault = pair_fault(activation, activation if other is None else other)
        if fault:
            raise InputError(fault)
        self.activation = _out_of_place(activation)
        self.other = None if other is None else _out_of_place(other)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it.

        Parameters
        ----------
        x : Tensor of shape (B, C, ...)

        Raises
        ------
        InputError
            If there is no channel axis.
        """
        if x.ndim < 2:
            raise InputError(
                f"activation of shape {tuple(x.shape)}: (B, C, ...) was expected; add a batch axis"
            )
        slope = _slope(self.activation) if self.other is None else None
        if slope is not None:
            return split_rectifier(x, slope)
        convex, concave = x.tensor_split([(x.shape[1] + 1) // 2], dim=1)
        other = self.activation if self.other is None else self.other
        return torch.cat([self.activation(convex), -other(-concave)], dim=1)


def activation_fault(activation: nn.Module) -> str | None:
    """Why r is not one of the increasing activations with r(0) = 0 that are known, or None.

    Boundedness is a matter of the pair, see :func:`pair_fault`.
    """
    kind = type(activation)
    name = kind.__name__
    if kind in REFUSED_ACTIVATIONS:
        return f"{name} is {REFUSED_ACTIVATIONS[kind]}"
    if kind not in ACTIVATIONS:
        return f"{name} is not among the activations known to be increasing with r(0) = 0"
    if isinstance(activation, nn.LeakyReLU) and not _at_least_zero(activation.negative_slope):
        return f"{name} of slope {activation.negative_slope} is not increasing"
    if isinstance(activation, nn.ELU | nn.CELU) and not activation.alpha > 0:
        return f"{name} of alpha {activation.alpha} is not increasing"
    return None


def pair_fault(activation: nn.Module, other: nn.Module) -> str | None:
    """Why r(x) on one half and -q(-x) on the other is not admissible, or None.

    Both must be increasing and zero at zero, and on one of the halves the pair must be unbounded
    below: else there might be no counterfactual. That is r unbounded below or q unbounded above.

    Parameters
    ----------
    activation, other : Module
        r and q.
    """
    for each in (activation, other):
        fault = activation_fault(each)
        if fault:
            return fault
    if unbounded_below(activation) or type(other) is not nn.Tanh:
        return None
    names = type(activation).__name__, type(other).__name__
    pair = f"{names[0]} alone" if names[0] == names[1] else f"{names[0]} beside {names[1]}"
    return (
        f"{pair} is bounded below on both halves of the channels, so that a counterfactual need "
        "not exist; use a pair like SplitActivation(nn.Tanh(), nn.ReLU())"
    )


def unbounded_below(activation: nn.Module) -> bool:
    """Whether r(x) goes to minus infinity with x."""
    if isinstance(activation, nn.LeakyReLU):
        return activation.negative_slope > 0
    return isinstance(activation, nn.Identity)


#: Increasing, r(0) = 0. All but Tanh are unbounded above, hence -r(-x) unbounded below.
ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.Tanh,
    nn.Identity,
)

_DECREASES = "not increasing"
_SHIFTED = "not zero at zero"
_BOUNDED = "bounded on both sides, so that a counterfactual need not exist"

#: Why other activations of PyTorch are refused.
REFUSED_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.GELU: _DECREASES,
    nn.SiLU: _DECREASES,
    nn.Mish: _DECREASES,
    nn.Hardswish: _DECREASES,
    nn.PReLU: "not increasing once its learnt slope turns negative",
    nn.RReLU: "random in training; use LeakyReLU",
    nn.ReLU6: _BOUNDED,
    nn.Hardtanh: _BOUNDED,
    nn.Softsign: _BOUNDED,
    nn.Sigmoid: _SHIFTED,
    nn.Hardsigmoid: _SHIFTED,
    nn.LogSigmoid: _SHIFTED,
    nn.Softplus: _SHIFTED,
    nn.Threshold: "not zero at zero, or not increasing, for most of its values",
    nn.Hardshrink: "not continuous",
    nn.GLU: "a product of activations",
    nn.Softmax: "a softmax, which falls in the other channels",
    nn.Softmax2d: "a softmax, which falls in the other channels",
    nn.LogSoftmax: "a softmax, which falls in the other channels",
    nn.Softmin: "a softmax, which falls in the channel itself",
}


def _at_least_zero(number: float) -> bool:
    return math.isfinite(number) and number >= 0


def _slope(activation: nn.Module) -> float | None:
    """Slope on the negative side, if r is linear on both sides."""
    if isinstance(activation, nn.ReLU):
        return 0.0
    return activation.negative_slope if isinstance(activation, nn.LeakyReLU) else None


def _out_of_place(activation: nn.Module) -> nn.Module:
    """A copy that leaves its input alone: removed norms would share it with a skip connection."""
    made: Any = copy.deepcopy(activation)
    if hasattr(made, "inplace"):
        made.inplace = False
    return made
