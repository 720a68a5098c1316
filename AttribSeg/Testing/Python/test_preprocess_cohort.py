"""Whole cohorts: nothing stops the rest, and nothing of the user's is replaced."""

import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from AttribSegLib.cli import main
from AttribSegLib.cohort import read_cohort
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.preprocess_cohort import preprocess_cohort
from AttribSegLib.preprocessing.options import ChainOptions, recorded_options
from AttribSegLib.simulation import simulate_cohort
from distributed import LocalCluster

LIGHT = ChainOptions(steps=("standardise",), spacing=2)


@pytest.fixture(scope="module")
def raw_cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    return simulate_cohort(folder, healthy=2, pathological=2, spacing=2, lesions="tumour", seed=1)


def run(table, out, *options):
    return main(["preprocess", str(table), "--out", str(out), "--spacing", "2", *options])


def test_a_cohort_is_prepared_resumed_and_redone(raw_cohort, tmp_path, capsys):
    assert run(raw_cohort, tmp_path, "--steps", "standardise") == 0
    assert "4 of 4 cases prepared (0 before)" in capsys.readouterr().out
    old, new = read_cohort(raw_cohort), read_cohort(tmp_path / "cohort.csv")
    for before, after in zip(old.cases, new.cases, strict=True):
        assert (before.case, before.label, before.split) == (after.case, after.label, after.split)
        assert after.brain is not None
        if before.lesions is not None:
            masks = [read_image(case.lesions).array != 0 for case in (before, after)]
            assert np.array_equal(*masks)
    assert recorded_options(tmp_path / "cohort.csv")["steps"] == ["standardise"]
    assert run(raw_cohort, tmp_path, "--steps", "standardise", "--jobs", "2") == 0
    assert "(4 before)" in capsys.readouterr().out
    assert run(raw_cohort, tmp_path, "--steps", "standardise", "--robust") == 0
    assert "(0 before)" in capsys.readouterr().out


def test_two_processes_give_what_one_gives(raw_cohort, tmp_path):
    assert run(raw_cohort, tmp_path / "a", "--steps", "standardise") == 0
    assert run(raw_cohort, tmp_path / "b", "--steps", "standardise", "--jobs", "2") == 0
    for path in sorted((tmp_path / "a" / "cases").rglob("*.nii.gz")):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert np.array_equal(read_image(path).array, read_image(other).array)


