import os
import shutil
from dataclasses import replace

import pytest
from AttribSegLib.cohort import Cohort, read_cohort
from AttribSegLib.cohort_fingerprint import cohort_fingerprint, patient_marks, patients_seen

SEEN = ("train", "validation")


def changed(cohort, number, **entries):
    """The cohort with one case changed."""
    cases = list(cohort.cases)
    cases[number] = replace(cases[number], **entries)
    return replace(cohort, cases=tuple(cases))


def test_the_same_table_gives_the_same(small_cohort):
    cohort = small_cohort()
    again = read_cohort(cohort.source, check_images=False)
    found = cohort_fingerprint(cohort)
    assert cohort_fingerprint(again) == found
    assert len(found) == 64
    assert int(found, 16)


@pytest.mark.parametrize(
    "entries",
    [
        {"case": "other"},
        {"patient": "other"},
        {"label": 1},
        {"split": "validation"},
        {"slice": 3},
        {"nominal_spacing": True},
        {"lesions": None},
    ],
)
def test_every_entry_of_a_row_counts(small_cohort, entries):
    cohort = small_cohort()
    number = 1 if "lesions" in entries else 0
    assert cohort_fingerprint(changed(cohort, number, **entries)) != cohort_fingerprint(cohort)


def test_masks_and_channels_are_told_apart(small_cohort):
    cohort = small_cohort()
    case = cohort.cases[1]
    found = {
        cohort_fingerprint(changed(cohort, 1, **entries))
        for entries in (
            {},
            {"lesions": None, "brain": case.lesions},
            {"lesions": case.lesions, "brain": case.lesions},
            {"channels": {"T1": case.channels["FLAIR"]}},
            {"channels": {**case.channels, "T1": case.channels["FLAIR"]}},
        )
    }
    assert len(found) == 5


@pytest.mark.parametrize("which", ["image", "lesions", "brain"])
@pytest.mark.parametrize("how", ["time", "size", "gone", "name"])
def test_every_file_counts(small_cohort, which, how):
    cohort = small_cohort()
    brain = cohort.cases[1].channels["FLAIR"].with_name("brain.nii")
    brain.write_bytes(b"mask")
    cohort = changed(cohort, 1, brain=brain)
    case = cohort.cases[1]
    path = {"image": case.channels["FLAIR"], "lesions": case.lesions, "brain": brain}[which]
    before, stat = cohort_fingerprint(cohort), path.stat()
    if how == "time":
        os.utime(path, ns=(0, stat.st_mtime_ns + 1_000_000))
    elif how == "size":
        path.write_bytes(path.read_bytes() + b"\0")
        os.utime(path, ns=(0, stat.st_mtime_ns))
    elif how == "gone":
        path.unlink()
    else:
        renamed = path.rename(path.with_name("renamed.nii"))
        entry = {"channels": {"FLAIR": renamed}} if which == "image" else {which: renamed}
        cohort = changed(cohort, 1, **entry)
    assert cohort_fingerprint(cohort) != before


def test_a_moved_cohort_is_the_same(tmp_path, small_cohort):
    cohort = small_cohort()
    before = cohort_fingerprint(cohort)
    shutil.copytree(tmp_path / "cohort", tmp_path / "copied")  # with the times of the files
    shutil.move(tmp_path / "cohort", tmp_path / "moved")
    for name in ("copied", "moved"):
        found = read_cohort(tmp_path / name / "cohort.csv", check_images=False)
        assert cohort_fingerprint(found) == before


def test_only_the_splits_asked_for_count(small_cohort):
    cohort = small_cohort()
    before = cohort_fingerprint(cohort, SEEN)
    test = len(cohort.cases) - 1
    cohort.cases[test].channels["FLAIR"].unlink()
    assert cohort_fingerprint(changed(cohort, test, patient="other"), SEEN) == before
    assert cohort_fingerprint(changed(cohort, test, split="train"), SEEN) != before
    assert cohort_fingerprint(cohort) != before


def test_the_order_of_the_cases_counts(small_cohort):
    cohort = small_cohort()
    turned = Cohort(cohort.cases[::-1], cohort.channels, cohort.source)
    assert cohort_fingerprint(turned) != cohort_fingerprint(cohort)


def test_voxels_beside_a_header_and_series_in_a_folder_count(tmp_path, small_cohort):
    header = tmp_path / "scan.mhd"
    header.write_text("header", encoding="utf-8")
    series = tmp_path / "series"
    series.mkdir()
    for path in (tmp_path / "scan.raw", series / "1.dcm", series / "2.dcm"):
        path.write_bytes(b"voxels")
        cohort = changed(small_cohort(name=path.stem), 0, channels={"FLAIR": header, "T1": series})
        before = cohort_fingerprint(cohort)
        assert cohort_fingerprint(cohort) == before
        path.write_bytes(b"other voxels")
        assert cohort_fingerprint(cohort) != before


def test_files_of_a_volume_are_looked_at_once(small_cohort, monkeypatch):
    cohort = small_cohort(slices=True)
    cases = [replace(cohort.cases[0], case=f"s{number}", slice=number) for number in range(9)]
    asked = []
    import AttribSegLib.cohort_fingerprint as module

    real = module._stamp
    monkeypatch.setattr(module, "_stamp", lambda path: asked.append(path) or real(path))
    cohort_fingerprint(replace(cohort, cases=tuple(cases)))
    assert len(asked) == len(set(asked)) == 1


def test_patients_seen(small_cohort):
    cohort = small_cohort()
    known = [case for case in cohort.cases if case.patient in ("ptest1", "ptrain0")]
    record = {"training_patients": [*patient_marks(known), "someone"]}
    assert patients_seen(record, cohort.in_split("test")) == ["ptest1"]
    assert patients_seen(record, [*cohort.cases, *cohort.cases]) == ["ptest1", "ptrain0"]
    assert patients_seen({}, cohort.cases) == []
    assert patients_seen({"training_patients": None}, cohort.cases) == []
    assert patients_seen(record, []) == []
