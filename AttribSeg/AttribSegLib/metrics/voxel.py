"""How well a score map and a segmentation agree with a lesion mask (thesis ch. 5).

Scores and truth are arrays of the same shape, usually the voxels inside the brain. A higher score
argues for lesion, and a voxel is segmented when **score > threshold** (strictly).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError


@dataclass(frozen=True)
class RankedScores:
    """Scores sorted once, from which every threshold-free metric is read.

    Only the distinct scores of lesion voxels are kept: between two of them a falling threshold
    adds nothing but false positives, so Dice and precision peak and the ROC bends there. Lesions
    being rare, this is small, and only the background scores need sorting.

    Parameters
    ----------
    cuts : ndarray of shape (n,)
        Thresholds, falling: ``score > cuts[i]`` selects down to the i-th lesion score, inclusive.
        Each is itself a score (or the next number below the lowest), so that comparing in the
        scores' own precision is exact.
    true_positives, false_positives : ndarray of shape (n,)
        Voxels selected by ``score > cuts[i]``.
    false_positives_above : ndarray of shape (n,)
        Background voxels strictly above the i-th lesion score; the difference to
        ``false_positives`` is the number tied with it.
    positives, negatives : int
        Lesion and background voxels.
    maximum : float
        Highest score; ``score > maximum`` selects nothing.
    """

    cuts: NDArray[np.floating]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    false_positives_above: NDArray[np.int64]
    positives: int
    negatives: int
    maximum: float

    @classmethod
    def of(cls, scores: ArrayLike, truth: ArrayLike) -> RankedScores:
        """Rank scores against a binary truth of the same shape."""
        values, lesion = _pair(scores, truth)
        return cls.from_classes(values[lesion], values[~lesion])

    @classmethod
    def from_classes(cls, lesion: ArrayLike, background: ArrayLike) -> RankedScores:
        """Rank the scores of lesion voxels against those of background voxels.

        Raises
        ------
        InputError
            If there is no score at all, or one is not finite.
        """
        positive, negative = _floats(lesion), np.sort(_floats(background))
        if positive.size + negative.size == 0:
            raise InputError("no voxels to score; check that the brain mask is not empty")
        kind = np.result_type(positive, negative)
        values, counts = np.unique(positive.astype(kind, copy=False), return_counts=True)
        values, counts = values[::-1], counts[::-1]
        below = np.searchsorted(negative, values, side="left")
        up_to = np.searchsorted(negative, values, side="right")
        # The cut under a lesion score is the next lower score of either class.
        cuts = np.full(values.shape, -np.inf, dtype=kind)
        cuts[:-1] = values[1:]
        some = below > 0
        cuts[some] = np.maximum(cuts[some], negative[below[some] - 1])
        if values.size and not np.isfinite(cuts[-1]):
            cuts[-1] = np.nextafter(values[-1], kind.type(-np.inf))
        tops = [float(values[0])] if values.size else []
        tops += [float(negative[-1])] if negative.size else []
        return cls(
            cuts=cuts,
            true_positives=np.cumsum(counts, dtype=np.int64),
            false_positives=(negative.size - below).astype(np.int64),
            false_positives_above=(negative.size - up_to).astype(np.int64),
            positives=int(positive.size),
            negatives=int(negative.size),
            maximum=max(tops),
        )

    @property
    def dice(self) -> NDArray[np.float64]:
        """Dice coefficient of ``score > cuts[i]``, shape (n,)."""
        selected = self.true_positives + self.false_positives
        return 2.0 * self.true_positives / (selected + self.positives)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Precision of ``score > cuts[i]``, shape (n,)."""
        return self.true_positives / (self.true_positives + self.false_positives)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Recall (true positive rate) of ``score > cuts[i]``, shape (n,)."""
        return self.true_positives / max(self.positives, 1)

    def roc(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Vertices of the ROC curve: false and true positive rates, from (0, 0) to (1, 1).

        Scores tied between the classes give a slanted segment, as in the Mann-Whitney statistic.
        Both are NaN if a class is empty.
        """
        if not self.positives or not self.negatives:
            return np.full(2, np.nan), np.full(2, np.nan)
        before = np.concatenate([[0], self.true_positives[:-1]])
        false = np.stack([self.false_positives_above, self.false_positives], axis=1).ravel()
        true = np.stack([before, self.true_positives], axis=1).ravel()
        false_rate = np.concatenate([[0], false, [self.negatives]]) / self.negatives
        true_rate = np.concatenate([[0], true, [self.positives]]) / self.positives
        return false_rate, true_rate

    def auroc(self, max_false_positive_rate: float = 1.0) -> float:
        """Area under the ROC up to a false positive rate, divided by that rate."""
        false_rate, true_rate = self.roc()
        limit = max_false_positive_rate
        if limit < 1.0 and not np.isnan(false_rate[0]):
            end = int(np.argmax(false_rate > limit))  # exists: the curve ends at 1 > limit
            run = false_rate[end] - false_rate[end - 1]
            part = (limit - false_rate[end - 1]) / run
            at_limit = true_rate[end - 1] + part * (true_rate[end] - true_rate[end - 1])
            false_rate = np.append(false_rate[:end], limit)
            true_rate = np.append(true_rate[:end], at_limit)
        # The trapezoid rule; np.trapezoid needs NumPy 2.
        return float(np.diff(false_rate) @ (true_rate[1:] + true_rate[:-1]) / 2 / limit)

    def auprc(self) -> float:
        """Average precision; NaN without a lesion voxel."""
        if not self.positives:
            return float("nan")
        return float(np.diff(self.recall, prepend=0.0) @ self.precision)

    def oracle_dice(self) -> tuple[float, float]:
        """Highest Dice over all thresholds, and the highest threshold that reaches it."""
        if not self.positives:
            return 1.0, self.maximum
        best = int(np.argmax(self.dice))
        return float(self.dice[best]), float(self.cuts[best])


