"""What every recipe says about its training, and how its parameters are checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..channel_reduction import SUM
from ..errors import InputError
from ..optimisers import OPTIMISERS
from ..training.augmentation import AugmentationOptions

if TYPE_CHECKING:
    import torch
    from torch import nn

Self = TypeVar("Self", bound="TrainingOptions")


@dataclass(frozen=True)
class TrainingOptions:
    """Parameters that all recipes share.

    Parameters
    ----------
    width : float
        Factor on the number of filters.
    optimiser : {"adam", "adamw", "adadelta", "sgd", "yogi"}
    optimiser_options : dict
        More of the optimiser's own parameters, such as ``{"betas": [0.5, 0.9]}``; see
        :func:`.make_optimiser`.
    learning_rate, weight_decay : float
    schedule : {"constant", "cosine"}
        Learning rate over the epochs.
    average : float
        Decay per step of the exponential moving average of the weights, which is what is
        validated and kept; 0 keeps the last weights.
    batch_size : int
        Images per step, half healthy and half pathological.
    epochs : int
    patience : int
        Stop after this many epochs whose validation is worse than the best; 0 never stops.
    minutes : float
        No epoch begins after so much time, once there are weights to keep (see ``first_epoch``);
        0 for no such limit. Schedules still follow the epochs.
    background, clip : float
        Value outside the brain, and limit of intensities, after standardisation; a clip of 0
        stands for none. About -3 is where the signal of a standardised brain is zero.
    augmentation : AugmentationOptions

    Raises
    ------
    InputError
        Names the parameter and what was expected.
    """

    name: ClassVar[str]
    selection: ClassVar[str] = "classification"
    #: What the maps are called in tables.
    map_name: ClassVar[str] = "attribution"

    width: float = 0.25
    optimiser: str = "adam"
    optimiser_options: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "cosine"
    average: float = 0.95
    batch_size: int = 8
    epochs: int = 20
    patience: int = 0
    minutes: float = 0.0
    background: float = -3.0
    clip: float = 3.0
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)

    def __post_init__(self) -> None:
        if not isinstance(self.augmentation, AugmentationOptions):
            raise InputError(f"augmentation {self.augmentation!r}: its options were expected")
        if not isinstance(self.optimiser_options, Mapping):
            raise InputError(f"optimiser_options {self.optimiser_options!r}: names and values")
        self._require_choice("optimiser", OPTIMISERS)
        self._require_choice("schedule", ("constant", "cosine"))
        self._require_number("clip", "background")
        self._require_number("weight_decay", "patience", "minutes", least=0)
        self._require_number("learning_rate", "width", "epochs", "batch_size", above=0)
        self._require_whole("epochs", "batch_size", "patience")
        self._require_number("average", least=0)
        if not self.average < 1:
            raise InputError(f"average {self.average}: a decay from 0 to below 1 was expected")
        if not self.clip > 0:
            object.__setattr__(self, "clip", 0.0)

    def _require_choice(self, name: str, allowed: Sequence[str]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise InputError(f"{name} {value!r}: one of {', '.join(allowed)} was expected")

    def _require_number(
        self, *names: str, least: float | None = None, above: float | None = None
    ) -> None:
        """Finite numbers within limits."""
        for name in names:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InputError(f"{name} {value!r}: a finite number was expected")
            if not math.isfinite(value) and name != "clip":
                raise InputError(f"{name} {value!r}: a finite number was expected")
            if least is not None and value < least:
                raise InputError(f"{name} {value}: a number of at least {least} was expected")
            if above is not None and value <= above:
                raise InputError(f"{name} {value}: a positive number was expected")

    def _require_whole(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value != int(value):
                raise InputError(f"{name} {value}: a whole number was expected")
            object.__setattr__(self, name, int(value))

    def _whole_numbers(self, *names: str) -> None:
        """Turn sequences into tuples of whole numbers."""
        for name in names:
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, tuple(int(n) for n in value))
            except (TypeError, ValueError) as error:
                raise InputError(f"{name} {value!r}: whole numbers were expected") from error

    @classmethod
    def from_dict(cls: type[Self], content: Mapping[str, Any]) -> Self:
        """From plain values, as JSON holds them."""
        entries = dict(content)
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(entries) - known)
        if unknown:
            raise InputError(
                f"recipe parameter {unknown[0]!r} is unknown; known are {', '.join(sorted(known))}"
            )
        options = entries.get("augmentation")
        if isinstance(options, Mapping):
            try:
                entries["augmentation"] = AugmentationOptions(**options)
            except TypeError as error:
                raise InputError(f"augmentation of the recipe: {error}") from error
        return cls(**entries)

    def varied(self: Self, **parameters: Any) -> Self:
        """The same recipe with other values of some parameters."""
        return replace(self, **parameters)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the recipe's name."""
        return {"recipe": self.name, **asdict(self)}

    @property
    def first_epoch(self) -> int:
        """First epoch whose weights may be kept."""
        return 1

    @property
    def needs_references(self) -> bool:
        """Whether batches shall hold training images drawn at random."""
        return False

    @property
    def masked_patients(self) -> int | None:
        """Number of patients whose lesion masks are used in training; None for all."""
        return 0

    @property
    def least_masked(self) -> float:
        """Share of the pathological images of every batch that have such a mask, at least."""
        return 0.0

    @property
    def reductions(self) -> tuple[str, ...]:
        """Maps of single input channels add up."""
        return (SUM,)

    def map_channels(self, channels: Sequence[str]) -> tuple[str, ...]:
        """Those of the input."""
        return tuple(channels)

    def certificate(self, network: nn.Module) -> dict[str, Any]:
        """Nothing is guaranteed."""
        return {}


def lower_precision(x: torch.Tensor, wanted: bool) -> torch.autocast | nullcontext[None]:
    """Autocast to bfloat16 where wanted."""
    import torch

    return torch.autocast(x.device.type, torch.bfloat16) if wanted else nullcontext()
