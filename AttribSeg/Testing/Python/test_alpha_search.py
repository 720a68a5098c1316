"""The search for the largest alpha, alone and around real trainings."""

import json
from dataclasses import replace

import pytest
import torch
from AttribSegLib.bundle import load_bundle
from AttribSegLib.cli.events import JsonLines, ProgressBar
from AttribSegLib.errors import InputError
from AttribSegLib.operating_point import Allowance
from AttribSegLib.recipes.attribution import AttributionRecipe
from AttribSegLib.recipes.autoencoder import AutoencoderRecipe
from AttribSegLib.training import alpha_search
from AttribSegLib.training.alpha_search import (
    COARSE,
    FINE,
    largest_good,
    train_with_largest_alpha,
)
from AttribSegLib.training.augmentation import NO_AUGMENTATION
from hypothesis import given
from hypothesis import strategies as st

RECIPE = AttributionRecipe(
    width=0.04,
    strides=(2, 1, 1, 1),
    batch_size=4,
    epochs=2,
    background=0.0,
    clip=0.0,
    augmentation=NO_AUGMENTATION,
    alpha=0.05,
)


def asked_for(limit, start):
    """What is found where everything below a limit is good, and what was asked for."""
    asked = []

    def is_good(alpha):
        asked.append(alpha)
        return alpha < limit

    return largest_good(is_good, start), asked


# Nine questions: seven to bracket the limit by steps of half a decade, two to halve twice.
@given(st.floats(1e-6, 1e6), st.floats(-2.99, 2.99))
def test_finds_the_limit_to_a_factor(start, decades):
    limit = start * 10**decades
    found, asked = asked_for(limit, start)
    assert found is not None
    assert found < limit
    assert found * FINE * 1.01 >= limit
    assert found in asked
    assert len(asked) <= 9
    assert len(set(asked)) == len(asked)


@given(st.floats(1e-6, 1e6), st.floats(-20, 20))
def test_never_asks_more_than_nine_times(start, decades):
    limit = start * 10**decades
    found, asked = asked_for(limit, start)
    assert len(asked) <= 9
    assert asked[0] == start
    good = [alpha for alpha in asked if alpha < limit]
    assert found == (max(good) if good else None)


def test_what_is_out_of_reach():
    found, asked = asked_for(0.0, 1.0)
    assert found is None
    assert asked == pytest.approx([COARSE**-n for n in range(9)])
    found, asked = asked_for(1e9, 1.0)
    assert found == max(asked) == pytest.approx(COARSE**8)


def train(cohort, out, recipe=RECIPE, **options):
    chosen = {"device": "cpu", "allowance": Allowance(3.0, 0.05)}
    return train_with_largest_alpha(cohort, recipe, out, **{**chosen, **options})


@pytest.fixture
def few_trials(monkeypatch):
    """Three trainings at most: the unconstrained one and two more."""
    monkeypatch.setattr(alpha_search, "_MOST_TRAININGS", 3)


@pytest.mark.usefixtures("few_trials")
def test_trains_with_the_largest_alpha_and_resumes_without_training(tmp_path, small_cohort):
    cohort, out, events = small_cohort(), tmp_path / "out", []
    bundle = train(cohort, out, on_event=events.append)
    table = json.loads((out / "alpha_search.json").read_text(encoding="utf-8"))
    trials = table["trials"]
    assert len(trials) == 3
    assert trials[0]["alpha"] == 0.0
    assert trials[1]["alpha"] == 0.05
    # What is called good is within the stated loss of the unconstrained rates.
    for row in trials:
        near = all(row[key] >= trials[0][key] - table["allowed_loss"] for key in ("tpr", "tnr"))
        assert row["good"] == near
    best = max(row["alpha"] for row in trials if row["good"])
    assert best > 0
    assert bundle.recipe == replace(RECIPE, alpha=best)
    assert [event["alpha"] for event in events if event["event"] == "alpha"] == [
        row["alpha"] for row in trials[1:]
    ]
    assert len([event for event in events if event["event"] == "done"]) == 3
    # The result is the best trial's, whole.
    trial = load_bundle(out / "alpha_search" / f"alpha-{best:.4g}")
    loaded = load_bundle(out)
    for each in (bundle, loaded):
        assert each.recipe == trial.recipe
        assert each.thresholds == trial.thresholds
        assert each.record == trial.record
        for name, tensor in trial.network.state_dict().items():
            assert torch.equal(each.network.state_dict()[name], tensor)
    assert (out / "training" / "curves.png").is_file()
    plain = load_bundle(out / "alpha_search" / "none")
    assert plain.recipe == replace(RECIPE, constraint="none")
    rates = plain.record["validation"]
    assert (trials[0]["tpr"], trials[0]["tnr"]) == (
        rates["validation_tpr"],
        rates["validation_tnr"],
    )

    with pytest.raises(InputError, match="holds a model already"):
        train(cohort, out)
    events.clear()
    again = train(cohort, out, resume=True, on_event=events.append)
    assert {event["event"] for event in events} == {"done", "alpha"}
    assert again.thresholds == bundle.thresholds
    assert json.loads((out / "alpha_search.json").read_text(encoding="utf-8")) == table


