"""Rectifiers split over the channels, at the cost of one ordinary rectifier.

In 3D networks these run over the largest arrays there are. Both halves are written into one
output: no parts are copied together, and the derivatives, also the second ones that a penalty on
gradients asks for, are single passes of the same kind.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function

_aten = torch.ops.aten


def split_rectifier(x: torch.Tensor, slope: float) -> torch.Tensor:
    """LeakyReLU r on the first half of the channels, -r(-x) on the other.

    Parameters
    ----------
    x : Tensor of shape (B, C, ...)
    slope : float
        Of r for x < 0, at least 0; 0 is ReLU.

    Returns
    -------
    Tensor of shape (B, C, ...)
    """
    return _SplitRectifier.apply(x, slope)


def _halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    first = (x.shape[1] + 1) // 2
    return x.narrow(1, 0, first), x.narrow(1, first, x.shape[1] - first)


class _SplitRectifier(Function):
    """y = max(x, 0) + s min(x, 0) on the first half, min(x, 0) + s max(x, 0) on the other."""

    @staticmethod
    def forward(ctx: Any, x: Any, slope: Any) -> Any:
        y = torch.empty_like(x)
        (convex, concave), (to_convex, to_concave) = _halves(x), _halves(y)
        if slope == 0:
            torch.clamp_min(convex, 0, out=to_convex)
            torch.clamp_max(concave, 0, out=to_concave)
        else:
            torch._C._nn.leaky_relu(convex, slope, out=to_convex)
            torch.mul(concave, slope, out=to_concave)
            nearer = torch.minimum if slope <= 1 else torch.maximum
            nearer(to_concave, concave, out=to_concave)
        # Not y, which a residual addition in place may change: norms that kept them apart are gone.
        ctx.save_for_backward(x)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,) = ctx.saved_tensors
        return _Slopes.apply(gradients[0], x, ctx.slope), None


class _Slopes(Function):
    """g times the slopes, which x tells by its sign; linear in g.

    At zero the slope is s on both halves, which is PyTorch's choice for r.
    """

    @staticmethod
    def forward(ctx: Any, g: Any, x: Any, slope: Any) -> Any:
        ctx.save_for_backward(x)
        ctx.slope = slope
        gx = torch.empty_like(x)
        (of_convex, of_concave), (convex, concave) = _halves(g), _halves(x)
        to_convex, to_concave = _halves(gx)
        _aten.leaky_relu_backward.grad_input(of_convex, convex, slope, False, grad_input=to_convex)
        _aten.hardtanh_backward.grad_input(
            of_concave, concave, -torch.inf, 0.0, grad_input=to_concave
        )
        if slope != 0:
            to_concave.lerp_(of_concave, slope)
        return gx

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,) = ctx.saved_tensors
        return _Slopes.apply(gradients[0], x, ctx.slope), None, None
