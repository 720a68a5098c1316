"""Counterfactuals by a closed form and a few proximal gradient steps."""

from __future__ import annotations

import torch

from .problem import Problem

#: Steps over which the fall of the score is spread. Enough that the map follows the gradient while
#: the features change; more change the map little and cost a gradient each.
STEPS = 6
#: Where to land under the margin, and by how much more at most, as shares of M(f) - m.
_LANDING = 0.005
#: Forwards to land at most. A handful do; where they do not, the best point under the margin stays.
_SEARCHES = 30
#: Largest soft threshold in units of the mean gradient (see :func:`_soft_threshold`).
_LARGEST_THRESHOLD = 0.1


def descend(problem: Problem, max_iterations: int, *, positive_first: bool) -> None:
    r"""Bring every image of a problem under the margin; the problem's ledger holds what was found.

    Where positive features go first, :math:`\alpha = \max(f, 0)` is the first point. No feature is
    positive there, so that a monotone M with M(0) = 0 is not either. Images that it brings under
    the margin need only a share of it. The others follow the gradient from there, or from zero,

    .. math:: \alpha \leftarrow \mathrm{prox}_{t \lambda \|\cdot\|_1}(\alpha + t g), \quad
              g = \nabla M(f - \alpha)

    with alpha >= 0 inside the proximal map unless it is signed. The step t is such that the score
    falls, to first order, by an equal share of what is left on each of :data:`STEPS` steps; the
    step that crosses the margin is cut back until it lands just under it. Images that are done
    leave the batch.

    Parameters
    ----------
    problem : Problem
    max_iterations : int
        No image gets more steps, the first one counted.
    positive_first : bool
    """
    images, score, gradient = problem.start()
    alpha = torch.zeros_like(gradient)
    # A score right at the margin still has to fall by something that rounding does not swallow.
    least = 8 * torch.finfo(score.dtype).eps * score.abs().clamp(min=1.0)
    landing = torch.maximum(_LANDING * (score - problem.margin), least)
    shorter = torch.ones_like(score)
    steps = STEPS + int(positive_first)
    for iteration in range(1, max_iterations + 1):
        if len(images) == 0:
            return
        if positive_first and iteration == 1:
            trial = problem.positive(images)
        else:
            left = max(steps - iteration + 1, 1)
            fall = (score - (problem.margin - landing)) / left * shorter
            trial = _step(problem, images, alpha, gradient, fall)
        trial_score, trial_gradient = problem.scores_and_gradient(trial, images)

        done = trial_score < problem.margin
        if bool(done.any()):
            found = _land(
                problem,
                images[done],
                (alpha[done], score[done]),
                (trial[done], trial_score[done]),
                landing[done],
            )
            problem.record(images[done], *found, iteration)
            left_over = ~done
            images, landing, alpha, score, gradient, trial, trial_score, trial_gradient = (
                each[left_over]
                for each in (
                    *(images, landing, alpha, score, gradient),
                    *(trial, trial_score, trial_gradient),
                )
            )
        # Only a network that is not monotone, or a step that also shrinks alpha, can rise.
        risen = trial_score > score
        if bool(risen.any()):
            keep = _column(risen, alpha)
            trial = torch.where(keep, alpha, trial)
            trial_gradient = torch.where(keep, gradient, trial_gradient)
            trial_score = torch.where(risen, score, trial_score)
        alpha, gradient, score = trial, trial_gradient, trial_score
        shorter = torch.where(risen, shorter[~done] / 2, 1.0)
    problem.record(images, alpha, score, max_iterations)


