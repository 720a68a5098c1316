"""Tasks move from stage to stage without waiting, and end in every case."""

from __future__ import annotations

import threading
import time

import pytest
from AttribSegLib.errors import InputError
from AttribSegScene.stage import Stage
from AttribSegScene.task import Task, running_task


def run(task):
    task.start()
    deadline = time.monotonic() + 60
    while not task.done:
        assert time.monotonic() < deadline
        task.poll()
    return task


def test_stages_run_in_their_threads():
    seen = {}

    def note(name, value=None):
        seen[name] = threading.current_thread()
        return value

    task = run(
        Task(
            "Adding",
            None,
            lambda value: note("show", value + 1),
            write=lambda: note("write"),
            read=lambda: note("read", 1),
        )
    )
    assert (task.state, task.result, task.failure) == ("finished", 2, None)
    assert seen["show"] is threading.current_thread()
    assert threading.current_thread() not in (seen["write"], seen["read"])
    assert running_task() is None


def test_nodes_are_made_in_steps():
    made = []

    def show(value):
        for step in range(3):
            made.append(step)
            yield
        return value

    task = Task("Showing", None, show, read=lambda: "result")
    task.start()
    counts = set()
    while not task.done:
        before = len(made)
        task.poll()
        counts.add(len(made) - before)
    assert made == [0, 1, 2]
    assert max(counts) == 1
    assert task.result == "result"


@pytest.mark.parametrize("stage", ["write", "read", "show", "steps"])
def test_an_error_of_any_stage_is_the_tasks(stage):
    def fail(*_):
        raise InputError(f"{stage} went wrong")

    def steps(_):
        yield
        fail()

    stages = {"write": None, "read": None, stage: fail}
    shows = {"show": fail, "steps": steps}
    task = run(
        Task(
            "Failing",
            None,
            shows.get(stage, lambda value: value),
            write=stages["write"],
            read=stages["read"],
        )
    )
    assert task.state == "failed"
    assert task.failure.message == f"{stage} went wrong"
    assert running_task() is None


def test_an_error_nobody_foresaw_is_named():
    task = run(Task("Failing", None, lambda value: value, read=lambda: {}["missing"]))
    assert task.state == "failed"
    assert "missing" in task.failure.message


def test_one_at_a_time():
    gate = threading.Event()
    first = Task("The first", None, lambda value: value, write=gate.wait)
    first.start()
    with pytest.raises(InputError, match="“The first” is still running"):
        Task("The second", None, lambda value: value).start()
    gate.set()
    while not first.done:
        first.poll()
    assert Task("The second", None, lambda value: 2).wait() == 2


def test_stopped_while_it_writes():
    gate = threading.Event()
    shown = []
    task = Task("Stopped", None, shown.append, write=gate.wait)
    task.start()
    task.cancel()
    gate.set()
    while not task.done:
        task.poll()
    assert task.state == "stopped"
    assert shown == []


def test_killed_while_it_shows():
    taken_back = []

    def show(_):
        try:
            while True:
                yield
        finally:
            taken_back.append(True)

    task = Task("Killed", None, show)
    task.start()
    while task.state != "showing":
        task.poll()
    task.poll()
    task.kill()
    assert taken_back == [True]
    assert task.state == "stopped"
    assert running_task() is None


def test_waiting_raises_what_went_wrong():
    def fail():
        raise InputError("the file is missing; choose another")

    with pytest.raises(InputError, match="the file is missing"):
        Task("Failing", None, lambda value: value, read=fail).wait()


def test_ctrl_c_while_waiting_leaves_nothing_running():
    def interrupt():
        raise KeyboardInterrupt

    gate = threading.Event()
    task = Task("Interrupted", None, lambda value: value, write=gate.wait)
    with pytest.raises(KeyboardInterrupt):
        task.wait(interrupt)
    gate.set()
    assert task.state == "stopped"
    assert running_task() is None


def test_a_task_that_nobody_polls_is_known(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    gate = threading.Event()
    task = Task("Forgotten", None, lambda value: value, write=gate.wait)
    task.start()
    now[0] += 0.5
    assert not task.abandoned
    now[0] += 1
    assert task.abandoned
    task.poll()
    assert not task.abandoned
    now[0] += 5
    task.kill()
    gate.set()
    assert not task.abandoned  # it has ended


def test_a_stages_error_is_raised_where_it_is_asked_for():
    def wait(stage):
        while not stage.finished():
            time.sleep(0.001)

    with pytest.raises(ZeroDivisionError):
        wait(Stage(lambda: 1 / 0))
