"""Bad input is answered with exit code 2 and one line that names it; nothing is left behind."""

import gzip
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from AttribSegLib.bundle import SCHEMA_VERSION, is_bundle, load_bundle, save_bundle
from AttribSegLib.cli import main
from AttribSegLib.cohort import read_cohort
from AttribSegLib.errors import Cancelled
from AttribSegLib.image import Image
from AttribSegLib.image_io import write_image
from AttribSegLib.training.run import train_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_bundle):
    """An untrained bundle, for what is refused before its answers count."""
    return save_bundle(tiny_bundle(), tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture
def refused(capsys):
    """Call the command; it must exit with 2 and say why in one line, which is returned.

    What fails once it has begun may have told about it on standard output.
    """

    def call(*arguments, lines=1, begun=False):
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" or begun
        assert captured.err.startswith("attribseg: error: ")
        assert "Traceback" not in captured.err
        said = captured.err.rstrip("\n").split("\n")
        assert len(said) == lines, captured.err
        return said if lines > 1 else said[0].removeprefix("attribseg: error: ")

    return call


def left_in(folder):
    """Files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def half(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def without_geometry(path):
    """The codes of qform and sform of a NIfTI set to unknown."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[252:256] = bytes(4)
    path.write_bytes(gzip.compress(bytes(raw)))


def changed(path, change):
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    result = sitk.GetImageFromArray(change(array), isVector=False)
    if result.GetDimension() == 3:
        result.CopyInformation(image)
    sitk.WriteImage(result, str(path))


def with_nan(array):
    array[16, 16, 16] = np.nan
    return array


#: What is done to a good image, and the words that must answer it. The last says whether a
#: cohort table finds it too (it does not look for the brain).
IMAGES = {
    "missing": (lambda p: p.unlink(), "no such file", True),
    "empty file": (lambda p: p.write_bytes(b""), "cannot be read", True),
    "text": (
        lambda p: p.write_text("This is no image.\n" * 50, encoding="utf-8"),
        "cannot be read",
        True,
    ),
    "truncated": (half, "incomplete or damaged", True),
    "4D": (lambda p: changed(p, lambda a: np.stack([a, a])), "a 4D image (2 volumes)", True),
    "NaN": (lambda p: changed(p, with_nan), "1 voxel is NaN or infinite", True),
    "constant": (lambda p: changed(p, lambda a: a * 0 + 7), "every voxel", True),
    "empty brain": (lambda p: changed(p, lambda a: a * 0), "every voxel", True),
    "constant brain": (
        lambda p: changed(p, lambda a: (a != 0) * np.float32(5)),
        "all brain voxels have the value 5",
        False,
    ),
    "missing geometry": (without_geometry, "no geometry in the header", True),
}


@pytest.mark.parametrize("kind", list(IMAGES))
def test_images(tmp_path, bundle, tiny_table, refused, kind):
    """In detection and in a cohort table, which reports the row."""
    spoil, words, in_table = IMAGES[kind]
    for path in tiny_table.parent.glob("p*"):
        shutil.copy(path, tmp_path)
    table = Path(shutil.copy(tiny_table, tmp_path))
    image = tmp_path / "p12_FLAIR.nii.gz"
    spoil(image)
    out = tmp_path / "out"
    line = refused("detect", image, "--bundle", bundle, "--out", out, "--device", "cpu")
    assert line.startswith(f"{image}: ")
    assert words in line
    assert left_in(out) == []
    assert not out.exists() or list(out.iterdir()) == []
    if in_table:
        head, fault = refused("cohort", table, "--out", tmp_path / "copy.csv", lines=2)
        assert f"{table}: 1 fault" in head
        assert f"row 13 (case p12): FLAIR {image}: " in fault
        assert words in fault
        assert not (tmp_path / "copy.csv").exists()
    else:
        line = refused("evaluate", table, "--bundle", bundle, "--out", out, "--device", "cpu")
        assert line.startswith("case p12: ")
        assert words in line
        assert left_in(out) == []


def test_an_image_with_its_skull(tmp_path, bundle, tiny_brain, tiny_geometry, refused, rng):
    image, _ = tiny_brain(tiny_geometry, 1)
    noise = rng.normal(size=image.array.shape).astype(np.float32)
    write_image(image.with_array(image.array + noise), tmp_path / "a.nii.gz")
    line = refused("detect", tmp_path / "a.nii.gz", "--bundle", bundle, "--out", tmp_path / "o")
    assert "a.nii.gz: no constant background" in line


def test_an_image_elsewhere(tmp_path, bundle, tiny_brain, tiny_geometry, refused):
    image, _ = tiny_brain(tiny_geometry, 1)
    moved = replace(tiny_geometry, origin=(500.0, 0.0, 0.0))
    write_image(Image(image.array, moved), tmp_path / "a.nii.gz")
    line = refused("detect", tmp_path / "a.nii.gz", "--bundle", bundle, "--out", tmp_path / "o")
    assert "a.nii.gz: only 0% of the brain lies on the bundle's grid" in line
    assert left_in(tmp_path / "o") == []


@pytest.mark.parametrize("kind", ["missing", "empty", "another grid"])
def test_brain_masks(tmp_path, bundle, tiny_table, refused, kind):
    image = tiny_table.parent / "p12_FLAIR.nii.gz"
    mask = tmp_path / "brain.nii.gz"
    words = {"missing": f"{mask}: no such file", "empty": "the brain mask is empty"}
    if kind != "missing":
        shutil.copy(image, mask)
        if kind == "empty":
            changed(mask, lambda array: array * 0)
        else:
            changed(mask, lambda array: array)
            moved = sitk.ReadImage(str(mask))
            moved.SetOrigin((0, 0, 0))
            sitk.WriteImage(moved, str(mask))
    options = ["--bundle", bundle, "--brain", mask, "--out", tmp_path / "out"]
    line = refused("detect", image, *options)
    assert words.get(kind, "brain mask and channel FLAIR lie on different grids") in line
    assert left_in(tmp_path / "out") == []


def test_two_channels_on_different_grids(
    tmp_path, tiny_bundle, volume_cohort, tiny_geometry, refused
):
    bundle = save_bundle(tiny_bundle(channels=("FLAIR", "T1")), tmp_path / "bundle")
    table = volume_cohort(tmp_path, channels=("FLAIR", "T1"))
    path = tmp_path / "p12_T1.nii.gz"
    moved = sitk.ReadImage(str(path))
    moved.SetSpacing((5.0, 5.0, 4.5))
    sitk.WriteImage(moved, str(path))
    images = f"FLAIR={tmp_path}/p12_FLAIR.nii.gz,T1={path}"
    line = refused("detect", images, "--bundle", bundle, "--out", tmp_path / "out")
    assert "p12_FLAIR.nii.gz: channels FLAIR and T1 lie on different grids" in line
    assert left_in(tmp_path / "out") == []
    _, fault = refused("cohort", table, lines=2)
    assert f"row 13 (case p12): T1 {path}: another grid" in fault


def test_channels_of_the_command_line(tmp_path, bundle, tiny_bundle, tiny_table, refused):
    """The wrong one, none where two are needed, one twice, one missing."""
    image = tiny_table.parent / "p12_FLAIR.nii.gz"
    two = save_bundle(tiny_bundle(channels=("FLAIR", "T1")), tmp_path / "two")
    for model, images, words in (
        (
            bundle,
            f"T1={image}",
            f"{image}: channel T1 is not the bundle's; it was trained on FLAIR",
        ),
        (
            two,
            image,
            f"{image}: the bundle expects FLAIR, T1; name the files as FLAIR=FILE,T1=FILE",
        ),
        (two, f"FLAIR={image}", "channel T1 is missing"),
        (two, f"FLAIR={image},T2={image}", "channel T2 is not the bundle's"),
        (bundle, f"{image},{image}", "one file per channel was expected"),
        (bundle, f"FLAIR={image},FLAIR={image}", "one file per channel was expected"),
        (bundle, f"FLAIR={image},{image}", "one file per channel was expected"),
    ):
        line = refused("detect", images, "--bundle", model, "--out", tmp_path / "out")
        assert words in line
        assert str(image) in line
    assert left_in(tmp_path / "out") == []


def test_the_wrong_channel_of_a_cohort(tmp_path, bundle, volume_cohort, refused):
    table = volume_cohort(tmp_path, channels=("T1",))
    line = refused("evaluate", table, "--bundle", bundle, "--out", tmp_path / "out")
    assert line == f"{table}: the bundle expects channel FLAIR, the cohort has T1"
    assert left_in(tmp_path / "out") == []


def edited(table, target, edit):
    """A copy of the table with its paths made absolute and its rows edited."""
    lines = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()]
    for cells in lines[1:]:
        cells[4] = str(table.parent / cells[4])
        cells[5] = str(table.parent / cells[5]) if cells[5] else ""
    edit(lines)
    target.write_text("".join(",".join(cells) + "\n" for cells in lines), encoding="utf-8")
    return target


