"""What can stand beside a type in ``Annotated[...]``."""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


def split(annotated: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type and its annotations; none for a bare type."""
    if hasattr(annotated, "__metadata__"):
        return typing.get_args(annotated)[0], annotated.__metadata__
    return annotated, ()


class Default:
    """The value of a parameter that was never set."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value, self._generator = value, generator

    @property
    def value(self) -> Any:
        """The value, made anew where a generator was given."""
        return self._generator() if self._generator is not None else self._value


class Validator(ABC):
    """A condition on a parameter's values."""

    @abstractmethod
    def validate(self, value: Any) -> None:
        """Raise ValueError for a value that does not fulfil the condition."""


@dataclass(frozen=True)
class WithinRange(Validator):
    """A number within limits, which belong to it."""

    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        """Check the value."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not between {self.minimum} and {self.maximum}")


@dataclass(frozen=True)
class Minimum(Validator):
    """A number not below a limit."""

    minimum: float

    def validate(self, value: Any) -> None:
        """Check the value."""
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclass(frozen=True)
class Maximum(Validator):
    """A number not above a limit."""

    maximum: float

    def validate(self, value: Any) -> None:
        """Check the value."""
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


@dataclass(frozen=True)
class Choice(Validator):
    """One of some values."""

    choices: Sequence[Any]

    def validate(self, value: Any) -> None:
        """Check the value."""
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {list(self.choices)}")


@dataclass(frozen=True)
class Exclude(Validator):
    """None of some values."""

    excludedValues: Sequence[Any]

    def validate(self, value: Any) -> None:
        """Check the value."""
        if value in self.excludedValues:
            raise ValueError(f"{value!r} is excluded")


class NotNone(Validator):
    """Anything but None."""

    def validate(self, value: Any) -> None:
        """Check the value."""
        if value is None:
            raise ValueError("the value must not be None")


@dataclass(frozen=True)
class IsInstance(Validator):
    """None, or an instance of a class."""

    classtype: Any

    def validate(self, value: Any) -> None:
        """Check the value; a wrong class raises TypeError."""
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"{value!r} is no {self.classtype}")


@dataclass(frozen=True)
class Decimals:
    """How many decimals a parameter's widget shows."""

    value: int


@dataclass(frozen=True)
class SingleStep:
    """The step of a parameter's widget."""

    value: float
