"""The cohorts of the study corrections: nested patients, the same for both methods."""

import importlib.util
import sys
from pathlib import Path

import pytest
from AttribSegLib.cohort import Case, Cohort, read_cohort, write_cohort
from AttribSegLib.errors import InputError
from AttribSegLib.recipes import recipe_from_dict

STUDY = Path(__file__).resolve().parents[2] / "Testing" / "Evidence" / "corrections"
sys.path[:0] = [str(STUDY), str(STUDY.parent)]
from corrected_cohorts import corrected_cohort, corrected_patients, write_once  # noqa: E402
from study import SETTINGS as BOTH  # noqa: E402
from study import Study  # noqa: E402

SPLITS = {"train": 9, "validation": 3, "test": 4}


@pytest.fixture
def cohort(tmp_path):
    """Every patient has two slices with lesions and one without; one has none with."""
    cases = []
    for split, count in SPLITS.items():
        for number in range(count):
            patient = f"{split}{number}"
            for index in range(3):
                label = int(index < 2 and patient != "train4")
                cases.append(
                    Case(
                        case=f"{patient}-{index}",
                        patient=patient,
                        label=label,
                        split=split,
                        channels={"FLAIR": tmp_path / f"{patient}.nii"},
                        brain=None,
                        lesions=tmp_path / f"{patient}_lesions.nii",
                        slice=index,
                        nominal_spacing=True,
                    )
                )
    return Cohort(tuple(cases), ("FLAIR",), str(tmp_path / "cohort.csv"))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_patients_are_nested_and_of_the_training_with_lesions(cohort, seed):
    order = corrected_patients(cohort, 8, seed=seed)
    assert sorted(order) == [f"train{n}" for n in range(9) if n != 4]
    for count in range(9):
        assert corrected_patients(cohort, count, seed=seed) == order[:count]


def test_seeds_differ_and_too_many_are_refused(cohort):
    orders = {tuple(corrected_patients(cohort, 8, seed=seed)) for seed in range(5)}
    assert len(orders) > 1
    with pytest.raises(InputError, match="9 corrected patients"):
        corrected_patients(cohort, 9, seed=0)


def test_only_masks_of_corrected_patients_are_left_in_the_training(cohort):
    chosen = corrected_patients(cohort, 3, seed=0)
    found = corrected_cohort(cohort, chosen)
    training = found.in_split("train")
    masked = {c.patient for c in training if c.label == 1 and c.lesions is not None}
    assert masked == set(chosen)
    unmasked = [c for c in training if c.label == 1 and c.lesions is None]
    assert len(unmasked) == 10
    assert sum(c.label == 0 for c in training) == 8 + 3
    for split in ("validation", "test"):
        assert found.in_split(split) == cohort.in_split(split)


def test_tables_are_written_once(cohort, tmp_path):
    table = tmp_path / "cohort.csv"
    write_cohort(cohort, table)
    path = write_once(table, tmp_path / "tables", 2, seed=1)
    first = path.read_bytes()
    assert write_once(table, tmp_path / "tables", 2, seed=1) == path
    assert path.read_bytes() == first
    training = read_cohort(path, check_images=False).in_split("train")
    masked = {c.patient for c in training if c.label and c.lesions is not None}
    assert masked == set(corrected_patients(cohort, 2, seed=1))


@pytest.mark.parametrize("setting", BOTH)
def test_every_training_of_the_study_has_a_recipe_and_a_name_of_its_own(setting):
    spec = importlib.util.spec_from_file_location("corrections_run", STUDY / "run.py")
    assert spec is not None
    assert spec.loader is not None
    study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(study)
    settings = Study(STUDY, setting).settings
    for seed, counts in settings["patients_by_seed"].items():
        runs = list(study.runs_of(settings, int(seed)))
        assert len({study.entry_of(*run) for run in runs}) == len(runs) == 3 * len(counts) + 2
        for arm, count in runs:
            recipe = recipe_from_dict(study.recipe_of(settings, arm, count))
            # Without a mask there is nothing to learn masks from, and no recipe asks for one.
            assert (recipe.masked_patients is None) == (count > 0)
            least = {study.UNET: 1.0, study.BALANCED: 0.5, study.SUP: 0.0}[arm]
            assert recipe.least_masked == (least if count else 0.0)
