"""Part 2: short trainings over depth, norm, optimiser, learning rate and initialisation."""

from __future__ import annotations

from typing import Any

from mednist import MedNist
from networks import FORMS, INITS, classifier
from rows import chosen
from training import Setting, train

#: Settings that stand in the names of the results.
NAMED = ("depths", "rates")


def tasks(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Every combination, the shallow networks first."""
    return [
        {"form": form, "depth": depth, "init": init, "optimiser": optimiser, "rate": rate}
        for depth in settings["depths"]
        for optimiser, rates in settings["rates"].items()
        for rate in rates
        for form in FORMS
        for init in INITS
    ]


def run(
    task: dict[str, Any], settings: dict[str, Any], data: MedNist, device: str
) -> dict[str, Any]:
    """Train one of them; the losses of all steps and the accuracy afterwards."""
    size, steps, seed = settings["size"], settings["steps"], settings["seed"]
    network = classifier(
        task["form"], task["depth"], task["init"], width=settings["width"], size=size, seed=seed
    ).to(device)
    setting = Setting(task["optimiser"], task["rate"], steps, settings["batch"], seed, every=steps)
    factor = data.train.x.shape[-1] // size
    inner = data.inner.first(settings["looked_at"]).pooled(factor)
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
