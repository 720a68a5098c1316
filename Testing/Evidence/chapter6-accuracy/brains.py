"""Part 5: healthy or pathological slices, told apart by a PatchGAN."""

from __future__ import annotations

from typing import Any

from networks import patchgan
from rows import COLUMNS, best, chosen, trained
from slices import Slices, threshold_accuracy
from training import Setting

#: Settings that stand in the names of the results.
NAMED = ("seeds", "rates", "epochs", "search_epochs")


def search(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """All learning rates, one seed, few epochs."""
    seed, epochs = settings["seeds"][0], settings["search_epochs"]
    return [
        _task(form, init, rate, seed, epochs)
        for rate in settings["rates"]
        for form, init in COLUMNS
    ]


def finals(settings: dict[str, Any], searched: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trainings of the table, each with the learning rate that was best on validation."""
    return [
        _task(form, init, rate_of(searched, form, init), seed, settings["epochs"])
        for seed in settings["seeds"]
        for form, init in COLUMNS
    ]


def rate_of(searched: list[dict[str, Any]], form: str, init: str) -> float:
    """What the search chose."""
    return float(best(chosen(searched, form=form, init=init))["task"]["rate"])


def _task(form: str, init: str, rate: float, seed: int, epochs: int) -> dict[str, Any]:
    return {"form": form, "init": init, "rate": rate, "seed": seed, "epochs": epochs}


def run(
    task: dict[str, Any], settings: dict[str, Any], data: Slices, device: str
) -> dict[str, Any]:
    """Train; test at the look that was best on validation."""
    network = patchgan(
        task["form"],
        task["init"],
        width=settings["width"],
        size=data.train.x.shape[-1],
        seed=task["seed"],
    ).to(device)
    per_epoch = len(data.train) // settings["batch"]
    setting = Setting(
        settings["optimiser"],
        task["rate"],
        task["epochs"] * per_epoch,
        settings["batch"],
        task["seed"],
        every=per_epoch,
        learned=data.validation.most_common(),
    )
    return trained(task, network, setting, (data.train, data.validation, data.test))


def about(data: Slices) -> dict[str, Any]:
    """Sizes, and what thresholds on two plain numbers reach."""
    train, test = data.train.y.numpy(), data.test.y.numpy()
    levels = {"intensity": 0, "area": 1}
    return {
        "side": data.train.x.shape[-1],
        "counts": {
            name: {
                "slices": len(part),
                "pathological": int(part.y.sum()),
                "patients": len(set(data.patients[name])),
            }
            for name, part in (
                ("train", data.train),
                ("validation", data.validation),
                ("test", data.test),
            )
        },
        "plain": {
            name: threshold_accuracy(
                data.plain["train"][:, at], train == 1, data.plain["test"][:, at], test == 1
            )
            for name, at in levels.items()
        },
    }
