"""Counterfactuals by Adam, as the thesis finds them: the reference for the faster way."""

from __future__ import annotations

import torch
from torch.nn import functional

from .problem import Problem

#: Start of v, alpha = softplus(v): about 0.001, from where both directions are open.
_START = -7.0
#: Features of a whole volume have gradients far below Adam's usual 1e-8, which would rule the step.
_EPS = 1e-30


def descend_by_adam(problem: Problem, max_iterations: int, learning_rate: float) -> None:
    r"""Adam on M(f - alpha) + lambda ||alpha||_1 until the margin is reached (eq. 6.15, 6.16).

    alpha = softplus(v), and alpha = v if it is signed. An image is done, and leaves the batch, at
    its first score under the margin. Nothing lifts the margin above the penalty here: with a
    lambda above every gradient, alpha shrinks and the margin is not reached.

    Parameters
    ----------
    problem : Problem
    max_iterations : int
        No image gets more steps.
    learning_rate : float
        Largest change of v in one step.
    """
    images = torch.arange(len(problem.features), device=problem.features.device)
    images, _, _ = problem.start()
    if len(images) == 0:
        return
    allowed = torch.ones_like(problem.features[images])
    if problem.region is not None:
        allowed = allowed * problem.region[images]
    start = 0.0 if problem.signed else _START
    # One parameter per image: Adam passes over those that get no gradient any more.
    parameters = {number: torch.full_like(allowed[0], start) for number in images.tolist()}
    optimiser = torch.optim.Adam(list(parameters.values()), lr=learning_rate, eps=_EPS)
    for iteration in range(max_iterations + 1):
        v = torch.stack([parameters[number] for number in images.tolist()])
        alpha = (v if problem.signed else functional.softplus(v)) * allowed
        score, gradient = problem.scores_and_gradient(alpha, images)
        done = score < problem.margin
        last = torch.ones_like(done) if iteration == max_iterations else done
        problem.record(images[last], alpha[last], score[last], iteration)
        slope = (problem.sparsity * alpha.sign() - gradient) * allowed
        if not problem.signed:
            slope = slope * v.sigmoid()
        for number, row, left in zip(images.tolist(), slope, last, strict=True):
            parameters[number].grad = None if left else row
        optimiser.step()
        images, allowed = images[~last], allowed[~last]
        if len(images) == 0:
            return
