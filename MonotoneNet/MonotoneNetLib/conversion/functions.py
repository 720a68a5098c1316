"""Which functions and tensor methods keep a graph increasing and zero at zero.

Each known function has a rule that looks at its arguments. What is not known is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from .calls import TENSORS, Call, NotAdmissibleError, Seen, contains
from .leaves import interpolation_fault
from .refused_functions import REASONS, UNKNOWN

Rule = Callable[[Call], Seen]

#: Types that activations may be given: others have no negative numbers, or round to few.
_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _check_types(call: Call) -> None:
    given = (*call.args, *call.kwargs.values())
    kinds = [each for each in given if isinstance(each, torch.dtype)]
    other = [str(each) for each in kinds if call.name == "view" or each not in _FLOATING]
    if call.name == "view" and contains(given, Seen.DTYPE):
        other.append("another type")
    if other:
        raise NotAdmissibleError(f"as {other[0]}: the numbers become others")


def _one_value(call: Call) -> Seen:
    """A value and options that are none."""
    rest = (call.args[1:], {k: v for k, v in call.kwargs.items() if k != "input"})
    if contains(call.data, Seen.TENSOR) or contains(rest, Seen.TENSOR):
        raise NotAdmissibleError("of a parameter or buffer; put it into a layer")
    if call.data is not Seen.VALUE or contains(rest, *TENSORS):
        raise NotAdmissibleError("of something else than one activation and fixed options")
    _check_types(call)
    return Seen.VALUE


def _to(call: Call) -> Seen:
    """To a type or device, or those of another activation."""
    if call.data is Seen.VALUE and call.get(1, "other") is Seen.VALUE:
        return _one_value(Call(call.name, call.args[:1] + call.args[2:], {}))
    return _one_value(call)


def _dropout(call: Call) -> Seen:
    mode = call.get(2, "train" if "train" in call.kwargs else "training", True)
    if mode is not False and not call.training:
        raise NotAdmissibleError("random in evaluation too; give it training=self.training")
    return _one_value(call)


def _values(call: Call) -> Seen:
    """A list of values and an axis."""
    if not isinstance(call.data, list | tuple):
        return _one_value(call)
    if not all(each is Seen.VALUE for each in call.data) or contains(call.args[1:], *TENSORS):
        raise NotAdmissibleError("of something else than activations")
    return Seen.VALUE


def _number(argument: Any) -> float | None:
    is_number = isinstance(argument, int | float) and not isinstance(argument, bool)
    return float(argument) if is_number else None


def _add(call: Call) -> Seen:
    a, b = call.data, call.get(1, "other")
    if not contains((a, b), *TENSORS):
        return _arithmetic(call)
    alpha = _number(call.get(2, "alpha", 1))
    if alpha is None or not alpha >= 0:
        raise NotAdmissibleError(f"with alpha {alpha}, a subtraction")
    zero = [each is Seen.VALUE or _number(each) == 0 for each in (a, b)]
    if not all(zero):
        raise NotAdmissibleError("of something else than activations: not zero at zero")
    return Seen.VALUE


def _multiply(call: Call) -> Seen:
    a, b = call.data, call.get(1, "other")
    if not contains((a, b), *TENSORS):
        return _arithmetic(call)
    if contains((a, b), Seen.TENSOR, Seen.EXTREME, Seen.INDEX):
        raise NotAdmissibleError("by a parameter or buffer, whose sign is not known")
    if a is Seen.VALUE and b is Seen.VALUE:
        raise NotAdmissibleError("a product of activations")
    factor = b if a is Seen.VALUE else a
    number = _number(factor)
    if factor is Seen.SIZE or (number is not None and 0 <= number < torch.inf):
        return Seen.VALUE
    raise NotAdmissibleError("by something else than a number >= 0")


def _divide(call: Call) -> Seen:
    a, b = call.data, call.get(1, "other")
    if not contains((a, b), *TENSORS):
        return _arithmetic(call)
    if contains(b, *TENSORS):
        raise NotAdmissibleError("a division by activations")
    number = _number(b)
    positive = b is Seen.SIZE or (number is not None and 0 < number < torch.inf)
    if a is Seen.VALUE and positive and call.get(2, "rounding_mode") is None:
        return Seen.VALUE
    raise NotAdmissibleError("by something else than a number > 0")


def _arithmetic(call: Call) -> Seen:
    """Of sizes and numbers >= 0: again one."""
    numbers = [0.0 if each is Seen.SIZE else _number(each) for each in call.args]
    known = len(numbers) == 2 and all(n is not None and n >= 0 for n in numbers)
    return Seen.SIZE if known else Seen.PLAIN


_OF_A_CONSTANT = "of a constant: bounded; use the activation of torch.nn"


def _extreme(call: Call) -> Seen:
    """Largest or smallest value: of all, along an axis (with its index), or of two."""
    other, axis = call.get(1, "other"), call.kwargs.get("dim")
    if contains((call.data, other), Seen.ZERO):
        raise NotAdmissibleError(_OF_A_CONSTANT)
    if call.data is Seen.VALUE and other is Seen.VALUE:
        return Seen.VALUE
    _one_value(call)
    return Seen.VALUE if other is None and axis is None else Seen.EXTREME


def _pair(call: Call) -> Seen:
    pair = (call.data, call.get(1, "other"))
    if contains(pair, Seen.ZERO):
        raise NotAdmissibleError(_OF_A_CONSTANT)
    if pair == (Seen.VALUE, Seen.VALUE):
        return Seen.VALUE
    raise NotAdmissibleError("of something else than two activations")


def _interpolate(call: Call) -> Seen:
    fault = interpolation_fault(call.get(3, "mode", "nearest"))
    if fault:
        raise NotAdmissibleError(fault)
    return _one_value(call)


def _pad(call: Call) -> Seen:
    mode, value = call.get(2, "mode", "constant"), call.get(3, "value")
    if mode == "constant" and value is not None and _number(value) != 0:
        raise NotAdmissibleError(f"with {value}: only 0 is zero at zero")
    return _one_value(call)


def _average(call: Call) -> Seen:
    divisor = call.get(6, "divisor_override")
    if divisor is not None and not (_number(divisor) or 0) > 0:
        raise NotAdmissibleError(f"divided by {divisor}")
    return _one_value(call)


def _getitem(call: Call) -> Seen:
    source, index = call.args
    if source is Seen.EXTREME:
        if index in (0, 1):  # also where only the first is used, as in `v, _ = x.max(1)`
            return (Seen.VALUE, Seen.INDEX)[index]
        raise NotAdmissibleError("of, or by, something else than 0")
    if source in (Seen.TENSOR, Seen.INDEX) or contains(index, *TENSORS):
        raise NotAdmissibleError("of, or by, something else than activations and fixed places")
    return source


def _getattr(call: Call) -> Seen:
    source, name = call.args
    if source is Seen.EXTREME and name == "values":
        return Seen.VALUE
    if source in (Seen.VALUE, Seen.TENSOR) and name in ("shape", "ndim"):
        return Seen.SIZE
    if source is Seen.VALUE and name == "dtype":
        return Seen.DTYPE
    if source in (Seen.VALUE, Seen.TENSOR) and name in ("device", "requires_grad"):
        return Seen.PLAIN
    if source is Seen.VALUE and name in ("T", "mT", "H", "mH"):
        return Seen.VALUE
    raise NotAdmissibleError(f"attribute {name!r} is not known to be increasing")


def _size(call: Call) -> Seen:
    if call.data not in (Seen.VALUE, Seen.TENSOR, Seen.SIZE):
        raise NotAdmissibleError("of something that is no activation")
    return Seen.SIZE


def _whole(call: Call) -> Seen:
    """Whole quotients of sizes."""
    _plain(call)
    return _arithmetic(call)


def _plain(call: Call) -> Seen:
    if contains((call.args, call.kwargs), *TENSORS):
        raise NotAdmissibleError(REASONS.get(call.name, UNKNOWN))
    return Seen.PLAIN


def _zeros(call: Call) -> Seen:
    if contains((call.args[1:], call.kwargs), *TENSORS):
        raise NotAdmissibleError(UNKNOWN)
    _check_types(call)
    return Seen.ZERO


_SHAPING = (
    "flatten unflatten reshape view squeeze unsqueeze permute transpose swapaxes swapdims movedim "
    "moveaxis t contiguous clone expand repeat tile repeat_interleave narrow select chunk split "
    "tensor_split unbind flip roll rot90 unfold fold pixel_shuffle pixel_unshuffle "
    "channel_shuffle float double half bfloat16"
)
_REDUCING = "mean sum amax amin cumsum"
_DROPOUTS = "dropout dropout1d dropout2d dropout3d feature_dropout"
_POOLING = (
    "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d avg_pool1d"
)

#: Rules by name; those of functions hold for methods of tensors too.
RULES: dict[str, Rule] = {
    **dict.fromkeys(f"{_SHAPING} {_REDUCING} {_POOLING}".split(), _one_value),
    **dict.fromkeys(_DROPOUTS.split(), _dropout),
    "to": _to,
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack", "vstack"), _values),
    **dict.fromkeys(("add", "iadd"), _add),
    **dict.fromkeys(("mul", "imul", "multiply"), _multiply),
    **dict.fromkeys(("div", "truediv", "itruediv", "divide", "true_divide"), _divide),
    **dict.fromkeys(("max", "min"), _extreme),
    **dict.fromkeys(("maximum", "minimum"), _pair),
    "interpolate": _interpolate,
    "pad": _pad,
    "avg_pool2d": _average,
    "avg_pool3d": _average,
    "getitem": _getitem,
    "getattr": _getattr,
    **dict.fromkeys(("size", "numel", "dim", "ndimension"), _size),
    "floordiv": _whole,
    **dict.fromkeys(("sub", "neg", "mod", "pow"), _plain),
    **dict.fromkeys(("zeros_like", "new_zeros"), _zeros),
}


def judge(call: Call) -> Seen:
    """What a call gives.

    Raises
    ------
    NotAdmissibleError
        If it may not be increasing, or zero at zero.
    """
    rule = RULES.get(call.name)
    if rule is None:
        raise NotAdmissibleError(REASONS.get(call.name, UNKNOWN))
    if rule in (_extreme, _pair):
        return rule(call)
    made = rule(_zeros_as_values(call))
    moved = call.data is Seen.ZERO and call.name in (*_SHAPING.split(), "to", "getitem")
    return Seen.ZERO if made is Seen.VALUE and moved else made


def _zeros_as_values(call: Call) -> Call:
    """Zeros are activations, but for the rules of extremes."""

    def plain(argument: Any) -> Any:
        return Seen.VALUE if argument is Seen.ZERO else argument

    args = fx.node.map_aggregate(call.args, plain)
    kwargs = fx.node.map_aggregate(call.kwargs, plain)
    return Call(call.name, tuple(args), dict(kwargs), call.training)
