"""From a trained network to segmentations: channel, post-processing and thresholds.

All are chosen on validation images, by labels alone or, named so, with masks; and for the plain
intensity exactly as for the network's map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle import ATTRIBUTION, Bundle
from .cases import CaseLoader, PreparedCase
from .channel_reduction import MAXIMUM, MEAN, SUM
from .errors import InputError
from .inference import Prediction, predict
from .map_processing import (
    PROCESSED,
    RAW,
    MapProcessing,
    standard_candidates,
    times_input,
)
from .metrics.image import auroc
from .thresholds import (
    Threshold,
    false_positive_fraction_threshold,
    false_positive_volume_threshold,
    precision_recall_threshold,
)

#: False positives allowed on healthy validation images when the threshold is chosen.
FALSE_POSITIVE_ML = 1.0
FALSE_POSITIVE_FRACTION = 0.005

#: Ways to choose the post-processing.
PROCESSING_RULES = ("none", "labels", "masks")

#: Ways to choose the channel that is segmented, and reductions that take all of them.
_REDUCTION_RULES = ("labels", "masks")
_OVER_ALL = (SUM, MEAN, MAXIMUM)


@dataclass(frozen=True)
class Allowance:
    """False positives allowed on healthy validation images: mL per case, or share of the brain.

    The share counts where the spacing is nominal.
    """

    ml: float = FALSE_POSITIVE_ML
    fraction: float = FALSE_POSITIVE_FRACTION


@dataclass(frozen=True)
class ValidationMaps:
    """One kind of map of all validation cases, with what is needed to judge it.

    Parameters
    ----------
    maps : list of ndarray of shape (I, J, K)
    products : list of ndarray of shape (I, J, K)
        The same times the input (see :func:`.channels_times_input`).
    cases : list of PreparedCase
    """

    maps: list[NDArray[np.float32]]
    products: list[NDArray[np.float32]]
    cases: list[PreparedCase]

    def processed(self, processing: MapProcessing) -> ValidationMaps:
        """The same maps post-processed."""
        if not processing.changes_map:
            return self
        maps = [
            processing.map_or_product(values, product, case.brain, case.geometry)
            for values, product, case in zip(self.maps, self.products, self.cases, strict=True)
        ]
        return replace(self, maps=maps)

    def threshold(self, allowance: Allowance) -> Threshold:
        """Label-only threshold: a stated false-positive volume on healthy images."""
        healthy = [i for i, case in enumerate(self.cases) if case.case.label == 0]
        maps = [self.maps[i] for i in healthy]
        brains = [self.cases[i].brain for i in healthy]
        if any(case.geometry.nominal for case in self.cases):
            return false_positive_fraction_threshold(maps, brains, fraction=allowance.fraction)
        volumes = [self.cases[i].geometry.voxel_volume_ml for i in healthy]
        return false_positive_volume_threshold(
            maps, brains, volume_ml=allowance.ml, voxel_volume_ml=volumes
        )

    def tuned_threshold(self) -> Threshold | None:
        """Threshold tuned on masks; None where no validation case has one."""
        drawn = [i for i, case in enumerate(self.cases) if case.case.label == 1 and _has_mask(case)]
        if not drawn:
            return None
        return precision_recall_threshold(
            [self.maps[i] for i in drawn],
            [_lesions(self.cases[i]) for i in drawn],
            [self.cases[i].brain for i in drawn],
        )

    def segmented(self, threshold: Threshold, processing: MapProcessing) -> NDArray[np.float64]:
        """Share of every brain that is segmented."""
        shares = []
        for values, case in zip(self.maps, self.cases, strict=True):
            mask = processing.mask(threshold.mask(values) & case.brain, case.geometry)
            shares.append(np.count_nonzero(mask) / np.count_nonzero(case.brain))
        return np.array(shares)


def validation_maps(
    bundle: Bundle, validation: Sequence[PreparedCase], *, device: Any = None
) -> dict[str, ValidationMaps]:
    """The network's map and the plain intensity of all validation cases.

    As in the evaluation, the baseline's intensities are not clipped.
    """
    kept = list(validation)
    predictions = _predictions(bundle, kept, device)
    return _maps_to_judge(bundle, predictions, kept)


def choose_operating_point(
    bundle: Bundle,
    validation: Sequence[PreparedCase],
    *,
    allowance: Allowance | None = None,
    processing: str | MapProcessing = "none",
    reduction: str = "labels",
    device: Any = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Bundle:
    """Choose a bundle's reduction of channels, its post-processing and its thresholds.

    Parameters
    ----------
    bundle : Bundle
        What was chosen for it before is ignored.
    validation : sequence of PreparedCase
    allowance : Allowance, optional
    processing : {"none", "labels", "masks"} or MapProcessing
        "labels" and "masks" try :func:`.standard_candidates` on every map, the plain intensity
        included; see :func:`choose_processing`.
    reduction : {"labels", "masks"} or str
        "labels" and "masks" choose the best channel, where the recipe has a choice; otherwise one
        of the recipe's reductions. See :func:`choose_reduction`.
    device : torch.device, optional
    on_event : callable, optional
        Receives ``{"event": "threshold", "done": k, "total": n}`` after every image's map.

    Returns
    -------
    Bundle
        The same with other ``reduction``, ``processing``, ``thresholds`` and ``alternatives``. Raw
        maps always have their thresholds; post-processed ones have theirs beside them.

    Raises
    ------
    InputError
        If masks are asked for and no validation case has one, or there is no such reduction.
    """
    allowance = allowance or Allowance()
    kept = list(validation)
    predictions = _predictions(bundle, kept, device, on_event)
    chosen_reduction = choose_reduction(
        bundle.recipe.reductions, predictions, kept, allowance, rule=reduction
    )
    # Nothing of an earlier operating point stays.
    bundle = replace(
        bundle, reduction=chosen_reduction, processing={}, thresholds={}, alternatives={}
    )
    for name, maps in _maps_to_judge(bundle, predictions, kept).items():
        if isinstance(processing, MapProcessing):
            chosen = replace(processing, chosen_by=processing.chosen_by or "user")
        else:
            chosen = choose_processing(maps, allowance, rule=processing)
        variants = {name: RAW}
        if not chosen.does_nothing:
            bundle.processing[name] = chosen
            variants[name + PROCESSED] = chosen
        for variant, each in variants.items():
            processed = maps.processed(each)
            bundle.thresholds[variant] = processed.threshold(allowance)
            tuned = processed.tuned_threshold()
            if tuned is not None:
                bundle.alternatives[variant] = tuned
    return bundle


def choose_reduction(
    reductions: Sequence[str],
    predictions: Sequence[Prediction],
    cases: Sequence[PreparedCase],
    allowance: Allowance,
    *,
    rule: str = "labels",
) -> str:
    """How the maps of all channels become the one that is segmented.

    Parameters
    ----------
    reductions : sequence of str
        The recipe's; the first one stays where there is no single channel to choose.
    predictions, cases : sequences of equal length
        Of the validation images.
    allowance : Allowance
    rule : {"labels", "masks"} or str
        "labels" and "masks" take the single channel that does best, judged as
        :func:`choose_processing` judges; anything else is the reduction itself.

    Raises
    ------
    InputError
        If it is not one of the recipe's, or masks are asked for and there are none.
    """
    if rule not in _REDUCTION_RULES:
        if rule not in reductions:
            allowed = ", ".join((*_REDUCTION_RULES, *reductions))
            raise InputError(f"reduction {rule!r}: one of {allowed} was expected")
        return rule
    single = [each for each in reductions if each not in _OVER_ALL]
    if len(single) < 2:
        return reductions[0]
    if rule == "masks":
        require_masks(cases, "reduction")
    worth = {
        each: _worth(_reduced(predictions, cases, each), RAW, allowance, rule) for each in single
    }
    return max(single, key=lambda each: worth[each])


def _predictions(
    bundle: Bundle,
    cases: Sequence[PreparedCase],
    device: Any,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> list[Prediction]:
    found = []
    for case in cases:
        found += predict(bundle, case.array[None], device=device)
        if on_event is not None:
            on_event({"event": "threshold", "done": len(found), "total": len(cases)})
    return found


def _reduced(
    predictions: Sequence[Prediction], cases: Sequence[PreparedCase], reduction: str
) -> ValidationMaps:
    reduced = [prediction.reduced(reduction) for prediction in predictions]
    products = [each.times_input(case.array) for each, case in zip(reduced, cases, strict=True)]
    return ValidationMaps([each.attribution for each in reduced], products, list(cases))


def _maps_to_judge(
    bundle: Bundle, predictions: Sequence[Prediction], cases: list[PreparedCase]
) -> dict[str, ValidationMaps]:
    """The map that is segmented, other reductions of it, and the plain intensity."""
    plain = CaseLoader(background=bundle.recipe.background)
    maps = {ATTRIBUTION: _reduced(predictions, cases, bundle.reduction)}
    for name, reduction in bundle.other_reductions.items():
        maps[name] = _reduced(predictions, cases, reduction)
    values = [_unclipped(plain, case, bundle.recipe.clip) for case in cases]
    products = [times_input(v, case.array[0]) for v, case in zip(values, cases, strict=True)]
    maps[bundle.intensity_name] = ValidationMaps(values, products, cases)
    return maps


def choose_processing(
    maps: ValidationMaps,
    allowance: Allowance,
    *,
    rule: str,
    candidates: Sequence[MapProcessing] | None = None,
) -> MapProcessing:
    """The best of some post-processings of one kind of map.

    Parameters
    ----------
    maps : ValidationMaps
        Raw.
    allowance : Allowance
    rule : {"none", "labels", "masks"}
        "labels": the candidate whose segmented volume, at its own label-only threshold, tells
        pathological from healthy validation images best (AUROC). "masks": the candidate with the
        highest pooled Dice on validation images with masks. The first of equals wins, so that the
        raw map stays unless something is better.
    candidates : sequence of MapProcessing, optional

    Returns
    -------
    MapProcessing
        Its ``chosen_by`` is the rule.

    Raises
    ------
    InputError
        If the rule is unknown, or masks are asked for and there are none.
    """
    if rule not in PROCESSING_RULES:
        raise InputError(f"post-processing {rule!r}: one of {', '.join(PROCESSING_RULES)}")
    if rule == "none":
        return RAW
    if rule == "masks":
        require_masks(maps.cases, "post-processing")
    nominal = any(case.geometry.nominal for case in maps.cases)
    best, best_value = RAW, -np.inf
    for candidate in candidates or standard_candidates(nominal=nominal):
        processed = maps.processed(candidate)
        value = _worth(processed, candidate, allowance, rule)
        if value > best_value + 1e-9:
            best, best_value = candidate, value
    return replace(best, chosen_by=rule)


def post_process(
    prediction: Prediction,
    processing: MapProcessing,
    array: NDArray[np.float32],
    brain: NDArray[np.bool_],
    geometry: Any,
) -> NDArray[np.float32]:
    """Post-processed combined map of a prediction.

    Parameters
    ----------
    prediction : Prediction
    processing : MapProcessing
    array : ndarray of shape (C, I, J, K)
        Standardised channels.
    brain : ndarray of shape (I, J, K)
    geometry : Geometry
    """
    values = prediction.attribution
    product = prediction.times_input(array) if processing.times_input else values
    return processing.map_or_product(values, product, brain, geometry)


def _worth(
    maps: ValidationMaps, processing: MapProcessing, allowance: Allowance, rule: str
) -> float:
    if rule == "labels":
        shares = maps.segmented(maps.threshold(allowance), processing)
        return auroc([case.case.label for case in maps.cases], shares)
    tuned = maps.tuned_threshold()
    assert tuned is not None  # `require_masks` was asked before
    return float(tuned.detail["pooled_dice"])


def require_masks(cases: Sequence[PreparedCase], what: str) -> None:
    """Refuse to choose something by masks where there are none.

    Raises
    ------
    InputError
        If no pathological validation case has a lesion mask.
    """
    if not any(case.case.label == 1 and _has_mask(case) for case in cases):
        raise InputError(
            f"{what} by masks: no pathological validation case has a lesion mask; choose it by "
            "labels"
        )


def _has_mask(case: PreparedCase) -> bool:
    return bool(np.any(_lesions(case) & case.brain))


def _lesions(case: PreparedCase) -> NDArray[np.bool_]:
    return np.zeros_like(case.brain) if case.lesions is None else case.lesions


def _unclipped(plain: CaseLoader, case: PreparedCase, clip: float) -> NDArray[np.float32]:
    """First channel as it is before the clip, on the (perhaps cropped) grid of the case."""
    if not clip:
        return case.array[0]
    whole = plain(case.case)
    start = np.rint(whole.geometry.to_ijk(case.geometry.to_lps([0, 0, 0]))).astype(int)
    if case.case.slice is not None or whole.brain.shape == case.brain.shape:
        return whole.array[0]
    window = tuple(slice(a, a + n) for a, n in zip(start, case.brain.shape, strict=True))
    return whole.array[0][window]
