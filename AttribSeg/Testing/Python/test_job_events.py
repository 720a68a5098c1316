"""How far a command is, by what it printed."""

import pytest
from AttribSegLib.job_events import JobProgress, event_of_line


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def followed(events, *arguments, seconds=1.0):
    """Fraction and time left after every event, one every so many seconds."""
    clock = Clock()
    progress = JobProgress(list(arguments), clock=clock)
    found = []
    for event in events:
        clock.now += seconds
        progress.update(event)
        found.append((progress.fraction, progress.seconds_left))
    return found


def counted(kind, total, first=1):
    return [{"event": kind, "done": done, "total": total} for done in range(first, total + 1)]


def test_counted_cases_extrapolate():
    found = followed([*counted("case", 4), {"event": "done"}], "evaluate")
    assert [share for share, _ in found] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [left for _, left in found] == [None, 2.0, 1.0, 0.0, 0.0]


def test_own_estimates_are_taken():
    events = [{"event": "progress", "done": 1, "total": 4, "seconds_left": 90.0}]
    assert followed(events, "preprocess") == [(0.25, 90.0)]


def training(epochs, steps):
    for epoch in range(1, epochs + 1):
        for step in range(1, steps + 1):
            yield {
                "event": "step",
                "epoch": epoch,
                "epochs": epochs,
                "step": step,
                "steps": steps,
                "seconds_per_step": 2.0,
            }
        left = (epochs - epoch) * 10.0
        yield {"event": "epoch", "epoch": epoch, "epochs": epochs, "seconds_left": left}


def test_a_training_goes_up_to_its_end():
    events = [*counted("check", 3), *counted("load", 10), {"event": "start"}, *training(3, 4)]
    events += [*counted("threshold", 2), {"event": "done"}]
    found = followed(events, "train")
    shares = [share for share, _ in found if share is not None]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert max(share for share, _ in found[:14] if share is not None) <= 0.05
    steps = [
        left for event, (_, left) in zip(events, found, strict=True) if event["event"] == "step"
    ]
    assert steps == [2.0 * n for n in range(11, -1, -1)]
    epochs = [at for at, event in enumerate(events) if event["event"] == "epoch"]
    assert [found[at][1] for at in epochs] == [20.0, 10.0, 0.0]
    assert [found[at][0] for at in epochs] == pytest.approx([0.35, 0.65, 0.95])


def test_a_resumed_training_starts_where_it_was():
    events = [event for event in training(4, 2) if event["epoch"] > 2]
    assert followed(events, "train")[0][0] > 0.5


def detection(name, done, total):
    yield {"event": "image", "case": name, "done": done, "total": total}
    for step in ("interslice", "registration", "brain", "resample", "standardise", "attribution"):
        yield {"event": "step", "step": step, "channel": "FLAIR"}
    yield {"event": "step", "step": "write", "channel": ""}
    yield {"event": "case", "case": name, "done": done + 1, "total": total}


def test_steps_of_images_fill_each_image_s_share():
    shares = [s for s, _ in followed([*detection("a", 0, 2), *detection("b", 1, 2)], "detect")]
    assert shares == sorted(shares)
    assert shares[:9][-1] == 0.5
    assert 0.3 < shares[7] < 0.5
    assert shares[9] == 0.5
    assert shares[-1] == 1.0
    failed = {"event": "failed", "case": "a", "done": 1, "total": 2}
    assert followed([failed], "detect") == [(0.5, None)]


def test_steps_of_a_prepared_cohort():
    step = {"event": "step", "step": "brain", "channel": "", "case": "b", "done": 1, "total": 2}
    share = followed([step], "preprocess")[0][0]
    assert 0.5 < share < 1


def test_the_order_of_the_chain_is_the_order_of_the_shares():
    """Every step that the chain announces is known, and comes later than the one before."""
    from AttribSegLib.job_events import _STEPS
    from AttribSegLib.preprocessing.options import STEPS

    assert set(STEPS) < set(_STEPS)
    assert list(_STEPS.values()) == sorted(_STEPS.values())


@pytest.mark.parametrize("options", [["--alpha", "auto"], ["--alpha=auto"]])
def test_a_search_has_no_known_end(options):
    assert set(followed(list(training(2, 2)), "train", *options)) == {(None, None)}
    assert followed(list(training(2, 2)), "train", "--alpha", "0.1")[0][0] is not None
    assert set(followed(list(training(2, 2)), "compare")) == {(None, None)}


@pytest.mark.parametrize(
    "event",
    [
        {"event": "case"},
        {"event": "case", "done": 1, "total": 0},
        {"event": "case", "done": "x", "total": 2},
        {"event": "step", "step": "unknown"},
        {"event": "nothing"},
        {"event": "log", "text": "done"},
    ],
)
def test_events_without_figures_change_nothing(event):
    assert followed([event], "evaluate") == [(None, None)]


def test_lines():
    assert event_of_line('{"event": "a", "x": NaN}')["event"] == "a"
    for line in ("", "{", "[]", '{"event": 1}', '{"x": 1}', '"event"', "{" * 9000):
        assert event_of_line(line) == {"event": "log", "text": line}
