"""Maps scored: thresholds and post-processing from validation cases, figures from test cases."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cases import PreparedCase, iterate_cases
from ..cohort import Case
from ..errors import Cancelled
from ..evaluation import ALL_CASES, PATHOLOGICAL, EvaluatedCase, Evaluation, evaluate
from ..inference import Prediction
from ..map_processing import RAW, MapProcessing
from ..metrics.voxel import dice, pearson_correlation
from ..operating_point import Allowance, ValidationMaps, choose_processing, post_process
from ..thresholds import Threshold
from .results import CASE_METRICS, POOLED_METRICS, RAW_RULE, ScoredMap
from .sources import MapSource

_BINS = 60
_NAN = float("nan")


@dataclass(frozen=True)
class _Variant:
    """A map under one post-processing, with its thresholds and, when raw, histogram edges."""

    name: str
    rule: str
    processing: MapProcessing
    threshold: Threshold
    tuned: Threshold | None
    edges: NDArray[np.float64] | None

    @property
    def key(self) -> str:
        """Name among the maps of an evaluated case."""
        return f"{self.name} | {self.rule}"


@dataclass
class _Tally:
    """What is counted beside the evaluation, for one variant."""

    counts: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    tuned_dice: dict[str, float] = field(default_factory=dict)
    hits: int = 0
    selected: int = 0
    lesion: int = 0


@dataclass(frozen=True)
class Scores:
    """Everything found for one source of maps."""

    maps: list[ScoredMap]
    cases: list[str]
    patients: list[str]
    correlations: dict[str, dict[str, float]]
    evaluation: Evaluation


def score_maps(
    source: MapSource,
    validation: Sequence[Case],
    test: Sequence[Case],
    *,
    background: float,
    clip: float,
    rules: Sequence[str] = (),
    allowance: Allowance | None = None,
    split: str = "test",
    on_case: Callable[[PreparedCase, dict[str, Prediction]], None] | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Scores:
    """Choose thresholds on validation cases, score on test cases.

    Parameters
    ----------
    source : MapSource
    validation, test : sequence of Case
    background, clip : float
        See :func:`.standardise`.
    rules : sequence of {"labels", "masks"}
        By which post-processing is chosen, beside the raw maps.
    allowance : Allowance, optional
    split : str
        What the test cases are called.
    on_case : callable, optional
        Receives every test case with its raw maps.
    on_event : callable, optional
        Receives ``case`` events.
    should_stop : callable, optional
        Asked before every case.

    Returns
    -------
    Scores
        Raw maps first.

    Raises
    ------
    Cancelled
        When asked to stop.
    """
    stop = should_stop or (lambda: False)
    prepared = list(iterate_cases(validation, background=background, clip=clip))
    chosen = _variants(source, prepared, rules, allowance or Allowance(), stop)
    del prepared
    tallies = {variant.key: _Tally() for variant in chosen}
    correlations: dict[tuple[str, str], list[float]] = defaultdict(list)

    def evaluated() -> Iterator[EvaluatedCase]:
        prepared = iterate_cases(test, background=background, clip=clip)
        for case, found in _with_maps(source, prepared, source.names, stop):
            if on_case is not None:
                on_case(case, found)
            maps: dict[str, NDArray[Any]] = {}
            for variant in chosen:
                maps[variant.key] = post_process(
                    found[variant.name],
                    variant.processing,
                    source.array(case),
                    case.brain,
                    case.geometry,
                )
                _count(tallies[variant.key], variant, maps[variant.key], case)
            _correlate(correlations, found, case.brain)
            first = found[source.names[0]]
            yield EvaluatedCase(
                case=case.case.case,
                patient=case.case.patient,
                label=case.case.label,
                probability=first.probability,
                logit=first.logit,
                maps=maps,
                brain=case.brain,
                lesions=case.lesions,
                geometry=case.geometry,
                processing={v.key: v.processing for v in chosen if v.processing != RAW},
            )

    evaluation = evaluate(
        evaluated(),
        thresholds={variant.key: variant.threshold for variant in chosen},
        split=split,
        on_event=on_event,
    )
    first = [row for row in evaluation.rows if row.map == chosen[0].key]
    counted = [row for row in first if not row.healthy and row.lesion_voxels > 0]
    cases = [row.case for row in counted]
    means: dict[str, dict[str, float]] = defaultdict(dict)
    for (a, b), values in correlations.items():
        finite = [value for value in values if np.isfinite(value)]
        means[a][b] = float(np.mean(finite)) if finite else _NAN
    return Scores(
        maps=[_scored(v, evaluation, tallies[v.key], cases) for v in chosen],
        cases=cases,
        patients=[row.patient for row in counted],
        correlations=dict(means),
        evaluation=evaluation,
    )


def _with_maps(
    source: MapSource,
    cases: Iterator[PreparedCase],
    names: Sequence[str],
    should_stop: Callable[[], bool],
) -> Iterator[tuple[PreparedCase, dict[str, Prediction]]]:
    """Every case with its maps."""
    while chunk := list(itertools.islice(cases, source.at_once)):
        if should_stop():
            raise Cancelled("what is trained and scored is kept; the same command goes on")
        yield from zip(chunk, source.maps(chunk, names), strict=True)


def _variants(
    source: MapSource,
    prepared: list[PreparedCase],
    rules: Sequence[str],
    allowance: Allowance,
    should_stop: Callable[[], bool],
) -> list[_Variant]:
    """Raw maps first, then those of each rule, from validation cases."""
    masked = any(c.case.label and c.lesions is not None and c.lesions.any() for c in prepared)
    by_rule: dict[str, list[_Variant]] = {rule: [] for rule in (RAW_RULE, *rules)}
    for name in source.names:  # one kind of map at a time: whole volumes are large
        raw = ValidationMaps([], [], prepared)
        for case, found in _with_maps(source, iter(prepared), [name], should_stop):
            raw.maps.append(found[name].attribution)
            if rules:
                raw.products.append(found[name].times_input(source.array(case)))
        for rule, variants in by_rule.items():
            if rule == "masks" and not masked:
                continue
            chosen = RAW if rule == RAW_RULE else choose_processing(raw, allowance, rule=rule)
            processed = raw.processed(chosen)
            variants.append(
                _Variant(
                    name,
                    rule,
                    chosen,
                    processed.threshold(allowance),
                    processed.tuned_threshold(),
                    _bins(raw) if rule == RAW_RULE else None,
                )
            )
    return [variant for variants in by_rule.values() for variant in variants]


def _bins(maps: ValidationMaps) -> NDArray[np.float64]:
    """Histogram edges from validation cases, so that all test cases share them."""
    values = np.concatenate(
        [
            inside[:: max(1, inside.size // 5000)]
            for inside in (m[c.brain] for m, c in zip(maps.maps, maps.cases, strict=True))
        ]
    )
    low, high = np.percentile(values, [0.1, 99.9])
    return np.linspace(low, high if high > low else low + 1.0, _BINS + 1)


def _count(tally: _Tally, variant: _Variant, values: NDArray[Any], case: PreparedCase) -> None:
    """Histograms, and the Dice at the mask-tuned threshold."""
    lesions = np.zeros_like(case.brain) if case.lesions is None else case.lesions
    inside, truth = values[case.brain], lesions[case.brain]
    healthy = case.case.label == 0
    known = healthy or case.lesions is not None
    if variant.edges is not None and known:
        parts = (
            {"healthy": inside} if healthy else {"lesion": inside[truth], "rest": inside[~truth]}
        )
        for part, scores in parts.items():
            clipped = np.clip(scores, variant.edges[0], variant.edges[-1])
            counts = np.histogram(clipped, variant.edges)[0].astype(np.float64)
            tally.counts[part] = tally.counts.get(part, np.zeros(_BINS)) + counts
    if variant.tuned is not None and truth.any():
        mask = np.zeros_like(case.brain)
        mask[case.brain] = variant.tuned.mask(inside)
        mask = variant.processing.mask(mask, case.geometry)[case.brain]
        tally.tuned_dice[case.case.case] = dice(mask, truth)
        tally.hits += int((mask & truth).sum())
        tally.selected += int(mask.sum())
        tally.lesion += int(truth.sum())


def _correlate(
    found: dict[tuple[str, str], list[float]],
    predictions: dict[str, Prediction],
    brain: NDArray[np.bool_],
) -> None:
    maps = {name: prediction.attribution for name, prediction in predictions.items()}
    names = list(maps)
    for place, a in enumerate(names):
        for b in names[place:]:
            value = 1.0 if a == b else pearson_correlation(maps[a][brain], maps[b][brain])
            found[(a, b)].append(value)
            if a != b:
                found[(b, a)].append(value)


def _scored(
    variant: _Variant, evaluation: Evaluation, tally: _Tally, cases: list[str]
) -> ScoredMap:
    rows = {row.case: row for row in evaluation.rows if row.map == variant.key}
    per_case = {
        metric: [float(getattr(rows[case], metric)) for case in cases]
        for metric in CASE_METRICS
        if metric != "tuned_dice"
    }
    per_case["tuned_dice"] = [tally.tuned_dice.get(case, _NAN) for case in cases]
    pooled = dict.fromkeys(POOLED_METRICS, _NAN)
    everything: dict[str, float] = {}
    curve: dict[str, list[float]] = {}
    if PATHOLOGICAL in evaluation.populations:
        result = evaluation.populations[PATHOLOGICAL].maps[variant.key]
        pooled |= {name: value for name, value in result.pooled.items() if name in pooled}
        if tally.lesion and variant.tuned is not None:
            pooled["tuned_dice"] = 2 * tally.hits / (tally.selected + tally.lesion)
        curve = {
            "selected": result.curves.selected.tolist(),
            "dice": result.curves.dice.tolist(),
        }
        whole = evaluation.populations[ALL_CASES].maps[variant.key].pooled
        everything = {name: whole[name] for name in ("auprc", "auroc", "auroc10")}
    histogram: dict[str, list[float]] = {}
    if variant.edges is not None:
        histogram["edges"] = variant.edges.tolist()
        width = variant.edges[1] - variant.edges[0]
        for part, counts in tally.counts.items():
            histogram[part] = (counts / max(counts.sum(), 1) / width).tolist()
    return ScoredMap(
        name=variant.name,
        rule=variant.rule,
        processing=variant.processing.describe(),
        per_case=per_case,
        pooled=pooled,
        all_cases=everything,
        threshold=variant.threshold.value,
        tuned_threshold=_NAN if variant.tuned is None else variant.tuned.value,
        curve=curve,
        histogram=histogram,
    )
