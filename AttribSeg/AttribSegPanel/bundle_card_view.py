"""The card of the model that is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AttribSegLib.bundle_card import BundleCard, read_card
from AttribSegLib.errors import InputError


class BundleCardView:
    """Shows what a bundle is in a label, or why it is none.

    Parameters
    ----------
    label : QLabel

    Attributes
    ----------
    card : BundleCard or None
        What is shown.
    """

    def __init__(self, label: Any) -> None:
        self._label = label
        self._shown: tuple[str, int] | None = None
        self.card: BundleCard | None = None

    def show(self, folder: str) -> None:
        """Show the card of a bundle; it is read again when another model took its place."""
        asked = (folder, _written(folder))
        if asked == self._shown:
            return
        self._shown, self.card = asked, None
        if not folder:
            self._label.setText("Choose a model.")
            return
        try:
            self.card = read_card(folder)
            self._label.setText(self.card.as_html())
        except InputError as error:
            self._label.setText(str(error))


def _written(folder: str) -> int:
    """When a bundle was last written, in nanoseconds; 0 where there is none."""
    try:
        return (Path(folder) / "config.json").stat().st_mtime_ns
    except (OSError, ValueError):
        return 0
