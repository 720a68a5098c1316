"""Base classes of a scripted module, with the names and duties that Slicer's own have."""

from __future__ import annotations

import importlib
import logging
import unittest
from pathlib import Path
from typing import Any

import qt
import slicer

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


class ScriptedLoadableModule:
    """What a module says of itself."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        icons = Path(parent.path).parent / "Resources" / "Icons"
        for icon in (icons / f"{self.moduleName}{end}" for end in (".svg", ".png")):
            if icon.is_file():
                parent.icon = qt.QIcon(str(icon))
                break
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        """Path of a file under the module's ``Resources``."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """A link to the module's pages, for the help text."""
        base = slicer.app.documentationBaseUrl
        url = base + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p><a href="{url}">Documentation</a></p>'

    def runTest(self, msec: int = 100, **settings: Any) -> None:
        """Run the file's test class, called like the module with "Test" at the end."""
        python = importlib.import_module(type(self).__module__)
        test = getattr(python, f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**settings)


class ScriptedLoadableModuleWidget:
    """A module's panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        alone = parent is None
        if alone:
            parent = slicer.qMRMLWidget()
            parent.setLayout(qt.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent, self.layout = parent, parent.layout()
        if alone:
            self.setup()
            parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._unload)

    def _unload(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._unload)

    def resourcePath(self, filename: str) -> str:
        """Path of a file under the module's ``Resources``."""
        folder = Path(slicer.util.modulePath(self.moduleName)).parent
        return str(folder / "Resources" / filename)

    def setup(self) -> None:
        """Make the panel's widgets; for subclasses."""

    def cleanup(self) -> None:
        """Undo what :meth:`setup` did outside the panel; for subclasses."""


class ScriptedLoadableModuleLogic:
    """A module's work on nodes, and its parameter node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The module's first parameter node, made where there is none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                node.SetAttribute("ModuleName", self.moduleName)
                return node
        nodes = self.getAllParameterNodes()
        return nodes[0] if nodes else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        """All parameter nodes of the module."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        """Make a parameter node that is not yet in the scene."""
        node = slicer.vtkMRMLScriptedModuleNode()
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A module's self test."""

    messageDelay = 0

    def delayDisplay(
        self, message: str, requestedDelay: int | None = None, msec: int | None = None
    ) -> None:
        """Tell how far the test is, and let the application handle its events."""
        logging.info(message)
        slicer.app.processEvents()

    def runTest(self) -> None:
        """Run the tests; for subclasses."""
        logging.warning("%s tests nothing", type(self).__name__)
