"""Results of a comparison on disk, used again only where they come from the same things."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..files import read_json, write_json
from .results import RunResult


def stored_result(
    path: Path, key: str, make: Callable[[], tuple[RunResult, float]]
) -> tuple[RunResult, float]:
    """A result and the prevalence of its cases, from disk where the key is the same, else made.

    Parameters
    ----------
    path : Path
        JSON file.
    key : str
        Names all that the result depends on; see :func:`key_of`.
    make : callable
    """
    # The example slices lie beside it.
    if path.is_file() and path.with_suffix(".safetensors").is_file():
        content = read_json(path)
        if isinstance(content, dict) and content.get("key") == key:
            result = RunResult.from_dict(_with_nan(content["result"]))
            return result, float(_with_nan(content["prevalence"]))
    result, prevalence = make()
    write_json(path, {"key": key, "prevalence": prevalence, "result": result.to_dict()})
    return result, prevalence


def key_of(**facts: Any) -> str:
    """Hash of plain values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _with_nan(value: Any) -> Any:
    """JSON has no NaN: where a number is missing, it was one."""
    if value is None:
        return float("nan")
    if isinstance(value, dict):
        return {name: _with_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_nan(each) for each in value]
    return value
