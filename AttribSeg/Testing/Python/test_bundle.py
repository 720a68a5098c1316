"""A bundle comes back as it was, or is refused with a line that says why."""

import json
import pickle
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from AttribSegLib.bundle import SCHEMA_VERSION, is_bundle, load_bundle, save_bundle
from AttribSegLib.errors import InputError, OutputError
from AttribSegLib.inference import predict
from AttribSegLib.thresholds import PRECISION_RECALL, Threshold
from safetensors.torch import load_file, save_file


@pytest.fixture
def saved(tmp_path, tiny_bundle):
    return save_bundle(tiny_bundle(), tmp_path / "bundle")


def change(folder, **entries):
    """Change entries of config.json; None removes one."""
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8")) | entries
    path.write_text(
        json.dumps({k: v for k, v in content.items() if v is not None}), encoding="utf-8"
    )


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "none"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_round_trip(tmp_path, tiny_bundle, rng, dimensions, norm):
    """The same answers to the last bit, and everything else as it was."""
    bundle = tiny_bundle(
        channels=("FLAIR", "T1"),
        dimensions=dimensions,
        norm=norm,
        threshold=0.1 + 0.2,
        background=-1.5,
        strides=(2, 2, 2, 1),
        average=0.9,
    )
    if norm == "batch":  # running statistics belong to the weights
        bundle.network.train()
        bundle.network(torch.randn(2, 2, *bundle.geometry.size[:dimensions]))
        bundle.network.eval()
    bundle = replace(
        bundle,
        alternatives={"attribution": Threshold(2.0, PRECISION_RECALL, {"recall": 0.5}, "few")},
        record={"seed": 3, "history": [{"epoch": 1, "loss": 0.1}]},
        description="made by hand",
    )
    shape = (1, 2, *bundle.geometry.size[:dimensions], *([1] if dimensions == 2 else []))
    x = rng.normal(size=shape).astype(np.float32)
    before = predict(bundle, x)[0]
    assert save_bundle(bundle, tmp_path / "b") == tmp_path / "b"
    loaded = load_bundle(tmp_path / "b")
    after = predict(loaded, x)[0]
    assert after.logit == before.logit
    np.testing.assert_array_equal(after.attribution, before.attribution)
    assert not loaded.network.training
    for name in {item.name for item in fields(bundle)} - {"network"}:
        assert getattr(loaded, name) == getattr(bundle, name), name
    assert loaded.intensity_name == "FLAIR intensity"
    assert not list((tmp_path / "b").rglob("*.partial*"))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_metadata_is_a_monai_bundle_s(tmp_path, tiny_bundle, dimensions):
    """The keys that MONAI's bundle specification asks for."""
    bundle = tiny_bundle(channels=("FLAIR", "T1"), dimensions=dimensions)
    save_bundle(bundle, tmp_path)
    content = json.loads((tmp_path / "metadata.json").read_text(encoding="utf-8"))
    assert content.keys() >= {
        "schema",
        "version",
        "changelog",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "required_packages_version",
        "task",
        "description",
        "authors",
        "copyright",
        "network_data_format",
    }
    assert content["version"] in content["changelog"]
    assert content["pytorch_version"] == torch.__version__
    assert "not for diagnosis" in content["intended_use"]
    data = content["network_data_format"]
    assert set(data) == {"inputs", "outputs"}
    assert "image" in data["inputs"]
    assert "pred" in data["outputs"]
    for entry in (*data["inputs"].values(), *data["outputs"].values()):
        assert entry.keys() == (
            {
                "type",
                "format",
                "num_channels",
                "spatial_shape",
                "dtype",
                "value_range",
                "is_patch_data",
                "channel_def",
            }
            | ({"modality"} & entry.keys())
        )
        assert len(entry["channel_def"]) == entry["num_channels"]
        assert entry["is_patch_data"] is False
    image = data["inputs"]["image"]
    assert image["spatial_shape"] == list(bundle.geometry.size[:dimensions])
    assert image["channel_def"] == {"0": "FLAIR", "1": "T1"}


def test_newer_schema_is_refused_before_anything_else_is_read(saved):
    change(saved, schema_version=SCHEMA_VERSION + 1, recipe={"recipe": "not yet invented"})
    with pytest.raises(InputError, match=rf"schema {SCHEMA_VERSION + 1}.*update AttribSeg"):
        load_bundle(saved)


@pytest.mark.parametrize(
    "key", ["schema_version", "recipe", "channels", "dimensions", "geometry", "thresholds"]
)
def test_a_missing_key_is_named(saved, key):
    change(saved, **{key: None})
    with pytest.raises(InputError, match=rf"config\.json: .*{key}"):
        load_bundle(saved)


