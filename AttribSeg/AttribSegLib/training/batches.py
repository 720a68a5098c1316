"""Class-balanced batches, the same on every rank and after every resumption."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from ..errors import InputError


class BalancedBatches:
    """Half of every batch is healthy, half pathological.

    An epoch shows the larger class once; the smaller one is repeated in new orders.

    Parameters
    ----------
    labels : sequence of int
        0 or 1 per case.
    batch_size : int
        Images per step over all ranks; even.
    seed : int
    rank, world : int
        This process and their number; each takes its share of every half batch.
    preferred : collection of int
        Pathological cases that shall have at least a share of the pathological half of every
        batch, however few they are: those whose lesion masks are learned from.
    share : float
        That share, 0 to 1, rounded up to whole images. At 1 the other pathological cases are left
        out, and batches are those of a table without them. Where the preferred cases have the
        share anyway, nothing changes.

    Raises
    ------
    InputError
        If a class is missing, the batch cannot be halved and shared out, or the seed is negative.
    """

    def __init__(
        self,
        labels: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        preferred: Collection[int] = (),
        share: float = 0.0,
    ) -> None:
        self._members = [np.flatnonzero(np.asarray(labels) == label) for label in (0, 1)]
        if min(len(members) for members in self._members) == 0:
            raise InputError("training needs healthy and pathological cases; one class is missing")
        if batch_size < 2 or batch_size % (2 * world):
            raise InputError(
                f"batch size {batch_size}: a multiple of {2 * world} was expected (half healthy, "
                f"half pathological, on {world} process{'es' if world > 1 else ''})"
            )
        if seed < 0:
            raise InputError(f"seed {seed}: a number of at least 0 was expected")
        self.half = batch_size // 2
        #: Preferred cases, and how many of every half batch come from them.
        self._preferred, self._places = np.array(sorted(preferred), dtype=int), 0
        if len(preferred) and len(preferred) < share * len(self._members[1]):
            self._places = math.ceil(share * self.half)
        if self._places == self.half:
            self._members[1], self._places = self._preferred, 0
        self.seed, self.rank, self.world = seed, rank, world
        self.steps = -(-max(len(members) for members in self._members) // self.half)

    def epoch(self, number: int) -> Iterator[tuple[list[int], list[int]]]:
        """Yield (healthy, pathological) case indices of this rank, step by step."""
        orders = [self._order(number, label) for label in (0, 1)]
        for step in range(self.steps):
            window = slice(step * self.half, (step + 1) * self.half)
            healthy, pathological = (order[window][self.rank :: self.world] for order in orders)
            yield healthy.tolist(), pathological.tolist()

    def _order(self, epoch: int, label: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch, label])
        members = self._members[label]
        if label == 0 or not self._places:
            return _repeated(members, self.steps * self.half, rng)
        others = np.setdiff1d(members, self._preferred)
        parts = [
            _repeated(cases, self.steps * count, rng).reshape(self.steps, count)
            for cases, count in (
                (self._preferred, self._places),
                (others, self.half - self._places),
            )
        ]
        return np.concatenate(parts, axis=1).ravel()


def _repeated(cases: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """So many cases: all of them in one random order after the other."""
    orders = [rng.permutation(cases) for _ in range(-(-count // len(cases)))]
    return np.concatenate(orders)[:count]
