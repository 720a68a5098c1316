"""Why functions that are no part of a monotone network are refused."""

from __future__ import annotations

UNKNOWN = "not among the functions known to be increasing and zero at zero"
_FUNCTIONAL = "a layer whose weight is not made positive; use the module of torch.nn"
_ATTENTION = "attention, a softmax of products of activations"
_DECREASES = "not increasing"
_SHIFTED = "not zero at zero"

#: Why the common others are refused.
REASONS: dict[str, str] = {
    **dict.fromkeys(("sub", "subtract", "rsub", "isub"), "a subtraction"),
    **dict.fromkeys(("neg", "negative"), "a change of sign"),
    **dict.fromkeys(("matmul", "bmm", "mm", "einsum", "dot"), "a product of activations"),
    **dict.fromkeys(("softmax", "log_softmax", "softmin", "logsumexp"), "a softmax"),
    **dict.fromkeys(("scaled_dot_product_attention",), _ATTENTION),
    **dict.fromkeys(("gelu", "silu", "mish", "hardswish", "abs", "pow", "square"), _DECREASES),
    **dict.fromkeys(("sigmoid", "hardsigmoid", "softplus", "logsigmoid", "exp"), _SHIFTED),
    **dict.fromkeys(("tanh", "hardtanh", "relu6", "softsign"), "bounded"),
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "bilinear"), _FUNCTIONAL),
    **dict.fromkeys((f"conv_transpose{n}d" for n in (1, 2, 3)), _FUNCTIONAL),
    "detach": "a detached activation has no gradient",
    "prelu": "not increasing once its learnt slope turns negative",
    "rrelu": "random in training",
    "alpha_dropout": "dropout that sets activations to a negative number",
    "fractional_max_pool2d": "random",
    "lp_pool2d": "not increasing for negative inputs",
}
