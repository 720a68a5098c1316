"""Cohorts out of folders and BIDS datasets, and the command that makes them."""

import numpy as np
import pytest
from AttribSegLib.cli import cohort as command
from AttribSegLib.cli import main
from AttribSegLib.cohort import read_cohort
from AttribSegLib.cohort_builder import cohort_from_bids, cohort_from_folders
from AttribSegLib.errors import CohortError, InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import write_image

GRID = Geometry((6, 5, 4), (1, 1, 2))


def image(path, *, mask=None, geometry=GRID):
    path.parent.mkdir(parents=True, exist_ok=True)
    if mask is None:
        seed = sum(str(path).encode())
        values = np.random.default_rng(seed).integers(0, 500, geometry.size).astype(np.int16)
    else:
        values = np.zeros(geometry.size, np.uint8)
        values[2:4, 2:4, 2] = mask
    write_image(Image(values, geometry), path)
    return path


def by_name(cohort):
    return {case.case: case for case in cohort.cases}


def test_folders_of_files(tmp_path):
    for label in ("healthy", "pathological"):
        for index in range(3):
            image(tmp_path / label / f"{label[0]}{index}.nii.gz")
    image(tmp_path / "pathological" / "p0_lesions.nii.gz", mask=1)
    (tmp_path / "healthy" / "notes.txt").write_text("x", encoding="utf-8")
    cohort = cohort_from_folders(tmp_path, seed=0)
    cases = by_name(cohort)
    assert sorted(cases) == ["h0", "h1", "h2", "p0", "p1", "p2"]
    assert cohort.channels == ("FLAIR",)
    assert [cases[name].label for name in ("h0", "p0")] == [0, 1]
    assert cases["p0"].lesions == tmp_path / "pathological" / "p0_lesions.nii.gz"
    assert {case.split for case in cohort.cases} == {"train", "validation", "test"}
    assert cohort_from_folders(tmp_path, seed=0) == cohort


def test_folders_of_folders_and_dicom(tmp_path):
    for name in ("healthy/h", "pathological/p"):
        for channel in ("T1", "FLAIR"):
            image(tmp_path / name / f"{channel}.nii.gz")
    image(tmp_path / "pathological/p/x_lesion_mask.nii.gz", mask=1)
    image(tmp_path / "pathological/p/brain_mask.nii.gz", mask=1)
    image(tmp_path / "healthy/d/FLAIR")
    image(tmp_path / "healthy/d/T1w")
    cases = by_name(cohort_from_folders(tmp_path, seed=0))
    assert list(cases["d"].channels) == ["FLAIR", "T1"]
    assert cases["d"].channels["T1"] == tmp_path / "healthy/d/T1w"
    assert cases["p"].lesions.name == "x_lesion_mask.nii.gz"
    assert cases["p"].brain.name == "brain_mask.nii.gz"


def test_a_case_folder_may_be_a_dicom_series(tmp_path):
    image(tmp_path / "healthy/h")
    image(tmp_path / "pathological/p")
    cases = by_name(cohort_from_folders(tmp_path, seed=0))
    assert cases["h"].channels == {"FLAIR": tmp_path / "healthy/h"}


def test_one_name_in_both_classes_is_one_patient(tmp_path):
    for label in ("healthy", "pathological"):
        for index in range(3):
            image(tmp_path / label / f"{index:03}_FLAIR.nii.gz")
    cohort = cohort_from_folders(tmp_path, seed=0)
    cases = by_name(cohort)
    assert len(cases) == 6
    assert cases["healthy-001"].split == cases["pathological-001"].split
    assert cases["healthy-001"].patient == "001"


def test_channels_must_be_complete_or_chosen(tmp_path):
    image(tmp_path / "healthy/h_FLAIR.nii.gz")
    image(tmp_path / "pathological/p_FLAIR.nii.gz")
    image(tmp_path / "pathological/p_T1.nii.gz")
    with pytest.raises(CohortError, match=r"case h: no T1.*--channels"):
        cohort_from_folders(tmp_path, seed=0)
    assert cohort_from_folders(tmp_path, seed=0, channels=["FLAIR"]).channels == ("FLAIR",)


def test_folders_with_faults(tmp_path):
    with pytest.raises(InputError, match="no folder healthy"):
        cohort_from_folders(tmp_path, seed=0)
    image(tmp_path / "healthy/h.nii.gz")
    (tmp_path / "pathological").mkdir()
    with pytest.raises(CohortError, match="healthy cases only"):
        cohort_from_folders(tmp_path, seed=0)
    image(tmp_path / "pathological/p/FLAIR.nii.gz")
    image(tmp_path / "pathological/p/x_FLAIR.nii.gz")
    image(tmp_path / "pathological/p/thing.nii.gz")
    image(tmp_path / "healthy/h_lesions.nii.gz", mask=1)
    with pytest.raises(CohortError) as caught:
        cohort_from_folders(tmp_path, seed=0)
    text = str(caught.value)
    for words in ("two files for FLAIR", "what is thing.nii.gz?", "case h: lesions"):
        assert words in text


