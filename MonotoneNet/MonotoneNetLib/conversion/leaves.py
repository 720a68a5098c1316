"""What each known module is for a monotone network: a layer, a norm, an activation, ..."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from AttribSegLib.networks import twice
from torch import nn
from torch.fx import GraphModule
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from ..activations import ACTIVATIONS, REFUSED_ACTIVATIONS, SplitActivation


class Kind(Enum):
    """Part that a module plays."""

    LAYER = "layer"  # linear, with a weight and perhaps a bias
    NORM = "normalisation"
    ACTIVATION = "activation"
    SPLIT = "split activation"
    PASSING = "passing"  # increasing, keeps signs, nothing to learn
    CONTAINER = "container"  # its own forward says what it does
    LIST = "list"  # holds modules, is never called
    REFUSED = "refused"


LAYERS: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    twice.Conv2d,
    twice.Conv3d,
)

_NORMS: tuple[type[nn.Module], ...] = (
    _BatchNorm,
    nn.SyncBatchNorm,
    _InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
    nn.CrossMapLRN2d,
    nn.RMSNorm,
    twice.InstanceNorm,
)

_LISTS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def _no_indices(module: Any) -> str | None:
    return "returns indices too" if module.return_indices else None


def _zero_constant(module: Any) -> str | None:
    return None if module.value == 0 else f"pads with {module.value}; only 0 is zero at zero"


def _no_bicubic(module: Any) -> str | None:
    return interpolation_fault(module.mode)


def _divides_positively(module: Any) -> str | None:
    divisor = module.divisor_override
    return None if divisor is None or divisor > 0 else f"divides by {divisor}"


def interpolation_fault(mode: Any) -> str | None:
    """Why an upsampling is not monotone, or None."""
    known = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area")
    if mode in known:
        return None
    return f"{mode} interpolation has negative weights; use one of {', '.join(known)}"


#: Passing modules, with a check of their options where these matter.
_PASSING: dict[type[nn.Module], Callable[[Any], str | None] | None] = {
    nn.MaxPool1d: _no_indices,
    nn.MaxPool2d: _no_indices,
    nn.MaxPool3d: _no_indices,
    nn.AdaptiveMaxPool1d: _no_indices,
    nn.AdaptiveMaxPool2d: _no_indices,
    nn.AdaptiveMaxPool3d: _no_indices,
    nn.AvgPool1d: None,
    nn.AvgPool2d: _divides_positively,
    nn.AvgPool3d: _divides_positively,
    nn.AdaptiveAvgPool1d: None,
    nn.AdaptiveAvgPool2d: None,
    nn.AdaptiveAvgPool3d: None,
    nn.ConstantPad1d: _zero_constant,
    nn.ConstantPad2d: _zero_constant,
    nn.ConstantPad3d: _zero_constant,
    nn.Upsample: _no_bicubic,
    nn.UpsamplingNearest2d: _no_bicubic,
    nn.UpsamplingBilinear2d: _no_bicubic,
    **{getattr(nn, f"ZeroPad{n}d"): _zero_constant for n in (1, 2, 3)},
    **{getattr(nn, f"CircularPad{n}d"): None for n in (1, 2, 3)},
    **{getattr(nn, f"{k}Pad{n}d"): None for k in ("Reflection", "Replication") for n in (1, 2, 3)},
    nn.Identity: None,
    nn.Dropout: None,
    nn.Dropout1d: None,
    nn.Dropout2d: None,
    nn.Dropout3d: None,
    nn.Flatten: None,
    nn.Unflatten: None,
    nn.Fold: None,
    nn.Unfold: None,
    nn.PixelShuffle: None,
    nn.PixelUnshuffle: None,
    nn.ChannelShuffle: None,
}

_SHIFTED_DROPOUT = "dropout that sets channels to a negative number; use Dropout"
_GATES = "made of gates, which multiply activations"
_NEGATIVE_POWERS = "not increasing for negative inputs"

_REFUSED: dict[str, str] = {
    "MultiheadAttention": "attention, a softmax of products of activations",
    "Transformer": "built on attention",
    "TransformerEncoder": "built on attention",
    "TransformerDecoder": "built on attention",
    "TransformerEncoderLayer": "built on attention",
    "TransformerDecoderLayer": "built on attention",
    "Bilinear": "a product of activations",
    "CosineSimilarity": "a product of activations",
    "LSTM": _GATES,
    "GRU": _GATES,
    "LSTMCell": _GATES,
    "GRUCell": _GATES,
    "AlphaDropout": _SHIFTED_DROPOUT,
    "FeatureAlphaDropout": _SHIFTED_DROPOUT,
    "LPPool1d": _NEGATIVE_POWERS,
    "LPPool2d": _NEGATIVE_POWERS,
    "LPPool3d": _NEGATIVE_POWERS,
    "FractionalMaxPool2d": "random; use MaxPool2d",
    "FractionalMaxPool3d": "random; use MaxPool3d",
}


def kind_of(module: nn.Module) -> Kind:
    """The part a module plays; see :func:`leaf_fault` for whether it may."""
    if type(module) is SplitActivation:
        return Kind.SPLIT
    if _base(module, _NORMS):
        return Kind.NORM
    if _base(module, LAYERS):
        return Kind.LAYER
    if _base(module, tuple(_PASSING)):
        return Kind.PASSING
    if isinstance(module, (*ACTIVATIONS, *REFUSED_ACTIVATIONS)):
        return Kind.ACTIVATION
    if isinstance(module, _LISTS):
        never_called = type(module).forward is nn.Module.forward
        return Kind.LIST if never_called else Kind.CONTAINER
    of_pytorch = type(module).__module__.startswith(("torch.nn.modules.", "torch.nn.utils."))
    if of_pytorch and not isinstance(module, nn.Sequential):
        return Kind.REFUSED
    return Kind.CONTAINER


def module_fault(module: nn.Module) -> str | None:
    """Why a module cannot be judged by its class, or not be part of a monotone network, or None.

    Activations are checked by :mod:`.activations`, weights and forwards by the caller.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return "TorchScript, which cannot be converted; give the module it was made from"
    own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    if any(is_lazy(each) for each in own):
        return "a lazy module without weights yet; run the network once first"
    return tampering(module) or leaf_fault(module)