@pytest.mark.parametrize(
    "entries",
    [
        {"schema_version": "one"},
        {"recipe": "attribution"},
        {"recipe": {"recipe": "attribution", "width": "wide"}},
        {"recipe": {"recipe": "attribution", "epochs": 2.5}},
        {"recipe": {"recipe": "attribution", "augmentation": {"brightness": 3}}},
        {"recipe": {"recipe": "attribution", "colour": "red"}},
        {"recipe": {"recipe": ["attribution"]}},
        {"channels": "FLAIR"},
        {"channels": []},
        {"channels": 3},
        {"dimensions": 4},
        {"dimensions": "many"},
        {"geometry": {"size": [34, 36]}},
        {"geometry": [1, 2, 3]},
        {"thresholds": []},
        {"thresholds": {}},
        {"thresholds": {"FLAIR intensity": {"value": 1, "rule": "user"}}},
        {"thresholds": {"attribution": {"value": "high", "rule": "user"}}},
        {"thresholds": {"attribution": {"value": 1, "rule": "a guess"}}},
        {"thresholds": {"attribution": 3}},
        {"alternatives": 7},
    ],
    ids=str,
)
def test_a_damaged_entry_is_refused_in_one_line(saved, entries):
    change(saved, **entries)
    with pytest.raises(InputError) as caught:
        load_bundle(saved)
    message = str(caught.value)
    assert message.startswith(str(saved / "config.json"))
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "\0"])
def test_a_config_that_is_no_config(saved, text):
    (saved / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.json"):
        load_bundle(saved)


def test_no_bundle(tmp_path):
    with pytest.raises(InputError, match=r"none: no such bundle folder"):
        load_bundle(tmp_path / "none")
    with pytest.raises(InputError, match=r"no config\.json in it"):
        load_bundle(tmp_path)
    (tmp_path / "training").mkdir()
    with pytest.raises(InputError, match=r"training is not finished; resume it"):
        load_bundle(tmp_path)


def weights(folder):
    return folder / "models" / "model.safetensors"


def test_weights_missing_truncated_or_empty(saved):
    path = weights(saved)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:20], b"", b"x" * 500):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"model\.safetensors.*damaged"):
            load_bundle(saved)
    path.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: no such file"):
        load_bundle(saved)


def test_weights_of_another_network(saved):
    path = weights(saved)
    tensors = load_file(path)
    name = next(iter(tensors))
    for changed, words in (
        ({k: v for k, v in tensors.items() if k != name}, rf"{name} is missing"),
        (tensors | {name: torch.zeros(2, 3)}, rf"{name} has shape \(2, 3\), \(.*\) was expected"),
        (tensors | {"stranger": torch.zeros(1)}, r"unknown weight stranger"),
    ):
        save_file(changed, path)
        with pytest.raises(InputError, match=words):
            load_bundle(saved)


class Attack:
    """Unpickled, it writes a file."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


@pytest.mark.parametrize("kind", ["pickle", "torch", "old torch"])
def test_pickled_weights_are_refused_and_never_run(saved, tmp_path, kind):
    marker = tmp_path / "executed"
    with weights(saved).open("wb") as stream:
        if kind == "pickle":
            pickle.dump(Attack(marker), stream)
        else:
            zipped = kind == "torch"
            torch.save(Attack(marker), stream, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"a pickle, which is never loaded"):
        load_bundle(saved)
    assert not marker.exists()
    with weights(saved).open("rb") as stream:  # the bait would have worked
        if kind == "pickle":
            pickle.load(stream)
        else:
            torch.load(stream, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("name", ["trap", "trap.Recipe", "trap:Recipe", "os.system", "../trap"])
def test_a_recipe_is_looked_up_and_never_imported(saved, tmp_path, monkeypatch, name):
    (tmp_path / "trap.py").write_text(
        f"open({str(tmp_path / 'executed')!r}, 'w').close()", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    content = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    for recipe in ({"recipe": name}, {"_target_": name}, {**content["recipe"], "_target_": name}):
        change(saved, recipe=recipe)
        with pytest.raises(InputError, match=r"config\.json: recipe"):
            load_bundle(saved)
    assert "trap" not in sys.modules
    assert not (tmp_path / "executed").exists()


def test_an_interrupted_write_is_no_bundle(saved, tiny_bundle, monkeypatch):
    """Also over an older bundle: old words must not describe new weights."""

    def fail(path, content):
        raise OutputError(f"{path}: the disk is full")

    monkeypatch.setattr("AttribSegLib.bundle.write_json", fail)
    with pytest.raises(OutputError):
        save_bundle(tiny_bundle(seed=1), saved)
    assert not is_bundle(saved)


def test_a_folder_that_cannot_be_written(tmp_path, tiny_bundle):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "bundle"):
        with pytest.raises(OutputError, match="file"):
            save_bundle(tiny_bundle(), folder)
