"""Part 7: simulated single cells, told apart by a multilayer perceptron."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from labelled_images import Images
from markers import MARKERS, POPULATIONS, draw_cytometry
from networks import perceptron
from rows import COLUMNS, best, chosen, trained
from training import Setting

#: Settings that stand in the names of the results.
NAMED = ("seeds", "rates")


def tasks(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Every learning rate for every network and seed; a seed is that of the cells too."""
    return [
        {"form": form, "init": init, "rate": rate, "seed": seed}
        for seed in settings["seeds"]
        for rate in settings["rates"]
        for form, init in COLUMNS
    ]


@cache
def cells(counts: tuple[int, int, int], seed: int) -> tuple[tuple[Images, Images, Images], float]:
    """Training, validation and test cells of one mixture, and the best accuracy there is on it."""
    generator = np.random.default_rng(seed)
    mixture = draw_cytometry(generator)
    drawn = [mixture.sample(count, generator) for count in counts]
    mean, std = drawn[0][0].mean(axis=0), drawn[0][0].std(axis=0)
    train, validation, test = (
        Images(torch.from_numpy(((x - mean) / std).astype(np.float32)), torch.from_numpy(y))
        for x, y in drawn
    )
    ceiling = float(np.mean(mixture.best_guess(drawn[2][0]) == drawn[2][1]))
    return (train, validation, test), ceiling


def run(task: dict[str, Any], settings: dict[str, Any], device: str) -> dict[str, Any]:
    """Train; test at the look that was best on validation."""
    parts, ceiling = cells(tuple(settings["cells"]), task["seed"])
    network = perceptron(
        task["form"],
        task["init"],
        inputs=MARKERS,
        hidden=settings["hidden"],
        outputs=POPULATIONS,
        seed=task["seed"],
    ).to(device)
    per_epoch = len(parts[0]) // settings["batch"]
    setting = Setting(
        "Adam",
        task["rate"],
        settings["epochs"] * per_epoch,
        settings["batch"],
        task["seed"],
        every=per_epoch,
        decay=True,
        learned=parts[1].most_common(),
    )
    result = trained(task, network, setting, parts)
    # One bit per cell is much for a file of which nobody reads it: seeds have cells of their own.
    del result["right"]
    return {**result, "ceiling": ceiling}


def finals(results: list[dict[str, Any]], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Of every network and seed the run with the learning rate that was best on validation."""
    return [
        best(chosen(results, form=form, init=init, seed=seed))
        for seed in settings["seeds"]
        for form, init in COLUMNS
    ]
