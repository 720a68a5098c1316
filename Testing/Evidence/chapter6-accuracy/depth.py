"""Part 1: size of features and gradients by depth, on noise that no network was drawn with."""

from __future__ import annotations

import math
from typing import Any

import torch
from MonotoneNetLib.depth_report import DepthReport, LayerStatistics, statistics_by_depth
from networks import FORMS, INITS, draw, resnet

#: Settings that stand in the names of the results.
NAMED = ("depths", "seeds")
#: What the issue asks of "ours".
BAND = (0.8, 1.25)
#: Seed of the noise that is measured with; the initialisation's noise follows the weights.
_OTHER = 1000


def tasks(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """All measurements: with gradients for the first seed, and "ours" alone for the others."""
    return [
        {"form": form, "depth": depth, "init": init, "seed": seed}
        for seed in settings["seeds"]
        for depth in settings["depths"]
        for form in FORMS
        for init in INITS
        if seed == settings["seeds"][0] or init == "ours"
    ]


def run(task: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Draw a ResNet of full width with one output, and measure it."""
    shape = tuple(settings["shape"])
    network = resnet(task["form"], task["depth"], width=1, channels=shape[0], outputs=1)
    draw(network, task["init"], shape, seed=task["seed"], centred=True)
    generator = torch.Generator().manual_seed(_OTHER + task["seed"])
    noise = torch.randn(settings["batch"], *shape, generator=generator)
    backward = task["seed"] == settings["seeds"][0]
    report = statistics_by_depth(network, noise, backward=backward, generator=generator)
    return {"task": task, **report.to_dict()}


def report_of(result: dict[str, Any]) -> DepthReport:
    """The report that a result was written from."""
    return DepthReport(
        tuple(
            LayerStatistics(
                **{key: math.nan if value is None else value for key, value in layer.items()}
            )
            for layer in result["layers"]
        )
    )


def summary(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Range over layers of what was measured, per network, and the layers outside the band."""
    rows = []
    for result in results:
        layers = report_of(result).layers
        finite = [layer.std for layer in layers if math.isfinite(layer.std)]
        gradients = [each.gradient_std for each in layers if math.isfinite(each.gradient_std)]
        errors = [
            abs(layer.correlation - layer.predicted_correlation)
            for layer in layers
            if math.isfinite(layer.correlation - layer.predicted_correlation)
        ]
        rows.append(
            {
                **result["task"],
                "cpu_seconds": result["cpu_seconds"],
                "layers": len(layers),
                "not_finite": len(layers) - len(finite),
                "lowest": min(finite),
                "highest": max(finite),
                "last": layers[-1].std,
                "before_last": [fold([each.std for each in layers[:-1]]) for fold in (min, max)],
                "outside": {
                    layer.name: layer.std for layer in layers if not BAND[0] <= layer.std <= BAND[1]
                },
                "gradient_first": layers[0].gradient_std,
                "gradient_lowest": min(gradients, default=math.nan),
                "gradient_highest": max(gradients, default=math.nan),
                "correlation_error": sum(errors) / len(errors),
                "correlation_error_highest": max(errors),
                "correlation_before_last": layers[-2].correlation,
            }
        )
    return rows