def leaf_fault(module: nn.Module) -> str | None:
    """Why a module that is no container cannot be part of a monotone network, or None.

    See :func:`module_fault`.
    """
    if kind_of(module) is Kind.REFUSED:
        name = type(module).__name__
        return _REFUSED.get(name, "not among the modules known to be increasing with f(0) = 0")
    base = _base(module, tuple(_PASSING))
    check = _PASSING[base] if base else None
    return check(module) if check else None


def tampering(module: nn.Module) -> str | None:
    """Why a module may do something else than its class says, or None."""
    if module._forward_hooks or module._forward_pre_hooks:
        return "has forward hooks, which may change what it computes; remove them first"
    kind: Any = type(module)
    for name, value in vars(module).items():
        # What PyTorch itself may set there is None; a graph module keeps its call in its class.
        shadows = inspect.isfunction(getattr(kind, name, None)) or name in _CALLS
        if shadows and value is not None:
            return f"has a {name} of its own beside that of its class; write it into the class"
    if kind.__call__ is not nn.Module.__call__ and not isinstance(module, GraphModule):
        return "has a __call__ of its own beside its forward"
    if any(getattr(kind, name) is not getattr(nn.Module, name) for name in _CALLS[:2]):
        return "is called in a way of its own beside its forward"
    return None


#: What stands between the call of a module and its forward.
_CALLS = ("_call_impl", "_wrapped_call_impl", "_compiled_call_impl", "_wrapped_call")


def _base(module: nn.Module, known: tuple[type[nn.Module], ...]) -> type[nn.Module] | None:
    """The known class a module is, also as a subclass that computes the same.

    Parametrised layers have such a class; a subclass with another forward is a container.
    """
    for kind in type(module).__mro__:
        if kind in known:
            return kind
        if {"forward", "_conv_forward", "__call__", "_call_impl"} & set(vars(kind)):
            return None
    return None
