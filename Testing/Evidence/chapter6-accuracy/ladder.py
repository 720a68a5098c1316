"""Part 2: short trainings over depth, norm, optimiser, learning rate and initialisation."""

from __future__ import annotations

from typing import Any

from mednist import MedNist
from networks import FORMS, INITS, classifier
from training import OPTIMISERS, Setting, train

DEPTHS = (18, 34, 152)
RATES = {"SGD": (1e-3, 1e-2, 1e-1, 1.0), "Adam": (1e-4, 1e-3, 1e-2, 1e-1)}
WIDTH, SIZE, STEPS, BATCH, SEED = 0.125, 32, 50, 32, 0
#: Images of the inner part that accuracy is measured on.
LOOKED_AT = 400


def tasks() -> list[dict[str, Any]]:
    """Every combination, the shallow networks first."""
    return [
        {"form": form, "depth": depth, "init": init, "optimiser": optimiser, "rate": rate}
        for depth in DEPTHS
        for optimiser in OPTIMISERS
        for rate in RATES[optimiser]
        for form in FORMS
        for init in INITS
    ]


def run(task: dict[str, Any], data: MedNist) -> dict[str, Any]:
    """Train one of them; the losses of all steps and the accuracy afterwards."""
    network = classifier(
        task["form"], task["depth"], task["init"], width=WIDTH, size=SIZE, seed=SEED
    )
    setting = Setting(task["optimiser"], task["rate"], STEPS, BATCH, SEED, every=STEPS)
    factor = data.train.x.shape[-1] // SIZE
    inner = data.inner.first(LOOKED_AT).pooled(factor)
    record, _ = train(network, setting, data.train.pooled(factor), inner)
    accuracy = record["looks"][-1]["accuracy"] if record["looks"] else None
    return {
        "task": task,
        "losses": [float(f"{loss:.4g}") for loss in record["losses"]],
        "accuracy": accuracy,
        "outcome": record["outcome"],
    }


def best(results: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """Of the runs with these properties that did not diverge, the most accurate one."""
    found = chosen(results, **wanted)
    alive = [each for each in found if each["outcome"] != "diverged"]
    return max(alive or found, key=lambda each: each["accuracy"] or 0.0)


def chosen(results: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    """The runs with these properties."""
    return [
        each
        for each in results
        if all(each["task"][name] == value for name, value in wanted.items())
    ]