def dice(mask: ArrayLike, truth: ArrayLike) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|) of two binary arrays.

    Two empty masks agree perfectly: 1.0 (nothing to find, nothing claimed). With one of them
    empty it is 0.0.

    Examples
    --------
    >>> dice([1, 1, 0, 0], [1, 0, 1, 0])
    0.5
    """
    a, b = _pair_of_masks(mask, truth)
    total = int(a.sum()) + int(b.sum())
    if total == 0:
        return 1.0
    return 2.0 * int((a & b).sum()) / total


def oracle_dice(scores: ArrayLike, truth: ArrayLike) -> tuple[float, float]:
    """Highest Dice over **all** thresholds, exactly, and the threshold that gives it.

    An upper bound that uses the masks it is measured on; never a method's own figure.

    Returns
    -------
    dice : float
    threshold : float
        ``scores > threshold`` has this Dice; the highest such threshold among the scores. With an
        empty truth: 1.0 and the maximum, which selects nothing.

    Examples
    --------
    >>> oracle_dice([0.1, 0.4, 0.6, 0.9], [0, 1, 0, 1])
    (0.8, 0.1)
    """
    return RankedScores.of(scores, truth).oracle_dice()


def auroc(scores: ArrayLike, truth: ArrayLike) -> float:
    """Area under the ROC curve; NaN if the truth holds one class only.

    Examples
    --------
    Three of the four (lesion, background) pairs are in the right order:

    >>> auroc([0.1, 0.4, 0.6, 0.9], [0, 1, 0, 1])
    0.75
    """
    return RankedScores.of(scores, truth).auroc()


def auroc10(scores: ArrayLike, truth: ArrayLike) -> float:
    """Area under the ROC up to 10 % false positives, divided by 0.1 (thesis ch. 5).

    The curve is interpolated at 0.1 exactly. Perfect: 1; chance: 0.05. This is not the
    standardised form of McClish that scikit-learn's ``max_fpr`` gives (chance: 0.5).

    Examples
    --------
    >>> round(auroc10([0, 0, 0, 0], [0, 1, 0, 1]), 12)
    0.05
    """
    return RankedScores.of(scores, truth).auroc(0.1)


def auprc(scores: ArrayLike, truth: ArrayLike) -> float:
    """Area under the precision-recall curve as average precision; NaN without a lesion voxel.

    The sum of (R_n - R_(n-1)) P_n over thresholds, without interpolation; chance is the
    prevalence.

    Examples
    --------
    Precision 1 for the first half of the recall, 2/3 for the second:

    >>> round(auprc([0.1, 0.4, 0.6, 0.9], [0, 1, 0, 1]), 4)
    0.8333
    """
    return RankedScores.of(scores, truth).auprc()


def surface_distances(
    mask: ArrayLike, truth: ArrayLike, spacing: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances (mm) from each surface voxel of one mask to the surface of the other.

    The surface of a mask is its voxels with a face neighbour outside it. Axes of length one (a
    single slice) are left out, so that a slice has an outline instead of being all surface.

    Parameters
    ----------
    mask, truth : array_like of bool, any dimension
        Neither may be empty.
    spacing : sequence of float
        Voxel size along each axis, in mm.

    Returns
    -------
    to_truth, to_mask : ndarray
        One value per surface voxel of ``mask`` and of ``truth``.
    """
    from scipy import ndimage

    a, b = _pair_of_masks(mask, truth)
    sizes = np.asarray(spacing, dtype=np.float64)
    if sizes.shape != (a.ndim,):
        raise InputError(f"spacing {tuple(spacing)}: {a.ndim} numbers were expected")
    thick = np.array([n > 1 for n in a.shape])
    if not thick.any():  # a single voxel
        thick[0] = True
    flat = tuple(n for n, keep in zip(a.shape, thick, strict=True) if keep)
    a, b, sizes = a.reshape(flat), b.reshape(flat), sizes[thick]
    # Every distance is between two voxels of the union: the transform is needed there only.
    window = ndimage.find_objects((a | b).astype(np.uint8))[0]
    a, b = a[window], b[window]
    edge_a, edge_b = a & ~ndimage.binary_erosion(a), b & ~ndimage.binary_erosion(b)
    to_b = ndimage.distance_transform_edt(~edge_b, sampling=sizes)
    to_a = ndimage.distance_transform_edt(~edge_a, sampling=sizes)
    return to_b[edge_a], to_a[edge_b]


