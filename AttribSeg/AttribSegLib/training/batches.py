"""Class-balanced batches, the same on every rank and after every resumption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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

    Raises
    ------
    InputError
        If a class is missing, the batch cannot be halved and shared out, or the seed is negative.
    """

    def __init__(
        self, labels: Sequence[int], batch_size: int, *, seed: int, rank: int = 0, world: int = 1
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
        repeats = -(-self.steps * self.half // len(members))
        return np.concatenate([rng.permutation(members) for _ in range(repeats)])
