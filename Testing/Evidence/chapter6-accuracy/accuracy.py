"""Part 3: accuracy of ResNet-18 on MedNIST, with what it was chosen on."""

from __future__ import annotations

import math
from typing import Any

from mednist import MedNist
from networks import FORMS, INITS, classifier
from training import Setting, measure, train

DEPTH, WIDTH, SIZE = 18, 0.25, 64
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
SEARCH_EPOCHS, LOOKS_PER_EPOCH, BATCH = 1, 2, 32
#: Epochs of the table, by form: monotone networks were still improving after four.
EPOCHS = {"batch": (4,), "monotone": (4, 8)}
SEEDS = (0, 1)


def rows() -> list[tuple[str, str, bool]]:
    """Form, initialisation and whether it centres; what centres is in the search only."""
    return [
        ("batch", "kaiming", False),
        ("batch", "ours", False),
        ("monotone", "kaiming", False),
        ("monotone", "ours", False),
        ("monotone", "ours", True),
    ]


def tasks() -> list[dict[str, Any]]:
    """The search: all learning rates, one seed, few epochs."""
    return [
        _task(form, init, centred, rate, SEEDS[0], SEARCH_EPOCHS)
        for form, init, centred in rows()
        for rate in RATES
    ]


def finals(search: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trainings of the table, with the learning rates that were best in the search."""
    found = []
    for seed in SEEDS:
        for form, init, centred, epochs in table_rows():
            rate = choice(search, form, init, centred)["task"]["rate"]
            found.append(_task(form, init, centred, rate, seed, epochs))
    return found


def table_rows() -> list[tuple[str, str, bool, int]]:
    """Form, initialisation, whether it centres, and epochs."""
    return [(*row, epochs) for row in rows() if not row[2] for epochs in EPOCHS[row[0]]]


def choice(results: list[dict[str, Any]], form: str, init: str, centred: bool) -> dict[str, Any]:
    """Of a row's search the run that was best on the inner part: by accuracy, then by loss."""
    return max(of_row(results, form, init, centred, SEARCH_EPOCHS), key=_goodness)


def of_row(
    results: list[dict[str, Any]], form: str, init: str, centred: bool, epochs: int
) -> list[dict[str, Any]]:
    """All runs of a row."""
    wanted = {"form": form, "init": init, "centred": centred, "epochs": epochs}
    return [each for each in results if wanted.items() <= each["task"].items()]


def _task(
    form: str, init: str, centred: bool, rate: float, seed: int, epochs: int
) -> dict[str, Any]:
    return {
        "form": form,
        "init": init,
        "centred": centred,
        "rate": rate,
        "seed": seed,
        "epochs": epochs,
    }


def _goodness(result: dict[str, Any]) -> tuple[float, float]:
    look = result["inner"] or {"accuracy": 0.0, "loss": None}
    loss = look["loss"]
    return look["accuracy"], -math.inf if loss is None else -loss


def run(task: dict[str, Any], data: MedNist) -> dict[str, Any]:
    """Train; accuracy on the inner part at the best look, and on val/ at that look."""
    network = classifier(
        task["form"],
        DEPTH,
        task["init"],
        width=WIDTH,
        size=SIZE,
        seed=task["seed"],
        centred=task["centred"],
    )
    per_epoch = len(data.train) // BATCH
    setting = Setting(
        "Adam",
        task["rate"],
        task["epochs"] * per_epoch,
        BATCH,
        task["seed"],
        every=per_epoch // LOOKS_PER_EPOCH,
        decay=True,
    )
    record, best = train(network, setting, data.train, data.inner)
    return {
        "task": task,
        "losses": [float(f"{loss:.4g}") for loss in record["losses"]],
        "looks": record["looks"],
        "outcome": record["outcome"],
        "inner": record["best"],
        "test": measure(best, data.test)["accuracy"],
    }


def name_of(form: str, init: str, centred: bool) -> str:
    """What a row is called."""
    return f"{FORMS[form]}; {INITS[init]}{', centred' if centred else ''}"
