"""Alphas that a comparison searched for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from AttribSegLib.bundle import load_bundle
from AttribSegLib.comparison.plan import slug


def found_alphas(
    work: Path, plan: Mapping[str, Any], versions: Iterable[str]
) -> dict[str, dict[str, list[float]]]:
    """Alphas of the entries whose alpha is "auto": by version and entry, one per seed.

    Parameters
    ----------
    work : Path
        Holds the comparison of every version, in a folder of its name.
    plan : mapping
        As :meth:`.Plan.from_dict` takes it.
    versions : iterable of str
    """
    searched = [name for name, recipe in plan["recipes"].items() if recipe.get("alpha") == "auto"]

    def found(version: str, name: str, seed: int) -> float:
        bundle = load_bundle(work / version / "models" / f"{slug(name)}-{seed}")
        return float(bundle.recipe.to_dict()["alpha"])

    return {
        version: {name: [found(version, name, seed) for seed in plan["seeds"]] for name in searched}
        for version in versions
    }


def alphas_text(alphas: Mapping[str, Mapping[str, list[float]]], words: Mapping[str, str]) -> str:
    """What was found, in words; ``words`` are those for every version."""
    entries = next(iter(alphas.values()))
    rows = [
        f"{entry}: "
        + ", ".join(
            f"{' and '.join(f'{alpha:.2g}' for alpha in alphas[version][entry])} {text}"
            for version, text in words.items()
        )
        for entry in entries
    ]
    return (
        "Alpha is 0.05, but where it was found: the largest that leaves TPR and TNR of the "
        "validation slices at most 0.05 below those without a constraint, by image labels alone. "
        f"{'; '.join(rows)}."
    )
