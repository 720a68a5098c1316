"""What the parts of table 6.2 have in common: four networks each, and the choice of a rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from labelled_images import Images
from torch import nn
from training import Setting, scored, train

#: Form and initialisation of the columns of table 6.2.
COLUMNS = (
    ("standard", "kaiming"),
    ("standard", "ours"),
    ("monotone", "kaiming"),
    ("monotone", "ours"),
)


def chosen(results: Sequence[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    """The runs whose tasks have these properties."""
    return [each for each in results if wanted.items() <= each["task"].items()]


def best(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The run that was best on the inner part: by accuracy, then by loss."""
    return max(results, key=_goodness)


def _goodness(result: dict[str, Any]) -> tuple[float, float]:
    look = result["inner"] or {"accuracy": 0.0, "loss": None}
    loss = look["loss"]
    return look["accuracy"], -math.inf if loss is None else -loss


def trained(
    task: dict[str, Any], network: nn.Module, setting: Setting, parts: Sequence[Images]
) -> dict[str, Any]:
    """Train on the first of three parts, look at the second, test the best look on the third."""
    record, state = train(network, setting, parts[0], parts[1])
    return {
        "task": task,
        "losses": [float(f"{loss:.4g}") for loss in record["losses"]],
        "looks": record["looks"],
        "outcome": record["outcome"],
        "inner": record["best"],
        **scored(state, parts[2]),
    }
