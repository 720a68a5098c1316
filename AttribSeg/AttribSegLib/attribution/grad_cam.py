"""Grad-CAM: the channels of an inner layer, weighted by their mean gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from ..errors import InputError
from ..networks.twice import input_gradients_only

_LINEAR = {2: "bilinear", 3: "trilinear"}


def grad_cam(
    network: nn.Module,
    x: torch.Tensor,
    *,
    layer: str | nn.Module | None = None,
    relu: bool = True,
    mode: str = "linear",
) -> torch.Tensor:
    r"""Class activation map by the gradients of an inner layer (thesis ch. 2; Selvaraju 2017 [1]_).

    With A^c the channels of the layer's output and N its voxels,

    .. math:: \mathrm{ReLU}\Big(\sum_c A^c \, \frac{1}{N} \sum_{n=1}^{N}
              \frac{\partial F}{\partial A^c_n}\Big),

    brought from the layer's grid to that of the image.

    Parameters
    ----------
    network : Module
        Maps x to logits of shape (B,) or (B, 1); image b's logit must depend on image b only.
    x : Tensor of shape (B, C, I, J[, K])
    layer : str, Module or None
        The layer or its dotted name (as in ``network.named_modules()``); it must run once in a
        pass. None takes the last convolution to run whose output is still wider than one voxel;
        the last layer with weights to run, convolution or linear, is set aside before, because
        it produces the logits.
    relu : bool
        Keep only what argues for pathological. Without, the map is signed.
    mode : {"linear", "nearest"}
        Interpolation; "linear" is bilinear in 2D and trilinear in 3D.

    Returns
    -------
    Tensor of shape (B, 1, I, J[, K])

    Raises
    ------
    InputError
        If there is no such layer, its output is not of shape (B, channels, i, j[, k]), it does
        not run exactly once, or the logit does not depend on it.

    References
    ----------
    .. [1] R. R. Selvaraju et al., "Grad-CAM: visual explanations from deep networks via
       gradient-based localization", ICCV 2017.

    Examples
    --------
    F is the mean of A = 2 x over two voxels, whose gradient is 1/2 everywhere:

    >>> network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.AvgPool2d((1, 2)), nn.Flatten())
    >>> _ = nn.init.constant_(network[0].weight, 2.0)
    >>> grad_cam(network, torch.tensor([[[[1.0, -3.0]]]]), layer="0", relu=False)
    tensor([[[[ 1., -3.]]]])
    """
    if mode not in ("linear", "nearest"):
        raise InputError(f"mode {mode!r}: linear or nearest was expected")
    if x.ndim not in (4, 5):
        raise InputError(f"input of shape {tuple(x.shape)}: (B, C, I, J[, K]) was expected")
    x = x.detach()
    name, module = _default_layer(network, x) if layer is None else _find(network, layer)
    activation, slope = _activation_and_gradient(network, x, name, module)
    weights = slope.flatten(2).mean(2).reshape(*slope.shape[:2], *(1,) * (x.ndim - 2))
    result = (weights * activation).sum(1, keepdim=True)
    if relu:
        result = result.clamp(min=0)
    interpolation = mode if mode == "nearest" else _LINEAR[x.ndim - 2]
    return nn.functional.interpolate(result, size=x.shape[2:], mode=interpolation)


def _find(network: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    known = {name: module for name, module in network.named_modules() if name}
    if isinstance(layer, str):
        if layer not in known:
            some = ", ".join(list(known)[-8:])
            raise InputError(f"layer {layer!r}: not in the network, which has e.g. {some}")
        return layer, known[layer]
    for name, module in known.items():
        if module is layer:
            return name, module
    raise InputError(f"layer {type(layer).__name__}: the given module is not in the network")


def _default_layer(network: nn.Module, x: torch.Tensor) -> tuple[str, nn.Module]:
    """Last convolution to run, but the one producing the logits, that is wider than a voxel."""
    names = {module: name for name, module in network.named_modules()}
    weighted = [m for m in names if isinstance(m, _ConvNd | nn.Linear)]
    ran: list[tuple[nn.Module, torch.Size]] = []

    def note(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        ran.append((module, output.shape))

    handles = [module.register_forward_hook(note) for module in weighted]
    try:
        with torch.no_grad():
            network(x[:1])
    finally:
        for handle in handles:
            handle.remove()
    runs = [module for module, _ in ran]
    for module, shape in reversed(ran[:-1]):
        wide = len(shape) == x.ndim and max(shape[2:]) > 1
        if isinstance(module, _ConvNd) and wide and runs.count(module) == 1:
            return names[module], module
    raise InputError("layer None: no convolution before the logits is wider than one voxel")


def _activation_and_gradient(
    network: nn.Module, x: torch.Tensor, name: str, layer: nn.Module
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output of the layer and the gradient of the logits there, both (B, channels, i, j[, k])."""
    seen: list[torch.Tensor] = []

    def cut(_: nn.Module, __: Any, output: Any) -> torch.Tensor:
        if not isinstance(output, torch.Tensor) or output.ndim != x.ndim:
            what = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output)
            axes = "i, j" if x.ndim == 4 else "i, j, k"
            raise InputError(f"layer {name!r}: its output is {what}, not (B, channels, {axes})")
        seen.append(output.detach().requires_grad_(True))
        # A copy goes on, because what follows may be an activation in place.
        return seen[-1].clone()

    handle = layer.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits = network(x)
            total = logits.sum()
    finally:
        handle.remove()
    if len(seen) != 1:
        raise InputError(f"layer {name!r}: runs {len(seen)} times in a pass, once was expected")
    if logits.numel() != x.shape[0]:
        raise InputError(f"logits of shape {tuple(logits.shape)}: one per image was expected")
    slope = None
    if total.requires_grad:
        with input_gradients_only():
            (slope,) = torch.autograd.grad(total, seen[0], allow_unused=True)
    if slope is None:
        raise InputError(f"layer {name!r}: the logit does not depend on it")
    return seen[0].detach(), slope
