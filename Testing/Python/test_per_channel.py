"""The study chapter6-lesions: its slices, its channels, its differences."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from AttribSegLib.cohort import Case, Cohort, read_cohort, write_cohort
from AttribSegLib.errors import InputError
from AttribSegLib.inference import Prediction

STUDIES = Path(__file__).resolve().parents[2] / "Testing" / "Evidence"
sys.path[:0] = [str(STUDIES / name) for name in ("chapter6-lesions", ".")]
import lesions_channels  # noqa: E402
from lesions_channels import ChannelMaps  # noqa: E402
from lesions_cohort import smaller_cohort  # noqa: E402
from lesions_differences import case_values, differences  # noqa: E402


def test_only_validation_has_fewer_slices(tmp_path):
    cases = [
        Case(
            f"{split}-{index}",
            split,
            index % 2,
            split,
            {"FLAIR": tmp_path / f"{split}.nii.gz"},
            slice=index,
        )
        for split in ("train", "validation", "test")
        for index in range(7)
    ]
    table = tmp_path / "cohort.csv"
    write_cohort(Cohort(tuple(cases), ("FLAIR",), str(table)), table)
    settings = {"halved": False, "validation_step": 3}
    found = read_cohort(smaller_cohort(table, settings, tmp_path / "work"), check_images=False)
    for split in ("train", "test"):
        assert [c.case for c in found.in_split(split)] == [f"{split}-{i}" for i in range(7)]
    assert [c.slice for c in found.in_split("validation")] == [0, 3, 6]
    assert found.cases[0].channels == cases[0].channels, "the same images"
    settings["validation_step"] = 1
    assert smaller_cohort(table, settings, tmp_path) == table
    for wrong in (0, 1.5, "2"):
        with pytest.raises(InputError, match="validation_step"):
            smaller_cohort(table, {**settings, "validation_step": wrong}, tmp_path)


def test_each_image_is_asked_for_once_whatever_is_read_from_it(monkeypatch):
    asked = []
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(5, 3, 4, 4, 1)).astype(np.float32)

    def predict(bundle, arrays):
        asked.append(len(arrays))
        return [Prediction.of(0.0, maps[int(array[0, 0, 0, 0])]) for array in arrays]

    monkeypatch.setattr(lesions_channels, "predict", predict)
    recipe = SimpleNamespace(map_name="counterfactual")
    bundle = SimpleNamespace(
        recipe=recipe,
        dimensions=2,
        channels=["FLAIR"],
        map_channels=("a", "b", "c"),
        other_reductions={},
    )
    source = ChannelMaps(bundle)
    cases = [
        SimpleNamespace(
            case=SimpleNamespace(case=f"case{number}", channels={"FLAIR": None}),
            array=np.full((1, 4, 4, 1), number, np.float32),
        )
        for number in range(5)
    ]
    assert source.names == ("channel 1", "channel 2", "channel 3", "mean", "maximum")
    for name in source.names:
        found = source.maps(cases[:3], [name])
        for number, each in enumerate(found):
            reference = {
                "mean": maps[number].mean(axis=0),
                "maximum": maps[number].max(axis=0),
            }.get(name, maps[number][int(name[-1]) - 1] if name[-1].isdigit() else None)
            np.testing.assert_allclose(each[name].attribution, reference, rtol=1e-6)
    source.maps(cases, source.names)
    assert asked == [3, 2]


def _run(entry, seed, auprc, dice, pooled, kind="counterfactual"):
    count = len(auprc)
    scored = {
        "name": "counterfactual",
        "rule": "none",
        "per_case": {"auprc": auprc, "dice": dice},
        "pooled": {"auprc": pooled},
    }
    return {
        "entry": entry,
        "seed": seed,
        "kind": kind,
        "primary": "counterfactual",
        "cases": [f"case{i}" for i in range(count)],
        "patients": [f"patient{i // 2}" for i in range(count)],
        "maps": [scored],
    }


def test_differences_are_paired_by_seed_and_by_patient():
    """Five patients of two slices: a constant difference is met by 2 of 32 flips."""
    base = np.linspace(0.2, 0.6, 10)
    comparison = {
        "reference": "whole",
        "runs": [
            _run("plain", 0, list(base), list(base), 0.5, "intensity"),
            _run("whole", 0, list(base + 0.1), list(base), 0.7),
            _run("whole", 1, [*(base[:9] + 0.3), None], list(base), 0.8),
            _run("part", 1, list(base - 0.1), list(base), 0.6),
            _run("part", 0, list(base - 0.1), list(base), 0.55),
            _run("late", 1, list(base), list(base), 0.75),
        ],
    }
    values = case_values(comparison, "whole", "auprc")
    assert values["case0"] == pytest.approx(base[0] + 0.2)
    assert values["case9"] == pytest.approx(base[9] + 0.1), "only one seed has a value"
    against_plain, against_part, against_late, more = differences(comparison, {"part": "plain"})
    assert [(d["first"], d["second"]) for d in (against_plain, against_part, more)] == [
        ("whole", "plain"),
        ("whole", "part"),
        ("part", "plain"),
    ]
    np.testing.assert_allclose(against_plain["by_seed"], [0.2, 0.3])
    np.testing.assert_allclose(against_part["by_seed"], [0.15, 0.2])
    np.testing.assert_allclose(against_late["by_seed"], [0.05])
    assert against_late["auprc"]["difference"] == pytest.approx(0.3), "the seed that both have"
    test = more["auprc"]
    assert test["difference"] == pytest.approx(-0.1)
    assert test["p"] == pytest.approx(2 / 32)
    assert test["p_corrected"] == pytest.approx(8 * 2 / 32), "eight tests in all"
    assert test["patients"] == 5
    assert more["dice"]["p"] == 1
    assert more["mean_by_seed"] == []
    assert np.isnan(more["mean_auprc"]["p_corrected"]), "there is no such map"
