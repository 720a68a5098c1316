"""What a trained classifier does on test cases: the classes it tells, and where it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.assessment import evaluated_cases
from AttribSegLib.bundle import ATTRIBUTION, load_bundle
from AttribSegLib.cohort import read_cohort
from AttribSegLib.metrics.image import auroc
from AttribSegLib.metrics.voxel import RankedScores, dice
from shortcut_cohorts import mark_voxels

#: How a cohort is tested: with the shortcut as in training, without it, with the classes swapped.
TESTS = ("as trained", "without", "on the other class")


def measure(folder: Path, table: Path, factor: int) -> dict[str, Any]:
    """Figures of the test split of a cohort.

    Parameters
    ----------
    folder : Path
        Bundle.
    table : Path
        Cohort on a grid of 2 mm times ``factor``.
    factor : int

    Returns
    -------
    dict
        Image AUROC; AUPRC of the raw map and of the plain intensity, and Dice at the label-only
        threshold, means over patients; where the positive attribution of patients lies; all
        inside the brain without the mark.
    """
    bundle = load_bundle(folder)
    labels, logits, found = [], [], []
    for case in evaluated_cases(bundle, read_cohort(table).in_split("test")):
        labels.append(case.label)
        logits.append(case.logit)
        if case.label == 0:
            continue
        values = case.maps[ATTRIBUTION]
        positive = np.maximum(values, 0) * case.brain
        mark = mark_voxels(factor, case.geometry.size)
        lesions = np.asarray(case.lesions)
        whole = max(float(positive.sum()), 1e-30)
        # The brain, without the mark: that no lesion is there is known.
        inside = case.brain & ~mark
        truth = lesions[inside]
        found.append(
            {
                "auprc": RankedScores.of(values[inside], truth).auprc(),
                "flair_auprc": RankedScores.of(
                    case.maps[bundle.intensity_name][inside], truth
                ).auprc(),
                "dice": dice(bundle.thresholds[ATTRIBUTION].mask(values[inside]), truth),
                "share_on_lesions": float(positive[lesions].sum()) / whole,
                "share_on_mark": float(positive[mark].sum()) / whole,
                "prevalence": float(truth.mean()),
            }
        )
    means = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
    return {
        "image_auroc": auroc(labels, logits),
        **means,
        "auprc_sd": float(np.std([each["auprc"] for each in found], ddof=1)),
        "cases": len(labels),
        "patients_with_lesions": len(found),
    }
