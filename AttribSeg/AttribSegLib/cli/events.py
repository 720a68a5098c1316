"""How commands tell what they are doing (JSON lines, a progress bar), and how they are stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def print_event(event: dict[str, Any]) -> None:
    """Print an event as a line of JSON, for programs.

    In one write: torchrun starts Python unbuffered, where `print` writes a line and its end apart,
    and another process's line would come between them.
    """
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def speaks() -> bool:
    """Whether this process speaks for its job: the first of those that torchrun started, or alone.

    For what happens before the processes join; :class:`.Process` knows from then on.
    """
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


class JsonLines:
    """One JSON object per event."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Print an event."""
        print_event(event)

    def close(self) -> None:
        """Nothing is open."""


class ProgressBar:
    """A bar per epoch and a line per epoch, for people."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event, if there is anything to show of its kind."""
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def close(self) -> None:
        """Clear the bar, so that an error has a line of its own."""
        if self._bar is not None:
            self._bar.close()

    def _on_start(self, event: dict[str, Any]) -> None:
        recipe = event["recipe"]
        constraint = recipe.get("constraint", recipe["recipe"])
        field = event["receptive_field"]
        sees = "" if field is None else f"receptive field {field} voxels, "
        print(
            f"{event['parameters']:,} weights, {sees}constraint {constraint}, on {event['device']}"
        )

    def _on_step(self, event: dict[str, Any]) -> None:
        from tqdm import tqdm

        if event["step"] == 1:
            total = event["steps"]
            label = f"epoch {event['epoch']}/{event['epochs']}"
            # Drawn on terminals only: in a log it would run into the lines of errors.
            self._bar = tqdm(total=total, desc=label, leave=False, file=sys.stderr, disable=None)
        if self._bar is not None:
            shown = {"loss": f"{event['loss']:.3f}"}
            if "constraint_gain" in event:
                shown["L_A-log2"] = f"{event['constraint_gain']:+.2e}"
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()

    def _on_epoch(self, event: dict[str, Any]) -> None:
        if self._bar is not None:
            self._bar.close()
        gain = event.get("train_constraint_gain")
        constraint = f" L_A-log2 {gain:+.2e}" if gain is not None else ""
        minutes, seconds = divmod(round(event["seconds_left"]), 60)
        if "train_classification" in event:
            loss = f"L_C {event['train_classification']:.3f}{constraint}"
            rates = f"TPR {event['validation_tpr']:.2f} TNR {event['validation_tnr']:.2f}"
        else:
            loss = f"loss {event['train_loss']:.3g}"
            rates = f"healthy {event['validation_loss']:.3g}"
        print(
            f"epoch {event['epoch']}/{event['epochs']}: {loss} | validation {rates} "
            f"AUROC {event['validation_auroc']:.3f} | best {event['best_epoch']} | "
            f"{minutes}:{seconds:02d} left",
            flush=True,
        )

    def _on_run(self, event: dict[str, Any]) -> None:
        print(f"-- {event['entry']}, seed {event['seed']}", flush=True)

    def _on_failed(self, event: dict[str, Any]) -> None:
        print(f"   failed: {event['error']}", flush=True)

    def _on_written(self, event: dict[str, Any]) -> None:
        print("\n".join(f"{kind}: {path}" for kind, path in event["files"].items()))

    def _on_alpha(self, event: dict[str, Any]) -> None:
        verdict = "good" if event["good"] else "too large"
        rates = "the loss exploded"
        if event["tpr"] is not None:
            rates = f"validation TPR {event['tpr']:.2f} TNR {event['tnr']:.2f}"
        print(f"alpha {event['alpha']:.4g}: {rates}: {verdict}", flush=True)

    def _on_check(self, event: dict[str, Any]) -> None:
        self._count("checked", event["done"], event["total"])

    def _on_load(self, event: dict[str, Any]) -> None:
        self._count("loaded", event["done"], event["total"])

    def _on_threshold(self, event: dict[str, Any]) -> None:
        self._count("maps for the threshold", event["done"], event["total"])

    def _on_slices(self, event: dict[str, Any]) -> None:
        self._count("slices", event["done"], event["total"])

    def _on_case(self, event: dict[str, Any]) -> None:
        self._count("scored", event["done"], None)

    def _count(self, what: str, done: int, total: int | None) -> None:
        """A counter on terminals."""
        if sys.stderr.isatty():
            whole = "" if total is None else f"/{total}"
            end = "\n" if done == total else ""
            print(f"\r{what} {done}{whole}", end=end, file=sys.stderr, flush=True)

    def _on_done(self, event: dict[str, Any]) -> None:
        print(f"bundle: {event['bundle']} (weights of epoch {event['best_epoch']})")


@contextmanager
def stop_on_interrupt() -> Iterator[Any]:
    """The first Ctrl-C (or SIGTERM) lets the step end and saves; a second one breaks off."""
    asked: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        print("stopping after this step; interrupt again to break off", file=sys.stderr)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
