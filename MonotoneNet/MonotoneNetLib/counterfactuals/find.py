"""Counterfactuals: what to take from the features of an image so that it counts as healthy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from AttribSegLib.errors import InputError
from torch import nn

from .adam import descend_by_adam
from .problem import Problem, reading
from .proximal import descend

METHODS = ("proximal", "adam")
STARTS = ("positive", "zero")
#: Score under which an image counts as healthy beyond doubt, m (thesis eq. 6.15).
MARGIN = -15.0
#: Weight of the L1 norm of alpha, lambda (thesis eq. 6.16).
SPARSITY = 1e-4
#: Steps that an image may take, by method. The proximal one needs six to ten.
MAX_ITERATIONS = {"proximal": 60, "adam": 2000}
#: Of Adam. The thesis takes 1e-5, with which features of size 1 need some 100 000 steps.
LEARNING_RATE = 1e-2


@dataclass(frozen=True)
class Counterfactual:
    """What was taken from the features of a batch of images.

    Parameters
    ----------
    alpha : Tensor of shape (B, C, I[, J[, K]])
        M(f - alpha) is the score; alpha >= 0 unless it was asked for with both signs.
    score_before, score : Tensor of shape (B,)
        M(f) and M(f - alpha).
    reached : Tensor of bool of shape (B,)
        Whether the score is under the margin.
    iterations : Tensor of int of shape (B,)
        Gradient steps.
    evaluations : Tensor of int of shape (B,)
        Forwards through the body, those with a gradient among them (one per step, and the first).
    objective : Tensor of shape (B,)
        M(f - alpha) + lambda ||alpha||_1.
    margin : float
        m.
    """

    alpha: torch.Tensor
    score_before: torch.Tensor
    score: torch.Tensor
    reached: torch.Tensor
    iterations: torch.Tensor
    evaluations: torch.Tensor
    objective: torch.Tensor
    margin: float

    @property
    def missed(self) -> list[int]:
        """Numbers of the images whose score did not get under the margin."""
        return (~self.reached).nonzero()[:, 0].tolist()


def counterfactual(
    body: nn.Module,
    features: torch.Tensor,
    *,
    margin: float = MARGIN,
    sparsity: float = SPARSITY,
    signed: bool = False,
    method: str = "proximal",
    start: str = "positive",
    max_iterations: int | None = None,
    learning_rate: float = LEARNING_RATE,
    region: torch.Tensor | None = None,
) -> Counterfactual:
    r"""What to take from each image's features until a network scores it healthy (ch. 6).

    .. math:: \min_{\alpha \ge 0} M(f - \alpha) + \lambda \|\alpha\|_1
              \quad \text{until} \quad M(f - \alpha) < m

    For a monotone M that is unbounded below such an alpha always exists, and it is large where
    positive features argue for "pathological": alpha is the map that gets thresholded. An image
    that is under the margin already keeps alpha = 0. The body is only read: modes, parameters and
    their gradients stay.

    Parameters
    ----------
    body : Module
        M; maps (B, C, I[, J[, K]]) to (B,) or (B, 1). Image b's score must depend on image b only.
    features : Tensor of shape (B, C, I[, J[, K]])
        f = C(x).
    margin : float
        m.
    sparsity : float
        lambda. With "proximal" the constraint comes before the penalty: no more of lambda counts
        than a tenth of the mean gradient, or alpha = 0 could be its own best.
    signed : bool
        Let alpha have both signs: the counterfactual of an ordinary network, for comparison.
    method : {"proximal", "adam"}
        A closed form and six or seven proximal gradient steps (see :func:`.descend`), or Adam on
        softplus(v) as in the thesis (see :func:`.descend_by_adam`), which needs hundreds to
        100 000.
    start : {"positive", "zero"}
        Of the proximal steps. "positive" takes the positive features first, which is a closed form
        for M <= 0: the map then has the resolution of the features, and is large on what training
        keeps out of healthy images. "zero" follows the gradient alone, which gives a somewhat
        smaller 1-norm. Signed counterfactuals always start at zero.
    max_iterations : int, optional
        No image gets more steps; :data:`MAX_ITERATIONS` unless given.
    learning_rate : float
        Of Adam.
    region : Tensor of bool, of shape (B, 1, I[, J[, K]]), optional
        Alpha stays zero outside.

    Returns
    -------
    Counterfactual
        Images for which the margin was not reached are in its ``missed``.

    Raises
    ------
    InputError
        If a value is out of range, shapes do not fit, or a feature or score is not finite.

    Examples
    --------
    Of a sum each feature loses in proportion to its size:

    >>> class Sum(nn.Module):
    ...     def forward(self, x):
    ...         return x.flatten(1).sum(1)
    >>> found = counterfactual(Sum(), torch.tensor([[[2.0, 4.0]]]), margin=3.0)
    >>> found.alpha.round(decimals=1), found.reached
    (tensor([[[1., 2.]]]), tensor([True]))
    """
    _check_options(method, start)
    _check_numbers(margin, sparsity, max_iterations, learning_rate)
    _check_tensors(features, region)
    steps = MAX_ITERATIONS[method] if max_iterations is None else max_iterations
    with reading(body):
        problem = Problem(
            body,
            features,
            region,
            margin=margin,
            sparsity=sparsity,
            signed=signed,
        )
        if method == "adam":
            descend_by_adam(problem, steps, learning_rate)
        else:
            descend(problem, steps, positive_first=start == "positive" and not signed)
    return Counterfactual(
        alpha=problem.alpha,
        score_before=problem.score_before,
        score=problem.score,
        reached=problem.score < margin,
        iterations=problem.iterations,
        evaluations=problem.evaluations,
        objective=problem.objective(),
        margin=margin,
    )


def _check_options(method: str, start: str) -> None:
    if method not in METHODS:
        raise InputError(f"method {method!r}: one of {', '.join(METHODS)} was expected")
    if start not in STARTS:
        raise InputError(f"start {start!r}: one of {', '.join(STARTS)} was expected")


def _check_numbers(
    margin: float, sparsity: float, max_iterations: int | None, learning_rate: float
) -> None:
    if not isinstance(margin, (int, float)) or not math.isfinite(margin):
        raise InputError(f"margin {margin}: a finite number was expected")
    if not (math.isfinite(sparsity) and sparsity >= 0):
        raise InputError(f"sparsity {sparsity}: zero or a positive number was expected")
    if max_iterations is not None and (max_iterations < 0 or max_iterations != int(max_iterations)):
        raise InputError(f"max_iterations {max_iterations}: zero or more steps were expected")
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise InputError(f"learning_rate {learning_rate}: a positive number was expected")


def _check_tensors(features: torch.Tensor, region: torch.Tensor | None) -> None:
    if features.ndim < 2 or not features.is_floating_point() or features.numel() == 0:
        raise InputError(
            f"features of shape {tuple(features.shape)} and type {features.dtype}: floating-point "
            "numbers of shape (B, C, ...) were expected"
        )
    if not bool(features.isfinite().all()):
        raise InputError("features: hold NaN or infinite values; check the images")
    if region is None:
        return
    expected = (len(features), 1, *features.shape[2:])
    if region.dtype != torch.bool or tuple(region.shape) != expected:
        raise InputError(
            f"region of shape {tuple(region.shape)} and type {region.dtype}: bool of shape "
            f"{expected} was expected"
        )
    if not bool(region.flatten(1).any(1).all()):
        empty = (~region.flatten(1).any(1)).nonzero()[:, 0].tolist()
        raise InputError(f"region: is empty for images {empty}; give at least one voxel")
