"""What is to be compared: the JSON file that ``attribseg compare`` takes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..attribution import METHODS, require_available
from ..bundle import load_bundle
from ..errors import InputError
from ..operating_point import PROCESSING_RULES, Allowance
from ..recipes import Recipe, recipe_from_dict

#: Parameters that all recipes may share: the budget and the images. How a recipe is optimised is
#: its own affair; a GAN and a classifier need different things.
_COMMON = (
    "augmentation",
    "background",
    "batch_size",
    "clip",
    "epochs",
    "minutes",
    "patience",
    "width",
)


@dataclass(frozen=True)
class Sweep:
    """Trainings of one recipe with several alphas, on one or more resolutions (fig. 5.2).

    Parameters
    ----------
    recipe : str
        Name of the entry whose alpha is varied.
    alphas : tuple of float
    cohorts : dict of str to Path
        Name of a resolution -> cohort table; None stands for the cohort compared on.
    """

    recipe: str
    alphas: tuple[float, ...]
    cohorts: dict[str, Path | None]


@dataclass(frozen=True)
class Plan:
    """A comparison: recipes, seeds, and how their maps are read and judged.

    Parameters
    ----------
    recipes : dict of str to Recipe
        By the name they have in the tables.
    title : str
    seeds : tuple of int
    inference : tuple of str
        Attributions read from every classifier (:data:`.METHODS`).
    inference_of : dict of str to tuple of str
        Attributions of entries that say which of their own.
    reference : str
        Entry that the others are tested against; the first one unless given.
    post_processing : tuple of str
        Rules by which post-processing is chosen for every map, after the raw maps: "labels",
        "masks".
    references : int
        Training images that expected gradients start from at inference.
    examples : int
        Cases in the panel of pictures.
    allowance : Allowance
        False positives on healthy validation images; sets the thresholds.
    reduction : {"labels", "masks"}
        By what the best channel is chosen on validation images, for recipes whose maps have
        channels to choose from.
    sweep : Sweep, optional
    bundles : dict of str to Path
        Entries that are bundles trained elsewhere, by their folders.
    searched : frozenset of str
        Entries with ``"alpha": "auto"``; see :func:`.train_with_largest_alpha`.
    """

    recipes: dict[str, Recipe]
    title: str = "Comparison"
    seeds: tuple[int, ...] = (0,)
    inference: tuple[str, ...] = ("gradient",)
    reference: str = ""
    post_processing: tuple[str, ...] = ("labels",)
    references: int = 32
    examples: int = 4
    allowance: Allowance = field(default_factory=Allowance)
    reduction: str = "labels"
    sweep: Sweep | None = None
    bundles: dict[str, Path] = field(default_factory=dict)
    searched: frozenset[str] = frozenset()
    inference_of: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, content: Any, *, folder: Path | None = None) -> Plan:
        """From the content of a JSON file.

        ``recipes`` holds parameters of recipes by name; ``common`` those that they share (the
        budget: ``epochs``, ``minutes``, ``width``, ...), where a recipe does not say otherwise. An
        entry ``{"bundle": FOLDER}`` is a bundle that was trained elsewhere. An entry may have an
        ``inference`` of its own.

        Parameters
        ----------
        content : mapping
        folder : Path, optional
            What paths in it are relative to.

        Raises
        ------
        InputError
            Names what is missing, unknown or of the wrong kind.
        """
        if not isinstance(content, Mapping) or not isinstance(content.get("recipes"), Mapping):
            raise InputError('a comparison needs "recipes": names, and the parameters of each')
        known = ({item.name for item in fields(cls)} | {"common"}) - {
            "bundles",
            "searched",
            "inference_of",
        }
        unknown = sorted(set(content) - known)
        if unknown:
            raise InputError(f"{unknown[0]!r} is unknown; known are {', '.join(sorted(known))}")
        folder = folder or Path()
        entries = _recipes(content["recipes"], content.get("common", {}), folder)
        recipes = entries["recipes"]
        for name in ("title", "reference"):
            if name in content:
                entries[name] = str(content[name])
        entries["seeds"] = _seeds(content.get("seeds", [0]))
        entries["inference"] = _choices(content, "inference", METHODS, ["gradient"])
        entries["post_processing"] = _choices(
            content, "post_processing", PROCESSING_RULES[1:], ["labels"]
        )
        for name, least in (("references", 1), ("examples", 0)):
            value = content.get(name, getattr(cls, name))
            if not _whole(value) or value < least:
                raise InputError(f"{name} {value!r}: a whole number from {least} on was expected")
            entries[name] = value
        if (reduction := content.get("reduction", "labels")) not in ("labels", "masks"):
            raise InputError(f"reduction {reduction!r}: labels or masks was expected")
        entries["reduction"] = reduction
        entries["allowance"] = _allowance(content.get("allowance", {}))
        reference = entries.setdefault("reference", next(iter(recipes)))
        if reference not in recipes:
            raise InputError(f"reference {reference!r}: one of {', '.join(recipes)} was expected")
        for methods in (entries["inference"], *entries["inference_of"].values()):
            for method in methods:
                require_available(method)
        if content.get("sweep") is not None:
            entries["sweep"] = _sweep(content["sweep"], recipes, folder)
        return cls(**entries)

    def methods(self, name: str) -> tuple[str, ...]:
        """Attributions that are read from an entry, where it is a classifier."""
        return self.inference_of.get(name, self.inference)


def slug(name: str) -> str:
    """Name of an entry as part of a file name.

    >>> slug("Unsup, IG (zero)")
    'unsup-ig-zero'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-") or "recipe"


