"""Operations of a network, each replaced by one that carries relevance backwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name

from ..errors import InputError
from .lrp_rules import Relevance, Rule, Share, by_sign, in_proportion, passed_on


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Operations by the last part of their name, without underscores: relu is torch.relu,
# Tensor.relu_ and functional.relu alike.
_WEIGHTED = _names("linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
#: Affine in one input, the others being constants.
_PRODUCTS = _names("matmul rmatmul mm bmm mv einsum")
#: Affine in all inputs together.
_SUMS = _names(
    "add radd iadd sub rsub isub subtract sum nansum mean cumsum fold interpolate upsample "
    "avg_pool1d avg_pool2d avg_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
)
_ELEMENTWISE = _names(
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus softsign "
    "hardtanh hardsigmoid hardswish threshold tanh tanhshrink softshrink hardshrink sigmoid "
    "logsigmoid expit neg negative clamp clamp_min clamp_max clip abs exp log log1p expm1 "
    "sqrt square pow"
)
_NORMALISATIONS = _names("batch_norm instance_norm group_norm layer_norm local_response_norm")
_SCALINGS = _names("mul rmul imul multiply div truediv itruediv divide true_divide")
_DROPOUTS = _names(
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout"
)
#: Their own gradient hands relevance to where the value came from. That of a maximum is the
#: winner's alone.
_ROUTES = _names(
    "max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
    "max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "max amax min amin maximum minimum topk sort cat concat concatenate stack hstack vstack "
    "reshape view view_as reshape_as flatten unflatten ravel permute transpose swapaxes movedim "
    "moveaxis t T mT squeeze unsqueeze expand expand_as broadcast_to repeat tile flip roll "
    "getitem iter index_select gather take narrow select split chunk tensor_split unbind pad "
    "constant_pad_nd unfold pixel_shuffle pixel_unshuffle where masked_fill contiguous clone to "
    "type type_as float double half bfloat16 cpu cuda"
)
_CONSTANTS = _names(
    "detach data size dim ndimension ndim shape numel nelement stride device dtype layout "
    "is_contiguous is_floating_point requires_grad is_leaf grad_fn is_cuda zeros_like ones_like "
    "empty_like full_like new_zeros new_ones new_full new_empty new_tensor"
)


class Propagation(TorchFunctionMode):
    """While it is entered, operations on activations carry relevance in their backward passes.

    Activations are the tensors with a history. Parameters have none, and what is made of
    parameters alone gets none.

    Parameters
    ----------
    rule : Rule
        For the weighted layers.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule
        # What an operation in place made of a tensor, by the tensor's identity. The tensor is
        # kept with it, so that its identity is not given to another.
        self._successors: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def now(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return what the network takes the tensor for, after operations in place."""
        while id(tensor) in self._successors:
            tensor = self._successors[id(tensor)][1]
        return tensor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors: list[torch.Tensor] = []

        def collect(tensor: torch.Tensor) -> torch.Tensor:
            tensors.append(self.now(tensor))
            return tensors[-1]

        args, kwargs = _mapped((args, kwargs or {}), collect)
        if not tensors:
            return func(*args, **kwargs)
        operation = _Operation(func, args, kwargs, tensors)
        if not operation.active or operation.name in _CONSTANTS:
            with torch.no_grad():
                return func(*args, **kwargs)
        if operation.name in _ROUTES and not operation.in_place:
            return func(*args, **kwargs)
        output, target = operation.run()
        share = operation.share(output, self.rule)
        if share is None:
            if _has_numbers(output):
                raise InputError(
                    f"lrp: no rule for the operation {operation.full_name} on these activations"
                )
            return output
        result = Relevance.apply(share, output, *operation.active)
        if target is not None:
            self._successors[id(target)] = (target, result)
        return result


class _Operation:
    """One call of a function, with the tensors in its arguments in order."""

    def __init__(self, func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> None:
        self.func, self.args, self.kwargs, self.tensors = func, args, kwargs, tensors
        self.active = [tensor for tensor in tensors if _is_activation(tensor)]
        self.full_name = resolve_name(func) or getattr(func, "__name__", repr(func))
        parts = self.full_name.split(".")
        last = parts[-2] if parts[-1] == "__get__" else parts[-1]
        self.name = last.strip("_")
        self.in_place = last.endswith("_") and not last.endswith("__")

    def call(self, *values: torch.Tensor) -> Any:
        """Call the function with other values for its tensors."""
        rest = iter(values)
        args, kwargs = _mapped((self.args, self.kwargs), lambda _: next(rest))
        return self.func(*args, **kwargs)

    def call_active(self, *values: torch.Tensor) -> Any:
        """Call the function with other values for its activations."""
        rest = iter(values)
        return self.call(
            *[next(rest) if _is_activation(t) else t.detach().clone() for t in self.tensors]
        )

    def run(self) -> tuple[Any, torch.Tensor | None]:
        """Output, and the tensor that it replaces if the function works in place."""
        with torch.no_grad():
            if self.name in _WEIGHTED or self.name in _PRODUCTS:
                return self.call(*self.tensors), None
            copies = [tensor.clone() for tensor in self.tensors]
            output = self.call(*copies)
        for tensor, copy in zip(self.tensors, copies, strict=True):
            if output is copy:
                return output, tensor
        return output, None

    def share(self, output: Any, rule: Rule) -> Share | None:
        """How relevance goes back to the activations; None where no rule is known."""
        if self.name in _SUMS:
            return in_proportion(self.call_active, rule.epsilon)
        if len(self.active) > 1:
            return None
        if self.name in _WEIGHTED and rule.name == "alpha-beta":
            return self._by_sign(rule)
        if self.name in _WEIGHTED or self.name in _PRODUCTS:
            return in_proportion(self.call_active, rule.epsilon)
        if self.name in _SCALINGS:
            # A constant divided by an activation is no scaling.
            inverse = "div" in self.name and self.active[0] is not self.args[0]
            return None if inverse else passed_on
        if self.name in _DROPOUTS and not torch.equal(output, self.active[0]):
            raise InputError(f"lrp: {self.full_name} is at work; call network.eval() first")
        if self.name == "batch_norm" and self.kwargs.get("training", self.args[5:6] == (True,)):
            raise InputError("lrp: batch norm by the statistics of the batch mixes its images")
        if self.name == "batch_norm" and rule.merge_batch_norm:
            return in_proportion(self.call_active, rule.epsilon)
        known = self.name in _DROPOUTS or self.name in _NORMALISATIONS
        return passed_on if known or self.name in _ELEMENTWISE else None

    def _by_sign(self, rule: Rule) -> Share | None:
        given = dict(zip(("input", "weight", "bias"), self.args, strict=False)) | self.kwargs
        if given["input"] is not self.active[0]:
            return None

        def layer(a: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
            new = given | {"input": a, "weight": w, "bias": b}
            first = [new.pop(name) for name in ("input", "weight", "bias")]
            return self.func(*first, *self.args[3:], **new)

        bias = given.get("bias")
        return by_sign(
            layer, given["weight"].detach(), bias if bias is None else bias.detach(), rule
        )


def _is_activation(tensor: torch.Tensor) -> bool:
    return tensor.requires_grad and tensor.grad_fn is not None


def _mapped(item: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same arguments with every tensor changed, in order."""
    if isinstance(item, torch.Tensor):
        return change(item)
    if type(item) in (tuple, list):
        return type(item)(_mapped(entry, change) for entry in item)
    if type(item) is dict:
        return {key: _mapped(entry, change) for key, entry in item.items()}
    return item


def _has_numbers(output: Any) -> bool:
    """Whether activations may live on in the output; None is what an assignment returns."""
    if isinstance(output, tuple | list):
        return any(_has_numbers(entry) for entry in output)
    if isinstance(output, torch.Tensor):
        return output.is_floating_point() or output.is_complex()
    return output is None
