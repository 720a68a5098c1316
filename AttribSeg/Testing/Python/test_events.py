import io
import json
import sys

import pytest
from AttribSegLib.cli.events import JsonLines, print_event, speaks


class Counted(io.StringIO):
    """An output that remembers what every single write brought."""

    def __init__(self):
        super().__init__()
        self.writes = []

    def write(self, text):
        self.writes.append(text)
        return super().write(text)


@pytest.mark.parametrize("report", [print_event, JsonLines()])
def test_an_event_is_one_write_so_that_no_other_process_comes_between(monkeypatch, report):
    output = Counted()
    monkeypatch.setattr(sys, "stdout", output)
    event = {"event": "check", "done": 1, "total": 2, "name": "Rüdiger"}
    report(event)
    (written,) = output.writes
    assert written.endswith("\n")
    assert json.loads(written) == event


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"RANK": "3"}, True),  # some other program's variable: nobody joins this process
        ({"WORLD_SIZE": "1", "RANK": "0"}, True),
        ({"WORLD_SIZE": "2", "RANK": "0"}, True),
        ({"WORLD_SIZE": "2", "RANK": "1"}, False),
    ],
)
def test_one_process_speaks_for_a_job(monkeypatch, environment, expected):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert speaks() is expected
