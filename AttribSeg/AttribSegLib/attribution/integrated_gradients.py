"""Integrated gradients, with as many steps as completeness asks for."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import InputError
from .memory import DEFAULT_MEMORY, batch_within
from .path import Score, as_reference, score_and_path_gradient
from .path_refinement import Completeness, Refinement

#: Gap of completeness that is allowed, as a share of F(x) - F(x').
TOLERANCE = 0.01
#: No image is evaluated more often than this.
MAXIMUM_EVALUATIONS = 300


def integrated_gradients(
    score: Score,
    x: torch.Tensor,
    *,
    reference: torch.Tensor | float = 0.0,
    local: bool = False,
    tolerance: float = TOLERANCE,
    maximum: int = MAXIMUM_EVALUATIONS,
    steps: int | None = None,
    memory: int = DEFAULT_MEMORY,
    differentiable: bool = False,
) -> torch.Tensor:
    r"""Integrated gradients (Sundararajan et al. 2017; thesis ch. 2, IV).

    .. math:: IG_i(x, x') = (x_i - x'_i) \int_0^1 \frac{\partial F}{\partial x_i}
              (x' + a (x - x')) \, da

    See :func:`integrated_gradients_with_report`, whose map this is.
    """
    return integrated_gradients_with_report(
        score,
        x,
        reference=reference,
        local=local,
        tolerance=tolerance,
        maximum=maximum,
        steps=steps,
        memory=memory,
        differentiable=differentiable,
    )[0]


def integrated_gradients_with_report(
    score: Score,
    x: torch.Tensor,
    *,
    reference: torch.Tensor | float = 0.0,
    local: bool = False,
    tolerance: float = TOLERANCE,
    maximum: int = MAXIMUM_EVALUATIONS,
    steps: int | None = None,
    memory: int = DEFAULT_MEMORY,
    differentiable: bool = False,
) -> tuple[torch.Tensor, Completeness]:
    """Integrated gradients, and how complete they are.

    Without ``steps`` the path is halved where it needs it. Every evaluation gives the score and
    the gradient of one point, so on each part of the path the exact change of the score is known
    beside its Simpson estimate; the parts with the largest gaps are halved, and all evaluations
    are reused, until the sum of the gaps is under the tolerance (and without their signs, so that
    they cannot cancel, under five times the tolerance). Networks with normalisation change most
    near a constant reference, where equidistant or Gauss nodes see little of it. Where memory is
    short, gradients are let go, and computed again if their part must be halved after all.

    Parameters
    ----------
    score : callable
        Maps (B, C, I, J[, K]) to logits (B,).
    x : Tensor of shape (B, C, I, J[, K])
    reference : float or Tensor
        x': one value everywhere, or an image that broadcasts to x.
    local : bool
        Mean gradient on the path, not multiplied by x - x'.
    tolerance : float
        Allowed gap, as a share of F(x) - F(x').
    maximum : int
        Largest number of evaluations of an image; where it does not suffice, the report says so.
    steps : int, optional
        Gauss-Legendre nodes instead, as other libraries do.
    memory : int
        Bytes that evaluations made at once, and gradients kept for later, may take.
    differentiable : bool
        Keep the graph for training; needs ``steps``.

    Returns
    -------
    map : Tensor of the shape of x
    report : Completeness

    Raises
    ------
    InputError
        If an option is out of range, or the reference does not fit.

    Examples
    --------
    Of a sum, IG from zero is the input itself, after the fewest evaluations there can be:

    >>> ig, report = integrated_gradients_with_report(
    ...     lambda x: x.flatten(1).sum(1), torch.tensor([[[[1.0, 3.0]]]]))
    >>> ig, report.evaluations
    (tensor([[[[1., 3.]]]]), [3])
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance {tolerance}: a share between 0 and 1 was expected")
    if maximum < 3:
        raise InputError(f"maximum {maximum}: at least 3 evaluations are needed")
    if differentiable and steps is None:
        raise InputError("a differentiable integrated gradient needs a number of steps")
    x0 = as_reference(reference, x)
    if steps is not None:
        if steps < 1:
            raise InputError(f"steps {steps}: at least 1 was expected")
        mean, report = _fixed(score, x, x0, steps, memory, differentiable)
    else:
        mean, report = Refinement(score, x.detach(), x0, tolerance, maximum, memory).run()
    return (mean if local else mean * (x.detach() - x0)), report


def _fixed(
    score: Score, x: torch.Tensor, x0: torch.Tensor, steps: int, memory: int, differentiable: bool
) -> tuple[torch.Tensor, Completeness]:
    """Mean gradient over Gauss-Legendre nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    nodes, weights = (nodes + 1) / 2, weights / 2
    batch = len(x)
    at_once = steps if differentiable else batch_within(score, x, memory)
    rows = []
    for image, reference in zip(x, x0, strict=True):
        row = torch.zeros_like(image)
        for start in range(0, steps, at_once):
            part = slice(start, start + at_once)
            position = torch.from_numpy(nodes[part])
            _, gradients = score_and_path_gradient(
                score,
                image.expand(len(position), *image.shape),
                reference.expand(len(position), *image.shape),
                position,
                differentiable=differentiable,
            )
            row = row + torch.tensordot(torch.from_numpy(weights[part]).to(image), gradients, 1)
        rows.append(row)
    mean = torch.stack(rows)
    with torch.no_grad():
        difference = (score(x) - score(x0)).double()
        total = (mean.detach() * (x - x0)).double().flatten(1).sum(1)
    gap = (total - difference).abs() / difference.abs().clamp(min=1e-30)
    nothing = [float("nan")] * batch
    return mean, Completeness(difference.tolist(), gap.tolist(), nothing, [steps] * batch)
