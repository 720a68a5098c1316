"""A trained model on disk: a folder in the layout of a MONAI bundle.

``metadata.json`` describes the model for people and for MONAI's tools, ``config.json`` says how
to rebuild it, ``models/model.safetensors`` holds the weights. Loading executes no code: the
recipe is looked up in a register, weights are safetensors, pickles are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .channel_reduction import MAXIMUM, MEAN, SUM
from .errors import InputError
from .files import make_folder, read_json, write_json
from .image import Geometry
from .map_processing import PROCESSED, RAW, MapProcessing
from .preprocessing.options import ChainOptions
from .thresholds import Threshold

if TYPE_CHECKING:
    from torch import nn

    from .recipes import Recipe

#: Name of the network's own map, beside that of the plain intensity.
ATTRIBUTION = "attribution"

#: Raised whenever an older program could misread a newer bundle.
SCHEMA_VERSION = 1

_MONAI_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
_INTENDED_USE = (
    "Research on weakly supervised lesion segmentation. Not a medical device; not for diagnosis."
)


@dataclass(frozen=True)
class Bundle:
    """A trained model and what is needed to use it.

    Parameters
    ----------
    recipe : Recipe
    network : Module
        In evaluation mode, on the CPU.
    channels : tuple of str
        Input channels, in the order of the network's input.
    dimensions : {2, 3}
        Whether cases are slices or volumes.
    geometry : Geometry
        Grid of the network's input; for slices only the in-plane size and spacing count.
    thresholds : dict of str to Threshold
        Per map: ``"attribution"``, and the plain intensity of the first channel beside it.
    alternatives : dict of str to Threshold
        Thresholds tuned on masks, where validation cases had any.
    record : dict
        How the model was trained.
    description : str
        What it was trained on, in words.
    preprocessing : dict
        What its images went through (`ChainOptions` in plain form); empty when unknown.
    processing : dict of str to MapProcessing
        Post-processing of the maps that have one; post-processed maps have thresholds of their
        own beside the raw ones.
    reduction : str
        How the maps of all channels become the one that is segmented; see
        :func:`.reduce_channels`.
    certificate : dict
        What the recipe guarantees of the network (see `Recipe.certificate`), in plain form;
        established again whenever the bundle is loaded.
    """

    recipe: Recipe
    network: nn.Module
    channels: tuple[str, ...]
    dimensions: int
    geometry: Geometry
    thresholds: dict[str, Threshold]
    alternatives: dict[str, Threshold] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    preprocessing: dict[str, Any] = field(default_factory=dict)
    processing: dict[str, MapProcessing] = field(default_factory=dict)
    reduction: str = SUM
    certificate: dict[str, Any] = field(default_factory=dict)

    @property
    def map_channels(self) -> tuple[str, ...]:
        """Names of the channels of the network's maps."""
        return self.recipe.map_channels(self.channels)

    @property
    def other_reductions(self) -> dict[str, str]:
        """Maps over all channels that are evaluated beside the one that is segmented."""
        return {
            f"{ATTRIBUTION}, {each} over channels": each
            for each in (MEAN, MAXIMUM)
            if each in self.recipe.reductions and each != self.reduction
        }

    @property
    def detection_processing(self) -> MapProcessing:
        """Post-processing of the map that a detection segments."""
        return self.processing.get(ATTRIBUTION, RAW)

    @property
    def detection_threshold(self) -> Threshold:
        """Threshold of the map that a detection segments."""
        return self.thresholds[ATTRIBUTION + (PROCESSED if ATTRIBUTION in self.processing else "")]

    @property
    def intensity_name(self) -> str:
        """Name of the baseline map: the intensity of the first channel."""
        return f"{self.channels[0]} intensity"