def hausdorff_distance(
    mask: ArrayLike, truth: ArrayLike, spacing: Sequence[float], *, percentile: float = 100.0
) -> float:
    """Hausdorff distance in mm between the surfaces of two masks.

    The larger of the two directed distances, each of them the maximum (or the given percentile)
    over surface voxels, by exact Euclidean distance transforms.

    Parameters
    ----------
    mask, truth : array_like of bool
    spacing : sequence of float
        Voxel size along each axis, in mm.
    percentile : float
        100 for the maximum, 95 for the robust form.

    Returns
    -------
    float
        NaN if both masks are empty (there is no distance to measure), infinity if one is.

    Examples
    --------
    >>> hausdorff_distance([[1, 0, 0, 0]], [[0, 0, 0, 1]], (1.0, 2.0))
    6.0
    """
    a, b = _pair_of_masks(mask, truth)
    if not a.any() or not b.any():
        return float("nan") if a.any() == b.any() else float("inf")
    distances = surface_distances(a, b, spacing)
    return max(float(np.percentile(side, percentile)) for side in distances)


def pearson_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Pearson correlation of two maps over their voxels; NaN if one of them is constant.

    Examples
    --------
    >>> pearson_correlation([1.0, 2.0, 3.0], [2.0, 0.0, -2.0])
    -1.0
    """
    x, y = np.asarray(a, dtype=np.float64).ravel(), np.asarray(b, dtype=np.float64).ravel()
    if x.shape != y.shape:
        raise InputError(f"maps of {x.size} and {y.size} voxels: the same grid was expected")
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    # Attributions are around 1e-6 or below: scale first, so that their squares do not vanish.
    x, y = (x - x.mean()) / np.ptp(x), (y - y.mean()) / np.ptp(y)
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def _floats(scores: ArrayLike) -> NDArray[np.floating]:
    """Flat finite scores in single or double precision."""
    values = np.asarray(scores).ravel()
    if values.dtype not in (np.float32, np.float64):
        small = values.dtype in (np.float16, np.bool_)
        values = values.astype(np.float32 if small else np.float64)
    if not np.isfinite(values).all():
        raise InputError("the scores hold NaN or infinite values; finite numbers were expected")
    return values


def _pair(scores: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Flat scores and binary truth of the same size."""
    if np.shape(scores) != np.shape(truth):
        raise InputError(
            f"scores of shape {np.shape(scores)} and truth of shape {np.shape(truth)}: "
            "the same grid was expected"
        )
    return np.asarray(scores).ravel(), np.asarray(truth).astype(bool, copy=False).ravel()


def _pair_of_masks(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two binary arrays of the same shape."""
    if np.shape(a) != np.shape(b):
        raise InputError(
            f"masks of shape {np.shape(a)} and {np.shape(b)}: the same grid was expected"
        )
    return np.asarray(a).astype(bool, copy=False), np.asarray(b).astype(bool, copy=False)
