"""What a command prints: its events, and how far it is by them."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

#: Share of a training that reading its images counts for, and share at which the epochs end and
#: the operating point is chosen.
_LOADED, _TRAINED = 0.05, 0.95

#: Where the steps of one image's preparation and detection begin, as shares of the whole. Fixed
#: figures: which steps a bundle's chain has is not known beforehand.
_STEPS = {
    "read": 0.0,
    "interslice": 0.02,
    "registration": 0.05,
    "brain": 0.3,
    "resample": 0.5,
    "n4": 0.55,
    "match": 0.65,
    "standardise": 0.67,
    "attribution": 0.7,
    "write": 0.9,
}


def event_of_line(line: str) -> dict[str, Any]:
    """The event of a line of output: a JSON object with a kind, or a line of the log.

    Examples
    --------
    >>> event_of_line('{"event": "case", "done": 1}')
    {'event': 'case', 'done': 1}
    >>> event_of_line('{"event": "case", "do')
    {'event': 'log', 'text': '{"event": "case", "do'}
    """
    if line.startswith("{"):
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict) and isinstance(content.get("event"), str):
            return content
    return {"event": "log", "text": line}


class JobProgress:
    """Share of the work that is done, and the time that is left.

    Parameters
    ----------
    arguments : sequence of str
        Of the command, its name first.
    clock : callable
        Seconds that only go up.

    Attributes
    ----------
    fraction : float or None
        0 to 1; None while nothing is known. Never goes back.
    seconds_left : float or None
    """

    def __init__(
        self, arguments: Sequence[str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.fraction: float | None = None
        self.seconds_left: float | None = None
        self._clock = clock
        self._started = clock()
        self._first_share: float | None = None
        self._image = (0, 1)
        # Series of trainings, of which nobody knows how many.
        self._endless = (
            arguments[:1] == ["compare"]
            or "--alpha=auto" in arguments
            or any(pair == ("--alpha", "auto") for pair in itertools.pairwise(arguments))
        )

    def update(self, event: dict[str, Any]) -> None:
        """Take an event into account; one without figures changes nothing."""
        handler = getattr(self, f"_on_{event.get('event')}", None)
        if handler is None or self._endless:
            return
        try:
            handler(event)
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return  # another command's event of the same name

    def _set(self, share: float, seconds_left: float | None = None) -> None:
        share = min(max(share, self.fraction or 0.0), 1.0)
        self.fraction = share
        if seconds_left is None:
            # Measured from the first figure on: what comes before it is start-up.
            if self._first_share is None:
                self._first_share, self._started = share, self._clock()
            elif share > self._first_share:
                spent = self._clock() - self._started
                seconds_left = spent * (1 - share) / (share - self._first_share)
        self.seconds_left = 0.0 if share == 1.0 else seconds_left

    def _on_load(self, event: dict[str, Any]) -> None:
        self._set(_LOADED * event["done"] / event["total"])
        self.seconds_left = None  # says nothing of the epochs

    def _on_step(self, event: dict[str, Any]) -> None:
        if "epochs" not in event:
            done, total = self._image
            if "total" in event:
                done, total = event["done"], event["total"]
            self._set((done + _STEPS[event["step"]]) / total)
            return
        steps, epochs = event["steps"], event["epochs"]
        done = (event["epoch"] - 1) * steps + event["step"]
        left = (steps * epochs - done) * event["seconds_per_step"]
        self._set(_LOADED + (_TRAINED - _LOADED) * done / (steps * epochs), left)

    def _on_epoch(self, event: dict[str, Any]) -> None:
        share = event["epoch"] / event["epochs"]
        self._set(_LOADED + (_TRAINED - _LOADED) * share, event["seconds_left"])

    def _on_threshold(self, event: dict[str, Any]) -> None:
        self._set(_TRAINED + (1 - _TRAINED) * event["done"] / event["total"])

    def _on_case(self, event: dict[str, Any]) -> None:
        self._set(event["done"] / event["total"])

    def _on_image(self, event: dict[str, Any]) -> None:
        self._image = (event["done"], event["total"])
        self._set(event["done"] / event["total"])

    def _on_progress(self, event: dict[str, Any]) -> None:
        self._set(event["done"] / event["total"], event.get("seconds_left"))

    _on_failed = _on_slices = _on_case

    def _on_done(self, event: dict[str, Any]) -> None:
        self._set(1.0)
