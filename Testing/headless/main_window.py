"""The main window and the application object, ``slicer.app``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QSettings, Signal
from PySide6.QtWidgets import QApplication, QMainWindow

from .layout_manager import LayoutManager
from .scene_io import CoreIOManager
from .scripted_modules import ModuleManager
from .slicer_app import HeadlessSlicer


class ModuleSelector(QObject):
    """Switches between modules."""

    moduleSelected = Signal(str)

    def __init__(self, modules: ModuleManager, parent: QObject) -> None:
        super().__init__(parent)
        self._modules, self.selectedModule = modules, ""

    def selectModule(self, name: str) -> None:
        """Leave the shown panel, enter another."""
        module = self._modules.module(name)
        if module is None:
            raise RuntimeError(f"no module is called {name!r}")
        if name == self.selectedModule:
            return
        left = self._modules.module(self.selectedModule)
        if hasattr(left, "widgetRepresentation") and left.widgetRepresentation():
            left.widgetRepresentation().exit()
        self.selectedModule = name
        if hasattr(module, "widgetRepresentation") and module.widgetRepresentation():
            module.widgetRepresentation().enter()
        self.moduleSelected.emit(name)


class MainWindow(QMainWindow):
    """A window that is never shown, for what asks for it."""

    def __init__(self, modules: ModuleManager) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = ModuleSelector(modules, self)

    def moduleSelector(self) -> ModuleSelector:
        """The module selector."""
        return self._selector


class SlicerApplication(QObject):
    """``slicer.app``: Slicer's own, and the rest from the Qt application."""

    startupCompleted = Signal()
    aboutToQuit = Signal()
    lastWindowClosed = Signal()

    applicationName = "Slicer"
    applicationVersion = "5.12.0"
    majorVersion, minorVersion = 5, 12
    revision = repositoryRevision = "0"
    slicerHome = ""
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def __init__(self, slicer_app: HeadlessSlicer) -> None:
        super().__init__()
        self._headless = slicer_app
        self._folder = tempfile.TemporaryDirectory(prefix="headless-slicer-")
        self.temporaryPath = self._folder.name
        self.slicerHome = self._folder.name
        self.slicerUserSettingsFilePath = str(Path(self._folder.name) / "Slicer.ini")
        self._settings = QSettings(
            str(Path(self._folder.name) / "User.ini"), QSettings.Format.IniFormat
        )
        self._modules = ModuleManager()
        self._window: MainWindow | None = MainWindow(self._modules)
        self._layouts = LayoutManager(slicer_app)
        self._io = CoreIOManager(slicer_app)
        self.exit_code: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(QApplication.instance(), name)

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._headless.scene

    def applicationLogic(self) -> Any:
        """The ``vtkSlicerApplicationLogic``."""
        return self._headless.app.app_logic

    def layoutManager(self) -> LayoutManager:
        """The views."""
        return self._layouts

    def moduleManager(self) -> ModuleManager:
        """The modules."""
        return self._modules

    def coreIOManager(self) -> CoreIOManager:
        """Reading and writing of files."""
        return self._io

    ioManager = coreIOManager

    def settings(self) -> QSettings:
        """The settings of this application only, thrown away with it."""
        return self._settings

    userSettings = revisionUserSettings = settings

    def mainWindow(self) -> MainWindow | None:
        """The main window."""
        return self._window

    def testingEnabled(self) -> bool:
        """Whether errors are kept from the user: no, their dialogs are to be recorded."""
        return False

    def processEvents(self, *_: Any) -> None:
        """Let Qt handle what is waiting."""
        QApplication.processEvents()

    def translate(self, context: str, text: str) -> str:
        """The text, in English."""
        return text

    def moduleDocumentationUrl(self, name: str) -> str:
        """Where Slicer would look for a module's pages."""
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def pauseRender(self) -> None:
        """Nothing renders unasked here."""

    def resumeRender(self) -> None:
        """Nothing renders unasked here."""

    def exit(self, status: int = 0) -> None:
        """Remember the exit code; the process goes on."""
        self.exit_code = status

    def quit_modules(self) -> None:
        """Announce the end, to the modules too, while everything is still there."""
        self.aboutToQuit.emit()
        self._modules.announce_unloading()
        self._layouts.close()

    def delete_windows(self) -> None:
        """Delete the panels and the window."""
        self._modules.unload()
        if self._window is not None:
            self._window.deleteLater()
            self._window = None
        self._settings.sync()
        self._folder.cleanup()