def put(row, column, value):
    def edit(lines):
        lines[row - 1][column] = value

    return edit


def one_class(lines):
    lines[1:] = [cells for cells in lines[1:] if cells[2] == "1"]


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (put(1, 5, "lesionz"), "row 1 (header): unknown column 'lesionz' (did you mean lesions?)"),
        (put(3, 2, "2"), "row 3 (case p02): label '2': expected 0 (healthy) or 1 (pathological)"),
        (put(3, 2, ""), "row 3 (case p02): label is empty"),
        (one_class, "the cohort has pathological cases only; both classes are needed"),
        (
            put(8, 1, "p02"),
            "row 8 (case p07): patient p02 is in validation and, in row 3, in train",
        ),
        (put(3, 0, "p01"), "row 3 (case p01): case name already used in row 2"),
        (put(3, 3, "trian"), "row 3 (case p02): split 'trian': expected train, validation, test"),
    ],
    ids=["column", "label 2", "no label", "one class", "two splits", "duplicate", "split"],
)
def test_tables(tmp_path, bundle, tiny_table, tiny_training, refused, edit, fault):
    """Whichever command reads the table says the same, below one head line."""
    table = edited(tiny_table, tmp_path / "cohort.csv", edit)
    out = tmp_path / "out"
    for arguments in (
        ("cohort", table, "--out", tmp_path / "copy.csv"),
        ("train", table, "--out", out, *tiny_training),
        ("evaluate", table, "--bundle", bundle, "--out", out),
    ):
        head, line = refused(*arguments, lines=2)
        assert head == f"attribseg: error: {table}: 1 fault in the cohort table"
        assert line.startswith(f"  {fault}")
    assert left_in(out) == []
    assert not (tmp_path / "copy.csv").exists()