def _recipes(content: Mapping[str, Any], common: Any, folder: Path) -> dict[str, Any]:
    if not content:
        raise InputError("recipes: at least one was expected")
    if not isinstance(common, Mapping):
        raise InputError(f"common {common!r}: names and values were expected")
    foreign = sorted(set(common) - set(_COMMON))
    if foreign:
        raise InputError(
            f"common: {foreign[0]!r} is not shared by all recipes; these are {', '.join(_COMMON)}"
        )
    recipes: dict[str, Recipe] = {}
    bundles: dict[str, Path] = {}
    searched: set[str] = set()
    inference: dict[str, tuple[str, ...]] = {}
    files: dict[str, str] = {}
    for name, entry in content.items():
        if not isinstance(entry, Mapping):
            raise InputError(f"recipe {name!r}: its parameters were expected")
        try:
            if "inference" in entry:
                inference[name] = _choices(entry, "inference", METHODS, [])
                entry = {key: value for key, value in entry.items() if key != "inference"}
            if set(entry) == {"bundle"}:
                bundles[name] = folder / str(entry["bundle"])
                recipes[name] = load_bundle(bundles[name]).recipe
                continue
            parameters = {**common, **entry}
            if parameters.get("alpha") == "auto":
                del parameters["alpha"]
                searched.add(name)
            recipes[name] = recipe_from_dict(parameters)
        except InputError as error:
            raise InputError(f"recipe {name!r}: {error}") from error
        other = files.setdefault(slug(name), name)
        if other != name:
            raise InputError(f"recipes {other!r} and {name!r}: their names are too much alike")
    return {
        "recipes": recipes,
        "bundles": bundles,
        "searched": frozenset(searched),
        "inference_of": inference,
    }


def _seeds(value: Any) -> tuple[int, ...]:
    good = isinstance(value, list) and value and all(_whole(n) and n >= 0 for n in value)
    if not good or len(set(value)) != len(value):
        raise InputError(f"seeds {value!r}: different numbers from 0 on were expected")
    return tuple(value)


def _choices(
    content: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: list[str]
) -> tuple[str, ...]:
    value = content.get(name, default)
    if not isinstance(value, list) or not all(each in allowed for each in value):
        raise InputError(f"{name} {value!r}: a list of {', '.join(allowed)} was expected")
    return tuple(dict.fromkeys(value))


def _allowance(value: Any) -> Allowance:
    try:
        allowed = {name: float(each) for name, each in dict(value).items()}
        if not all(math.isfinite(each) and each >= 0 for each in allowed.values()):
            raise ValueError
        return Allowance(**allowed)
    except (TypeError, ValueError) as error:
        raise InputError(f'allowance {value!r}: "ml" and "fraction" were expected') from error


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _sweep(value: Any, recipes: Mapping[str, Recipe], folder: Path) -> Sweep:
    try:
        alphas = tuple(float(each) for each in value["alphas"])
        cohorts = {
            str(resolution): folder / str(path) if path else None
            for resolution, path in value.get("cohorts", {"": None}).items()
        }
        name = str(value["recipe"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'sweep {value!r}: "recipe", "alphas" and "cohorts" were expected'
        ) from error
    if name not in recipes or not hasattr(recipes[name], "alpha"):
        raise InputError(f"sweep: recipe {name!r} is not one of the recipes with an alpha")
    if len({slug(resolution) for resolution in cohorts}) < len(cohorts):
        raise InputError(f"sweep: resolutions {', '.join(cohorts)}: their names are too much alike")
    if not alphas or not all(math.isfinite(alpha) and alpha > 0 for alpha in alphas):
        raise InputError(f"sweep: alphas {alphas}: positive numbers were expected")
    return Sweep(name, alphas, cohorts)
