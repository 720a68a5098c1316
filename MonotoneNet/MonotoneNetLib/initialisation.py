"""Initialisation of any graph in one pass of noise (thesis ch. 6, alg. 1 and 2).

The usual random initialisations keep the size of features by a formula that holds for a chain of
layers with weights of mean zero. Positive weights have another mean, so that the features of a
layer are correlated and grow from layer to layer; residual additions and pooling break the
formula too. Here the size is measured instead.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from AttribSegLib.errors import InputError
from torch import nn
from torch.nn.utils import parametrize

from .noise_pass import Layer, channel_axis, free_weight, linear_layers, noise_pass, spread
from .rescaling import divide_, divide_parameters_, require_followed, ties

PER = ("layer", "channel")
SCHEMES = ("kaiming", "xavier", "default")


@dataclass(frozen=True)
class RescaledLayer:
    """A layer and what its weight was divided by.

    Parameters
    ----------
    name : str
    spread : tuple of float
        Standard deviation (or root mean square) of its output before: one, or one per channel.
    calls : int
        How often the network calls it, or a layer with the same weight. Only the output of the
        first call is of unit size.
    tied : tuple of str
        Layers that have the same weight.
    """

    name: str
    spread: tuple[float, ...]
    calls: int = 1
    tied: tuple[str, ...] = ()

    @property
    def factors(self) -> tuple[float, ...]:
        """What the effective weight was multiplied by."""
        return tuple(1 / each for each in self.spread)


@dataclass(frozen=True)
class InitialisationReport:
    """What :func:`propagate_variance_` did.

    Parameters
    ----------
    per, centred
        As asked for.
    layers : tuple of RescaledLayer
        In the order in which the network calls them.
    unreached : tuple of str
        Layers that the network did not call: they are as they were.
    """

    per: str
    centred: bool
    layers: tuple[RescaledLayer, ...]
    unreached: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        quantity = "standard deviation" if self.centred else "root mean square"
        width = max(len(layer.name) for layer in self.layers)
        lines = [f"{len(self.layers)} layers rescaled to {quantity} 1 per {self.per}; before:"]
        for layer in self.layers:
            low, high = min(layer.spread), max(layer.spread)
            size = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
            calls = "" if layer.calls == 1 else f"  (called {layer.calls} times: the first counts)"
            tied = f"  (same weight: {', '.join(layer.tied)})" if layer.tied else ""
            lines.append(f"  {layer.name:<{width}}  {size}{calls}{tied}")
        if self.unreached:
            lines.append(f"not reached, left alone: {', '.join(self.unreached)}")
        return "\n".join(lines)


def propagate_variance_(
    module: nn.Module,
    noise: torch.Tensor,
    *,
    per: str = "layer",
    centred: bool = True,
    eps: float = 1e-12,
) -> InitialisationReport:
    r"""Give the output of every Linear and convolution unit variance, in one forward pass.

    At each of them, in the order in which the network calls them, the output
    :math:`y = W x + b` is measured, divided by its standard deviation :math:`\sigma` and passed on:

    .. math:: W \leftarrow W / \sigma, \quad b \leftarrow b / \sigma, \qquad
              \text{or } V \leftarrow \varphi^{-1}(\varphi(V) / \sigma)

    for a parametrised weight, so that nothing is computed twice. Dividing the bias too is ours
    (thesis and code have none): the next forward pass of the same noise then gives the very
    features that this one saw. Weights change only after the pass has come to its end, so that an
    error leaves the network as it was, without a copy of it.

    Dropout is off during the pass; normalisation layers normalise by the batch and keep their
    running averages. A layer that is called several times, or whose weight another layer has too,
    is rescaled for its first call. As ``torch.nn.init``, this does not ask whether a parameter
    ``requires_grad``.

    Parameters
    ----------
    module : Module
        Changed in place; draw it first, e.g. by :func:`draw_standard_init_`.
    noise : Tensor of shape (B, C, ...)
        Standard normal, of the size that the network is made for. Where the network ends in one
        value per image, an image is one sample of its size: of B images the estimate has a
        relative error of :math:`1 / \sqrt{2 B}`, a tenth for the 50 of the thesis.
    per : {"layer", "channel"}
        One divisor for all channels of a layer, or one for each.
    centred : bool
        Divide by the standard deviation (Bessel's correction, as ``Tensor.std``), or by the root
        mean square; both exist in print.
    eps : float
        A layer whose output spreads no more than this is dead.

    Returns
    -------
    InitialisationReport

    Raises
    ------
    InputError
        If a layer is dead, not finite or sees too few values; if no layer is reached; if a weight
        is computed by a hook, or by a parametrization that does not follow what is assigned; or
        if weights or biases are tied in a way that one divisor cannot serve. Names the layer.

    References
    ----------
    .. [1] D. Mishkin and J. Matas, "All you need is a good init", ICLR 2016: :func:`.lsuv_`, the
       same fixed point with one forward pass of the whole network, or more, for every layer.

    Examples
    --------
    >>> layers = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    >>> with torch.no_grad():
    ...     for layer in layers:
    ...         _ = layer.weight.fill_(3.0)
    >>> report = propagate_variance_(layers, torch.tensor([[-4.0], [0.0], [4.0]]))
    >>> [round(layer.spread[0], 4) for layer in report.layers], round(layers[0].weight.item(), 4)
    ([12.0, 3.0], 0.25)
    """
    if per not in PER:
        raise InputError(f"per {per!r}: one of {', '.join(PER)} was expected")
    if not eps >= 0:
        raise InputError(f"eps {eps}: a number of at least 0 was expected")
    layers = linear_layers(module)
    tied = ties(layers, per_channel=per == "channel")
    found: dict[int, tuple[str, torch.Tensor]] = {}
    calls: dict[int, int] = {}
    reached: set[str] = set()

    def watch(name: str, layer: Layer, x: torch.Tensor, y: torch.Tensor) -> None:
        key = id(free_weight(name, layer))
        axis = channel_axis(layer, y) if per == "channel" else None
        if key not in found:
            sigma = spread(y, axis, centred=centred)
            _require_alive(name, y, sigma, eps)
            found[key] = (name, sigma)
        reached.add(name)
        calls[key] = calls.get(key, 0) + 1
        divide_(y, found[key][1], axis)

    # All of it in the modes of the pass: a parametrization may depend on them too.
    with torch.no_grad(), noise_pass(module, watch):
        module(noise)
        divisors = {name: sigma for key, (_, sigma) in found.items() for name in tied[key]}
        require_followed(layers, divisors)
        divide_parameters_(layers, divisors)
    if not found:
        raise InputError(
            f"{type(module).__name__}: no Linear or convolution was reached, so there is nothing "
            "to initialise"
        )
    rescaled = tuple(
        RescaledLayer(
            name,
            tuple(float(each) for each in sigma.reshape(-1)),
            calls[key],
            tuple(other for other in tied[key] if other != name),
        )
        for key, (name, sigma) in found.items()
    )
    unreached = tuple(name for name in layers if name not in reached and name not in divisors)
    return InitialisationReport(per, centred, rescaled, unreached)


def draw_standard_init_(
    module: nn.Module,
    *,
    scheme: str = "kaiming",
    slope: float = 0.0,
    generator: torch.Generator | None = None,
) -> None:
    """Draw every Linear and convolution anew: V where the weight is parametrised, else W.

    Biases become zero; normalisation layers stay.

    Parameters
    ----------
    module : Module
        Changed in place.
    scheme : {"kaiming", "xavier", "default"}
        Normal with the variance of He et al. 2015 (by what a unit receives) or of Glorot and
        Bengio 2010; or PyTorch's own uniform one.
    slope : float
        Of the LeakyReLU that Kaiming's gain is for; 0 is the rectifier.
    generator : Generator, optional
        Source of the numbers, for a draw that can be repeated.

    Raises
    ------
    InputError
        If the scheme is unknown.

    Examples
    --------
    >>> layer = nn.Linear(5000, 40)
    >>> draw_standard_init_(layer, generator=torch.Generator().manual_seed(1))
    >>> round(layer.weight.std().item(), 3)  # the root of 2 / 5000
    0.02
    """
    if scheme not in SCHEMES:
        raise InputError(f"scheme {scheme!r}: one of {', '.join(SCHEMES)} was expected")
    for name, layer in linear_layers(module).items():
        weight = free_weight(name, layer)
        # A parametrization of several parts (weight norm) has no V of the weight's shape.
        in_place = weight.shape == layer.weight.shape
        drawn = weight if in_place else torch.empty_like(layer.weight)
        if scheme == "xavier":
            nn.init.xavier_normal_(drawn, generator=generator)
        elif scheme == "kaiming":
            nn.init.kaiming_normal_(drawn, a=slope, generator=generator)
        else:
            nn.init.kaiming_uniform_(drawn, a=5**0.5, generator=generator)
        with torch.no_grad():
            if not in_place:
                layer.weight = drawn
            if layer.bias is not None:
                bias = torch.zeros_like(layer.bias)
                if parametrize.is_parametrized(layer, "bias"):
                    layer.bias = bias
                else:
                    layer.bias.copy_(bias)


def _require_alive(name: str, y: torch.Tensor, sigma: torch.Tensor, eps: float) -> None:
    dead = ~(sigma > eps) | ~sigma.isfinite()
    if bool(dead.any()):
        first = int(dead.reshape(-1).int().argmax())
        where = f"channel {first} of layer" if sigma.ndim else "layer"
        raise InputError(
            f"{where} {name!r}: its output of shape {tuple(y.shape)} spreads by "
            f"{sigma.reshape(-1)[first]:.3g} on the noise, so it cannot be rescaled; check its "
            "weights and what it receives, and give more noise images"
        )