def test_every_fault_of_a_table_is_told_at_once(tmp_path, tiny_table, refused):
    def edit(lines):
        lines[1][2] = "7"
        lines[2][4] = str(tmp_path / "nowhere.nii.gz")
        lines[4][0] = "p03"
        lines[10][1] = "p01"

    table = edited(tiny_table, tmp_path / "cohort.csv", edit)
    head, *faults = refused("cohort", table, lines=5)
    assert head.endswith("4 faults in the cohort table")
    for row, fault in zip((2, 3, 5, 11), faults, strict=True):
        assert fault.startswith(f"  row {row} ")


def test_tables_that_are_none(tmp_path, bundle, tiny_training, refused):
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    for name, words in (
        ("none.csv", "no such file"),
        ("empty.csv", "empty"),
        ("binary.csv", "not a text table"),
    ):
        table = tmp_path / name
        for arguments in (
            ("cohort", table),
            ("train", table, "--out", tmp_path / "out", *tiny_training),
            ("evaluate", table, "--bundle", bundle, "--out", tmp_path / "out"),
        ):
            assert refused(*arguments).startswith(f"{table}: {words}")
    assert left_in(tmp_path / "out") == []


def newer_schema(folder):
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    content["schema_version"] = SCHEMA_VERSION + 1
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")


def pickled(folder):
    with (folder / "models" / "model.safetensors").open("wb") as stream:
        pickle.dump({"weights": [1, 2, 3]}, stream)


def unfinished(folder):
    (folder / "config.json").unlink()
    (folder / "training").mkdir()


