"""What is to be compared: the JSON file that ``attribseg compare`` takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..attribution import METHODS
from ..bundle import load_bundle
from ..errors import InputError
from ..operating_point import PROCESSING_RULES, Allowance
from ..recipes import Recipe, recipe_from_dict
from ..recipes.options import TrainingOptions

#: Parameters that all recipes may share.
_COMMON = {item.name for item in fields(TrainingOptions)}


@dataclass(frozen=True)
class Sweep:
    """Trainings of one recipe with several alphas, on one or more resolutions (fig. 5.2).

    Parameters
    ----------
    recipe : str
        Name of the entry whose alpha is varied.
    alphas : tuple of float
    cohorts : dict of str to str
        Name of a resolution -> cohort table; an empty path stands for the cohort compared on.
    """

    recipe: str
    alphas: tuple[float, ...]
    cohorts: dict[str, str]


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
    sweep : Sweep, optional
    bundles : dict of str to str
        Entries that are bundles trained elsewhere, by their folders.
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
    sweep: Sweep | None = None
    bundles: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, content: Any) -> Plan:
        """From the content of a JSON file.

        ``recipes`` holds parameters of recipes by name; ``common`` those that they share (the
        budget: ``epochs``, ``minutes``, ``width``, ...), where a recipe does not say otherwise. An
        entry ``{"bundle": FOLDER}`` is a bundle that was trained elsewhere.

        Raises
        ------
        InputError
            Names what is missing, unknown or of the wrong kind.
        """
        if not isinstance(content, Mapping) or not isinstance(content.get("recipes"), Mapping):
            raise InputError('a comparison needs "recipes": names, and the parameters of each')
        known = ({item.name for item in fields(cls)} | {"common"}) - {"bundles"}
        unknown = sorted(set(content) - known)
        if unknown:
            raise InputError(f"{unknown[0]!r} is unknown; known are {', '.join(sorted(known))}")
        recipes, bundles = _recipes(content["recipes"], content.get("common", {}))
        entries: dict[str, Any] = {"recipes": recipes, "bundles": bundles}
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
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name} {value!r}: a whole number from {least} on was expected")
            entries[name] = value
        entries["allowance"] = _allowance(content.get("allowance", {}))
        reference = entries.setdefault("reference", next(iter(recipes)))
        if reference not in recipes:
            raise InputError(f"reference {reference!r}: one of {', '.join(recipes)} was expected")
        if content.get("sweep"):
            entries["sweep"] = _sweep(content["sweep"], recipes)
        return cls(**entries)


def slug(name: str) -> str:
    """Name of an entry as part of a file name.

    >>> slug("Unsup, IG (zero)")
    'unsup-ig-zero'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-") or "recipe"


def _recipes(content: Mapping[str, Any], common: Any) -> tuple[dict[str, Recipe], dict[str, str]]:
    if not content:
        raise InputError("recipes: at least one was expected")
    if not isinstance(common, Mapping):
        raise InputError(f"common {common!r}: names and values were expected")
    foreign = sorted(set(common) - _COMMON)
    if foreign:
        raise InputError(
            f"common: {foreign[0]!r} is not shared by all recipes; these are "
            f"{', '.join(sorted(_COMMON))}"
        )
    recipes: dict[str, Recipe] = {}
    bundles: dict[str, str] = {}
    files: dict[str, str] = {}
    for name, entry in content.items():
        if not isinstance(entry, Mapping):
            raise InputError(f"recipe {name!r}: its parameters were expected")
        try:
            if set(entry) == {"bundle"}:
                bundles[name] = str(entry["bundle"])
                recipes[name] = load_bundle(bundles[name]).recipe
            else:
                recipes[name] = recipe_from_dict({**common, **entry})
        except InputError as error:
            raise InputError(f"recipe {name!r}: {error}") from error
        other = files.setdefault(slug(name), name)
        if other != name:
            raise InputError(f"recipes {other!r} and {name!r}: their names are too much alike")
    return recipes, bundles


def _seeds(value: Any) -> tuple[int, ...]:
    good = isinstance(value, list) and value and all(isinstance(n, int) and n >= 0 for n in value)
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
        return Allowance(**{name: float(each) for name, each in dict(value).items()})
    except (TypeError, ValueError) as error:
        raise InputError(f'allowance {value!r}: "ml" and "fraction" were expected') from error


def _sweep(value: Any, recipes: Mapping[str, Recipe]) -> Sweep:
    try:
        alphas = tuple(float(each) for each in value["alphas"])
        cohorts = {str(k): str(v or "") for k, v in value.get("cohorts", {"": ""}).items()}
        name = str(value["recipe"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'sweep {value!r}: "recipe", "alphas" and "cohorts" were expected'
        ) from error
    if name not in recipes or not hasattr(recipes[name], "alpha"):
        raise InputError(f"sweep: recipe {name!r} is not one of the recipes with an alpha")
    if not alphas or any(alpha <= 0 for alpha in alphas):
        raise InputError(f"sweep: alphas {alphas}: positive numbers were expected")
    return Sweep(name, alphas, cohorts)
