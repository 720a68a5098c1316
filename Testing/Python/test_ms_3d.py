"""Nested parts of the training split, as the study ms-3d draws them."""

import sys
from pathlib import Path

import pytest
from AttribSegLib.cohort import Case, Cohort, read_cohort, write_cohort
from AttribSegLib.errors import InputError
from AttribSegLib.training.batches import BalancedBatches

STUDY = Path(__file__).resolve().parents[1] / "Evidence" / "ms-3d"
sys.path[:0] = [str(STUDY), str(STUDY.parent)]
from simulated_ms import nested_part  # noqa: E402


@pytest.fixture
def cohort(tmp_path):
    """Twelve healthy and seven pathological training patients, a few of the other splits."""
    cases = []
    for split, counts in (("train", (12, 7)), ("validation", (3, 2)), ("test", (2, 3))):
        for label, count in enumerate(counts):
            for number in range(count):
                name = f"{split}-{label}-{number:02d}"
                cases.append(Case(name, name, label, split, {"FLAIR": tmp_path / f"{name}.nii"}))
    return Cohort(tuple(cases), ("FLAIR",), "made up")


def training_patients(cohort):
    return {case.patient for case in cohort.in_split("train")}


def test_larger_parts_hold_smaller_ones_and_have_so_many_patients_of_each_class(cohort):
    parts = [training_patients(nested_part(cohort, count, 0)) for count in (1, 3, 7)]
    assert parts[0] < parts[1] < parts[2] < training_patients(cohort)
    for count, part in zip((1, 3, 7), parts, strict=True):
        assert sum("-0-" in name for name in part) == sum("-1-" in name for name in part) == count


def test_other_seeds_draw_other_patients(cohort):
    drawn = [training_patients(nested_part(cohort, 3, seed)) for seed in range(6)]
    assert len({frozenset(each) for each in drawn}) > 1
    assert drawn[2] == training_patients(nested_part(cohort, 3, 2))


def test_validation_and_test_stay_whole(cohort):
    part = nested_part(cohort, 2, 1)
    for split in ("validation", "test"):
        assert part.in_split(split) == cohort.in_split(split)


def test_an_epoch_keeps_its_number_of_steps(cohort):
    def steps(of):
        return BalancedBatches([c.label for c in of.in_split("train")], 4, seed=0).steps

    assert {steps(nested_part(cohort, count, 0)) for count in (1, 3, 5, 7)} == {steps(cohort)}


def test_repeated_rows_have_names_of_their_own_and_the_table_can_be_read(cohort, tmp_path):
    part = nested_part(cohort, 5, 0)
    names = [case.case for case in part.cases]
    assert len(names) == len(set(names))
    repeats = [sum(c.patient == p for c in part.in_split("train")) for p in training_patients(part)]
    assert max(repeats) - min(repeats) <= 2
    write_cohort(part, tmp_path / "part.csv")
    again = read_cohort(tmp_path / "part.csv", check_images=False)
    assert again.summary()["splits"]["train"] == part.summary()["splits"]["train"]


@pytest.mark.parametrize("count", [0, 8])
def test_more_patients_than_a_class_has_are_refused(cohort, count):
    with pytest.raises(InputError, match=f"{count} training patients of class"):
        nested_part(cohort, count, 0)
