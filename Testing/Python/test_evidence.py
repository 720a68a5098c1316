"""What the studies share: settings, plans, the page about all of them."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

EVIDENCE = Path(__file__).resolve().parents[1] / "Evidence"
sys.path.insert(0, str(EVIDENCE))
import study as shared  # noqa: E402
from comparing import is_kept, spread_text, values_of  # noqa: E402

# By its path: other studies have scripts of this name.
_SPEC = importlib.util.spec_from_file_location("evidence_run", EVIDENCE / "run.py")
assert _SPEC is not None
assert _SPEC.loader is not None
runner = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(runner)

ABOUT = {
    "title": "T",
    "question": "Q?",
    "data": [],
    "minutes": {"reduced": 3, "full": 50},
    "full_needs": "a GPU",
    "reduced": {"seeds": [0], "plan": {"epochs": 2, "width": 0.25}},
    "full": {"plan": {"width": 1.0}},
}


def make(folder, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(json.dumps({**ABOUT, **changes}), encoding="utf-8")
    return shared.Study(folder)


def every_study():
    return [shared.Study(EVIDENCE / name) for name in runner.STUDIES]


def test_the_full_setting_says_only_what_differs(tmp_path):
    reduced = make(tmp_path)
    full = shared.Study(tmp_path, "full")
    assert reduced.settings["plan"] == {"epochs": 2, "width": 0.25}
    assert full.settings == {"seeds": [0], "plan": {"epochs": 2, "width": 1.0}}
    assert (reduced.minutes, full.minutes) == (3, 50)
    assert {reduced.work, reduced.out}.isdisjoint({full.work, full.out})


def test_a_study_is_finished_as_long_as_its_settings_are_the_same(tmp_path):
    study = make(tmp_path)
    (tmp_path / "findings.md").write_text("## What it shows\n\nMuch.\n", encoding="utf-8")
    assert not study.is_done
    shared.publish(study, {"x": 1}, "page", "summary ![a](a.png)")
    assert study.is_done
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert page.index("# T") < page.index("Much.") < page.index("page")
    (tmp_path / "findings.md").write_text("Little.\n", encoding="utf-8")
    assert shared.with_findings(study, page) == page.replace("## What it shows\n\nMuch.", "Little.")
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["x"] == 1
    assert results["settings"] == study.settings
    assert not make(tmp_path, reduced={**ABOUT["reduced"], "seeds": [0, 1]}).is_done
    assert not shared.Study(tmp_path, "full").is_done


def test_a_part_that_is_missing_is_named(tmp_path):
    (tmp_path / "study.json").write_text(json.dumps({"title": "T"}), encoding="utf-8")
    with pytest.raises(shared.InputError, match="'question' is missing"):
        _ = shared.Study(tmp_path).about


def test_what_will_run_is_said_beforehand(tmp_path, capsys):
    done, absent, new = (
        make(tmp_path / "a"),
        make(tmp_path / "b", data=["no such data"]),
        make(tmp_path / "c", minutes={"reduced": 7, "full": 8}),
    )
    shared.publish(done, {}, "page", "summary")
    assert runner.announce([done, absent, new], again=False) == [new]
    said = capsys.readouterr().out
    assert "finished already" in said
    assert "no such data not found" in said
    assert "about 7 minutes" in said
    assert runner.announce([done, absent, new], again=True) == [done, new]
    assert "about 10 minutes" in capsys.readouterr().out


def test_a_study_that_fails_does_not_stop_the_others(tmp_path, capfd):
    bad, good = make(tmp_path / "bad"), make(tmp_path / "good")
    (bad.folder / "run.py").write_text("raise SystemExit('no')", encoding="utf-8")
    (good.folder / "run.py").write_text("import sys; print(sys.argv[1:])", encoding="utf-8")
    assert not runner.run(bad)
    assert runner.run(good)
    assert "['--setting', 'reduced', '--jobs', '1']" in capfd.readouterr().out


def test_links_of_a_study_lead_into_its_folder():
    text = "# A\n[x](results.md) ![y](y.png) [z](../lgg-2d/z.md) [w](https://w.org) [a](#b)"
    assert runner.below("s", text) == (
        "### A\n[x](s/results.md) ![y](s/y.png) [z](lgg-2d/z.md) [w](https://w.org) [a](#b)"
    )


@pytest.mark.parametrize("study", every_study(), ids=lambda study: study.folder.name)
@pytest.mark.parametrize("setting", shared.SETTINGS)
def test_settings_are_written_down_and_plans_can_be_run(study, setting):
    from AttribSegLib.comparison.plan import Plan

    study = shared.Study(study.folder, setting)
    assert study.minutes > 0
    assert study.about["question"].endswith("?")
    assert study.settings != {}
    if setting == "full":
        assert study.settings != shared.Study(study.folder).settings
    for name, value in study.settings.items():
        if name.endswith("plan"):
            sweep = value.get("sweep")
            if sweep is not None:
                assert value["recipes"][sweep["recipe"]]
            Plan.from_dict(value)


def test_the_page_is_what_the_studies_say():
    page = (EVIDENCE / "README.md").read_text(encoding="utf-8")
    assert page == runner.overview(every_study())


@pytest.mark.parametrize("study", every_study(), ids=lambda study: study.folder.name)
def test_every_study_has_a_table_a_figure_and_findings(study):
    summary = (study.folder / "summary.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\| ?-", summary, flags=re.MULTILINE)) >= 1
    assert len(re.findall(r"!\[", summary)) == 1
    findings = (study.folder / "findings.md").read_text(encoding="utf-8")
    assert "What it shows" in findings
    assert "not show" in findings
    assert study.is_done, "its settings were changed after it ran"
    page = (study.folder / "results.md").read_text(encoding="utf-8")
    assert shared.with_findings(study, page) == page
    for file in ("summary.md", "findings.md", "results.md"):
        text = (study.folder / file).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text):
            assert (study.folder / target).exists(), f"{file}: {target}"


def test_training_keeps_every_slice_and_the_other_parts_every_second():
    from AttribSegLib.cohort import Case

    def case(split, index):
        return Case(case="c", patient="p", label=0, split=split, channels={}, slice=index)

    assert [is_kept(case("train", n)) for n in range(4)] == [True] * 4
    for split in ("validation", "test"):
        assert [is_kept(case(split, n)) for n in range(4)] == [True, False, True, False]


def test_values_are_found_by_entry_map_and_rule():
    def scored(name, rule, auprc, cases):
        return {
            "name": name,
            "rule": rule,
            "pooled": {"auprc": auprc},
            "per_case": {"auprc": cases},
        }

    maps = [scored("g", "none", 0.2, [0.1, None]), scored("g", "labels", 0.4, [0.3, 0.5])]
    runs = [
        {"entry": "A", "primary": "g", "maps": maps},
        {"entry": "B", "primary": "g", "maps": []},
    ]
    comparison = {"runs": runs}
    assert values_of(comparison, "A", "auprc") == [0.2]
    assert values_of(comparison, "A", "auprc", rule="labels") == [0.4]
    assert values_of(comparison, "A", "auprc", per_case=True) == [0.1]
    assert values_of(comparison, "A", "auprc", name="h") == []
    assert values_of(comparison, "B", "auprc") == []


def test_spread_over_seeds():
    assert spread_text([]) == "-"
    assert spread_text([0.25]) == "0.250"
    assert spread_text([0.2, 0.4]) == "0.300 +- 0.141"
