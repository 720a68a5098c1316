"""Recipes: how a model is built, trained and explained.

Training and detection know a recipe only by the small protocol of :class:`Recipe`. A bundle names
its recipe from the fixed register of this package, never by an import path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..training.augmentation import AugmentationOptions

__all__ = ["REGISTER", "BatchLoss", "Recipe", "recipe_from_dict", "register"]


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
    learning_rate: float
    weight_decay: float
    schedule: str
    average: float
    patience: int
    background: float
    clip: float
    first_epoch: int
    augmentation: AugmentationOptions

    def build(self, *, in_channels: int, dimensions: int) -> nn.Module:
        """Make an untrained network that maps (B, C, I, J[, K]) to logits (B,)."""
        ...

    def batch_loss(
        self,
        network: nn.Module,
        healthy: torch.Tensor,
        pathological: torch.Tensor,
        *,
        healthy_brain: torch.Tensor,
        progress: float = 1.0,
        mixed_precision: bool = False,
    ) -> BatchLoss:
        """Loss of a batch of healthy and pathological images, at a share of all steps."""
        ...

    def explain(self, network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B,) and maps (B, 1, I, J[, K]) that argue for pathology where positive."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON, with the recipe's name under ``"recipe"``."""
        ...


#: Name -> class. Packages above this one add theirs when they are imported.
REGISTER: dict[str, Any] = {}


def register(cls: Any) -> Any:
    """Class decorator: enter a recipe under its name."""
    REGISTER[cls.name] = cls
    return cls


def recipe_from_dict(content: Mapping[str, Any]) -> Recipe:
    """Recipe from its plain form.

    Raises
    ------
    InputError
        If the recipe or one of its parameters is unknown.
    """
    from . import attribution  # noqa: F401  (enters itself in the register)

    if not isinstance(content, Mapping):
        raise InputError(f"recipe {content!r}: its name and parameters were expected")
    entries = dict(content)
    name = entries.pop("recipe", "attribution")
    if not isinstance(name, str) or name not in REGISTER:
        raise InputError(f"recipe {name!r}: one of {', '.join(sorted(REGISTER))} was expected")
    try:
        return REGISTER[name].from_dict(entries)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"recipe {name}: a parameter is of the wrong kind ({error})") from error