BUNDLES = {
    "missing": (shutil.rmtree, "no such bundle folder"),
    "newer schema": (newer_schema, f"bundle of schema {SCHEMA_VERSION + 1}"),
    "damaged config": (lambda f: half(f / "config.json"), "not readable as JSON"),
    "corrupted weights": (lambda f: half(f / "models" / "model.safetensors"), "damaged"),
    "pickled weights": (pickled, "a pickle, which is never loaded"),
    "no weights": (lambda f: (f / "models" / "model.safetensors").unlink(), "no such file"),
    "unfinished": (unfinished, "its training is not finished; resume it"),
}


@pytest.mark.parametrize("kind", list(BUNDLES))
def test_bundles(tmp_path, bundle, tiny_table, refused, kind):
    spoil, words = BUNDLES[kind]
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    spoil(folder)
    image = tiny_table.parent / "p12_FLAIR.nii.gz"
    for arguments in (
        ("detect", image, image.with_name("p11_FLAIR.nii.gz")),
        ("evaluate", tiny_table),
    ):
        line = refused(*arguments, "--bundle", folder, "--out", tmp_path / "out")
        assert str(folder) in line
        assert words in line
    assert left_in(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("detect", ["--threshold", "nan"], "--threshold nan"),
        ("detect", ["--minimum-ml=-1"], "--minimum-ml -1.0"),
        ("detect", ["--minimum-ml", "nan"], "--minimum-ml nan"),
        ("detect", ["--device", "abacus"], "device 'abacus'"),
        ("evaluate", ["--seed=-1"], "--seed -1"),
        ("evaluate", ["--mask-tuned"], "no mask-tuned threshold"),
        ("train", ["--seed=-1"], "--seed -1"),
        ("train", ["--threads", "0"], "--threads 0"),
        ("train", ["--recipe", "magic"], "recipe 'magic'"),
        ("train", ["--epochs", "0"], "epochs 0"),
        ("train", ["--batch-size", "3"], "batch size 3"),
        ("train", ["--learning-rate", "nan"], "learning_rate nan"),
        ("train", ["--alpha=-1"], "alpha -1.0"),
        ("train", ["--norm", "sideways"], "norm 'sideways'"),
        ("train", ["--optimiser", "luck"], "optimiser 'luck'"),
        ("train", ["--false-positive-ml=-1"], "false positives -1.0 mL"),
        ("train", ["--false-positive-fraction", "nan"], "false positives nan of the brain"),
    ],
    ids=str,
)
def test_values(tmp_path, bundle, tiny_table, tiny_training, refused, command, options, words):
    """Each is refused before any work is done."""
    image = tiny_table.parent / "p12_FLAIR.nii.gz"
    out = tmp_path / "out"
    arguments = {
        "detect": ["detect", image, "--bundle", bundle, "--out", out],
        "evaluate": ["evaluate", tiny_table, "--bundle", bundle, "--out", out],
        "train": ["train", tiny_table, "--out", out, *tiny_training],
    }[command]
    assert words in refused(*arguments, *options)
    assert left_in(out) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "the parameters of a recipe by name were expected"),
        ("{", "not readable as JSON"),
        ('{"width": "wide"}', "wide"),
        ('{"clip": "none"}', "clip 'none': a finite number"),
        ('{"epochs": 2.5}', "epochs 2.5"),
        ('{"colour": "red"}', "'colour' is unknown"),
        ('{"recipe": "os.system"}', "recipe 'os.system'"),
        ('{"strides": 2}', "strides 2"),
    ],
)
def test_recipe_files(tmp_path, tiny_table, refused, content, words):
    path = tmp_path / "recipe.json"
    path.write_text(content, encoding="utf-8")
    line = refused("train", tiny_table, "--out", tmp_path / "out", "--recipe", path)
    assert words in line


@pytest.fixture(params=["file in the way", "file above", "read-only"])
def locked(request, tmp_path):
    """A path where no folder can be made or filled."""
    if request.param != "read-only":
        (tmp_path / "file").write_text("", encoding="utf-8")
        yield tmp_path / "file" if request.param == "file in the way" else tmp_path / "file" / "a"
        return
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if not os.access(folder, os.W_OK):
        yield folder
        return
    with mounted(folder, "ro,size=64k"):  # the administrator may write anywhere but there
        yield folder


