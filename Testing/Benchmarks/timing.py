"""Timing and memory for the benchmarks: alternating runs, medians, a fresh process each."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable


def alternate(
    first: Callable[[], object], second: Callable[[], object], *, repetitions: int = 5
) -> tuple[float, float]:
    """Median seconds of two functions run in the order A B A B, after one warm-up each."""
    first()
    second()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repetitions):
        for function, record in zip((first, second), seconds, strict=True):
            start = time.perf_counter()
            function()
            record.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def median_seconds(function: Callable[[], object], *, repetitions: int = 5) -> float:
    """Median seconds of a function after one warm-up."""
    function()
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def resident_mb() -> float:
    """Resident memory of this process now, in MB (10^6 bytes)."""
    import psutil

    return psutil.Process().memory_info().rss / 1e6


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
