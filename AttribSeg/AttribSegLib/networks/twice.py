"""Layers whose second derivatives cost no more than their first.

Training under an attribution constraint differentiates the input gradient again. For
convolutions and instance normalisation PyTorch's own second derivatives are right but slow: a
dilated convolution for the weights, a dozen passes over memory for the normalisation. The layers
here write every derivative with the three primitives of a convolution (output, input gradient,
weight gradient) and with the closed form of the normalisation, so that a constrained step comes
close to its arithmetic floor of 1.5 plain steps. State dictionaries are those of the ordinary
layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd import Function

#: How many contexts of each kind are open. Plain numbers, not thread-local ones, because
#: autograd runs backward passes of CUDA tensors in threads of its own.
_open = {"input_only": 0, "weights_only": 0, "plain": 0}


@contextmanager
def input_gradients_only() -> Iterator[None]:
    """Within this context a backward pass computes no weight gradients.

    Autograd asks a custom function for the gradients of all its inputs, also when only the
    input's is wanted. Without this context everything is computed, as usual.
    """
    with _entered("input_only"):
        yield


@contextmanager
def weight_gradients_only() -> Iterator[None]:
    """Within this context a backward pass computes no gradient of the network's (leaf) input."""
    with _entered("weights_only"):
        yield


@contextmanager
def plain_layers() -> Iterator[None]:
    """Within this context the layers call PyTorch's own functions.

    For methods that watch or replace these functions while a network runs.
    """
    with _entered("plain"):
        yield


def use_twice_layers(network: nn.Module) -> nn.Module:
    """Let the ordinary convolutions of any network have cheap second derivatives, in place.

    Weights and state dictionary stay as they are.
    """
    kinds: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: Conv2d, nn.Conv3d: Conv3d}
    for module in network.modules():
        if type(module) in kinds:
            module.__class__ = kinds[type(module)]
    return network


@contextmanager
def _entered(kind: str) -> Iterator[None]:
    _open[kind] += 1
    try:
        yield
    finally:
        _open[kind] -= 1


def _wanted(ctx: Any, x: torch.Tensor) -> tuple[bool, bool]:
    """Whether the gradients of (input x, weights) are wanted."""
    input_wanted = ctx.needs_input_grad[0] and not (_open["weights_only"] and x.is_leaf)
    return input_wanted, ctx.needs_input_grad[1] and not _open["input_only"]


