"""A network tried out, to see whether it ever falls where its input rises."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from AttribSegLib.errors import InputError
from torch import nn


@dataclass(frozen=True)
class MonotoneCheck:
    """What trying out showed.

    Parameters
    ----------
    violation : float
        Largest fall M(x) - M(x + d) for d >= 0, or 0, as a share of the largest output.
    gradient_violation : float
        Largest negative entry of an input gradient, as a share of the gradient's largest entry.
    samples : int
        Number of pairs and gradients.
    tolerance : float
        What counts as rounding.
    """

    violation: float
    gradient_violation: float
    samples: int
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether nothing but rounding was seen; false if a number was not finite."""
        return max(self.violation, self.gradient_violation) <= self.tolerance

    def __str__(self) -> str:
        """One line."""
        verdict = "no violation" if self.ok else "NOT monotone"
        return (
            f"{verdict} in {self.samples} samples: largest fall {self.violation:.2g} of the "
            f"output, most negative gradient {self.gradient_violation:.2g} of the largest"
        )


def check_monotone(
    module: nn.Module,
    x: torch.Tensor,
    *,
    directions: int = 16,
    generator: torch.Generator | None = None,
    tolerance: float = 1e-9,
) -> MonotoneCheck:
    """Look for x <= y with M(x) > M(y), and for negative input gradients.

    A copy of the network in double precision and evaluation mode is tried, so that what is found
    is not rounding. Directions are >= 0, every other one in few entries only; steps go from a
    thousandth to ten times the spread of x. Finding nothing proves nothing: see :func:`.certify`.

    Parameters
    ----------
    module : Module
        Left as it is.
    x : Tensor of shape (B, n, ...)
        Inputs to start from.
    directions : int
        Number of directions; each is tried from every input and from its negative.
    generator : Generator, optional
        Of random numbers, on the CPU.
    tolerance : float
        What counts as rounding, relative.

    Raises
    ------
    InputError
        If there is no input or no direction, or an input is not finite or has no batch axis.

    Examples
    --------
    >>> check_monotone(nn.Linear(1, 1), torch.ones(1, 1)).samples
    64
    """
    if directions < 1:
        raise InputError(f"directions {directions}: at least 1 was expected")
    if x.numel() == 0 or not bool(x.isfinite().all()):
        raise InputError(f"input of shape {tuple(x.shape)}: finite numbers were expected")
    if x.ndim < 2:
        raise InputError(
            f"input of shape {tuple(x.shape)}: (B, n, ...) was expected; add a batch axis"
        )
    network = copy.deepcopy(module).double().eval()
    start = x.detach().double()
    spread = float(start.std(correction=0)) or 1.0
    fall = falling = 0.0
    samples = 0
    for number in range(directions):
        direction = _direction(start, generator, sparse=bool(number % 2))
        step = spread * 10 ** (-3 + 4 * float(torch.rand((), generator=generator)))
        for point in (start, -start):
            here, gradient = _value_and_gradient(network, point, generator)
            there, _ = _value_and_gradient(network, point + step * direction, generator)
            scale = torch.maximum(here.abs().max(), there.abs().max())
            fall = _worst(fall, (here - there).max(), scale)
            falling = _worst(falling, -gradient.min(), gradient.abs().max())
            samples += 2 * len(x)
    return MonotoneCheck(fall, falling, samples, tolerance)


def _direction(x: torch.Tensor, generator: torch.Generator | None, *, sparse: bool) -> torch.Tensor:
    d = torch.rand(x.shape, generator=generator, dtype=torch.float64)
    if sparse:
        flat = d.flatten(1)
        kept = torch.randint(flat.shape[1], (len(flat), 1), generator=generator)
        d = torch.zeros_like(flat).scatter_(1, kept, 1.0).reshape(x.shape)
    return d.to(x.device)


def _value_and_gradient(
    network: nn.Module, x: torch.Tensor, generator: torch.Generator | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output, and the input gradient of a positive combination of its entries."""
    with torch.enable_grad():
        leaf = x.clone().requires_grad_(True)
        y = network(leaf)
        combination = torch.rand(y.shape, generator=generator, dtype=torch.float64).to(y.device)
        gradient = torch.autograd.grad(y, leaf, combination)[0]
    return y.detach(), gradient


def _worst(so_far: float, violation: torch.Tensor, scale: torch.Tensor) -> float:
    """The larger share; infinite where a number is not finite."""
    if not bool(torch.isfinite(violation) & torch.isfinite(scale)):
        return float("inf")
    return max(so_far, float(violation / scale.clamp(min=1e-300)))
