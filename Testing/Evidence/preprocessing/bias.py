"""What N4 does to a bias field that is known, and to the contrast of a large lesion."""

import numpy as np
from AttribSegLib.image import Image
from AttribSegLib.preprocessing.chain import prepare
from AttribSegLib.preprocessing.n4 import correct_bias
from AttribSegLib.preprocessing.options import ChainOptions
from AttribSegLib.simulation import simulate_head, simulate_subject
from scipy.ndimage import zoom

#: Others than the knots of N4 were chosen on.
SEEDS = range(10, 15)
#: Tumours, and how large they are at least, mL.
TUMOURS, LARGE_ML = 3, 30


def fields() -> list[dict]:
    """Coefficient of variation of white matter with a known field, before and after N4."""
    rows = []
    for modality in ("T1", "FLAIR"):
        before, after, clean = [], [], []
        for seed in SEEDS:
            subject = simulate_subject(0, modality=modality, spacing=1, seed=seed)
            image, white = subject.image, subject.fractions["white"] > 0.95
            coarse = np.random.default_rng(seed).normal(0, 0.45, (3, 3, 3))
            field = np.exp(zoom(coarse, np.array(image.array.shape) / 3, order=3))
            biased = image.with_array((image.array * field).astype(np.float32))
            done = correct_bias(biased, subject.brain).image
            for record, shown in ((clean, image), (before, biased), (after, done)):
                values = shown.array[white]
                record.append(float(values.std() / values.mean()))
        rows.append(
            {
                "modality": modality,
                "without_field": float(np.mean(clean)),
                "with_field": float(np.mean(before)),
                "after_n4": float(np.mean(after)),
                "worst_ratio": float(np.max(np.divide(after, before))),
            }
        )
    return rows


def contrast() -> list[dict]:
    """Contrast of large bright tumours in simulated heads, through the chain with and without N4.

    Contrast: mean of the lesion over the mean of the white matter, minus one; in the scan, and
    after all default steps but standardisation.
    """
    rows = []
    for seed in range(40):
        if len(rows) == TUMOURS:
            break
        subject = simulate_subject(1, modality="FLAIR", lesions="tumour", spacing=2, seed=seed)
        if subject.parameters["lesions_ml"] < LARGE_ML:
            continue
        head = simulate_head(1, modality="FLAIR", lesions="tumour", seed=seed)
        inside = head.subject.fractions["white"] > 0.95
        white = head.subject.brain.with_array(inside & ~head.subject.lesions.array)
        row = {"seed": seed, "lesion_ml": head.subject.parameters["lesions_ml"]}
        row["scan"] = _contrast(head.image, head.lesions, white.resample(head.image.geometry))
        for name, add in (("default", ()), ("n4", ("n4",))):
            options = ChainOptions().with_steps(add=add, drop=("standardise",))
            prepared = prepare({"FLAIR": head.image}, options)
            lesions, tissue = (prepared.to_atlas(m, "FLAIR") for m in (head.lesions, white))
            row[name] = _contrast(prepared.channels["FLAIR"], lesions, tissue)
        rows.append(row)
    return rows


def _contrast(image: Image, lesions: Image, white: Image) -> float:
    values = image.array.astype(np.float64)
    return float(values[lesions.array].mean() / values[white.array].mean() - 1)
