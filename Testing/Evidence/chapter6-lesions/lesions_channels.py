"""Every feature channel of the full method scored on its own (thesis fig. 6.11).

A counterfactual has one map for each feature. A comparison scores the one that was chosen on
validation images, and the mean and the maximum of all; here all are scored alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.bundle import Bundle, load_bundle
from AttribSegLib.cases import PreparedCase, iterate_cases
from AttribSegLib.channel_reduction import MAXIMUM, MEAN, channel_names
from AttribSegLib.cohort import Cohort
from AttribSegLib.cohort_fingerprint import cohort_fingerprint
from AttribSegLib.comparison.scoring import score_maps
from AttribSegLib.comparison.sources import NetworkMaps
from AttribSegLib.evaluation import Summary
from AttribSegLib.files import read_json, write_json
from AttribSegLib.inference import Prediction, predict
from AttribSegLib.operating_point import Allowance, choose_reduction
from AttribSegLib.provenance import file_hash
from numpy.typing import NDArray

_DICE = ("dice", "tuned_dice", "oracle_dice")


class ChannelMaps:
    """Maps of all channels and of their mean and maximum, each image asked for once.

    Parameters
    ----------
    bundle : Bundle
        Of a recipe whose maps have channels.
    """

    at_once = 16

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.names = (*channel_names(len(bundle.map_channels)), MEAN, MAXIMUM)
        #: Predictions by case.
        self.found: dict[str, Prediction] = {}
        self._own = NetworkMaps(bundle, [])

    def maps(
        self, cases: Sequence[PreparedCase], names: Sequence[str]
    ) -> list[dict[str, Prediction]]:
        """Predictions, reduced by the names."""
        fresh = [case for case in cases if case.case.case not in self.found]
        if fresh:
            arrays = np.stack([self.array(case) for case in fresh])
            for case, prediction in zip(fresh, predict(self.bundle, arrays), strict=True):
                self.found[case.case.case] = prediction
        return [{n: self.found[case.case.case].reduced(n) for n in names} for case in cases]

    def array(self, case: PreparedCase) -> NDArray[np.float32]:
        """Channels in the bundle's order."""
        return self._own.array(case)


def channels_of(folder: Path, cohort: Cohort, store: Path) -> dict[str, Any]:
    """Figures of every channel of a trained bundle, from disk if they are of these weights.

    Parameters
    ----------
    folder : Path
        The bundle.
    cohort : Cohort
        Of the comparison that trained it: the channel is chosen, and thresholds come from, the
        validation part; figures are of the test part.
    store : Path
        JSON file.

    Returns
    -------
    dict
        "chosen" (by "labels" and by "masks"), and by map "auprc" (pooled), "per_case_auprc",
        "dice" (label-only threshold, mean over cases), "tuned_dice", "oracle_dice" and "share" (of
        everything that is taken from the features of pathological test images).
    """
    made_of = {
        "weights": file_hash([folder / "models" / "model.safetensors"]),
        "cohort": cohort_fingerprint(cohort),
    }
    if store.is_file():
        stored = read_json(store)
        if {name: stored.get(name) for name in made_of} == made_of:
            return dict(stored)
    bundle = load_bundle(folder)
    recipe = bundle.recipe
    source = ChannelMaps(bundle)
    look = {"background": recipe.background, "clip": recipe.clip}
    validation, test = (cohort.in_split(name) for name in ("validation", "test"))
    scores = score_maps(source, validation, test, **look)
    prepared = list(iterate_cases(validation, **look))
    predictions = [source.found[case.case.case] for case in prepared]
    chosen = {
        rule: choose_reduction(recipe.reductions, predictions, prepared, Allowance(), rule=rule)
        for rule in ("labels", "masks")
    }
    taken = sum(
        np.abs(source.found[case.case].channels).sum((1, 2, 3)) for case in test if case.label
    )
    shares = dict(zip(source.names, taken / taken.sum(), strict=False))
    maps = {}
    for each in scores.maps:
        maps[each.name] = {
            "auprc": each.pooled["auprc"],
            "per_case_auprc": Summary.of(each.per_case["auprc"]).mean,
            **{metric: Summary.of(each.per_case[metric]).mean for metric in _DICE},
            "share": float(shares[each.name]) if each.name in shares else None,
        }
    found = {**made_of, "chosen": chosen, "maps": maps}
    write_json(store, found)
    return found
