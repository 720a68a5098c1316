"""The command from end to end, as a person or another program calls it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib import __version__
from AttribSegLib.bundle import load_bundle
from AttribSegLib.cli import main
from AttribSegLib.cohort import read_cohort
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.segmentation_file import read_segmentation

COMMANDS = ("simulate", "cohort", "train", "detect", "evaluate")


def events_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_cohort_of_a_folder(tmp_path, tiny_brain, tiny_geometry, capsys):
    """A folder becomes a table, which can be checked and copied."""
    for label, name in enumerate(("healthy", "pathological")):
        (tmp_path / name).mkdir()
        for number in range(3):
            image, lesions = tiny_brain(tiny_geometry, number + 10 * label, lesion=bool(label))
            write_image(image, tmp_path / name / f"{name[0]}{number}.nii.gz")
            if label:
                write_image(lesions, tmp_path / name / f"{name[0]}{number}_lesions.nii.gz")
    table = tmp_path / "cohort.csv"
    assert main(["cohort", str(tmp_path), "--out", str(table)]) == 0
    out = capsys.readouterr().out
    assert "6 cases of 6 patients" in out
    assert "34x36x32, 5x5x5 mm" in out
    assert f"written      {table}" in out
    assert len(read_cohort(table).cases) == 6
    assert main(["cohort", str(table)]) == 0
    assert "lesions for 3" in capsys.readouterr().out


def test_train(trained_folder, tiny_table):
    """A bundle with its curves and record; the checkpoints are beside it."""
    bundle = load_bundle(trained_folder)
    assert bundle.channels == ("FLAIR",)
    assert len(bundle.record["history"]) == 2
    assert bundle.record["cohort"]["source"] == str(tiny_table)
    assert set(bundle.thresholds) == set(bundle.alternatives) == {"attribution", "FLAIR intensity"}
    names = {str(path.relative_to(trained_folder)) for path in trained_folder.rglob("*.*")}
    assert names == {
        "config.json",
        "metadata.json",
        "models/model.safetensors",
        "training/best.safetensors",
        "training/last.safetensors",
        "training/curves.png",
    }


def test_train_tells_what_it_does(tmp_path, tiny_table, tiny_training, capsys):
    """JSON lines for programs; then lines for people, when the finished run is asked to go on."""
    arguments = ["train", str(tiny_table), "--out", str(tmp_path / "b"), *tiny_training]
    assert main([*arguments, "--json"]) == 0
    events = events_of(capsys.readouterr().out)
    kinds = [event["event"] for event in events]
    trained = ["load"] * 10 + ["start"] + ["step", "epoch"] * 2 + ["threshold"] * 4 + ["done"]
    files = kinds.count("check")  # images and masks
    assert kinds == ["check"] * files + trained
    assert files > 14
    for kind, total in {"check": files, "load": 10, "threshold": 4}.items():
        found = [event for event in events if event["event"] == kind]
        assert [event["done"] for event in found] == list(range(1, total + 1))
        assert {event["total"] for event in found} == {total}
    events = events[files:]
    start, step, epoch, done = events[10], events[11], events[14], events[-1]
    assert start["recipe"]["width"] == 0.05
    assert start["recipe"]["epochs"] == 2
    assert start["device"] == "cpu"
    assert start["parameters"] > 0
    assert (step["epoch"], step["epochs"], step["step"], step["steps"]) == (1, 2, 1, 1)
    assert {"classification", "loss", "tpr", "tnr"} <= step.keys()
    assert "constraint" in events[13]  # the first step comes before alpha rises
    assert {
        "train_classification",
        "train_constraint_gain",
        "validation_auroc",
        "seconds_left",
    } <= (epoch.keys())
    assert done["bundle"] == str(tmp_path / "b")
    assert done["best_epoch"] in (1, 2)
    assert main([*arguments, "--resume"]) == 0
    assert f"bundle: {tmp_path / 'b'} (weights of epoch" in capsys.readouterr().out


def test_train_for_people(tmp_path, tiny_table, tiny_training, capsys):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(
        json.dumps({"recipe": "attribution", "norm": "none", "constraint": "none"}),
        encoding="utf-8",
    )
    arguments = ["train", str(tiny_table), "--out", str(tmp_path / "b"), *tiny_training]
    assert main([*arguments, "--recipe", str(recipe), "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "constraint none, on cpu" in out
    assert "epoch 1/1: L_C" in out
    assert "bundle:" in out
    assert load_bundle(tmp_path / "b").recipe.norm == "none"


def test_detect_and_its_events(tmp_path, trained_folder, tiny_table, capsys):
    images = [tiny_table.parent / f"p{number}_FLAIR.nii.gz" for number in (11, 12)]
    arguments = ["detect", *map(str, images), "--bundle", str(trained_folder), "--device", "cpu"]
    assert main([*arguments, "--out", str(tmp_path / "a"), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    events = events_of(captured.out)
    steps = ["image", "attribution", "write", "case"]
    assert [event.get("step", event["event"]) for event in events] == steps * 2
    started, found = events[::4], events[3::4]
    for each, done in ((started, [0, 1]), (found, [1, 2])):
        assert [event["case"] for event in each] == ["p11_FLAIR", "p12_FLAIR"]
        assert [(event["done"], event["total"]) for event in each] == [(n, 2) for n in done]
    for event, image in zip(found, images, strict=True):
        assert event.keys() == {
            "event",
            "case",
            "preprocessed",
            "warnings",
            "probability",
            "class",
            "lesions",
            "lesion_ml",
            "files",
            "done",
            "total",
        }
        assert event["event"] == "case"
        mask = read_segmentation(event["files"]["segmentation"])
        assert mask.geometry.same_grid(read_image(image).geometry)
        volume = mask.array.sum() * mask.geometry.voxel_volume_ml
        assert event["lesion_ml"] == pytest.approx(volume)
        summary = json.loads(
            (tmp_path / "a" / event["case"] / "detection.json").read_text(encoding="utf-8")
        )
        assert summary["record"]["inputs"] == {"FLAIR": str(image)}
        assert len(summary["record"]["inputs_sha256"]) == 64
    assert main([*arguments, "--out", str(tmp_path / "b")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("p11_FLAIR: ")
    assert "mL -> " in lines[0]
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["p11_FLAIR", "p12_FLAIR"]


def test_detect_options(tmp_path, trained_folder, tiny_table, capsys):
    """A threshold, a minimum volume and a brain mask of one's own."""
    image = tiny_table.parent / "p12_FLAIR.nii.gz"
    brain = read_image(image)
    half = brain.with_array((brain.array != 0) & (np.arange(34) < 17)[:, None, None])
    write_image(half, tmp_path / "brain.nii.gz")
    common = ["detect", str(image), "--bundle", str(trained_folder), "--device", "cpu", "--json"]
    # A negative number needs the equals sign, or it would look like an option.
    found = {}
    for name, more in {
        "all": ["--threshold=-1e9"],
        "half": ["--threshold=-1e9", "--brain", str(tmp_path / "brain.nii.gz")],
        "none": ["--threshold=-1e9", "--minimum-ml", "1e6"],
    }.items():
        assert main([*common, *more, "--out", str(tmp_path / name)]) == 0
        found[name] = events_of(capsys.readouterr().out)[-1]
    assert found["all"]["lesion_ml"] == pytest.approx((brain.array != 0).sum() * 0.125)
    assert found["half"]["lesion_ml"] == pytest.approx(half.array.sum() * 0.125)
    assert found["none"]["lesions"] == 0


