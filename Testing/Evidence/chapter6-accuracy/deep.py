"""Part 4: a monotone ResNet-152 for longer, since Kaiming's features grow with depth."""

from __future__ import annotations

from typing import Any

import ladder
from mednist import MedNist
from networks import INITS, classifier
from training import Setting, measure, train

DEPTH, EPOCHS, SEED = 152, 2, 0
RATES = (1e-3, 1e-2)


def tasks() -> list[dict[str, Any]]:
    """Both initialisations with both learning rates."""
    return [{"init": init, "rate": rate} for rate in RATES for init in INITS]


def run(task: dict[str, Any], data: MedNist) -> dict[str, Any]:
    """Train on the images of part 2; accuracy on the inner part and, at the best look, on val/."""
    network = classifier(
        "monotone", DEPTH, task["init"], width=ladder.WIDTH, size=ladder.SIZE, seed=SEED
    )
    steps = EPOCHS * (len(data.train) // ladder.BATCH)
    setting = Setting("Adam", task["rate"], steps, ladder.BATCH, SEED, every=steps // 6, decay=True)
    factor = data.train.x.shape[-1] // ladder.SIZE
    inner = data.inner.pooled(factor)
    record, best = train(network, setting, data.train.pooled(factor), inner)
    return {
        "task": task,
        "losses": [float(f"{loss:.4g}") for loss in record["losses"]],
        "looks": record["looks"],
        "outcome": record["outcome"],
        "inner": record["best"],
        "test": measure(best, data.test.pooled(factor))["accuracy"],
    }
