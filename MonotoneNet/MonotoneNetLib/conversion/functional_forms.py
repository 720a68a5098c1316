"""Functional forms of activations and norms, and the modules that stand for them."""

from __future__ import annotations

from torch import nn

from .calls import Call, NotAdmissibleError

#: Functional norms: removed like the modules.
NORMS = (
    "batch_norm",
    "instance_norm",
    "group_norm",
    "layer_norm",
    "local_response_norm",
    "rms_norm",
)

_CLAMPED = "bounded, unless it only cuts at 0 from below"


def activation_module(call: Call) -> nn.Module | None:
    """The activation a call computes, or None if it is none of those that can be split.

    Parameters
    ----------
    call : Call
        To ``relu``, ``leaky_relu``, ``elu``, ``celu``, ``selu``, or a clamp at 0 from below.

    Raises
    ------
    NotAdmissibleError
        If its options are not fixed numbers, or a clamp is another one.
    """
    name = call.name
    if name == "relu":
        return nn.ReLU()
    if name == "selu":
        return nn.SELU()
    if name == "leaky_relu":
        return nn.LeakyReLU(_fixed(call, "negative_slope", 0.01))
    if name == "elu":
        return nn.ELU(_fixed(call, "alpha", 1.0))
    if name == "celu":
        return nn.CELU(_fixed(call, "alpha", 1.0))
    if name in ("clamp", "clip", "clamp_min"):
        low, high = call.get(1, "min"), call.get(2, "max")
        if high is not None or isinstance(low, bool) or low != 0:
            raise NotAdmissibleError(_CLAMPED)
        return nn.ReLU()
    return None


def _fixed(call: Call, keyword: str, default: float) -> float:
    value = call.get(1, keyword, default)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise NotAdmissibleError(f"whose {keyword} is not a fixed number")
    if {"scale", "input_scale"} & set(call.kwargs):
        raise NotAdmissibleError("with a scale of its own")
    return float(value)
