"""The script that runs the modules' self tests inside Slicer cannot pass by accident."""

import importlib.util
import re
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "run_self_tests.py"

PASSING = """
    import unittest
    class GoodTest(unittest.TestCase):
        def runTest(self):
            self.test_one()
        def test_one(self):
            self.assertEqual(1, 1)
"""


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a suite of modules made of texts, loaded or not."""
    spec = importlib.util.spec_from_file_location("run_self_tests", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.syspath_prepend(str(tmp_path))

    def with_modules(texts, *, required=True, loaded=True):
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
            monkeypatch.delitem(sys.modules, name, raising=False)
        modules = SimpleNamespace(**{name.lower(): None for name in texts} if loaded else {})
        monkeypatch.setitem(sys.modules, "slicer", SimpleNamespace(modules=modules))
        monkeypatch.setattr(script.suite, "__defaults__", (dict.fromkeys(texts, required),))
        return script.main()

    return with_modules


def test_passing_tests_end_with_0(run, capsys):
    assert run({"Good": PASSING}) == 0
    assert "1 self tests, passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PASSING.replace("(1, 1)", "(1, 2)"), "1 self tests, FAILED"),
        (PASSING.replace("GoodTest", "OtherTest"), "has no GoodTest"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
    ],
)
def test_failures_end_with_1(run, capsys, text, told):
    assert run({"Good": text}) == 1
    assert told in capsys.readouterr().out


def test_a_module_that_was_not_loaded_is_a_failure(run, capsys):
    assert run({"Good": PASSING}, loaded=False) == 1
    assert "did not load this module" in capsys.readouterr().out


def test_no_test_at_all_is_a_failure(run, capsys):
    assert run({"Good": "x = 1"}, required=False) == 1
    assert "0 self tests" in capsys.readouterr().out


def test_the_workflow_waits_for_the_words_of_the_script():
    workflow = SCRIPT.parents[1] / ".github" / "workflows" / "slicer.yml"
    pattern = "^[1-9][0-9]* self tests, passed"
    assert pattern in workflow.read_text(encoding="utf-8")
    assert re.search(pattern, "3 self tests, passed")
    assert not re.search(pattern, "0 self tests, passed")
    assert not re.search(pattern, "3 self tests, FAILED")
