"""The chain and whole cohorts: what goes in comes back, and nothing stops the rest."""

import json
import struct
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from AttribSegLib.cli import main
from AttribSegLib.cohort import read_cohort
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image, mni152_geometry
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.preprocess_cohort import preprocess_cohort
from AttribSegLib.preprocessing.chain import prepare
from AttribSegLib.preprocessing.options import ChainOptions, recorded_options
from AttribSegLib.preprocessing.prepared import Prepared
from AttribSegLib.preprocessing.standardise import standardise
from AttribSegLib.simulation import simulate_cohort, simulate_subject
from AttribSegLib.transform import Affine
from distributed import LocalCluster

LIGHT = ChainOptions(steps=("standardise",), spacing=2)


@pytest.fixture(scope="module")
def raw_cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    return simulate_cohort(folder, healthy=2, pathological=2, spacing=2, lesions="tumour", seed=1)


def run(table, out, *options):
    return main(["preprocess", str(table), "--out", str(out), "--spacing", "2", *options])


def test_options_survive_json_and_refuse_nonsense():
    options = ChainOptions(steps=("standardise", "n4"), spacing=2, robust=True)
    assert options.steps == ("n4", "standardise")
    assert ChainOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options
    assert "n4" not in ChainOptions().steps  # it takes the contrast of tumours away
    for bad in (
        {"steps": ("skull",)},
        {"spacing": 3},
        {"brain_method": "bet"},
        {"seed": -1},
        {"seed": 2**32},
        {"background": float("nan")},
        {"n4_shrink_mm": 0},
    ):
        with pytest.raises(InputError):
            ChainOptions(**bad)
    assert (
        "allow_download" not in ChainOptions(allow_download=True).to_dict()
    )  # consent is personal
    with pytest.raises(InputError, match="colour"):
        ChainOptions.from_dict({"colour": 1})
    with pytest.raises(InputError, match="reference"):
        ChainOptions(steps=("match",))


def test_robust_standardisation_ignores_a_bright_lesion(rng):
    array = rng.normal(100, 10, 20_000)
    array[:1000] = 400
    inside = np.ones(array.shape, bool)
    assert standardise(array, inside, robust=True)[1000:].std() == pytest.approx(1, abs=0.1)
    assert standardise(array, inside)[1000:].std() < 0.3
    with pytest.raises(InputError, match="half of the brain"):
        standardise(np.r_[np.zeros(9), 1.0], np.ones(10, bool), robust=True)


def test_an_image_on_the_atlas_is_standardised_in_place():
    subject = simulate_subject(1, seed=2)
    prepared = prepare({"FLAIR": subject.image}, LIGHT)
    values = prepared.channels["FLAIR"].array
    assert prepared.brain.geometry.same_grid(mni152_geometry(2))
    assert np.array_equal(prepared.brain.array, subject.brain.array)
    assert values[subject.brain.array].mean() == pytest.approx(0, abs=1e-4)
    assert values[subject.brain.array].std() == pytest.approx(1, abs=1e-4)
    assert not values[~subject.brain.array].any()
    assert [record.step for record in prepared.steps][-1] == "standardise"
    json.dumps(prepared.summary())


def test_the_bright_lesion_keeps_its_contrast_by_default():
    """Without N4, standardised contrast is the scan's own."""
    subject = simulate_subject(1, lesions="tumour", seed=4)
    values = prepare({"FLAIR": subject.image}, LIGHT).channels["FLAIR"].array
    lesion, rest = subject.lesions.array, subject.brain.array & ~subject.lesions.array

    def contrast(array):
        return (array[lesion].mean() - array[rest].mean()) / array[rest].std()

    assert contrast(values) == pytest.approx(contrast(subject.image.array.astype(float)), rel=0.05)


