"""Adaptive quadrature of gradients on a path, refined where completeness asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from .memory import batch_within
from .path import Score, score_and_path_gradient

#: The gaps of all parts of the path, added without their signs, may be so many times larger: a
#: small gap must not be two large ones that happen to cancel.
_CANCELLATION = 5.0
#: The path is refined in u with a = u^4: networks with normalisation change most near a constant
#: reference. On nine simulated brains powers of 3 to 5 needed the fewest evaluations [ours].
_POWER = 4
#: Share of the memory that gradients kept for later refinement may take.
_KEPT = 0.5


@dataclass(frozen=True)
class Completeness:
    """How far an integrated gradient is from sum_i IG_i = F(x) - F(x'), image by image.

    Parameters
    ----------
    difference : list of float
        F(x) - F(x').
    gap : list of float
        abs(sum_i IG_i - difference) / abs(difference).
    bound : list of float
        The same with the gaps of all parts of the path added without their signs, so that they
        cannot cancel. NaN with a fixed number of steps.
    evaluations : list of int
        Gradients that were computed.
    """

    difference: list[float]
    gap: list[float]
    bound: list[float]
    evaluations: list[int]


@dataclass
class _Node:
    """A point on the path, at x' + u^4 (x - x').

    Its score, the derivative of the score with respect to u, the gradient (None where it was let
    go), and the derivative of u^4.
    """

    position: float
    score: float
    slope: float
    gradient: torch.Tensor | None
    speed: float


@dataclass
class _Part:
    """A part of the path between two nodes, with the node in its middle.

    A closed one is in the total already, and its gradients were let go.
    """

    first: _Node
    middle: _Node
    last: _Node
    closed: bool = field(init=False, default=False)
    gap: float = field(init=False)

    def __post_init__(self) -> None:
        self.gap = self.estimate - (self.last.score - self.first.score)

    @property
    def length(self) -> float:
        return self.last.position - self.first.position

    @property
    def estimate(self) -> float:
        """Simpson's rule for the change of the score."""
        slopes = self.first.slope + 4 * self.middle.slope + self.last.slope
        return self.length / 6 * slopes

    def add_to(self, total: torch.Tensor, sign: int = 1) -> None:
        """Add (or take away) Simpson's rule for the gradients."""
        for node, weight in ((self.first, 1), (self.middle, 4), (self.last, 1)):
            assert node.gradient is not None  # the part is open
            total.add_(node.gradient, alpha=sign * weight * node.speed * self.length / 6)

    def close(self, total: torch.Tensor) -> None:
        """Add it to the total, and let its gradients go; neighbours keep what they share."""
        self.add_to(total)
        self.closed = True
        self.first, self.middle, self.last = (
            replace(node, gradient=None) for node in (self.first, self.middle, self.last)
        )

    def reopen(self, total: torch.Tensor, nodes: list[_Node]) -> None:
        """Inverse of :meth:`close`, with its nodes evaluated again."""
        self.first, self.middle, self.last = nodes
        self.closed = False
        self.add_to(total, sign=-1)


class Refinement:
    """Adaptive quadrature of every image of a batch, their evaluations batched together."""

    def __init__(
        self,
        score: Score,
        x: torch.Tensor,
        x0: torch.Tensor,
        tolerance: float,
        maximum: int,
        memory: int,
    ) -> None:
        self.score, self.x, self.x0 = score, x, x0
        self.tolerance, self.maximum = tolerance, maximum
        self.at_once = batch_within(score, x, int(memory * (1 - _KEPT)))
        image = x[0].numel() * x.element_size()
        # Per image, and never so few that every step would evaluate closed parts again: sixteen
        # gradients of a 182 x 218 x 182 image are half a gigabyte.
        self.keep = max(16, int(memory * _KEPT) // (image * len(x)))
        self.total = torch.zeros_like(x)
        self.evaluations = [0] * len(x)

    def run(self) -> tuple[torch.Tensor, Completeness]:
        """Halve parts until every image is complete enough."""
        count = len(self.x)
        ends = self._evaluate([(b, u) for b in range(count) for u in (0.0, 0.5, 1.0)])
        parts = [[_Part(*ends[3 * b : 3 * b + 3])] for b in range(count)]
        difference = [each[0].last.score - each[0].first.score for each in parts]
        allowed = [self.tolerance * abs(each) for each in difference]
        while True:
            chosen = [
                (b, part) for b in range(count) for part in self._worst(b, parts[b], allowed[b])
            ]
            if not chosen:
                break
            closed = [(b, part) for b, part in chosen if part.closed]
            again = self._evaluate(
                [(b, n.position) for b, p in closed for n in (p.first, p.middle, p.last)]
            )
            for number, (b, part) in enumerate(closed):
                part.reopen(self.total[b], again[3 * number : 3 * number + 3])
            wanted = []
            for b, part in chosen:
                first, middle = part.first.position, part.middle.position
                last = part.last.position
                wanted += [(b, (first + middle) / 2), (b, (middle + last) / 2)]
            nodes = self._evaluate(wanted)
            for number, (b, part) in enumerate(chosen):
                left, right = nodes[2 * number : 2 * number + 2]
                place = parts[b].index(part)
                parts[b][place : place + 1] = [
                    _Part(part.first, left, part.middle),
                    _Part(part.middle, right, part.last),
                ]
            for b in range(count):
                self._close_some(b, parts[b])
        gaps, bounds = [], []
        for b in range(count):
            signed = sum(part.gap for part in parts[b])
            scale = max(abs(difference[b]), 1e-30)
            gaps.append(abs(signed) / scale)
            bounds.append(sum(abs(part.gap) for part in parts[b]) / scale)
            for part in parts[b]:
                if not part.closed:
                    part.add_to(self.total[b])
        return self.total, Completeness(difference, gaps, bounds, self.evaluations)

    def _worst(self, b: int, parts: list[_Part], allowed: float) -> list[_Part]:
        """The part with the largest gap, to be halved; none where the image is complete enough."""
        signed = sum(part.gap for part in parts)
        bound = sum(abs(part.gap) for part in parts)
        if abs(signed) <= allowed and bound <= _CANCELLATION * allowed:
            return []
        room = self.maximum - self.evaluations[b]
        # Below this length the positions are the same number in single precision.
        candidates = [
            part
            for part in parts
            if part.length > 1e-4 and part.gap and room >= (5 if part.closed else 2)
        ]
        return [max(candidates, key=lambda part: abs(part.gap))] if candidates else []

    def _close_some(self, b: int, parts: list[_Part]) -> None:
        """Close the parts with the smallest gaps, where gradients take too much room."""
        kept = sorted((part for part in parts if not part.closed), key=lambda part: -abs(part.gap))
        # Neighbours share a node: n parts hold about 2 n + 1 gradients.
        while 2 * len(kept) + 1 > self.keep and len(kept) > 1:
            kept.pop().close(self.total[b])

    def _evaluate(self, wanted: list[tuple[int, float]]) -> list[_Node]:
        """Nodes at (image, u) pairs."""
        nodes = []
        for start in range(0, len(wanted), self.at_once):
            chunk = wanted[start : start + self.at_once]
            images = [b for b, _ in chunk]
            position = torch.tensor([u for _, u in chunk], dtype=torch.float64)
            x, x0 = self.x[images], self.x0[images]
            logits, gradients = score_and_path_gradient(self.score, x, x0, position**_POWER)
            slopes = _dot(gradients, x - x0)
            for number, (b, u) in enumerate(chunk):
                self.evaluations[b] += 1
                speed = _POWER * u ** (_POWER - 1)
                # At a constant reference the gradient of a norm may be anything; it has no weight.
                slope = speed * slopes[number] if speed else 0.0
                # A view would keep the whole batch alive.
                gradient = gradients[number].clone() if len(chunk) > 1 else gradients[number]
                if not speed:
                    gradient = torch.zeros_like(gradient)
                nodes.append(_Node(u, float(logits[number]), slope, gradient, speed))
        return nodes


def _dot(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """Inner product of every image, with sums in double precision."""
    return [float((p * q).sum(dtype=torch.float64)) for p, q in zip(a, b, strict=True)]
