"""The largest alpha that leaves the classification alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..bundle import Bundle, is_bundle, load_bundle
from ..cohort import Cohort
from ..errors import DivergedError, InputError
from ..files import atomic_path, make_folder, write_json
from ..recipes import Recipe
from .run import train_bundle
from .trainer import OnEvent

#: Validation TPR and TNR may fall by this much against the unconstrained model (thesis ch. 5).
ALLOWED_LOSS = 0.05
#: First step between alphas, and the finest: the answer is known to this factor.
COARSE, FINE = 10.0**0.5, 10.0**0.125
#: Trainings of the search, the unconstrained one included, at most.
_MOST_TRAININGS = 10


def train_with_largest_alpha(
    cohort: Cohort,
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
    **options: Any,
) -> Bundle:
    """Train with the largest alpha whose validation TPR and TNR stay near the unconstrained ones.

    From the recipe's own alpha the search climbs (or descends) by half decades until the rates
    break down (or recover), then halves the step between the last good and the first bad one.
    A training whose loss explodes counts as broken down; it has no rates.
    Every trial is a whole training with the recipe's budget, in a subfolder of
    ``alpha_search/``; what is trained already is not trained again. ``alpha_search.json`` lists
    them all.

    Parameters
    ----------
    cohort : Cohort
    recipe : Recipe
        Of the attribution-constrained kind; its alpha is where the search starts.
    out : path
        Bundle folder.
    resume, overwrite : bool
        As for :func:`.train_bundle`.
    on_event : callable, optional
        Receives ``alpha`` events beside those of the trainings.
    **options
        See :func:`.train_bundle`.

    Raises
    ------
    InputError
        If the recipe has no constraint, or every alpha that was tried breaks the classification.
    Cancelled
        When asked to stop; the search can be resumed.
    """
    constraint = getattr(recipe, "constraint", "none")
    start = float(getattr(recipe, "alpha", 0.0))
    if constraint == "none" or start <= 0:
        raise InputError(
            f"alpha auto: recipe {recipe.name!r} with constraint {constraint!r} has no alpha above "
            "0 to start the search from"
        )
    folder = Path(out)
    if is_bundle(folder) and not (resume or overwrite):
        raise InputError(
            f"{folder}: holds a model already; give another --out, --resume or --overwrite"
        )
    trials = folder / "alpha_search"
    if trials.exists() and not (resume or overwrite):
        raise InputError(f"{trials}: an unfinished search; --resume goes on with it")

    def rates(changed: Recipe, name: str) -> tuple[float, float]:
        bundle = train_bundle(
            cohort,
            changed,
            trials / name,
            resume=not overwrite,
            overwrite=overwrite,
            on_event=on_event,
            **options,
        )
        found = bundle.record["validation"]
        return found["validation_tpr"], found["validation_tnr"]

    plain = rates(recipe.varied(constraint="none"), "none")
    table: list[dict[str, Any]] = [{"alpha": 0.0, "tpr": plain[0], "tnr": plain[1], "good": True}]

    def is_good(alpha: float) -> bool:
        found: tuple[float | None, float | None] = (None, None)
        good = False
        with suppress(DivergedError):  # far too large: there are no rates
            found = now = rates(recipe.varied(alpha=alpha), f"alpha-{alpha:.4g}")
            good = all(a >= b - ALLOWED_LOSS for a, b in zip(now, plain, strict=True))
        table.append({"alpha": alpha, "tpr": found[0], "tnr": found[1], "good": good})
        make_folder(folder)
        write_json(folder / "alpha_search.json", {"allowed_loss": ALLOWED_LOSS, "trials": table})
        if on_event:
            on_event({"event": "alpha", **table[-1]})
        return good

    best = largest_good(is_good, start)
    if best is None:
        lowest = min(row["alpha"] for row in table[1:])
        raise InputError(
            f"alpha auto: even alpha {lowest:.3g} costs more than {ALLOWED_LOSS:.0%} of validation "
            f"TPR or TNR ({folder / 'alpha_search.json'}); train longer, or wider"
        )
    return _take(trials / f"alpha-{best:.4g}", folder)


def _take(trial: Path, folder: Path) -> Bundle:
    """Make the best trial's bundle the result; ``config.json`` comes last."""
    (folder / "config.json").unlink(missing_ok=True)
    for name in ("training", "models"):
        shutil.copytree(trial / name, folder / name, dirs_exist_ok=True)
    for name in ("metadata.json", "config.json"):
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(trial / name, temporary)
    return load_bundle(folder)


def largest_good(is_good: Callable[[float], bool], start: float) -> float | None:
    """Largest number that is good, to a factor of :data:`FINE`, where small ones are good.

    Parameters
    ----------
    is_good : callable
        Asked for at most nine numbers.
    start : float

    Returns
    -------
    float or None
        None where nothing that was tried is good.

    Examples
    --------
    >>> 0.5 < largest_good(lambda alpha: alpha < 0.7, 0.05) < 0.7
    True
    """
    asked = 1
    low: float | None = None
    high: float | None = None
    alpha, step = start, COARSE
    while asked < _MOST_TRAININGS:
        asked += 1
        if is_good(alpha):
            low = alpha
        else:
            high = alpha
        if low is None or high is None:
            alpha = alpha * COARSE if high is None else alpha / COARSE
            continue
        step = (high / low) ** 0.5
        if step < FINE * (1 - 1e-9):
            break
        alpha = low * step
    return low