def test_masks_come_back_to_an_oblique_native_grid(geometry):
    """Volume within 5 % and centre within 1 mm."""
    atlas = mni152_geometry(1)
    scale = np.diag([1.1, 1.1, 1.1, 1.0])
    size = (180, 190, 60)
    spacing = (1.0, 1.0, 3.0)
    grid = Geometry(size, spacing, (0, 0, 0), geometry.direction)
    middle = grid.to_lps((np.array(size) - 1) / 2)
    grid = Geometry(size, spacing, tuple(-middle), geometry.direction)
    scale[:3, 3] = (0.0, 17.0, 19.0)
    to_atlas = Affine(scale)
    ball = np.linalg.norm(grid.to_lps(np.argwhere(np.ones(size))) - (12, 8, 5), axis=1) < 9
    lesion = Image(ball.reshape(size), grid)
    brain = Image(np.ones(atlas.size, bool), atlas)
    prepared = Prepared({}, brain, {"FLAIR": to_atlas}, {"FLAIR": grid})
    back = prepared.to_native(prepared.to_atlas(lesion, "FLAIR"), "FLAIR")
    assert back.geometry.same_grid(grid)
    assert back.array.sum() == pytest.approx(lesion.array.sum(), rel=0.05)
    centres = [grid.to_lps(np.argwhere(m.array).mean(axis=0)) for m in (back, lesion)]
    assert np.linalg.norm(centres[0] - centres[1]) < 1
    with pytest.raises(InputError, match="T2"):
        prepared.to_native(lesion, "T2")


@pytest.mark.parametrize(
    ("size", "spacing", "value", "message"),
    [
        ((40, 40, 1), (4.0, 4.0, 4.0), None, "a 2D image"),
        ((40, 40, 5), (4.0, 4.0, 20.0), None, "5 slices"),
        ((40, 40, 40), (0.2, 0.2, 0.2), None, "human head"),
        ((40, 40, 40), (40.0, 40.0, 40.0), None, "human head"),
        ((40, 40, 40), (4.0, 4.0, 4.0), 0.0, "all voxels have the value 0"),
        ((40, 40, 40), (4.0, 4.0, 4.0), np.nan, "NaN"),
    ],
)
def test_scans_that_are_no_heads(rng, size, spacing, value, message):
    array = rng.random(size) if value is None else np.full(size, value)
    with pytest.raises(InputError, match=message):
        prepare({"FLAIR": Image(array, Geometry(size, spacing))}, ChainOptions())


def test_without_registration_the_scan_must_lie_on_the_atlas():
    image = simulate_subject(0, seed=2).image
    away = Image(image.array, Geometry(image.geometry.size, (2.0,) * 3, (900, 0, 0)))
    with pytest.raises(InputError, match="not in atlas space"):
        prepare({"FLAIR": away}, LIGHT)
    with pytest.raises(InputError, match="nominal"):
        prepare({"FLAIR": image.with_nominal(True)}, LIGHT)


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
        f"d,d,0,train,{other}\n"
    )
    assert run(table, tmp_path / "out", "--steps", "standardise") == 2
    errors = capsys.readouterr().err
    assert "failed: a: FLAIR: all voxels have the value 0" in errors
    assert "failed: b: " in errors
    assert [case.case for case in read_cohort(tmp_path / "out" / "cohort.csv").cases] == ["c", "d"]
    rows = (tmp_path / "out" / "quality.csv").read_text().splitlines()
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
    table.write_text("case,patient,label,split,FLAIR\n" + "\n".join(rows) + "\n")
    assert run(table, tmp_path / "out", "--steps", "standardise") == 2
    errors = capsys.readouterr().err
    for name in affines:
        assert f"failed: {name}: " in errors
        assert f"{name}.nii" in errors
        assert not (tmp_path / "out" / "cases" / name).exists()
    assert [c.case for c in read_cohort(tmp_path / "out" / "cohort.csv", both_classes=False).cases]


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.uint32, np.int32])
def test_wide_integers_do_not_overflow(kind):
    subject = simulate_subject(0, seed=2)
    wide = subject.image.array.astype(kind) * kind(2_000_000)
    found = prepare({"FLAIR": subject.image.with_array(wide)}, LIGHT).channels["FLAIR"]
    usual = prepare({"FLAIR": subject.image}, LIGHT).channels["FLAIR"]
    assert found.array == pytest.approx(usual.array, abs=1e-3)


