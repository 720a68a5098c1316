"""The card of the model that is chosen."""

from __future__ import annotations

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
        self._folder: str | None = None
        self.card: BundleCard | None = None

    def show(self, folder: str) -> None:
        """Show the card of a bundle; one that is shown already is not read again."""
        if folder == self._folder:
            return
        self._folder, self.card = folder, None
        if not folder:
            self._label.setText("Choose a model.")
            return
        try:
            self.card = read_card(folder)
            self._label.setText(self.card.as_html())
        except InputError as error:
            self._label.setText(str(error))
