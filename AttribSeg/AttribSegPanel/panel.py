"""What the sections of a panel share: controls, parameters, logic, messages and the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from AttribSegLib.errors import InputError

# Readable on light and dark themes.
_ERROR_STYLE = "color: #8c0018; background-color: #fbe9eb; font-weight: bold; padding: 4px"


class Section(Protocol):
    """One collapsible part of a panel."""

    def refresh(self) -> None:
        """Bring the controls up to date with the parameters and the scene."""


class Panel:
    """Controls of a module and everything that its sections need.

    Parameters
    ----------
    ui : object
        Widgets of the ``.ui`` file by their names.
    logic : object
        The module's logic.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        self.ui = ui
        self.logic = logic
        self.parameters: Any = None
        self.sections: list[Section] = []
        self._refreshing = False

    def refresh(self) -> None:
        """Bring all sections up to date."""
        if self.parameters is None or self._refreshing:
            return
        self._refreshing = True
        try:
            for section in self.sections:
                # Each by itself: what one of them lacks must not freeze the others.
                with self.guard():
                    section.refresh()
        finally:
            self._refreshing = False

    def settle(self) -> None:
        """Bring into force what waits for a pause of the user's; a panel without such has none."""

    def report(self, text: str, *, error: bool = False) -> None:
        """Show a message at the top of the panel; an empty one hides it."""
        self.ui.messageLabel.setText(text)
        self.ui.messageLabel.setStyleSheet(_ERROR_STYLE if error else "")
        self.ui.messageLabel.setVisible(bool(text))
        if error:
            logging.warning(text)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn errors into messages; what is no fault of the user's goes into the log whole."""
        try:
            yield
        except InputError as error:
            self.report(str(error), error=True)
        except Exception as error:
            logging.exception("unexpected error in a panel")
            self.report(
                f"Unexpected error: {error!r}. The log (menu View, Error Log) has the details.",
                error=True,
            )

    def guarded(self, action: Callable[[], Any]) -> Callable[..., None]:
        """Slot that clears the last message, does something and reports errors."""

        def slot(*_: Any) -> None:
            self.report("")
            with self.guard():
                action()

        return slot
