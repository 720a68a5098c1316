"""Part 4: accuracy of ResNets on MedNIST, with what it was chosen on."""

from __future__ import annotations

from typing import Any

from mednist import MedNist
from networks import FORMS, INITS, classifier
from rows import best, chosen
from training import Setting, measure, train

#: Settings that stand in the names of the results.
NAMED = ("rates", "seeds", "epochs", "search_epochs")


def rows() -> list[tuple[str, str, bool]]:
    """Form, initialisation and whether it centres; what centres is in the search only."""
    return [
        ("batch", "kaiming", False),
        ("batch", "ours", False),
        ("monotone", "kaiming", False),
        ("monotone", "ours", False),
        ("monotone", "ours", True),
    ]


def search(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """All learning rates, one seed, few epochs."""
    return [
        _task(form, init, centred, rate, settings["seeds"][0], settings["search_epochs"])
        for form, init, centred in rows()
        for rate in settings["rates"]
    ]


def finals(settings: dict[str, Any], searched: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trainings of the table, with the learning rates that were best in the search."""
    found = []
    for seed in settings["seeds"]:
        for form, init, epochs in table_rows(settings):
            rate = choice(searched, form, init, False)["task"]["rate"]
            found.append(_task(form, init, False, rate, seed, epochs))
    return found


def table_rows(settings: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Form, initialisation and epochs."""
    return [
        (form, init, epochs)
        for form, init, centred in rows()
        if not centred
        for epochs in settings["epochs"][form]
    ]


def choice(results: list[dict[str, Any]], form: str, init: str, centred: bool) -> dict[str, Any]:
    """Of a row's search the run that was best on the inner part: by accuracy, then by loss."""
    return best(chosen(results, form=form, init=init, centred=centred))


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


def run(
    task: dict[str, Any], settings: dict[str, Any], data: MedNist, device: str
) -> dict[str, Any]:
    """Train; accuracy on the inner part at the best look, and on val/ at that look."""
    network = classifier(
        task["form"],
        settings["depth"],
        task["init"],
        width=settings["width"],
        size=data.train.x.shape[-1],
        seed=task["seed"],
        centred=task["centred"],
    ).to(device)
    per_epoch = len(data.train) // settings["batch"]
    setting = Setting(
        "Adam",
        task["rate"],
        task["epochs"] * per_epoch,
        settings["batch"],
        task["seed"],
        every=per_epoch // settings["looks_per_epoch"],
        decay=True,
    )
    record, state = train(network, setting, data.train, data.inner)
    return {
        "task": task,
        "losses": [float(f"{loss:.4g}") for loss in record["losses"]],
        "looks": record["looks"],
        "outcome": record["outcome"],
        "inner": record["best"],
        "test": measure(state, data.test)["accuracy"],
    }


def name_of(form: str, init: str, centred: bool = False) -> str:
    """What a row is called."""
    return f"{FORMS[form]}; {INITS[init]}{', centred' if centred else ''}"