def test_one_bad_case_does_not_stop_the_others(raw_cohort, tmp_path, capsys):
    cohort = read_cohort(raw_cohort)
    image = read_image(cohort.cases[0].channels["FLAIR"])
    write_image(image.with_array(0 * image.array), tmp_path / "zero.nii.gz")
    (tmp_path / "damaged.nii.gz").write_bytes(b"\x1f\x8bnothing")
    good, other = (case.channels["FLAIR"].as_posix() for case in cohort.cases[1:3])
    table = tmp_path / "c.csv"
    table.write_text(
        "case,patient,label,split,FLAIR\n"
        f"a,a,0,train,zero.nii.gz\nb,b,1,train,damaged.nii.gz\nc,c,1,train,{good}\n"
        f"d,d,0,train,{other}\n",
        encoding="utf-8",
    )
    assert run(table, tmp_path / "out", "--steps", "standardise") == 2
    errors = capsys.readouterr().err
    assert "failed: a: FLAIR: all voxels have the value 0" in errors
    assert "failed: b: " in errors
    assert [case.case for case in read_cohort(tmp_path / "out" / "cohort.csv").cases] == ["c", "d"]
    rows = (tmp_path / "out" / "quality.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["failed", "failed", "done", "done"]


def test_headers_that_say_nonsense_fail_by_name(raw_cohort, tmp_path, capsys):
    """Sheared, singular and zero-spaced headers; the other case goes on."""
    good = read_cohort(raw_cohort).cases[0].channels["FLAIR"]
    nibabel.save(nibabel.load(good), tmp_path / "plain.nii")
    plain = (tmp_path / "plain.nii").read_bytes()
    affines = {name: np.diag([2.0, 2.0, 2.0, 1.0]) for name in ("sheared", "singular", "flat")}
    affines["sheared"][0, 1] = 1.0
    affines["singular"][2, 2] = 0.0
    affines["flat"][:3, :3] = 0.0
    rows = [f"good,good,0,train,{good.as_posix()}"]
    for name, affine in affines.items():
        header = bytearray(plain)
        if name == "flat":
            header[80:92] = struct.pack("<3f", 0, 0, 0)  # pixdim
        header[252:256] = struct.pack("<2h", 0, 1)  # no qform, a scanner's sform
        header[280:328] = struct.pack("<12f", *affine[:3].ravel())
        (tmp_path / f"{name}.nii").write_bytes(header)
        rows.append(f"{name},{name},1,train,{name}.nii")
    table = tmp_path / "c.csv"
    table.write_text("case,patient,label,split,FLAIR\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert run(table, tmp_path / "out", "--steps", "standardise") == 2
    errors = capsys.readouterr().err
    for name in affines:
        assert f"failed: {name}: " in errors
        assert f"{name}.nii" in errors
        assert not (tmp_path / "out" / "cases" / name).exists()
    assert [c.case for c in read_cohort(tmp_path / "out" / "cohort.csv", both_classes=False).cases]


def test_a_run_that_is_stopped_goes_on(raw_cohort, tmp_path):
    """Ctrl-C after two cases: they stay, nothing is half-written, the next run does the rest."""
    cohort = read_cohort(raw_cohort)
    seen = []

    def stop(event):
        if event["event"] == "progress":
            seen.append(event["case"])
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess_cohort(cohort, tmp_path, LIGHT, on_event=stop)
    assert sorted(p.name for p in (tmp_path / "cases").iterdir()) == sorted(seen)
    assert not (tmp_path / "cohort.csv").exists()
    results = preprocess_cohort(cohort, tmp_path, LIGHT)
    assert [r.status for r in results].count("skipped") == 2
    assert (tmp_path / "report.html").is_file()


def test_on_a_dask_cluster(raw_cohort, tmp_path):
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        address = cluster.scheduler_address
        assert run(raw_cohort, tmp_path, "--steps", "standardise", "--dask", address) == 0
    assert len(read_cohort(tmp_path / "cohort.csv").cases) == 4
    assert run(raw_cohort, tmp_path / "b", "--dask", "nowhere:1") == 2


def test_nothing_of_the_users_is_replaced(raw_cohort, tmp_path, capsys):
    rows = raw_cohort.read_text(encoding="utf-8")
    assert run(raw_cohort, raw_cohort.parent, "--steps", "standardise") == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert raw_cohort.read_text(encoding="utf-8") == rows

    image = read_cohort(raw_cohort).cases[0].channels["FLAIR"]
    scans = tmp_path / "cases" / "a"
    scans.mkdir(parents=True)
    (scans / "a.nii.gz").write_bytes(image.read_bytes())
    table = tmp_path / "raw.csv"
    table.write_text(
        "case,patient,label,split,FLAIR\na,a,0,train,cases/a/a.nii.gz\n", encoding="utf-8"
    )
    assert run(table, tmp_path, "--steps", "standardise") == 2
    assert "lies in the folder of the results" in capsys.readouterr().err

    (tmp_path / "b" / "cases" / "a").mkdir(parents=True)
    (tmp_path / "b" / "cases" / "a" / "notes.txt").write_text("mine", encoding="utf-8")
    assert run(table, tmp_path / "b", "--steps", "standardise") == 2
    assert "holds files of another kind" in capsys.readouterr().err
    assert (tmp_path / "b" / "cases" / "a" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_wrong_options_leave_an_earlier_run_alone(raw_cohort, tmp_path, capsys):
    assert run(raw_cohort, tmp_path, "--steps", "standardise") == 0
    for options in (("--jobs", "0"), ("--dask", "nowhere:1"), ("--atlas", "no.nii.gz")):
        assert run(raw_cohort, tmp_path, *options) == 2
        assert options[1] in capsys.readouterr().err
        assert (tmp_path / "cohort.csv").is_file()
    assert run(raw_cohort, tmp_path, "--reference", "no.nii.gz") == 2
    assert "no.nii.gz" in capsys.readouterr().err


def test_a_file_is_remembered_by_what_it_is(raw_cohort, tmp_path, capsys):
    """The same files under other names are another case; a result that is gone is made again."""
    case = read_cohort(raw_cohort).cases[-1]
    assert case.lesions is not None
    table, out = tmp_path / "c.csv", tmp_path / "out"
    row = f"x,x,1,train,{case.channels['FLAIR'].as_posix()},{case.lesions.as_posix()}"
    table.write_text(f"case,patient,label,split,FLAIR,brain\n{row}\n", encoding="utf-8")
    run(table, out, "--steps", "standardise")
    table.write_text(f"case,patient,label,split,T1,lesions\n{row}\n", encoding="utf-8")
    assert run(table, out, "--steps", "standardise") == 0
    assert "(0 before)" in capsys.readouterr().out.splitlines()[-1]
    (out / "cases" / "x" / "x_T1.nii.gz").unlink()
    assert run(table, out, "--steps", "standardise") == 0
    assert "(0 before)" in capsys.readouterr().out
    assert (out / "cases" / "x" / "x_T1.nii.gz").is_file()


def test_missing_files_and_dicom_folders(raw_cohort, tmp_path, capsys):
    image = read_image(read_cohort(raw_cohort).cases[0].channels["FLAIR"])
    good = image.to_sitk()
    folder = tmp_path / "series"
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(good.GetSize()[2]):
        piece = sitk.Cast(good[:, :, k], sitk.sitkInt16)
        corner = good.TransformIndexToPhysicalPoint((0, 0, k))
        for tag, value in (
            ("0008|0060", "MR"),
            ("0020|000d", "1.2.3"),
            ("0020|000e", "1.2.3.4"),
            ("0020|0013", str(k)),
            ("0020|0032", "\\".join(map(str, corner))),
            ("0020|0037", "1\\0\\0\\0\\-1\\0"),
        ):
            piece.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k:03d}.dcm"))
        writer.Execute(piece)
    table = tmp_path / "c.csv"
    table.write_text(
        "case,patient,label,split,FLAIR\na,a,0,train,series\nb,b,1,train,gone.nii.gz\n",
        encoding="utf-8",
    )
    run(table, tmp_path / "out", "--steps", "standardise")
    errors = capsys.readouterr().err
    assert "gone.nii.gz: cannot be read (No such file" in errors
    assert "IsADirectory" not in errors


def test_bad_options(raw_cohort, tmp_path, capsys):
    assert run(raw_cohort, tmp_path, "--steps", "wash") == 2
    assert "step 'wash'" in capsys.readouterr().err
    assert run(raw_cohort, tmp_path, "--jobs", "0") == 2
    assert "jobs 0" in capsys.readouterr().err