def save_bundle(bundle: Bundle, folder: str | Path) -> Path:
    """Write a bundle; ``config.json`` comes last, so that an interrupted write is no bundle.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    from .training.checkpoint import save_tensors

    target = make_folder(folder)
    (target / "config.json").unlink(missing_ok=True)
    save_tensors(target / "models" / "model.safetensors", bundle.network.state_dict(), {})
    write_json(target / "metadata.json", _metadata(bundle))
    write_json(
        target / "config.json",
        {
            "schema_version": SCHEMA_VERSION,
            "attribseg_version": __version__,
            "recipe": bundle.recipe.to_dict(),
            "channels": list(bundle.channels),
            "dimensions": bundle.dimensions,
            "geometry": bundle.geometry.to_dict(),
            "thresholds": {name: t.to_dict() for name, t in bundle.thresholds.items()},
            "alternatives": {name: t.to_dict() for name, t in bundle.alternatives.items()},
            "description": bundle.description,
            "record": bundle.record,
            "preprocessing": bundle.preprocessing,
            "processing": {name: p.to_dict() for name, p in bundle.processing.items()},
            "reduction": bundle.reduction,
            "certificate": bundle.certificate,
        },
    )
    return target


def is_bundle(folder: str | Path) -> bool:
    """Whether a folder holds a finished bundle."""
    return (Path(folder) / "config.json").is_file()


def read_config(folder: str | Path) -> dict[str, Any]:
    """What ``config.json`` of a bundle says, of a schema that this version knows; loads no weights.

    Raises
    ------
    InputError
        If the folder is not a finished bundle or was made by a newer version.
    """
    source = Path(folder)
    if not source.is_dir():
        raise InputError(f"{source}: no such bundle folder")
    if not is_bundle(source):
        unfinished = (source / "training").is_dir()
        hint = "its training is not finished; resume it" if unfinished else "no config.json in it"
        raise InputError(f"{source}: not a bundle ({hint})")
    config: Any = read_json(source / "config.json")
    schema = config.get("schema_version") if isinstance(config, dict) else None
    if not isinstance(schema, int):
        raise InputError(f"{source / 'config.json'}: no schema_version; not a bundle of AttribSeg")
    if schema > SCHEMA_VERSION:
        raise InputError(
            f"{source}: bundle of schema {schema}, this version reads up to {SCHEMA_VERSION}; "
            "update AttribSeg"
        )
    return dict(config)


def load_bundle(folder: str | Path) -> Bundle:
    """Load a bundle.

    Raises
    ------
    InputError
        If the folder is not a finished bundle, was made by a newer version, its weights are
        missing, damaged, a pickle, or do not fit the network, or the network is not what its
        recipe guarantees.
    """
    from .recipes import recipe_from_dict
    from .training.checkpoint import load_tensors, load_weights

    source = Path(folder)
    config = read_config(source)
    try:
        recipe = recipe_from_dict(config["recipe"])
        channels = tuple(str(name) for name in config["channels"])
        if not isinstance(config["channels"], list) or not channels:
            raise TypeError("channels")
        dimensions = int(config["dimensions"])
        geometry = Geometry.from_dict(config["geometry"])
        thresholds = _thresholds(config["thresholds"])
        processing = {
            name: MapProcessing.from_dict(entry)
            for name, entry in config.get("processing", {}).items()
        }
        reduction = str(config.get("reduction", recipe.reductions[0]))
        if reduction not in recipe.reductions:
            raise InputError(f"reduction {reduction!r}: one of {', '.join(recipe.reductions)}")
        for name in (ATTRIBUTION, *(each + PROCESSED for each in processing)):
            if name not in thresholds:
                raise KeyError(name)
        alternatives = _thresholds(config.get("alternatives", {}))
        preprocessing = dict(config.get("preprocessing", {}))
        ChainOptions.from_dict(preprocessing)
        network = recipe.build(
            in_channels=len(channels), dimensions=dimensions, size=geometry.size[:dimensions]
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{source / 'config.json'}: {error}") from error
        raise InputError(f"{source / 'config.json'}: incomplete or damaged ({error!r})") from error
    weights = source / "models" / "model.safetensors"
    tensors, _ = load_tensors(weights)
    load_weights(network, tensors, source=weights)
    try:
        certificate = recipe.certificate(network)
    except InputError as error:
        raise InputError(f"{weights}: {error}") from error
    return Bundle(
        recipe,
        network.eval(),
        channels,
        dimensions,
        geometry,
        thresholds,
        alternatives,
        config.get("record", {}),
        config.get("description", ""),
        preprocessing,
        processing,
        reduction,
        certificate,
    )


def _thresholds(content: Mapping[str, Any]) -> dict[str, Threshold]:
    return {name: Threshold.from_dict(entry) for name, entry in content.items()}


def _metadata(bundle: Bundle) -> dict[str, Any]:
    """The keys of a MONAI bundle's ``metadata.json``."""
    from .provenance import versions

    found = versions()
    size = list(bundle.geometry.size[: bundle.dimensions])
    needed = ("SimpleITK", "safetensors", "scikit-learn")
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "MR",
        "num_channels": len(bundle.channels),
        "spatial_shape": size,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(index): name for index, name in enumerate(bundle.channels)},
    }
    attribution = {
        "type": "image",
        "format": "attribution",
        "num_channels": 1,
        "spatial_shape": size,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {"0": "attribution; positive argues for pathological"},
    }
    logit = {
        "type": "probabilities",
        "format": "classes",
        "num_channels": 1,
        "spatial_shape": [1],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "pathological"},
    }
    return {
        "schema": _MONAI_SCHEMA,
        "version": __version__,
        "changelog": {__version__: "trained"},
        "monai_version": found.get("monai", ""),
        "pytorch_version": found.get("torch", ""),
        "numpy_version": found.get("numpy", ""),
        "required_packages_version": {name: found[name] for name in needed if name in found},
        "name": "AttribSeg lesion detection",
        "task": "Weakly supervised detection and segmentation of brain lesions",
        "description": bundle.description or "Healthy/pathological classifier read by attribution",
        "authors": "The users of AttribSeg",
        "copyright": "See the data the model was trained on",
        "intended_use": _INTENDED_USE,
        "data_source": str(bundle.record.get("cohort", {}).get("source", "")),
        "data_type": "skull-stripped MRI with image-level labels (0 healthy, 1 pathological)",
        "image_classes": ", ".join(bundle.channels) + "; standardised over the brain",
        "label_classes": "0 healthy, 1 pathological",
        "pred_classes": "probability of pathological; attribution map; lesion mask",
        "eval_metrics": bundle.record.get("validation", {}),
        "references": [
            "V. Wargnier-Dauchelle et al., A weakly supervised gradient attribution constraint for "
            "interpretable classification and anomaly detection, IEEE TMI 42(11):3336-3347, 2023"
        ],
        "network_data_format": {
            "inputs": {"image": image},
            "outputs": {"pred": logit, "attribution": attribution},
        },
    }
