"""Slicer without its application, for tests and pictures; support code.

:class:`HeadlessSlicer` is MRML and its views; :class:`HeadlessApplication` adds Qt and runs module
files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .slicer_app import HeadlessSlicer

if TYPE_CHECKING:
    from .application import HeadlessApplication

__all__ = ["HeadlessApplication", "HeadlessSlicer"]


def __getattr__(name: str) -> Any:
    """Import Qt only where it is asked for."""
    if name == "HeadlessApplication":
        from .application import HeadlessApplication

        return HeadlessApplication
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
