"""Scripted modules: the objects that Slicer makes around a module's Python file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QVBoxLayout, QWidget

from .mrml_widgets import qMRMLWidget


class ScriptedModuleWidget(qMRMLWidget):
    """The parent of a module's panel; ``self()`` is the ``XWidget`` of the file."""

    def __init__(self, module: ScriptedModule, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(f"{module.name}ModuleWidget")
        QVBoxLayout(self).setContentsMargins(4, 4, 4, 4)
        self.module = module
        self._python: Any = None

    def make_panel(self, scene: Any) -> None:
        """Make the panel."""
        self.setMRMLScene(scene)
        self._python = self.module.python_class("Widget")(self)
        self._python.setup()

    def self(self) -> Any:
        """The panel's Python object."""
        return self._python

    def enter(self) -> None:
        """Tell the panel that it is shown."""
        if hasattr(self._python, "enter"):
            self._python.enter()

    def exit(self) -> None:
        """Tell the panel that it is hidden."""
        if hasattr(self._python, "exit"):
            self._python.exit()


class ScriptedModule:
    """What a module's class gets as ``parent``, and what ``slicer.modules.x`` is.

    Parameters
    ----------
    path : path
        The module's file, such as ``AttribSeg/AttribSeg.py``.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.stem
        self.title, self.helpText, self.acknowledgementText = path.stem, "", ""
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.hidden, self.index = False, -1
        self.icon = QIcon()
        self.widgetRepresentationCreationEnabled = True
        self._widget: ScriptedModuleWidget | None = None
        self.python = _import(path)
        self.instance = self.python_class("")(self)

    def python_class(self, ending: str) -> type:
        """One of the four classes of the file: "", "Widget", "Logic" or "Test".

        Raises
        ------
        AttributeError
            If the file has no such class.
        """
        return getattr(self.python, self.name + ending)

    def widgetRepresentation(self) -> ScriptedModuleWidget | None:
        """The module's panel, made when it is first asked for."""
        if self._widget is None and self.widgetRepresentationCreationEnabled:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self) -> ScriptedModuleWidget:
        """Make another panel."""
        import slicer

        widget = ScriptedModuleWidget(self)
        if self._widget is None:
            self._widget = widget
        try:
            widget.make_panel(slicer.mrmlScene)
        except BaseException:
            self._widget = None if self._widget is widget else self._widget
            raise
        setattr(slicer.modules, f"{self.name}Widget", widget.self())
        return widget

    def logic(self) -> None:
        """Scripted modules have no logic of C++."""

    def forget(self) -> None:
        """Delete the panel."""
        if self._widget is not None:
            self._widget.hide()
            self._widget.deleteLater()
            self._widget = None


def _import(path: Path) -> ModuleType:
    """Run a module's file under its own name, its folder being on ``sys.path``."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


class ModuleManager(QObject):
    """``slicer.app.moduleManager()``: the loaded modules by name."""

    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)
    moduleUnloaded = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, Any] = {}

    def add(self, name: str, module: Any) -> None:
        """Register a module, also as ``slicer.modules.<name>`` in lower case."""
        import slicer

        self._modules[name] = module
        setattr(slicer.modules, name.lower(), module)
        if isinstance(module, ScriptedModule):
            setattr(slicer.modules, f"{name}Instance", module.instance)
        self.moduleLoaded.emit(name)

    def module(self, name: str) -> Any:
        """A module by its name, or None."""
        return self._modules.get(name)

    def loadedModuleNames(self) -> list[str]:
        """Names of all modules."""
        return list(self._modules)

    def factoryManager(self) -> ModuleManager:
        """The same object: nothing has to be found or loaded here."""
        return self

    def announce_unloading(self) -> None:
        """Let the scripted modules clean up, as when the application closes."""
        for name, module in self._modules.items():
            if isinstance(module, ScriptedModule):
                self.moduleAboutToBeUnloaded.emit(name)

    def unload(self) -> None:
        """Delete the scripted modules' panels and forget their Python files."""
        for name, module in list(self._modules.items()):
            if isinstance(module, ScriptedModule):
                module.forget()
                del self._modules[name]
                sys.modules.pop(name, None)
                self.moduleUnloaded.emit(name)
