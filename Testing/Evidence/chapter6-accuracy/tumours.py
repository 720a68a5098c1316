"""Part 6: brain tumours of four classes, every image reported once by a network without it."""

from __future__ import annotations

from typing import Any

import numpy as np
from brain_tumours import BrainTumours, folds_of, nearest_accuracy
from labelled_images import standardised_parts
from networks import classifier
from rows import COLUMNS, chosen, trained
from training import Setting

#: Settings that stand in the names of the results.
NAMED = ("seeds", "rates")
#: What counts as close to something that was trained on, for the table of alike images.
CLOSE = 0.95


def tasks(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Every fold, network and seed; the learning rates were chosen elsewhere."""
    return [
        {
            "form": form,
            "init": init,
            "fold": fold,
            "seed": seed,
            "rate": settings["rates"][f"{form}, {init}"],
        }
        for seed in settings["seeds"]
        for fold in range(settings["folds"])
        for form, init in COLUMNS
    ]


def run(
    task: dict[str, Any], settings: dict[str, Any], data: BrainTumours, device: str
) -> dict[str, Any]:
    """Train on a fold; test on what it leaves out, at the look that was best on the inner part."""
    folds = list(folds_of(data.labels, data.groups, settings["folds"]))
    parts = standardised_parts(data.images, data.labels, folds[task["fold"]])
    network = classifier(
        "batch" if task["form"] == "standard" else task["form"],
        settings["depth"],
        task["init"],
        width=settings["width"],
        size=settings["size"],
        seed=task["seed"],
        outputs=len(data.classes),
    ).to(device)
    per_epoch = len(parts[0]) // settings["batch"]
    setting = Setting(
        "Adam",
        task["rate"],
        settings["epochs"][task["form"]] * per_epoch,
        settings["batch"],
        task["seed"],
        every=per_epoch,
        decay=True,
        learned=parts[1].most_common(),
    )
    return trained(task, network, setting, parts)


def rightness(
    results: list[dict[str, Any]], settings: dict[str, Any], data: BrainTumours
) -> np.ndarray:
    """Share of seeds by which each image was classified rightly, when it was left out."""
    right = np.zeros(len(data.labels))
    folds = list(folds_of(data.labels, data.groups, settings["folds"]))
    for result in results:
        test = folds[result["task"]["fold"]][2]
        right[test] += [int(each) for each in result["right"]]
    return right / len(settings["seeds"])


def closeness(settings: dict[str, Any], data: BrainTumours) -> np.ndarray:
    """Correlation of each image's thumbnail with the most similar one it was trained without."""
    found = np.zeros(len(data.labels))
    for train, _, test in folds_of(data.labels, data.groups, settings["folds"]):
        found[test] = (data.thumbnails[test] @ data.thumbnails[train].T).max(axis=1)
    return found


def about(settings: dict[str, Any], data: BrainTumours) -> dict[str, Any]:
    """How much of the images is there twice, and what the nearest neighbour makes of that."""
    train, val = np.flatnonzero(~data.from_val), np.flatnonzero(data.from_val)
    known = set(data.digests[train])
    everything = np.arange(len(data.labels))
    plain = folds_of(data.labels, everything, settings["folds"])
    kept = folds_of(data.labels, data.groups, settings["folds"])

    def nearest(folds: Any) -> float:
        shares = [
            (nearest_accuracy(data.thumbnails, data.labels, a, c), len(c)) for a, _, c in folds
        ]
        return sum(share * count for share, count in shares) / len(data.labels)

    return {
        "images": len(data.labels),
        "classes": {name: int((data.labels == i).sum()) for i, name in enumerate(data.classes)},
        "files": len(np.unique(data.digests)),
        "groups": int(data.groups.max()) + 1,
        "largest_group": int(np.bincount(data.groups).max()),
        "in_val": len(val),
        "in_val_and_train": int(sum(digest in known for digest in data.digests[val])),
        "nearest_val": nearest_accuracy(data.thumbnails, data.labels, train, val),
        "nearest_folds": nearest(plain),
        "nearest_groups": nearest(kept),
    }


def by_closeness(
    results: list[dict[str, Any]], settings: dict[str, Any], data: BrainTumours
) -> list[dict[str, Any]]:
    """Accuracy of the images that resemble something their network was trained on, and others."""
    close = closeness(settings, data) > CLOSE
    found = []
    for form, init in COLUMNS:
        right = rightness(chosen(results, form=form, init=init), settings, data)
        found.append(
            {
                "form": form,
                "init": init,
                "close": float(right[close].mean()),
                "others": float(right[~close].mean()),
                "images_close": int(close.sum()),
            }
        )
    return found
