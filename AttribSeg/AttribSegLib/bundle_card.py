"""`BundleCard`: what a person should know of a bundle before using it.

It is read from the bundle's text alone, so that showing it needs neither PyTorch nor the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from .bundle import ATTRIBUTION, read_config
from .errors import InputError
from .image import Geometry
from .map_processing import PROCESSED, MapProcessing
from .thresholds import (
    FALSE_POSITIVE_FRACTION,
    FALSE_POSITIVE_VOLUME,
    PRECISION_RECALL,
    USER,
    Threshold,
)

#: What the recorded figures are called, in the order they are shown.
_METRICS = {
    "accuracy": "accuracy (class-weighted)",
    "tpr": "true positive rate",
    "tnr": "true negative rate",
    "auroc": "AUROC",
    "loss": "loss",
}


@dataclass(frozen=True)
class BundleCard:
    """What a bundle is for, what it was trained on and how well it did there.

    Parameters
    ----------
    folder : Path
    name : str
        Of the folder.
    description : str
        In the words of its training.
    recipe : str
        Name of its recipe, such as ``"attribution"`` or ``"monotone"``.
    channels : tuple of str
        Images it expects, such as ``("FLAIR",)``.
    map_channels : tuple of str
        Maps it gives.
    dimensions : {2, 3}
        Whether it reads volumes slice by slice.
    spacing_mm : tuple of float or None
        Voxels it works on (in the plane, for slices); None when they are nominal.
    trained_on : str
        Cases and patients of its training and validation, in words; empty when not recorded.
    metrics : dict of str to float
        Figures on the validation images, such as ``"tpr"``; empty when not recorded.
    threshold : float
        Of the map that a detection segments.
    threshold_rule : str
        One of :data:`.thresholds.RULES`.
    certified : bool
        Whether its recipe vouched for the network (monotone networks).
    threshold_words : str
        How the threshold was chosen, in words.
    processing : str
        Post-processing of the map, in words.
    prepares_scans : bool
        Whether it tells how raw scans have to be prepared.
    """

    folder: Path
    name: str
    description: str
    recipe: str
    channels: tuple[str, ...]
    map_channels: tuple[str, ...]
    dimensions: int
    spacing_mm: tuple[float, ...] | None
    trained_on: str
    metrics: dict[str, float] = field(hash=False)
    threshold: float
    threshold_rule: str
    certified: bool
    threshold_words: str = ""
    processing: str = "raw"
    prepares_scans: bool = False

    def as_html(self) -> str:
        """The card as a table, in the part of HTML that Qt's labels know."""
        rows = {
            "Expects": f"{_listed(self.channels)}, {self._kind()}",
            "Trained on": self.trained_on or "not recorded",
            "Validation": self._figures() or "not recorded",
            "Recipe": self.recipe + (", certified monotone" if self.certified else ""),
            "Maps": _listed(self.map_channels)
            + ("" if self.processing == "raw" else f"; {self.processing}"),
            "Threshold": f"{self.threshold:.4g}: {self.threshold_words}",
            "Raw scans": "prepared as its training images were"
            if self.prepares_scans
            else "it does not say how its images were prepared",
        }
        lines = [f"<p><b>{escape(self.name)}</b></p>", "<table cellpadding='2'>"]
        for name, text in rows.items():
            lines.append(f"<tr><td><b>{escape(name)}</b></td><td>{escape(text)}</td></tr>")
        lines.append("</table>")
        if self.description:
            lines.insert(1, f"<p>{escape(self.description)}</p>")
        return "\n".join(lines)

    def _kind(self) -> str:
        kind = "read slice by slice" if self.dimensions == 2 else "volumes"
        if self.spacing_mm is None:
            return f"{kind}, voxel size unknown"
        return f"{kind} at {' x '.join(f'{step:.3g}' for step in self.spacing_mm)} mm"

    def _figures(self) -> str:
        return ", ".join(
            f"{words} {self.metrics[name]:.3g}"
            for name, words in _METRICS.items()
            if name in self.metrics
        )