def _step(
    problem: Problem,
    images: torch.Tensor,
    alpha: torch.Tensor,
    gradient: torch.Tensor,
    fall: torch.Tensor,
) -> torch.Tensor:
    """Proximal step after which the linear model of the score has fallen by ``fall``, (b,)."""
    gradient = problem.within(gradient, images)
    threshold = _soft_threshold(problem, gradient, problem.sizes(images))
    steepest = _dot(gradient, gradient)
    dead = steepest == 0
    length = fall / steepest.where(~dead, 1.0)
    # The threshold eats no more than its share of the fall that g alone would give. With so much
    # more length the proximal point lies beyond, and the step stops on the way to it.
    length = length / (1 - _LARGEST_THRESHOLD)
    move = _proximal(problem, alpha, gradient, length, threshold).sub_(alpha)
    falls = _dot(gradient, move)
    share = torch.where(falls > 0, fall / falls, 1.0)
    trial = torch.addcmul(alpha, move, _column(share, alpha))
    if not problem.signed:
        trial.clamp_(min=0)
    if problem.signed or not bool(dead.any()):
        return trial
    # Where rectifiers hide every feature there is no gradient. Below zero everywhere a monotone
    # network has one again, so all features go there together.
    size = (problem.features[images] - alpha).abs().flatten(1).amax(1)
    everywhere = problem.within(torch.ones_like(gradient), images)
    level = _column(size.where(size > 0, 1.0), alpha) * everywhere
    return torch.where(_column(dead, alpha), alpha + level, trial)


def _soft_threshold(problem: Problem, gradient: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Lambda, at most a tenth of the mean gradient in the region; shape (b,).

    A penalty above every gradient would keep alpha at zero and the score above the margin. The
    constraint comes first: its multiplier scales M, which is to divide lambda. With a share c <= 1
    of the mean, the fall to first order is at least sum g^2 - c mean(g) sum g >= 0, even if all of
    alpha shrinks.
    """
    total = torch.linalg.vector_norm(gradient.flatten(1), 1, dim=1)
    mean = total / sizes
    return (_LARGEST_THRESHOLD * mean).clamp(max=problem.sparsity)


def _proximal(
    problem: Problem,
    alpha: torch.Tensor,
    gradient: torch.Tensor,
    length: torch.Tensor,
    threshold: torch.Tensor,
) -> torch.Tensor:
    """Proximal map of t lambda ||.||_1, and of alpha >= 0, at alpha + t g."""
    moved = torch.addcmul(alpha, gradient, _column(length, alpha))
    shrink = _column(length * threshold, alpha)
    if problem.signed:
        return moved.sign() * (moved.abs() - shrink).clamp_(min=0)
    return moved.sub_(shrink).clamp_(min=0)


def _land(
    problem: Problem,
    images: torch.Tensor,
    above: tuple[torch.Tensor, torch.Tensor],
    below: tuple[torch.Tensor, torch.Tensor],
    landing: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Alpha between two points on either side of the margin, and its score just under it.

    Illinois' variant of the false position, which needs forwards only. Kept is the nearest point
    under the margin that was seen, so there always is one.
    """
    start, whole = above[0], below[0] - above[0]
    aim = problem.margin - landing
    low, high = torch.zeros_like(aim), torch.ones_like(aim)
    low_value, high_value = above[1] - aim, below[1] - aim
    share, score = high.clone(), below[1].clone()
    for _ in range(_SEARCHES):
        far = (score < problem.margin - 2 * landing).nonzero()[:, 0]
        if len(far) == 0:
            break
        a, b, fa, fb = low[far], high[far], low_value[far], high_value[far]
        at = torch.lerp(a, b, (fa / (fa - fb)).clamp(0.02, 0.98))
        points = start[far] + _column(at, start) * whole[far]
        seen = problem.scores(points, images[far])
        under = seen < problem.margin
        share[far] = torch.where(under, at, share[far])
        score[far] = torch.where(under, seen, score[far])
        value = seen - aim[far]
        falls_short = value > 0
        low[far], high[far] = torch.where(falls_short, at, a), torch.where(falls_short, b, at)
        # The end that stays counts half, so that it does not stay for ever.
        low_value[far] = torch.where(falls_short, value, fa / 2)
        high_value[far] = torch.where(falls_short, fb / 2, value)
    return start + _column(share, start) * whole, score


def _column(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Numbers per image, (b,), in a shape that broadcasts over their features."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Inner products per image, (b,)."""
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1))
