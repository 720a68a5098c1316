"""Recipes: how a model is built, trained and explained.

Training and detection know a recipe only by the small protocol of :class:`Recipe`. A bundle names
its recipe from the fixed register of this package, never by an import path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import torch
    from torch import nn

    from ..training.augmentation import AugmentationOptions

__all__ = ["REGISTER", "Batch", "BatchLoss", "Recipe", "offer", "recipe_from_dict", "register"]


@dataclass(frozen=True)
class Batch:
    """What a step of the training sees.

    Parameters
    ----------
    healthy, pathological : Tensors of shape (H, C, I, J[, K]) and (P, C, I, J[, K])
    healthy_brain, pathological_brain : Tensors of shape (H or P, 1, I, J[, K]), bool
    lesions : Tensor of shape (P, 1, I, J[, K]), bool
        Masks of the pathological images; false where there is none.
    has_mask : Tensor of shape (P,), bool
        Which pathological images have a mask that may be used.
    references : Tensor of shape (H + P, C, I, J[, K]), optional
        Training images drawn at random, for recipes that need them.
    step : int
        Number of the step since the start of the training.
    progress : float
        Share of all steps that are done.
    seed : int
        For what the loss draws at random.
    """

    healthy: torch.Tensor
    pathological: torch.Tensor
    healthy_brain: torch.Tensor
    pathological_brain: torch.Tensor
    lesions: torch.Tensor
    has_mask: torch.Tensor
    references: torch.Tensor | None = None
    step: int = 0
    progress: float = 1.0
    seed: int = 0

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        import torch

        entries: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                entries[name] = value.to(device)
        return Batch(**entries)


@dataclass(frozen=True)
class BatchLoss:
    """Loss of a batch.

    Parameters
    ----------
    total : Tensor, scalar
        What is minimised.
    terms : dict of str to float
        Its parts and what else is worth watching, in double precision.
    """

    total: torch.Tensor
    terms: dict[str, float] = field(default_factory=dict)


class Recipe(Protocol):
    """What training and detection need of a method.

    Attributes shared by all recipes say how the optimisation runs; they are read, never written.
    """

    name: ClassVar[str]

    # Read-only members, as frozen dataclasses have them.
    epochs: int
    batch_size: int
    optimiser: str
    optimiser_options: Mapping[str, Any]
    learning_rate: float
    weight_decay: float
    schedule: str
    average: float
    patience: int
    minutes: float
    background: float
    clip: float
    first_epoch: int
    augmentation: AugmentationOptions

    #: What the best epoch is chosen by: "classification" of validation images, or
    #: "reconstruction", the lowest mean score of the healthy ones.
    selection: ClassVar[str]

    #: What the maps are called in tables.
    map_name: ClassVar[str]

    @property
    def needs_references(self) -> bool:
        """Whether batches shall hold training images drawn at random."""
        ...

    @property
    def masked_patients(self) -> int | None:
        """Number of patients whose lesion masks are used in training; None for all, 0 for none."""
        ...

    @property
    def least_masked(self) -> float:
        """Share of the pathological images of every batch that have such a mask, at least."""
        ...

    @property
    def reductions(self) -> tuple[str, ...]:
        """Ways to make one map of the channels' maps; see :func:`.reduce_channels`.

        The first is the default; where single channels are among them, one is chosen on
        validation images.
        """
        ...

    def map_channels(self, channels: Sequence[str]) -> tuple[str, ...]:
        """Names of the channels of the maps, given those of the input."""
        ...

    def build(
        self, *, in_channels: int, dimensions: int, size: tuple[int, ...] | None = None
    ) -> nn.Module:
        """Make an untrained network that maps (B, C, I, J[, K]) to logits (B,).

        ``size``, the voxels along every axis, matters to networks with a latent vector only.
        """
        ...

    def batch_loss(
        self, network: nn.Module, batch: Batch, *, mixed_precision: bool = False
    ) -> BatchLoss:
        """Loss of a batch of healthy and pathological images."""
        ...

    def calibrate(self, network: nn.Module, scores: Sequence[float], labels: Sequence[int]) -> None:
        """After training, let logits be positive for pathological images, by labels alone.

        Given the trained network's scores of the validation images. Classifiers need nothing.
        """
        ...

    def certificate(self, network: nn.Module) -> dict[str, Any]:
        """What the recipe guarantees of a network, in plain form; empty where it is nothing.

        Raises
        ------
        InputError
            If the network does not keep the guarantee.
        """
        ...

    def explain(self, network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B,) and maps (B, C, I, J[, K]), one per channel or one in all.

        Maps argue for pathology where they are positive; the combined map is a reduction of them.
        """
        ...

    def varied(self, **parameters: Any) -> Recipe:
        """The same recipe with other values of some parameters."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON, with the recipe's name under ``"recipe"``."""
        ...


#: Group of entry points in which packages above this one offer recipes.
ENTRY_POINTS = "attribseg.recipes"

#: Name -> class. Packages above this one add theirs when they are imported, or found.
REGISTER: dict[str, Any] = {}

#: Recipes that the program on top offers (:func:`offer`).
_OFFERED: dict[str, EntryPoint] = {}


def register(cls: Any) -> Any:
    """Class decorator: enter a recipe under its name."""
    REGISTER[cls.name] = cls
    return cls


def offer(name: str, value: str) -> None:
    """Offer a recipe without loading it, as an entry point of an installed package does.

    Parameters
    ----------
    name : str
    value : str
        Where it is when it is needed, as in ``"my_package.recipe:MyRecipe"``.
    """
    from importlib.metadata import EntryPoint

    _OFFERED[name] = EntryPoint(name, value, ENTRY_POINTS)


def recipe_from_dict(content: Mapping[str, Any]) -> Recipe:
    """Recipe from its plain form.

    Raises
    ------
    InputError
        If the recipe or one of its parameters is unknown.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"recipe {content!r}: its name and parameters were expected")
    entries = dict(content)
    name = entries.pop("recipe", "attribution")
    found = _registered(name)
    try:
        return found.from_dict(entries)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"recipe {name}: a parameter is of the wrong kind ({error})") from error


def _registered(name: Any) -> Any:
    """A recipe of this package, a registered one, or one that an installed package offers.

    Raises
    ------
    InputError
        If there is none, or what a package offers cannot be loaded.
    """
    from importlib.metadata import entry_points

    # They enter themselves in the register.
    from . import anogan, attribution, autoencoder, silva_rodriguez, supervised  # noqa: F401

    offered = {point.name: point for point in entry_points(group=ENTRY_POINTS)} | _OFFERED
    if isinstance(name, str) and name in offered and name not in REGISTER:
        try:
            REGISTER[name] = offered[name].load()
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"recipe {name!r}: {offered[name].value}, which a package offers under this name, "
                f"cannot be loaded ({error})"
            ) from error
    if not isinstance(name, str) or name not in REGISTER:
        known = ", ".join(sorted({*REGISTER, *offered}))
        raise InputError(f"recipe {name!r}: one of {known} was expected")
    return REGISTER[name]
