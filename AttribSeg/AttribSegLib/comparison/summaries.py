"""Seeds and cases of a comparison boiled down to the figures that stand in its tables."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

from ..evaluation import Summary
from ..evaluation_report import number
from .results import RAW_RULE, Comparison, RunResult, ScoredMap

#: Chooses the map of a run that is looked at; None where it has no such map.
Pick = Callable[[RunResult], ScoredMap | None]
#: What stands for a value that does not exist.
ABSENT = "-"


def primary_map(run: RunResult, rule: str = RAW_RULE) -> ScoredMap | None:
    """The map that stands for a run in the main table, raw unless a rule is named."""
    return run.map(run.primary, rule)


def picker(name: str, rule: str = RAW_RULE) -> Pick:
    """Chooses the map of one name and rule."""
    return lambda run: run.map(name, rule)


def is_scored(comparison: Comparison) -> bool:
    """Whether there are voxel metrics at all: some test case has a mask."""
    return any(run.cases and run.maps for run in comparison.runs)


#: Kinds of entries with several maps: by attribution, or by the reduction of their channels.
SEVERAL_MAPS = ("classifier", "counterfactual")


def map_names(
    comparison: Comparison, *, kinds: Sequence[str] = (), rule: str = RAW_RULE
) -> list[str]:
    """Names of the maps of all runs (of some kinds of entries, if given), in order."""
    runs = [run for run in comparison.runs if not kinds or run.kind in kinds]
    return list(dict.fromkeys(each.name for run in runs for each in run.maps if each.rule == rule))


def rules_of(comparison: Comparison) -> list[str]:
    """Rules by which maps were post-processed, "labels" before "masks", without the raw one."""
    found = {each.rule for run in comparison.runs for each in run.maps} - {RAW_RULE}
    known = [rule for rule in ("labels", "masks") if rule in found]
    return known + sorted(found - set(known))


def case_values(comparison: Comparison, entry: str, metric: str, pick: Pick) -> dict[str, float]:
    """Value of each test case with a mask, averaged over the seeds where it is finite.

    Seeds come first, so that an SD over cases is not made smaller by counting a case once per
    seed.

    Returns
    -------
    dict of str to float
        By case; NaN where no seed has a finite value.
    """
    found: dict[str, list[float]] = {}
    for run in comparison.runs_of(entry):
        chosen = pick(run)
        values = [] if chosen is None else chosen.per_case.get(metric, [])
        for case, value in zip(run.cases, values, strict=False):
            found.setdefault(case, []).append(value)
    return {case: Summary.of(values).mean for case, values in found.items()}


def over_cases(comparison: Comparison, entry: str, metric: str, pick: Pick) -> Summary:
    """Mean and SD over cases of the values averaged over seeds."""
    return Summary.of(case_values(comparison, entry, metric, pick).values())


def over_seeds(comparison: Comparison, entry: str, value: Callable[[RunResult], float]) -> Summary:
    """Mean and SD over the seeds of an entry."""
    return Summary.of(value(run) for run in comparison.runs_of(entry))


def pooled(comparison: Comparison, entry: str, metric: str, pick: Pick) -> Summary:
    """A metric pooled over the voxels of all cases: mean and SD over seeds."""

    def value(run: RunResult) -> float:
        chosen = pick(run)
        return math.nan if chosen is None else chosen.pooled.get(metric, math.nan)

    return over_seeds(comparison, entry, value)


def patients_of(comparison: Comparison) -> dict[str, str]:
    """Patient of each test case with a mask."""
    return {
        case: patient
        for run in comparison.runs
        for case, patient in zip(run.cases, run.patients, strict=True)
    }


def words_of(values: Iterable[str]) -> str:
    """Words of all seeds, told once each, with how many seeds where they differ."""
    every = list(values)
    counts = {word: every.count(word) for word in every}
    if len(counts) < 2:
        return "".join(counts) or ABSENT
    return "; ".join(f"{word} ({n} of {len(every)} seeds)" for word, n in counts.items())


def spread(summary: Summary, *, of: str = "") -> str:
    """Mean +- SD with as many decimals.

    Parameters
    ----------
    summary : Summary
    of : str
        What was averaged; where some values are undefined, the number of the others is told.

    Examples
    --------
    >>> spread(Summary(0.5, 0.12345, 3, 0)), spread(Summary(0.5, float("nan"), 1, 2), of="cases")
    ('0.500 +- 0.123', '0.500 (1 of 3 cases)')
    """
    if not summary.n:
        return ABSENT
    text = number(summary.mean)
    if math.isfinite(summary.sd):
        plain = re.fullmatch(r"-?\d+\.(\d{1,3})", text)
        decimals = len(plain[1]) if plain else 0
        text += f" +- {summary.sd:.{decimals}f}" if plain else f" +- {number(summary.sd)}"
    if of and summary.undefined:
        text += f" ({summary.n} of {summary.n + summary.undefined} {of})"
    return text
