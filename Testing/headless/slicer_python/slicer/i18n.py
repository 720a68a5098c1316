"""Translation of a module's texts; here every text stays as it is."""

from __future__ import annotations

__all__ = ["tr", "translate"]


def translate(context: str, text: str) -> str:
    """Return the text in the application's language, English."""
    return text


def tr(text: str) -> str:
    """Return the text in the application's language, English."""
    return text
