"""Scores with an offset that image labels choose after the training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from ..errors import InputError
from ..metrics.image import class_weighted_accuracy


def best_offset(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Score with the best class-weighted accuracy, where higher ones mean pathological.

    Candidates are the midpoints between neighbouring scores; among equally good ones the middle
    of the widest gap, which a new image is least likely to fall on the wrong side of. Where no
    midpoint does better than chance, the highest score: then no image is called pathological.

    Parameters
    ----------
    scores, labels : sequences of the same length
        Anomaly scores, and 0 (healthy) or 1 (pathological).

    Raises
    ------
    InputError
        If scores are missing or not finite, or one of the classes is.

    Examples
    --------
    >>> best_offset([0.1, 0.2, 0.6, 0.4], [0, 0, 1, 1])
    0.30000000000000004
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.shape != truth.shape or set(truth.tolist()) != {0, 1}:
        raise InputError("calibration: scores of healthy and pathological images were expected")
    if not np.isfinite(values).all():
        raise InputError("calibration: a score is not finite; the training has diverged")
    distinct = np.unique(values)
    best, offset = (0.5, 0.0), float(distinct[-1])
    for low, high in pairwise(distinct.tolist()):
        middle = (low + high) / 2
        quality = (class_weighted_accuracy(truth, values > middle), high - low)
        if quality > best:
            best, offset = quality, middle
    return offset


class CalibratedScore:
    """Calibration of recipes whose networks do not learn the classes, but score images.

    Such a network subtracts its buffer ``offset`` from the score.
    """

    def calibrate(self, network: nn.Module, scores: Sequence[float], labels: Sequence[int]) -> None:
        """Let scores above 0 mean pathological: see :func:`best_offset`.

        Parameters
        ----------
        network : Module
            Its buffer ``offset`` is moved.
        scores, labels : sequences
            Scores of validation images, as this network gives them, and 0 or 1.
        """
        offset = network.get_buffer("offset")
        with torch.no_grad():
            offset += best_offset(scores, labels)