def test_evaluate_and_its_events(tmp_path, trained_folder, tiny_table, capsys):
    arguments = ["evaluate", str(tiny_table), "--bundle", str(trained_folder), "--device", "cpu"]
    assert main([*arguments, "--out", str(tmp_path / "a"), "--json"]) == 0
    events = events_of(capsys.readouterr().out)
    cases = [event for event in events if event["event"] == "case"]
    assert [event["event"] for event in events[-5:]] == ["case"] * 4 + ["done"]
    assert {event["event"] for event in events[:-5]} == {"check"}
    assert [event["done"] for event in cases] == [1, 2, 3, 4]
    assert {event["total"] for event in cases} == {4}
    files = events[-1]["files"]
    assert set(files) == {"cases", "json", "markdown", "curves", "curve_points"}
    for path in files.values():
        assert path.startswith(str(tmp_path / "a"))
        assert Path(path).is_file()
    more = ["--split", "validation", "--mask-tuned"]
    assert main([*arguments, "--out", str(tmp_path / "b"), *more]) == 0
    out = capsys.readouterr().out
    assert "FLAIR intensity" in out
    assert "validation split" in out


def detect_names(tmp_path, bundle, capsys, *images):
    options = ["--bundle", str(bundle), "--out", str(tmp_path / "out"), "--device", "cpu", "--json"]
    code = main(["detect", *map(str, images), *options])
    captured = capsys.readouterr()
    events = events_of(captured.out)
    return code, [e["case"] for e in events if e["event"] in ("case", "failed")], captured.err


