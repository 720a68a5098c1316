"""Positive weights: W = phi(V) entry by entry, with V free (thesis ch. 6).

Each map is a parametrization of PyTorch: ``layer.weight`` is W, what the optimiser sees is V under
``layer.parametrizations.weight.original``, and ``layer.weight = W`` goes through the inverse.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from AttribSegLib.errors import InputError
from torch import nn


class Positivity(nn.Module, ABC):
    """A map phi from any number to a number >= 0, even and increasing in ``|v|``.

    Its derivative is zero at v = 0, so a weight that is exactly zero stays so in training.
    """

    @abstractmethod
    def forward(self, V: torch.Tensor) -> torch.Tensor:
        """W = phi(V), of V's shape."""

    @abstractmethod
    def _inverse(self, W: torch.Tensor) -> torch.Tensor:
        """The V >= 0 with phi(V) = W, for W >= 0."""

    def right_inverse(self, W: torch.Tensor) -> torch.Tensor:
        """The V >= 0 with phi(V) = W, of W's shape.

        Raises
        ------
        InputError
            If an entry of W is negative or not finite: there is no such V.
        """
        outside = int((~((W >= 0) & W.isfinite())).sum())
        if outside:
            raise InputError(
                f"weight of shape {tuple(W.shape)}: {outside} of {W.numel()} entries are negative "
                "or not finite, but a positive weight is never; give absolute values"
            )
        return self._inverse(W)


class ThesisPositivity(Positivity):
    r"""The thesis' map, :math:`\varphi(v) = v^2 / \sqrt{1 + v^2}` (ch. 6).

    >>> phi = ThesisPositivity()
    >>> phi(phi.right_inverse(torch.tensor([0.0, 0.5, 3.0])))
    tensor([0.0000, 0.5000, 3.0000])
    """

    def forward(self, V: torch.Tensor) -> torch.Tensor:
        """W = phi(V), of V's shape."""
        # The quotient first: v^2 alone overflows where phi(v), which is about |v|, does not.
        return V * (V / torch.hypot(V, torch.ones_like(V)))

    def _inverse(self, W: torch.Tensor) -> torch.Tensor:
        # t = v^2 solves t^2 = w^2 (1 + t).
        root = torch.hypot(W, torch.full_like(W, 2.0))
        return W.sqrt() * (W / 2 + root / 2).sqrt()


class PublishedPositivity(Positivity):
    r"""The published code's map, :math:`\varphi(v) = v^2 / (\sqrt{v^2 + b^2} + b)`.

    It equals :math:`\sqrt{v^2 + b^2} - b`, without the cancellation for small v.

    Parameters
    ----------
    b : float
        Where the map turns from quadratic to linear.

    Raises
    ------
    InputError
        If ``b`` is not a positive number.
    """

    def __init__(self, b: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(b) and b > 0):
            raise InputError(f"b {b}: a positive number was expected")
        self.b = float(b)

    def forward(self, V: torch.Tensor) -> torch.Tensor:
        """W = phi(V), of V's shape."""
        return V * (V / (torch.hypot(V, torch.full_like(V, self.b)) + self.b))

    def _inverse(self, W: torch.Tensor) -> torch.Tensor:
        return W.sqrt() * (W + 2 * self.b).sqrt()

    def extra_repr(self) -> str:
        """What stands in the brackets when it is printed."""
        return f"b={self.b:g}"


#: The maps by name.
POSITIVITIES: dict[str, type[Positivity]] = {
    "thesis": ThesisPositivity,
    "published": PublishedPositivity,
}


def make_positivity(positivity: str | Positivity) -> Positivity:
    """A map by name, or the given one.

    Raises
    ------
    InputError
        If the name is not one of :data:`POSITIVITIES`.
    """
    if isinstance(positivity, Positivity):
        return positivity
    if positivity not in POSITIVITIES:
        known = ", ".join(POSITIVITIES)
        raise InputError(f"positivity {positivity!r}: one of {known}, or a Positivity, expected")
    return POSITIVITIES[positivity]()
