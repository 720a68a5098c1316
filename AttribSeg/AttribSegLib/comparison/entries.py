"""What an entry of a comparison is: the maps read from it, what it cost, what to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..cohort import Cohort
from ..errors import InputError
from .plan import Plan
from .results import RunResult
from .scoring import Scores
from .sources import NetworkMaps


def methods_of(recipe: Any, inference: Sequence[str]) -> list[str]:
    """Attributions read from a classifier, its own first; none where the recipe has its own map."""
    if not hasattr(recipe, "explanation"):
        return []
    own = recipe.explanation if recipe.constraint == "none" else recipe.attribution
    return list(dict.fromkeys((own, recipe.explanation, *inference)))


def primary_of(recipe: Any, methods: Sequence[str]) -> str:
    """The map that stands for a recipe: by the attribution its constraint is put on."""
    return methods[0] if methods else recipe.map_name


def kind_of(recipe: Any, methods: Sequence[str]) -> str:
    """What tables call an entry: read by attributions, by its own map, or a baseline."""
    if methods:
        return "classifier"
    return recipe.map_name if recipe.selection == "classification" else "baseline"


def require_channels(bundle: Bundle, cohort: Cohort) -> None:
    """Refuse a bundle with channels that the cohort lacks.

    Raises
    ------
    InputError
        Names them.
    """
    missing = [name for name in bundle.channels if name not in cohort.channels]
    if missing:
        raise InputError(
            f"the bundle expects channel {', '.join(missing)}, the cohort has "
            f"{', '.join(cohort.channels)}"
        )


def result_of(
    scores: Scores,
    name: str,
    seed: int,
    kind: str,
    primary: str,
    recipe: Any = None,
    bundle: Bundle | None = None,
) -> RunResult:
    """Scores as the result of a run; without a bundle for the plain intensity."""
    constraint = getattr(recipe, "constraint", "") if kind == "classifier" else ""
    image = {} if bundle is None else {n: e.value for n, e in scores.evaluation.image.items()}
    return RunResult(
        entry=name,
        seed=seed,
        kind=kind,
        constraint=constraint,
        attribution=recipe.attribution if constraint not in ("", "none") else "",
        primary=primary,
        budget={} if bundle is None else _budget(bundle),
        image=image,
        cases=scores.cases,
        patients=scores.patients,
        maps=scores.maps,
        correlations=scores.correlations,
    )


def prevalence_of(scores: Scores) -> float:
    """Share of lesion voxels in the brains of the cases with a mask."""
    populations = scores.evaluation.populations
    return next(iter(populations.values())).prevalence if populations else float("nan")


def completeness_of(source: NetworkMaps) -> dict[str, float]:
    """How complete the integrated gradients of a run are; empty where there are none."""
    if not source.completeness:
        return {}
    gaps, evaluations = (np.array(each) for each in zip(*source.completeness, strict=True))
    return {
        "median_gap": float(np.median(gaps)),
        "within_1_percent": float(np.mean(gaps <= 0.01)),
        "median_evaluations": float(np.median(evaluations)),
        "most_evaluations": float(evaluations.max()),
    }


def describe_failure(error: BaseException) -> str:
    """The reason of a failure in one line."""
    if isinstance(error, InputError):
        return str(error)
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"


def notes_on(plan: Plan, runs: Sequence[RunResult], split: str) -> list[str]:
    """What a reader of the tables must know, in sentences."""
    notes = []
    if split == "validation":
        notes.append(
            "These are the validation cases, on which epochs, thresholds and post-processing were "
            "chosen: the figures are optimistic."
        )
    for name, recipe in plan.recipes.items():
        mine = [run for run in runs if run.entry == name]
        if not mine:
            continue
        masked = getattr(recipe, "masked_patients", 0)
        if masked != 0:
            whose = "all training patients with one" if masked is None else f"{masked} patients"
            notes.append(f"{name} learned from the lesion masks of {whose}; the others did not.")
        if name in plan.bundles:
            notes.append(
                f"{name} was trained elsewhere ({plan.bundles[name]}); where its record does not "
                "name its patients, whether it has seen these is not known here."
            )
        if name in plan.searched:
            notes.append(f"{name}: alpha was searched; its minutes are those of the best training.")
        over = [run.budget["minutes"] for run in mine if run.budget["minutes"] > recipe.minutes]
        if recipe.minutes and over:
            notes.append(
                f"{name} took up to {max(over):.1f} minutes of {recipe.minutes:g}: the epoch under "
                "way is finished, and a training goes on until there are weights to keep."
            )
        for run in mine:
            notes += [f"{name}, seed {run.seed}: {note}" for note in run.notes]
        found = [run.completeness for run in mine if run.completeness]
        if found:
            notes.append(
                f"{name}, integrated gradients: median gap of completeness "
                f"{np.median([each['median_gap'] for each in found]):.1%}, within 1 % on "
                f"{np.mean([each['within_1_percent'] for each in found]):.0%} of the cases, at "
                f"most {max(each['most_evaluations'] for each in found):.0f} evaluations a case."
            )
    return notes


def _budget(bundle: Bundle) -> dict[str, float]:
    recipe: Any = bundle.recipe
    record = bundle.record
    history = record.get("history") or [{"seconds": float("nan")}]
    return {
        "minutes": history[-1]["seconds"] / 60,
        "epochs": float(record.get("epochs", "nan")),
        "best_epoch": float(record.get("best_epoch", "nan")),
        "width": float(recipe.width),
        "weights": float(sum(p.numel() for p in bundle.network.parameters())),
    }