def _arguments(x: torch.Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> tuple:
    axes = x.ndim - 2
    return (stride, padding, (1,) * axes, False, (0,) * axes, 1)


class _Convolution(Function):
    """y = w * x + b."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, b: Any, stride: Any, padding: Any) -> Any:
        ctx.save_for_backward(x, w)
        ctx.stride, ctx.padding = stride, padding
        return torch.convolution(x, w, b, *_arguments(x, stride, padding))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gy,) = gradients
        x, w = ctx.saved_tensors
        gx = gw = None
        input_wanted, weights_wanted = _wanted(ctx, x)
        if input_wanted:
            gx = _InputGradient.apply(gy, w, x.shape, ctx.stride, ctx.padding)
        if weights_wanted:
            gw = _WeightGradient.apply(gy, x, w.shape, ctx.stride, ctx.padding)
        gb = None
        if ctx.needs_input_grad[2] and not _open["input_only"]:
            gb = gy.sum(dim=(0, *range(2, gy.ndim)))
        return gx, gw, gb, None, None


class _InputGradient(Function):
    """gx = w^T * gy, linear in both."""

    @staticmethod
    def forward(ctx: Any, gy: Any, w: Any, shape: Any, stride: Any, padding: Any) -> Any:
        ctx.save_for_backward(gy, w)
        ctx.stride, ctx.padding = stride, padding
        few = w.shape[1] <= 4 and gy.device.type == "cpu"
        if few and set(w.shape[2:]) == {4} and set(stride) == {2} and set(padding) == {1}:
            return _upsampled(gy, w, shape)
        placeholder = gy.new_empty(1).expand(shape)
        return torch.ops.aten.convolution_backward(
            gy, placeholder, w, None, *_arguments(gy, stride, padding), (True, False, False)
        )[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (v,) = gradients
        gy, w = ctx.saved_tensors
        ggy = gw = None
        if ctx.needs_input_grad[0]:
            ggy = _Convolution.apply(v, w, None, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1] and not _open["input_only"]:
            gw = _WeightGradient.apply(gy, v, w.shape, ctx.stride, ctx.padding)
        return ggy, gw, None, None, None


def _upsampled(gy: torch.Tensor, w: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Input gradient of a convolution of kernel 4, stride 2, padding 1 onto few channels.

    The first layer has one input channel, for which the general routine is ten times slower than
    its arithmetic. Along each axis, gx[2t] = gy[t-1] w[3] + gy[t] w[1] and
    gx[2t-1] = gy[t-1] w[2] + gy[t] w[0]: one stride-1 convolution of kernel 2 gives all parities.
    """
    axes, channels = gy.ndim - 2, w.shape[1]
    taps = torch.tensor([2, 0, 3, 1], device=w.device)
    kernel = w
    for axis in range(axes):
        kernel = kernel.index_select(2 + 2 * axis, taps).unflatten(2 + 2 * axis, (2, 2))
    parities = [2 + 2 * axis for axis in range(axes)]
    kernel = kernel.permute(1, *parities, 0, *[axis + 1 for axis in parities])
    kernel = kernel.reshape(channels * 2**axes, gy.shape[1], *(2,) * axes)
    y = torch.convolution(gy, kernel, None, *_arguments(gy, (1,) * axes, (1,) * axes))
    steps = y.shape[2:]
    y = y.reshape(gy.shape[0], channels, *(2,) * axes, *steps)
    # Along each axis the values run 2t-1, 2t, 2t+1, ...: t outside, parity inside.
    order = [item for axis in range(axes) for item in (2 + axes + axis, 2 + axis)]
    y = y.permute(0, 1, *order).reshape(gy.shape[0], channels, *[2 * n for n in steps])
    for axis, size in enumerate(shape[2:]):
        y = y.narrow(2 + axis, 1, size)
    return y.contiguous()


class _WeightGradient(Function):
    """gw = gy * x, linear in both."""

    @staticmethod
    def forward(ctx: Any, gy: Any, x: Any, shape: Any, stride: Any, padding: Any) -> Any:
        ctx.save_for_backward(gy, x)
        ctx.stride, ctx.padding = stride, padding
        placeholder = gy.new_empty(1).expand(shape)
        return torch.ops.aten.convolution_backward(
            gy, x, placeholder, None, *_arguments(gy, stride, padding), (False, True, False)
        )[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (u,) = gradients
        gy, x = ctx.saved_tensors
        ggy = gx = None
        if ctx.needs_input_grad[0]:
            ggy = _Convolution.apply(x, u, None, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:  # third derivatives; never on the way of a training step
            gx = _InputGradient.apply(gy, u, x.shape, ctx.stride, ctx.padding)
        return ggy, gx, None, None, None


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Sum over voxels of a b, shape (B, C, 1, 1[, 1])."""
    return torch.linalg.vecdot(a.flatten(2), b.flatten(2)).reshape(
        a.shape[:2] + (1,) * (a.ndim - 2)
    )


def _mean(a: torch.Tensor) -> torch.Tensor:
    return a.mean(dim=tuple(range(2, a.ndim)), keepdim=True)


class _Normalise(Function):
    """(xhat, r) with xhat = (x - mean x) r and r = (var x + eps)^(-1/2), per image and channel."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> Any:
        y, _, r = torch.native_batch_norm(
            x.reshape(1, -1, *x.shape[2:]), None, None, None, None, True, 0.0, eps
        )
        xhat, r = y.view_as(x), r.reshape(x.shape[:2] + (1,) * (x.ndim - 2))
        ctx.save_for_backward(xhat, r)
        return xhat, r

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        g, gr = gradients
        xhat, r = ctx.saved_tensors
        return _NormaliseGradient.apply(g, xhat, r, gr), None


class _NormaliseGradient(Function):
    r"""gx = r (g - mean g - xhat mean(g xhat)) - (r^2 / n) gr xhat."""

    @staticmethod
    def forward(ctx: Any, g: Any, xhat: Any, r: Any, gr: Any) -> Any:
        ctx.save_for_backward(g, xhat, r, gr)
        n = xhat[0, 0].numel()
        slope = r * (_dot(g, xhat) / n) + r * r * gr / n
        return torch.addcmul(-r * _mean(g), g, r).addcmul_(xhat, -slope)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (v,) = gradients
        g, xhat, r, gr = ctx.saved_tensors
        n = xhat[0, 0].numel()
        mv, mg, c, d = _mean(v), _mean(g), _dot(v, xhat) / n, _dot(g, xhat) / n
        ggr = -(r * r) * c
        gg = torch.addcmul(-r * mv, v, r).addcmul_(xhat, -r * c)
        gxhat = (v * -(r * d + r * r * gr / n)).addcmul_(g, -r * c)
        gr_total = n * ((_dot(v, g) / n - mv * mg - c * d) - 2 * r * gr * c / n)
        return gg, gxhat, gr_total, ggr


def _plain(x: torch.Tensor) -> bool:
    """Whether PyTorch's own functions serve better, or are asked for."""
    lowered = torch.is_autocast_enabled(x.device.type)
    return bool(_open["plain"]) or lowered or not torch.is_grad_enabled()


class _TwiceMixin:
    """Forward of a convolution; one with groups, dilation or a padding mode is PyTorch's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if _plain(x) or not self._known():
            return super().forward(x)  # type: ignore[misc]
        return _Convolution.apply(x, self.weight, self.bias, self.stride, self.padding)  # type: ignore[attr-defined]

    def _known(self: Any) -> bool:
        undilated = self.groups == 1 and set(self.dilation) == {1}
        return undilated and self.padding_mode == "zeros" and not isinstance(self.padding, str)


class Conv2d(_TwiceMixin, nn.Conv2d):
    """`torch.nn.Conv2d` with a cheap second derivative."""


class Conv3d(_TwiceMixin, nn.Conv3d):
    """`torch.nn.Conv3d` with a cheap second derivative."""


class InstanceNorm(nn.Module):
    """Instance normalisation without affine parameters, with a cheap second derivative."""

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise every image and channel over its voxels, shape (B, C, I, J[, K])."""
        if _plain(x):
            return nn.functional.instance_norm(x, eps=self.eps)
        return _Normalise.apply(x, self.eps)[0]