def test_images_of_one_name_take_their_folder_s(tmp_path, trained_folder, tiny_table, capsys):
    source = tiny_table.parent / "p12_FLAIR.nii.gz"
    files = [tmp_path / patient / "FLAIR.nii.gz" for patient in ("patient07", "patient19")]
    files.append(tmp_path / "patient07" / "other.nii.gz")
    for path in files:
        path.parent.mkdir(exist_ok=True)
        shutil.copy(source, path)
    code, names, _ = detect_names(tmp_path, trained_folder, capsys, *files)
    assert code == 0
    assert names == ["patient07_FLAIR", "patient19_FLAIR", "other"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert (tmp_path / "out" / "patient07_FLAIR" / "patient07_FLAIR_lesions.seg.nrrd").is_file()


def test_images_that_cannot_be_told_apart_are_refused(tmp_path, capsys):
    """Before the bundle is even looked at: the same file twice, or the same folder and name."""
    (tmp_path / "a").mkdir()
    (tmp_path / "x" / "a").mkdir(parents=True)
    for one, other in (
        ("a/FLAIR.nii.gz", "a/FLAIR.nii.gz"),
        ("a/FLAIR.nii.gz", "x/a/FLAIR.nii.gz"),
        ("a/FLAIR.nii.gz", "a/FLAIR.mha"),
        ("a/FLAIR.nii.gz", "x/A/flair.nii"),
    ):
        paths = [tmp_path / one, tmp_path / other]
        code, names, error = detect_names(tmp_path, tmp_path / "none", capsys, *paths)
        assert code == 2
        assert names == []
        assert error.count("\n") == 1
        assert all(str(path) in error for path in paths)
        assert not (tmp_path / "out").exists()


def test_results_of_a_dicom_folder_are_named_by_it(
    tmp_path, trained_folder, tiny_table, capsys, monkeypatch
):
    image = read_image(tiny_table.parent / "p12_FLAIR.nii.gz")
    write_image(image, tmp_path / "series")  # no suffix: a DICOM folder
    (tmp_path / "series").rename(tmp_path / "patient.01")  # with a dot, as in UIDs
    folder = tmp_path / "patient.01"
    code, names, _ = detect_names(tmp_path, trained_folder, capsys, f"{folder}/")
    assert code == 0
    assert names == ["patient.01"]
    # From within it, as "."; the folder of results stays what it is.
    monkeypatch.chdir(folder)
    code, names, _ = detect_names(tmp_path, trained_folder, capsys, ".")
    assert names == ["patient.01"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["patient.01"]
    summary = json.loads(
        (tmp_path / "out" / "patient.01" / "detection.json").read_text(encoding="utf-8")
    )
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert summary["record"]["inputs_sha256"] != empty


def test_the_images_are_never_replaced_by_their_results(
    tmp_path, trained_folder, tiny_table, capsys
):
    """``--out`` that would put the results where a DICOM folder is."""
    image = read_image(tiny_table.parent / "p12_FLAIR.nii.gz")
    write_image(image, tmp_path / "out" / "patient")
    before = sorted((tmp_path / "out" / "patient").iterdir())
    code, _, error = detect_names(tmp_path, trained_folder, capsys, tmp_path / "out" / "patient")
    assert code == 2
    assert "holds other files" in error
    assert sorted((tmp_path / "out" / "patient").iterdir()) == before


def test_names_with_commas_and_equals_signs(tmp_path, trained_folder, tiny_table, capsys):
    path = tmp_path / "sub=1,a.nii.gz"
    shutil.copy(tiny_table.parent / "p12_FLAIR.nii.gz", path)
    code, names, _ = detect_names(tmp_path, trained_folder, capsys, path)
    assert (code, names) == (0, ["sub=1,a"])
    code, names, _ = detect_names(
        tmp_path, trained_folder, capsys, f"FLAIR={tiny_table.parent}/p11_FLAIR.nii.gz"
    )
    assert (code, names) == (0, ["p11_FLAIR"])


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*([name] if name else []), "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: attribseg {name}".rstrip())
    assert all(command in out for command in ([] if name else COMMANDS))


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"attribseg {__version__}\n"


def test_help_imports_nothing_heavy():
    """A second of waiting for ``--help`` is what makes people give up."""
    code = """
import sys
from AttribSegLib.cli import main
for arguments in ([], *([name] for name in sys.argv[1:])):
    try:
        main([*arguments, "--help"])
    except SystemExit as stopped:
        assert stopped.code == 0
heavy = "torch numpy scipy SimpleITK matplotlib monai sklearn nilearn safetensors tqdm".split()
print("IMPORTED", sorted(set(heavy) & set(sys.modules)))
"""
    found = subprocess.run(
        [sys.executable, "-c", code, *COMMANDS],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert found.stdout.splitlines()[-1] == "IMPORTED []"


def test_the_command_is_installed_and_a_module():
    for command in ([shutil.which("attribseg")], [sys.executable, "-m", "AttribSegLib"]):
        if command[0] is None:
            continue
        found = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=True, encoding="utf-8"
        )
        assert found.stdout.strip() == f"attribseg {__version__}"