@pytest.mark.usefixtures("few_trials")
def test_an_interrupted_search_goes_on(tmp_path, small_cohort):
    cohort, out, events = small_cohort(), tmp_path / "out", []

    class StopError(Exception):
        pass

    def stop(event):
        if event["event"] == "done":
            events.append(event)
            if len(events) == 2:
                raise StopError

    with pytest.raises(StopError):
        train(cohort, out, on_event=stop)
    with pytest.raises(InputError, match="unfinished search; --resume"):
        train(cohort, out)
    started = []
    bundle = train(cohort, out, resume=True, on_event=started.append)
    # Of three trainings two were finished before.
    assert len([event for event in started if event["event"] == "start"]) == 1
    whole = train(cohort, tmp_path / "whole")
    assert bundle.recipe == whole.recipe
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(bundle.network.state_dict()[name], tensor)


@pytest.mark.usefixtures("few_trials")
def test_overwriting_trains_anew(tmp_path, small_cohort):
    cohort, out, events = small_cohort(), tmp_path / "out", []
    first = train(cohort, out, seed=1)
    second = train(cohort, out, seed=2, overwrite=True, on_event=events.append)
    assert len([event for event in events if event["event"] == "start"]) == 3
    assert second.record["seed"] == 2
    assert load_bundle(out).record["seed"] == 2
    name = "layers.0.weight"
    assert not torch.equal(first.network.state_dict()[name], second.network.state_dict()[name])


@pytest.mark.usefixtures("few_trials")
def test_no_good_alpha_is_an_error(tmp_path, small_cohort, monkeypatch):
    # No rate can exceed the unconstrained one by 2.
    monkeypatch.setattr(alpha_search, "ALLOWED_LOSS", -2.0)
    with pytest.raises(InputError, match=r"even alpha 0\.0158 costs more"):
        train(small_cohort(), tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "alpha_search.json").read_text(encoding="utf-8"))[
        "trials"
    ]
    assert [row["good"] for row in rows] == [True, False, False]
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.usefixtures("few_trials")
def test_an_alpha_that_explodes_is_too_large_and_no_end(
    tmp_path, small_cohort, monkeypatch, capsys
):
    cohort, recipe = small_cohort(), replace(RECIPE, alpha=1e39)  # infinite in single precision
    monkeypatch.setattr(alpha_search, "COARSE", 1e42)
    events = []
    bundle = train(cohort, tmp_path / "out", recipe, on_event=events.append)
    rows = json.loads((tmp_path / "out" / "alpha_search.json").read_text(encoding="utf-8"))[
        "trials"
    ]
    assert rows[1] == {"alpha": 1e39, "tpr": None, "tnr": None, "good": False}
    assert rows[2]["good"]
    assert bundle.recipe.alpha == pytest.approx(1e-3)
    # Both ways to show events can say so.
    for show, words in ((JsonLines(), '"tpr": null'), (ProgressBar(), "the loss exploded")):
        for event in events:
            show(event)
        assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    "recipe",
    [replace(RECIPE, constraint="none"), replace(RECIPE, alpha=0.0), AutoencoderRecipe()],
)
def test_there_must_be_something_to_search(tmp_path, small_cohort, recipe):
    with pytest.raises(InputError, match="alpha auto"):
        train(small_cohort(), tmp_path / "out", recipe)
    assert not (tmp_path / "out").exists()
