"""Simulated single cells: 13 markers, 20 populations, as mass cytometry measures them.

A population is a signature: each marker is absent, dim or bright. Populations come in lineages,
and those of one lineage differ from it in two markers by one level each. The signal of a marker is
log-normal around the level, wide as counts of such instruments are, and now and then falls to the
background (a marker that was not stained). What networks see is arcsinh(signal / 5), as is usual
(Bendall et al., Science 2011). Since all densities are known, so is the best possible classifier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from AttribSegLib.errors import InputError

MARKERS, POPULATIONS, LINEAGES = 13, 20, 5
#: Median signal of an absent, dim and bright marker, and how often a lineage has each.
LEVELS, SHARES = (0.5, 5.0, 50.0), (0.5, 0.25, 0.25)
#: Markers in which a population differs from its lineage.
DIFFERENT = 2
#: Spread of the natural logarithm of a signal: among cells, and of a level among populations.
SPREAD, JITTER = 1.0, 0.3
#: How often a signal falls to the background.
LOST = 0.05
COFACTOR = 5.0


@dataclass(frozen=True)
class Cytometry:
    """A mixture of populations.

    Parameters
    ----------
    medians : ndarray of shape (POPULATIONS, MARKERS)
        Natural logarithm of the median signal.
    shares : ndarray of shape (POPULATIONS,)
        Of the cells; they add to 1.
    """

    medians: np.ndarray
    shares: np.ndarray

    def sample(self, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Cells (count, MARKERS), transformed, and their populations (count,)."""
        if count < 1:
            raise InputError(f"count {count}: at least 1 cell was expected")
        population = generator.choice(len(self.shares), count, p=self.shares)
        shape = (count, self.medians.shape[1])
        lost = generator.random(shape) < LOST
        median = np.where(lost, np.log(LEVELS[0]), self.medians[population])
        signal = np.exp(median + SPREAD * generator.standard_normal(shape))
        return np.arcsinh(signal / COFACTOR), population

    def best_guess(self, cells: np.ndarray) -> np.ndarray:
        """The most probable population of every cell, by the densities it was drawn from."""
        logarithm = np.log(COFACTOR * np.sinh(cells))[:, None, :]

        def density(median: np.ndarray | float) -> np.ndarray:
            return np.exp(-0.5 * ((logarithm - median) / SPREAD) ** 2)

        mixture = (1 - LOST) * density(self.medians) + LOST * density(np.log(LEVELS[0]))
        return (np.log(mixture).sum(axis=2) + np.log(self.shares)).argmax(axis=1)


def draw_cytometry(generator: np.random.Generator) -> Cytometry:
    """A mixture whose signatures all differ, with populations from common to rare."""
    lineages = generator.choice(3, (LINEAGES, MARKERS), p=SHARES)
    signatures: list[tuple[int, ...]] = []
    while len(signatures) < POPULATIONS:
        signature = lineages[len(signatures) % LINEAGES].copy()
        for marker in generator.choice(MARKERS, DIFFERENT, replace=False):
            step = int(generator.choice((-1, 1)))
            # From absent there is only up, from bright only down.
            signature[marker] += step if 0 <= signature[marker] + step <= 2 else -step
        if tuple(signature) not in signatures:
            signatures.append(tuple(int(level) for level in signature))
    levels = np.log(np.array(LEVELS))[np.array(signatures)]
    jitter = JITTER * generator.standard_normal(levels.shape)
    weights = np.exp(generator.standard_normal(POPULATIONS))
    return Cytometry(levels + jitter, weights / weights.sum())