@contextmanager
def mounted(folder, options):
    """A file system of its own, where the system lets one be made."""
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by the administrator of Linux only")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_output_folders_that_cannot_be_written(bundle, tiny_table, tiny_training, refused, locked):
    image = tiny_table.parent / "p12_FLAIR.nii.gz"
    before = left_in(locked.parent)
    for arguments in (
        ("detect", image, "--bundle", bundle, "--out", locked),
        (
            "detect",
            image,
            tiny_table.parent / "p11_FLAIR.nii.gz",
            "--bundle",
            bundle,
            "--out",
            locked,
        ),
        ("evaluate", tiny_table, "--bundle", bundle, "--out", locked),
        ("train", tiny_table, "--out", locked, *tiny_training),
        ("cohort", tiny_table, "--out", locked / "copy.csv"),
    ):
        assert str(locked) in refused(*arguments)
    assert left_in(locked.parent) == before


#: Bytes that a disk, or a file, may hold at most so that each command fails while writing.
ROOM = {"detect": 16, "evaluate": 8, "train": 64}


@pytest.mark.parametrize("command", list(ROOM))
def test_full_disk(tmp_path, bundle, tiny_table, tiny_training, refused, command):
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, f"size={ROOM[command]}k"):
        arguments = writing(command, bundle, tiny_table, tiny_training, folder / "out")
        line = refused(*arguments, begun=command == "train")
        assert "the disk is full; free some space or choose another folder" in line
        assert line.startswith(str(folder / "out"))
        assert ".partial" not in line
        assert whole_only(folder)


def writing(command, bundle, table, training, out):
    """A command that goes well but for what it writes."""
    image = table.parent / "p12_FLAIR.nii.gz"
    return {
        "detect": ["detect", image, "--bundle", bundle, "--out", out, "--device", "cpu"],
        "evaluate": ["evaluate", table, "--bundle", bundle, "--out", out, "--device", "cpu"],
        "train": ["train", table, "--out", out, *training],
        "cohort": ["cohort", table, "--out", out / "copy.csv"],
    }[command]


def whole_only(folder):
    """No temporary file, no result of a detection, no bundle that seems finished."""
    names = [str(path.relative_to(folder)) for path in left_in(folder)]
    return not [n for n in names if "partial" in n or "config.json" in n or "lesions" in n]


@pytest.mark.parametrize("command", ["detect", "evaluate", "train", "cohort"])
def test_a_file_that_the_system_does_not_let_grow(
    tmp_path, bundle, tiny_table, tiny_training, capfd, command
):
    """A write that fails in the operating system, in every writer, without any mock."""
    resource = pytest.importorskip("resource", reason="limits on files are POSIX's")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    arguments = writing(command, bundle, tiny_table, tiny_training, tmp_path / "out")
    limit = {"detect": 8000, "evaluate": 1000, "train": 30_000, "cohort": 200}[command]
    with capfd.disabled():  # captured output goes through files too
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            code, _, error = quietly([str(argument) for argument in arguments])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert error.count("\n") == 1
    assert error.startswith(f"attribseg: error: {tmp_path / 'out'}")
    assert "cannot be written" in error
    assert ".partial" not in error
    assert whole_only(tmp_path / "out")


def quietly(arguments):
    """Exit code, output and errors, kept in memory."""
    import io
    from contextlib import redirect_stderr, redirect_stdout

    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        code = main(arguments)
    return code, out.getvalue(), error.getvalue()