@pytest.fixture
def bids(tmp_path):
    """Two controls and two patients, one of them seen twice."""
    rows = [
        "participant_id\tage\tgroup",
        "sub-1\t30\tHC",
        "sub-2\t30\tHC",
        "3\t30\tMS",
        "sub-4\t1\tMS",
    ]
    (tmp_path / "participants.tsv").write_text(
        "\n".join([*rows, "sub-9\t50\tHC", ""]), encoding="utf-8"
    )
    for name in ("sub-1", "sub-2", "sub-3", "sub-4/ses-a", "sub-4/ses-b"):
        start = tmp_path / name / "anat" / name.replace("/", "_")
        image(start.with_name(f"{start.name}_FLAIR.nii.gz"))
        image(start.with_name(f"{start.name}_acq-x_T1w.nii"))
    for name in ("sub-3_label-lesion_mask", "sub-4_ses-b_desc-lesions_mask"):
        image(tmp_path / "derivatives" / "manual" / name[:5] / f"{name}.nii.gz", mask=1)
    return tmp_path


def test_bids(bids):
    cohort = cohort_from_bids(bids, seed=0)
    cases = by_name(cohort)
    assert sorted(cases) == ["sub-1", "sub-2", "sub-3", "sub-4_ses-a", "sub-4_ses-b"]
    assert cohort.channels == ("FLAIR", "T1")
    assert [case.label for case in cohort.cases] == [0, 0, 1, 1, 1]
    assert cases["sub-4_ses-a"].patient == cases["sub-4_ses-b"].patient == "sub-4"
    assert cases["sub-4_ses-a"].split == cases["sub-4_ses-b"].split
    assert cases["sub-3"].lesions.name == "sub-3_label-lesion_mask.nii.gz"
    assert cases["sub-4_ses-a"].lesions is None
    assert cases["sub-4_ses-b"].lesions is not None


def test_bids_masks_beside_the_image(bids):
    image(bids / "sub-3/anat/sub-3_FLAIR_roi.nii.gz", mask=1)
    assert by_name(cohort_from_bids(bids, seed=0))["sub-3"].lesions.name.endswith("roi.nii.gz")


@pytest.mark.parametrize(
    ("replace", "options", "words"),
    [
        (("MS", "type B"), {}, r"not clear.*HC \(3\), type B \(2\).*--healthy"),
        (("MS", "type B"), {"healthy": ["none"]}, "no group is none"),
        (("group", "cohort"), {}, "no column may hold the group"),
        (("age", "dx"), {}, r"several columns.*dx, group"),
        (("group", "x"), {"group_column": "y"}, "no column 'y'; it has participant_id, age, x"),
        (("participant_id", "id"), {}, "no row or no column participant_id"),
    ],
)
def test_bids_groups_that_are_not_clear(bids, replace, options, words):
    table = bids / "participants.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace(*replace), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        cohort_from_bids(bids, seed=0, **options)


def test_bids_groups_by_name(bids):
    table = bids / "participants.tsv"
    table.write_text(
        table.read_text(encoding="utf-8").replace("HC", "type A").replace("group", "kind"),
        encoding="utf-8",
    )
    cohort = cohort_from_bids(bids, seed=0, healthy=["Type A"], group_column="kind")
    assert [case.label for case in cohort.cases] == [0, 0, 1, 1, 1]


def test_bids_faults(bids):
    image(bids / "sub-1/anat/sub-1_run-2_FLAIR.nii.gz")
    table = bids / "participants.tsv"
    table.write_text(
        table.read_text(encoding="utf-8").replace("30\tMS", "30\tn/a"), encoding="utf-8"
    )
    with pytest.raises(CohortError) as caught:
        cohort_from_bids(bids, seed=0)
    text = str(caught.value)
    assert "case sub-1: two files for FLAIR" in text
    assert "case sub-3: sub-3 has no group" in text
    table.unlink()
    with pytest.raises(InputError, match=r"participants\.tsv"):
        cohort_from_bids(bids, seed=0)


def run(*arguments):
    """The subcommand alone, so that the others need not be there."""
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_command_on_folders(bids, tmp_path, capsys):
    out = tmp_path / "out" / "cohort.csv"
    assert run(bids, "--out", out, "--seed", 3) == 0
    printed = capsys.readouterr().out
    assert "5 cases of 4 patients" in printed
    assert "6x5x4, 1x1x2 mm, LPS: 5 images" in printed
    cohort = read_cohort(out)
    assert by_name(cohort)["sub-3"].lesions.is_file()
    assert run(out) == 0
    assert "written" not in capsys.readouterr().out


def test_command_refuses(bids, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ((bids,), "--out"),
        ((tmp_path / "empty", "--out", tmp_path / "a.csv"), "neither the folders"),
        ((bids / "participants.tsv", "--bids"), "--bids is for a folder"),
        ((bids / "participants.tsv", "--nominal-spacing"), "--nominal-spacing is for"),
        ((tmp_path / "none.csv",), "no such file"),
    ):
        with pytest.raises(InputError, match=words):
            run(*arguments)


def test_command_declares_nominal_spacing(tmp_path, capsys):
    image(tmp_path / "healthy/h.nii.gz")
    image(tmp_path / "pathological/p.nii.gz")
    out = tmp_path / "cohort.csv"
    assert run(tmp_path, "--folders", "--nominal-spacing", "--out", out) == 0
    assert "nominal" in capsys.readouterr().out
    assert read_cohort(out).nominal_spacing


def test_command_prints_faults_without_a_traceback(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("AttribSegLib.cli._COMMANDS", ("cohort",))
    (tmp_path / "a.csv").write_text(
        "case,patient,label,FLAIR\na,p,0,x.nii\nb,q,1,y.nii\n", encoding="utf-8"
    )
    code = main(["cohort", str(tmp_path / "a.csv")])
    assert code == 2
    error = capsys.readouterr().err
    assert "2 faults in the cohort table" in error
    assert "Traceback" not in error