def read_card(folder: str | Path) -> BundleCard:
    """Read the card of a bundle.

    Raises
    ------
    InputError
        If the folder is not a finished bundle, was made by a newer version, or an entry is
        missing or damaged; the entry is named.
    """
    source = Path(folder)
    config = read_config(source)
    entry = ""

    def of(mapping: Mapping[str, Any], name: str) -> Any:
        nonlocal entry
        entry = name
        return mapping[name]

    try:
        recipe = of(config, "recipe")
        channels = _names(of(config, "channels"))
        dimensions = int(of(config, "dimensions"))
        geometry = Geometry.from_dict(of(config, "geometry"))
        entry = "processing"
        processed = ATTRIBUTION in config.get("processing", {})
        steps = MapProcessing.from_dict(config["processing"][ATTRIBUTION]) if processed else None
        thresholds = of(config, "thresholds")
        chosen = Threshold.from_dict(of(thresholds, ATTRIBUTION + (PROCESSED if processed else "")))
        kind = str(of(recipe, "recipe"))
        entry = "record"
        record = config.get("record") or {}
        card = BundleCard(
            folder=source,
            name=source.absolute().name,
            description=str(config.get("description", "")),
            recipe=kind,
            channels=channels,
            map_channels=_map_channels(recipe, channels),
            dimensions=dimensions,
            spacing_mm=None if geometry.nominal else geometry.spacing[:dimensions],
            trained_on=_trained_on(record.get("cohort") or {}, dimensions),
            metrics={
                name.removeprefix("validation_"): float(value)
                for name, value in (record.get("validation") or {}).items()
                if isinstance(value, (int, float))
            },
            threshold=chosen.value,
            threshold_rule=chosen.rule,
            certified=bool(config.get("certificate")),
            threshold_words=_rule_in_words(chosen),
            processing="raw" if steps is None else steps.describe(),
            prepares_scans=bool(config.get("preprocessing")),
        )
    except InputError as error:
        raise InputError(f"{source / 'config.json'}: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{source / 'config.json'}: the entry {entry!r} is missing or damaged; copy the bundle "
            "again, or train it anew"
        ) from error
    return card


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise TypeError("a list of names was expected")
    return tuple(str(name) for name in value)


def _map_channels(recipe: Mapping[str, Any], channels: tuple[str, ...]) -> tuple[str, ...]:
    """Recipes that map features instead of input channels say how many they have."""
    if "features" in recipe:
        return tuple(f"feature{number + 1}" for number in range(int(recipe["features"])))
    return channels


def _trained_on(cohort: Mapping[str, Any], dimensions: int) -> str:
    """Counts of the training and validation splits in words."""
    kind = "slices" if dimensions == 2 else "volumes"
    parts = []
    for name, words in (("train", ""), ("validation", "validated on ")):
        counts = cohort.get("splits", {}).get(name)
        if counts:
            parts.append(
                f"{words}{counts['healthy']} healthy and {counts['pathological']} pathological "
                f"{kind} of {counts['patients']} patients"
            )
    return "; ".join(parts)


def _rule_in_words(threshold: Threshold) -> str:
    detail = threshold.detail
    where = f" ({threshold.population})" if threshold.population else ""
    if threshold.rule == FALSE_POSITIVE_VOLUME and "allowed_ml" in detail:
        return f"at most {detail['allowed_ml']:g} mL above it per healthy image{where}"
    if threshold.rule == FALSE_POSITIVE_FRACTION and "allowed_fraction" in detail:
        return f"at most {detail['allowed_fraction']:.3g} of the brain above it{where}"
    if threshold.rule == PRECISION_RECALL:
        return f"best overlap with drawn lesions, tuned on masks{where}"
    return f"given by a person{where}" if threshold.rule == USER else f"{threshold.rule}{where}"


def _listed(names: tuple[str, ...]) -> str:
    """Names with commas; many of them as the first and the last.

    >>> _listed(("feature1", "feature2", "feature3", "feature4", "feature5"))
    'feature1 to feature5'
    """
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} to {names[-1]}"
