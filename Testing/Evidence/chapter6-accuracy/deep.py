"""Part 3: a monotone ResNet-152 for longer, since Kaiming's features grow with depth."""

from __future__ import annotations

from typing import Any

from mednist import MedNist
from networks import INITS, classifier
from training import Setting, measure, train

#: Settings that stand in the names of the results.
NAMED = ("rates",)


def tasks(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Both initialisations with all learning rates."""
    return [{"init": init, "rate": rate} for rate in settings["rates"] for init in INITS]


def run(
    task: dict[str, Any], settings: dict[str, Any], data: MedNist, device: str
) -> dict[str, Any]:
    """Train on coarser images; accuracy on the inner part and, at the best look, on val/."""
    seed, size, batch = settings["seed"], settings["size"], settings["batch"]
    network = classifier(
        "monotone", settings["depth"], task["init"], width=settings["width"], size=size, seed=seed
    ).to(device)
    steps = settings["epochs"] * (len(data.train) // batch)
    setting = Setting("Adam", task["rate"], steps, batch, seed, every=steps // 6, decay=True)
    factor = data.train.x.shape[-1] // size
    inner = data.inner.pooled(factor)
    record, state = train(network, setting, data.train.pooled(factor), inner)
    return {
        "task": task,
        "losses": [float(f"{loss:.4g}") for loss in record["losses"]],
        "looks": record["looks"],
        "outcome": record["outcome"],
        "inner": record["best"],
        "test": measure(state, data.test.pooled(factor))["accuracy"],
    }
