"""The Boutiques descriptor is valid and says what the command line takes."""

import argparse
import json
import shlex
from pathlib import Path

import boutiques
import pytest
from AttribSegLib import __version__
from AttribSegLib.cli import preprocess
from boutiques.validator import DescriptorValidationError

DESCRIPTOR = Path(__file__).resolve().parents[2] / "Resources/Boutiques/attribseg-preprocess.json"


def parser():
    made = argparse.ArgumentParser(exit_on_error=False)
    preprocess.add_arguments(made)
    return made


@pytest.fixture(scope="module")
def descriptor():
    return json.loads(DESCRIPTOR.read_text(encoding="utf-8"))


def test_valid(descriptor, tmp_path):
    boutiques.validate(str(DESCRIPTOR))
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({**descriptor, "command-line": "attribseg"}), encoding="utf-8")
    with pytest.raises(DescriptorValidationError):
        boutiques.validate(str(broken))
    assert descriptor["tool-version"] == __version__


def test_every_option_is_in_both(descriptor):
    actions = {a.dest: a for a in parser()._actions if a.dest != "help"}
    inputs = {entry["id"]: entry for entry in descriptor["inputs"]}
    assert set(actions) == set(inputs)
    for name, action in actions.items():
        entry = inputs[name]
        assert entry.get("command-line-flag") == (action.option_strings or [None])[0]
        assert entry.get("optional", False) == (not action.required)
        assert entry.get("value-choices") == (list(action.choices) if action.choices else None)
        if "default-value" in entry:
            assert entry["default-value"] == action.default
        assert (entry["type"] == "Flag") == (action.nargs == 0)


def test_its_command_lines_are_understood(tmp_path, capsys):
    given = {"cohort": "raw.csv", "out": "a folder", "spacing": 2, "n4": True, "jobs": 3}
    given |= {"steps": "brain,standardise", "interslice_factor": 2.5, "background": -3}
    invocation = tmp_path / "invocation.json"
    invocation.write_text(json.dumps(given), encoding="utf-8")
    done = boutiques.execute("simulate", str(DESCRIPTOR), "-i", str(invocation))
    words = shlex.split(done.shell_command)
    assert words[:2] == ["attribseg", "preprocess"]
    found = vars(parser().parse_args(words[2:]))
    expected = vars(parser().parse_args(["x", "--out", "y"]))
    expected |= {**given, "cohort": Path("raw.csv"), "out": Path("a folder")}
    assert found == expected
