"""Slicer's application without its window: real MRML, real Qt, the very module files.

Support code for tests and pictures; ``README.md`` of this folder says what is real.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import PySide6
from PySide6.QtCore import QCoreApplication, QEvent, QSettings
from PySide6.QtWidgets import QApplication, QWidget

from .compiled_modules import compiled_modules
from .ctk_module import install_ctk
from .dialogs import DIALOGS, Message, replace_dialogs
from .main_window import SlicerApplication
from .plot_view import render_plot
from .qt_module import install_qt
from .sample_data import install_sample_data
from .scripted_modules import ScriptedModule
from .segment_editor_panel import SegmentEditorModule
from .slicer_app import HeadlessSlicer
from .slicer_names import install_slicer_names

if PySide6.__version_info__[:2] == (6, 12) and sys.version_info < (3, 12):
    raise ImportError("PySide6 6.12 crashes on Python before 3.12 (references of None): use 6.11")


class HeadlessApplication:
    """Scene, Qt, ``qt``/``ctk``/``slicer`` names and modules in this process; one at a time.

    >>> with HeadlessApplication() as app:                                  # doctest: +SKIP
    ...     panel = app.load_module("AttribSeg/AttribSeg.py")
    ...     panel.ui.applyButton.click()
    ...     app.wait_until(lambda: panel.ui.applyButton.enabled, timeout_s=60)

    Attributes
    ----------
    errors : list of str
        Tracebacks of exceptions in slots and observers, which neither Qt nor VTK raise. Leaving
        the application raises them as one AssertionError, unless the list was emptied.
    """

    _running: HeadlessApplication | None = None

    def __init__(self) -> None:
        if HeadlessApplication._running is not None:
            raise RuntimeError("another HeadlessApplication is open in this process")
        self.errors: list[str] = []
        self.qt_application = QApplication.instance() or QApplication(["Slicer"])
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        install_qt()
        install_ctk()
        self.slicer = install_slicer_names()
        self.headless = HeadlessSlicer()
        DIALOGS.clear()
        self._open()
        self._excepthook = sys.excepthook
        sys.excepthook = self._remember
        HeadlessApplication._running = self

    def _open(self) -> None:
        slicer = self.slicer
        slicer.mrmlScene = self.headless.scene
        slicer.modules = SimpleNamespace()
        slicer.selfTests = {}
        slicer.app = self.app = SlicerApplication(self.headless)
        QSettings.setPath(
            QSettings.Format.IniFormat, QSettings.Scope.UserScope, self.app.temporaryPath
        )
        for module in compiled_modules(self.headless.app):
            self.app.moduleManager().add(module.name, module)
        self.app.moduleManager().add("SegmentEditor", SegmentEditorModule())
        install_sample_data()
        self._replaced = replace_dialogs()

    @property
    def scene(self) -> Any:
        """The ``vtkMRMLScene``, which is also ``slicer.mrmlScene``."""
        return self.headless.scene

    def render_slice(self, path: str | Path, *arguments: Any, **settings: Any) -> Path:
        """Picture of a slice view: see :meth:`headless.HeadlessSlicer.render_slice`."""
        return self.headless.render_slice(path, *arguments, **settings)

    def render_3d(self, path: str | Path, **settings: Any) -> Path:
        """Picture of a 3D view: see :meth:`headless.HeadlessSlicer.render_3d`."""
        return self.headless.render_3d(path, **settings)

    def render_plot(self, path: str | Path, chart_node: Any, **settings: Any) -> Path:
        """Picture of a plot view: see :func:`headless.plot_view.render_plot`."""
        return render_plot(chart_node, Path(path), **settings)

    @property
    def messages(self) -> list[Message]:
        """Dialogs that would have been shown, in their order."""
        return DIALOGS.messages

    @property
    def answers(self) -> dict[str, Any]:
        """What dialogs answer: see :class:`headless.dialogs.Dialogs`."""
        return DIALOGS.answers

    def __enter__(self) -> HeadlessApplication:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None and self.errors:
            raise AssertionError("errors in slots or observers:\n" + "\n".join(self.errors))

    def close(self) -> None:
        """Quit: unload the modules, empty the scene, give the names back."""
        import slicer.util

        self.app.quit_modules()
        self.headless.close()
        self.app.delete_windows()
        self.process_events()
        vars(slicer.util).update(self._replaced)
        for name in ("mrmlScene", "modules", "app", "selfTests"):
            self.slicer.__dict__.pop(name, None)
        gc.collect()
        sys.excepthook = self._excepthook
        HeadlessApplication._running = None

    def load_module(self, path: str | Path) -> Any:
        """Load a scripted module and make its panel.

        Parameters
        ----------
        path : path
            The module's file.

        Returns
        -------
        object
            The module's ``XWidget``; its Qt widget is ``.parent``. None for a module that makes
            no widget.
        """
        module = ScriptedModule(Path(path).resolve())
        self.app.moduleManager().add(module.name, module)
        if module.hidden:
            return None
        widget = module.widgetRepresentation()
        return widget.self() if widget is not None else None

    def start_up(self) -> None:
        """Tell the modules that the application has started."""
        self.app.startupCompleted.emit()

    def process_events(self, seconds: float = 0.0) -> None:
        """Let Qt handle events, for some time or until none is left."""
        end = time.monotonic() + seconds
        while True:
            QApplication.processEvents()
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            if time.monotonic() >= end:
                return
            time.sleep(0.002)

    def wait_until(self, predicate: Callable[[], Any], timeout_s: float = 30.0) -> None:
        """Handle events until something is true.

        Raises
        ------
        TimeoutError
            If it is not true in time.
        """
        end = time.monotonic() + timeout_s
        while not predicate():
            if time.monotonic() > end:
                raise TimeoutError(f"still not true after {timeout_s:g} s")
            self.process_events(0.01)

    def screenshot(
        self, widget: Any, path: str | Path, width: int = 480, height: int | None = None
    ) -> Path:
        """Write a picture of a widget, as high as it wants to be, into a PNG file."""
        widget = getattr(widget, "parent", widget) if not isinstance(widget, QWidget) else widget
        widget.show()
        self.process_events()
        QWidget.resize(widget, width, height or max(QWidget.sizeHint(widget).height(), 60))
        self.process_events()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if not QWidget.grab(widget).save(str(path)):
            raise OSError(f"{path}: the picture cannot be written")
        return Path(path)

    def close_scene(self) -> None:
        """Close the scene as the user does."""
        self.scene.Clear(0)
        self.process_events()

    def save_scene(self, path: str | Path) -> Path:
        """Save the scene as a bundle (``.mrb``) or scene file.

        Raises
        ------
        OSError
            If Slicer cannot save it.
        """
        import slicer.util

        if not slicer.util.saveScene(str(path)):
            raise OSError(f"{path}: the scene cannot be saved")
        return Path(path)

    def load_scene(self, path: str | Path) -> None:
        """Load a scene in the place of the present one.

        Raises
        ------
        RuntimeError
            If Slicer cannot load it.
        """
        import slicer.util

        self.close_scene()
        slicer.util.loadScene(str(path))
        self.process_events()

    def _remember(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        self.errors.append("".join(traceback.format_exception(kind, error, trace)))