def test_own_mask_and_histogram_matching(tmp_path):
    subject, other = simulate_subject(0, seed=2), simulate_subject(0, seed=3)
    half = subject.brain.array.copy()
    half[: half.shape[0] // 2] = False
    prepared = prepare({"FLAIR": subject.image}, LIGHT, brain=subject.brain.with_array(half))
    assert np.array_equal(prepared.brain.array, half)
    assert not prepared.channels["FLAIR"].array[~half].any()
    with pytest.raises(InputError, match="empty"):
        prepare({"FLAIR": subject.image}, LIGHT, brain=subject.brain.with_array(half & ~half))

    write_image(other.image, tmp_path / "reference.nii.gz")
    options = ChainOptions(
        steps=("match",), spacing=2, reference=str(tmp_path / "reference.nii.gz")
    )
    matched = prepare({"FLAIR": subject.image}, options).channels["FLAIR"].array
    quantiles = np.linspace(0.05, 0.95, 10)
    assert np.quantile(matched[subject.brain.array], quantiles) == pytest.approx(
        np.quantile(other.image.array[other.brain.array], quantiles), rel=0.02
    )


def test_own_atlas_brings_its_grid(tmp_path):
    subject = simulate_subject(0, modality="T1", spacing=2, seed=7)
    write_image(subject.image, tmp_path / "atlas.nii.gz")
    options = ChainOptions(steps=("standardise",), atlas=str(tmp_path / "atlas.nii.gz"), spacing=1)
    prepared = prepare({"T1": subject.image}, options)
    assert prepared.brain.geometry.same_grid(subject.image.geometry)
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.nii\.gz"):
        prepare({"T1": subject.image}, ChainOptions(atlas=str(tmp_path / "empty.nii.gz")))


def test_a_run_that_is_stopped_goes_on(raw_cohort, tmp_path):
    """Ctrl-C after two cases: they stay, nothing is half-written, the next run does the rest."""
    cohort = read_cohort(raw_cohort)
    seen = []

    def stop(event):
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
    rows = raw_cohort.read_text()
    assert run(raw_cohort, raw_cohort.parent, "--steps", "standardise") == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert raw_cohort.read_text() == rows

    image = read_cohort(raw_cohort).cases[0].channels["FLAIR"]
    scans = tmp_path / "cases" / "a"
    scans.mkdir(parents=True)
    (scans / "a.nii.gz").write_bytes(image.read_bytes())
    table = tmp_path / "raw.csv"
    table.write_text("case,patient,label,split,FLAIR\na,a,0,train,cases/a/a.nii.gz\n")
    assert run(table, tmp_path, "--steps", "standardise") == 2
    assert "lies in the folder of the results" in capsys.readouterr().err

    (tmp_path / "b" / "cases" / "a").mkdir(parents=True)
    (tmp_path / "b" / "cases" / "a" / "notes.txt").write_text("mine")
    assert run(table, tmp_path / "b", "--steps", "standardise") == 2
    assert "holds files of another kind" in capsys.readouterr().err
    assert (tmp_path / "b" / "cases" / "a" / "notes.txt").read_text() == "mine"


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
    table.write_text(f"case,patient,label,split,FLAIR,brain\n{row}\n")
    run(table, out, "--steps", "standardise")
    table.write_text(f"case,patient,label,split,T1,lesions\n{row}\n")
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
        "case,patient,label,split,FLAIR\na,a,0,train,series\nb,b,1,train,gone.nii.gz\n"
    )
    run(table, tmp_path / "out", "--steps", "standardise")
    errors = capsys.readouterr().err
    assert "gone.nii.gz: cannot be read (No such file" in errors
    assert "IsADirectory" not in errors


def test_zeros_inside_the_brain_are_seen():
    """Clipped CSF is the darkest tissue, not the mean."""
    subject = simulate_subject(0, seed=2)
    array = subject.image.array.copy()
    array[subject.fractions["fluid"] > 0.9] = 0
    image = subject.image.with_array(array)
    prepared = prepare({"FLAIR": image}, LIGHT, brain=subject.brain)
    values = prepared.channels["FLAIR"].array
    dark = (array == 0) & subject.brain.array
    assert dark.any()
    assert values[dark].max() < -2


def test_which_channel_is_matched(tmp_path):
    subject = simulate_subject(0, seed=2)
    write_image(subject.image, tmp_path / "reference.nii.gz")
    path = str(tmp_path / "reference.nii.gz")
    options = ChainOptions(steps=("match",), spacing=2, reference=path)
    scans = {"FLAIR": subject.image, "T1": simulate_subject(0, modality="T1", seed=2).image}
    with pytest.raises(InputError, match="CHANNEL=FILE"):
        prepare(scans, options)
    named = replace(options, reference_channel="FLAIR")
    first = prepare(scans, named).channels["FLAIR"].array
    second = prepare(dict(reversed(scans.items())), named).channels["FLAIR"].array
    assert np.array_equal(first, second)


def test_bad_options(raw_cohort, tmp_path, capsys):
    assert run(raw_cohort, tmp_path, "--steps", "wash") == 2
    assert "step 'wash'" in capsys.readouterr().err
    assert run(raw_cohort, tmp_path, "--jobs", "0") == 2
    assert "jobs 0" in capsys.readouterr().err