@pytest.mark.parametrize("as_json", [False, True])
def test_the_other_images_go_on(tmp_path, bundle, tiny_table, capsys, as_json):
    """Failures are told where they happen and listed at the end."""
    source = tiny_table.parent
    for name in ("p11", "p12", "p13"):
        shutil.copy(source / f"{name}_FLAIR.nii.gz", tmp_path / f"{name}.nii.gz")
    half(tmp_path / "p12.nii.gz")
    images = [tmp_path / f"{name}.nii.gz" for name in ("p11", "p12", "nowhere", "p13")]
    options = ["--bundle", bundle, "--out", tmp_path / "out", "--device", "cpu"]
    options += ["--json"] if as_json else []
    assert main([str(argument) for argument in ("detect", *images, *options)]) == 2
    captured = capsys.readouterr()
    said = captured.out.splitlines()
    if as_json:
        events = [json.loads(line) for line in said]
        events = [event for event in events if event["event"] in ("case", "failed")]
        assert [event["event"] for event in events] == ["case", "failed", "failed", "case"]
        assert [event["case"] for event in events] == ["p11", "p12", "nowhere", "p13"]
        assert events[1]["reason"].startswith(f"{images[1]}: ")
    else:
        assert said[1:3] == ["p12: failed", "nowhere: failed"]
        assert said[3].startswith("p13: ")
    head, *faults = captured.err.rstrip("\n").split("\n")
    assert head == "attribseg: 2 of 4 images failed:"
    assert len(faults) == 2
    for fault, image in zip(faults, images[1:3], strict=True):
        assert fault.startswith(f"  {image}: ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["p11", "p13"]


def test_a_run_is_not_overwritten_by_accident(tmp_path, tiny_table, tiny_training, refused):
    """Nor lost when the run that was to replace it cannot start."""
    out = tmp_path / "bundle"
    arguments = ["train", str(tiny_table), "--out", str(out), *tiny_training, "--epochs", "1"]
    assert quietly(arguments)[0] == 0
    before = {path: path.read_bytes() for path in left_in(out)}
    assert f"{out}: holds a model" in refused(*arguments)
    assert "batch size 3" in refused(*arguments, "--overwrite", "--batch-size", "3")
    assert "another recipe" in refused(*arguments, "--resume", "--alpha", "0.7")
    assert {path: path.read_bytes() for path in left_in(out)} == before
    assert quietly([*arguments, "--overwrite"])[0] == 0
    # Stopped while it replaces the old one: neither is a finished bundle, and --resume goes on.
    bundle, events = load_bundle(out), []
    with pytest.raises(Cancelled, match="resume with --resume"):
        train_bundle(
            read_cohort(tiny_table, check_images=False),
            bundle.recipe,
            out,
            overwrite=True,
            device="cpu",
            on_event=events.append,
            should_stop=lambda: any(event["event"] == "start" for event in events),
        )
    assert not is_bundle(out)


def history_of(folder):
    """Losses and scores of every epoch; the clock is left out."""
    record = json.loads((folder / "config.json").read_text(encoding="utf-8"))["record"]
    return [{k: v for k, v in e.items() if k != "seconds"} for e in record["history"]]


def test_interrupted_training_goes_on_as_if_it_had_not_been(
    tmp_path, tiny_table, tiny_training, refused, bundle
):
    """Ctrl-C ends with 130 and says how to go on; the resumed run has the same losses."""
    options = [*tiny_training, "--epochs", "8", "--seed", "5"]
    out = tmp_path / "stopped"
    arguments = ["train", str(tiny_table), "--out", str(out), *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "AttribSegLib", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "epoch" and event["epoch"] == 3:
                process.send_signal(signal.SIGINT)
                break
        rest, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    *_, last = error.splitlines()
    assert "Traceback" not in error
    assert "interrupt again to break off" in error
    assert last.startswith("attribseg: stopped. ")
    assert last.endswith("whole epochs are saved; resume with --resume")
    assert 3 <= int(last.split()[2]) < 8
    assert "done" not in rest
    assert whole_only(out)
    image = tiny_table.parent / "p12_FLAIR.nii.gz"
    line = refused("detect", image, "--bundle", out, "--out", tmp_path / "o")
    assert "its training is not finished; resume it" in line
    assert "another recipe, seed or cohort" in refused(
        *arguments, "--resume", "--seed", "6", begun=True
    )
    assert quietly([*arguments, "--resume"])[0] == 0
    assert quietly(["train", str(tiny_table), "--out", str(tmp_path / "whole"), *options])[0] == 0
    resumed, whole = history_of(out), history_of(tmp_path / "whole")
    assert len(resumed) == 8
    assert resumed == whole
