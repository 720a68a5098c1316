"""Images with their classes, as networks are trained and tested on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from AttribSegLib.errors import InputError


@dataclass(frozen=True)
class Images:
    """Images (N, 1, I, J), or rows (N, M) of a table, standardised, and their classes (N,)."""

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)

    def pooled(self, factor: int) -> Images:
        """The same on a coarser grid, by average pooling."""
        return Images(torch.nn.functional.avg_pool2d(self.x, factor), self.y)

    def first(self, count: int) -> Images:
        """The first of them."""
        return Images(self.x[:count], self.y[:count])

    def most_common(self) -> float:
        """Share of the most common class: what always guessing it would reach."""
        return float(torch.bincount(self.y).max()) / len(self)


def standardised_parts(
    x: np.ndarray, y: np.ndarray, parts: Sequence[np.ndarray]
) -> tuple[Images, ...]:
    """Parts of a stack, standardised by the mean and standard deviation of the first of them.

    Parameters
    ----------
    x : ndarray of shape (N, I, J)
        Grey values.
    y : ndarray of shape (N,)
        Classes.
    parts : sequence of ndarray
        Indices; the first are those that are trained on.

    Raises
    ------
    InputError
        If two parts share an image.
    """
    together = np.concatenate(parts)
    if len(np.unique(together)) < len(together):
        raise InputError("parts of the images: an image is in two of them, or twice in one")
    mean, std = x[parts[0]].mean(dtype=np.float64), x[parts[0]].std(dtype=np.float64)
    return tuple(
        Images(
            torch.from_numpy(((x[part, None] - mean) / std).astype(np.float32)),
            torch.from_numpy(y[part].astype(np.int64)),
        )
        for part in parts
    )
