"""The converter of the study lgg-2d, on real slices where they are available."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = REPOSITORY / "Testing" / "Evidence" / "lgg-2d"
DATA = Path(os.environ.get("ATTRIBSEG_DATA", REPOSITORY.parent / "shared" / "data"))
SOURCE = DATA / "lgg_flair_2d.npz"

sys.path.insert(0, str(STUDY))
from lgg_cohort import assign_patients, convert  # noqa: E402

needs_data = pytest.mark.skipif(
    not SOURCE.exists(), reason="lgg_flair_2d.npz not found (set ATTRIBSEG_DATA)"
)


def test_every_patient_is_in_one_split_and_shares_are_kept():
    names = np.array([f"p{number:03d}" for number in range(200)])
    splits = assign_patients(np.repeat(names, 3))
    assert sorted(splits) == sorted(names)
    counts = [list(splits.values()).count(name) for name in ("train", "validation", "test")]
    assert counts == [120, 30, 50]
    assert assign_patients(names[::-1]) == splits


@needs_data
def test_conversion_keeps_tumours_and_removes_skulls(tmp_path):
    from AttribSegLib.cohort import read_cohort
    from AttribSegLib.image_io import read_image

    with np.load(SOURCE) as content:
        chosen = sorted(np.unique(content["patient"]))[20:23]
    cohort = read_cohort(convert(SOURCE, tmp_path, patients=chosen))
    assert sorted({case.patient for case in cohort.cases}) == chosen
    assert cohort.nominal_spacing
    labels = {case.label for case in cohort.cases}
    assert labels == {0, 1}
    for patient in chosen:
        parts = {
            kind: read_image(tmp_path / "volumes" / f"{patient}_{kind}.nii.gz", nominal=True).array
            for kind in ("FLAIR", "brain", "lesions")
        }
        brain, lesions = parts["brain"] > 0, parts["lesions"] > 0
        assert (lesions & brain).sum() >= 0.9 * lesions.sum()
        assert 0.1 < brain.mean() < 0.5
        assert not parts["FLAIR"][~brain].any()
    for case in cohort.cases:
        volume = read_image(case.lesions, nominal=True).array
        assert volume[:, :, case.slice].any() == bool(case.label)
