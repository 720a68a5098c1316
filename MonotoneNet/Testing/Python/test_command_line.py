"""``python -m MonotoneNetLib``, as the panels start it: nothing is installed there."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from AttribSegLib.bundle import load_bundle
from AttribSegLib.cli import main
from AttribSegLib.errors import InputError
from MonotoneNetLib import inspect_command
from MonotoneNetLib.certificate import certify
from MonotoneNetLib.depth_report import statistics_by_depth
from MonotoneNetLib.inspection import COLUMNS, bundle_bodies, converted_bodies, inspect

REPOSITORY = Path(__file__).parents[3]


def run(*arguments):
    """The command within this process, which has found the recipe by its entry point."""
    return main([*map(str, arguments)], commands={"inspect": inspect_command})


def module(*arguments, **more):
    """``python -m MonotoneNetLib`` with the entry points of installed packages out of sight."""
    code = (
        "import sys, runpy, importlib.metadata as metadata\n"
        "metadata.entry_points = lambda **_: ()\n"
        f"sys.argv[1:] = {[*map(str, arguments)]!r}\n"
        "runpy.run_module('MonotoneNetLib', run_name='__main__', alter_sys=True)"
    )
    folders = [str(REPOSITORY / name) for name in ("AttribSeg", "MonotoneNet")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        **more,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def monotone_bundle(tmp_path_factory, slice_table, small_recipe):
    """A bundle that was trained in a process without entry points."""
    folder = tmp_path_factory.mktemp("monotone")
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps({**small_recipe, "epochs": 1}), encoding="utf-8")
    arguments = ["train", slice_table, "--out", folder / "bundle", "--recipe", recipe]
    done = module(*arguments, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "done"
    return folder / "bundle"


def test_the_recipe_is_known_without_an_installation(monotone_bundle):
    bundle = load_bundle(monotone_bundle)
    assert bundle.recipe.name == "monotone"
    assert bundle.certificate["by_construction"]


def test_help_lists_all_commands_and_loads_no_torch():
    code = (
        "import sys\nsys.argv = ['x', '--help']\nimport runpy\n"
        "try:\n runpy.run_module('MonotoneNetLib', run_name='__main__')\n"
        "except SystemExit as stopped:\n assert stopped.code == 0\n"
        "print('LOADED', sorted({'torch', 'numpy', 'SimpleITK'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    for command in ("train", "detect", "evaluate", "preprocess", "inspect"):
        assert f"\n    {command}" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"


def events_of(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(("network", "dimensions"), [("resnet18", 2), ("patchgan", 3)])
def test_a_network_is_converted_and_described(tmp_path, capsys, network, dimensions):
    options = ["--network", network, "--dimensions", dimensions, "--width", 0.1, "--size", 32]
    assert run("inspect", *options, "--in-channels", 2, "--out", tmp_path, "--json") == 0
    events = events_of(capsys.readouterr().out)
    assert [event["event"] for event in events] == ["progress"] * 4 + ["done"]
    assert [event["done"] for event in events[:4]] == [0, 1, 2, 3]
    files = events[-1]["files"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "certificate.json",
        "depth.csv",
        "depth.png",
        "report.txt",
    ]
    text = Path(files["report"]).read_text(encoding="utf-8")
    assert "weights made positive" in text
    assert events[-1]["summary"] in text
    certificate = json.loads(Path(files["certificate"]).read_text(encoding="utf-8"))
    assert certificate["by_construction"] is True
    assert certificate["smallest_weight"] >= 0
    assert certificate["of"]["network"] == network
    assert certificate["of"]["in_channels"] == 2
    assert Path(files["figure"]).read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(Path(files["depth"]).read_text(encoding="utf-8").splitlines()))
    assert len(rows) == certificate["layers"]
    # One pass makes every standard deviation one; Kaiming's leave it, and grow with depth.
    ours = [float(row["std_monotone_ours"]) for row in rows]
    kaiming = [float(row["std_monotone_kaiming"]) for row in rows]
    assert ours == pytest.approx([1.0] * len(rows), abs=1e-3)
    assert max(kaiming) / min(kaiming) > 3
    assert "std_trained" not in rows[0]


def test_one_seed_gives_one_result_and_the_network_stays_as_it_is():
    bodies = converted_bodies(dimensions=2, width=0.1, seed=3)
    before = {name: tensor.clone() for name, tensor in bodies.monotone.state_dict().items()}
    first, second = inspect(bodies, size=40, seed=1), inspect(bodies, size=40, seed=1)
    assert first.depth == second.depth
    assert inspect(bodies, size=40, seed=2).depth != first.depth
    for name, tensor in bodies.monotone.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_bundle_s_certificate_is_made_anew(tmp_path, capsys, monotone_bundle):
    assert run("inspect", "--bundle", monotone_bundle, "--size", 24, "--out", tmp_path) == 0
    out = capsys.readouterr().out
    assert "Monotone by construction" in out
    assert str(tmp_path / "depth.csv") in out
    body = load_bundle(monotone_bundle).network.body
    found = json.loads((tmp_path / "certificate.json").read_text(encoding="utf-8"))
    fresh = json.loads(json.dumps(certify(body).to_dict()))
    assert {key: found[key] for key in fresh} == fresh
    rows = list(csv.DictReader((tmp_path / "depth.csv").read_text("utf-8").splitlines()))
    assert list(rows[0])[:5] == ["layer", *(f"std_{name}" for name in COLUMNS.values())]
    # The trained weights are those of the bundle: measured on the same noise, the same figures.
    noise = torch.randn((16, 3, 24, 24), generator=torch.Generator().manual_seed(0))
    expected = [layer.std for layer in statistics_by_depth(body, noise).layers]
    assert [float(row["std_trained"]) for row in rows] == pytest.approx(expected)
    assert not np.allclose(expected, 1.0, atol=0.05)


def test_a_damaged_body_is_found_out(monotone_bundle):
    bodies = bundle_bodies(monotone_bundle)
    layer = next(m for m in bodies.monotone.modules() if getattr(m, "bias", None) is not None)
    with torch.no_grad():
        layer.bias.fill_(0.5)
    with pytest.raises(InputError, match="bias is not zero"):
        inspect(bodies, size=24)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--network", "nothing"], "'nothing'"),
        (["--size", "0"], "--size 0"),
        (["--size", "16", "--dimensions", "2"], "at least 32"),
        (["--in-channels", "0"], "in-channels 0"),
        (["--width", "-1"], "width -1"),
        (["--positivity", "bad"], "bad"),
        (["--activation", "sigmoid"], "sigmoid"),
        (["--bundle", "nowhere"], "nowhere"),
        (["--bundle", "b", "--in-channels", "2"], "--in-channels"),
        (["--bundle", "b", "--positivity", "thesis"], "--positivity"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, options, expected):
    assert run("inspect", *options, "--out", tmp_path) == 2
    error = capsys.readouterr().err
    assert error.startswith("attribseg: error: ")
    assert error.count("\n") == 1
    assert expected in error
    assert list(tmp_path.iterdir()) == []


def test_models_that_are_not_monotone(tmp_path, capsys, slice_table, small_recipe):
    """Of another recipe, and with the body left ordinary."""
    recipes = {
        "other": {"recipe": "attribution", "filters": [8, 16], "strides": [2, 1]},
        "ordinary": {**small_recipe, "ablate": ["monotone"]},
    }
    said = {"other": "not of attribution", "ordinary": "left ordinary"}
    for name, content in recipes.items():
        recipe = tmp_path / f"{name}.json"
        recipe.write_text(json.dumps({**content, "epochs": 1, "batch_size": 8}), encoding="utf-8")
        arguments = ["train", slice_table, "--out", tmp_path / name, "--recipe", recipe]
        assert run(*arguments, "--device", "cpu", "--json") == 0
        capsys.readouterr()
        assert run("inspect", "--bundle", tmp_path / name, "--out", tmp_path / "o") == 2
        assert said[name] in capsys.readouterr().err
