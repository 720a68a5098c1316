"""Slicer's widgets that know the scene: ``qMRMLWidget`` and ``qMRMLNodeComboBox``."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from PySide6.QtCore import Property, QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QToolButton, QWidget

#: Events after which the nodes of a scene have to be listed anew.
_SCENE_EVENTS = (
    "NodeAddedEvent",
    "NodeRemovedEvent",
    "EndBatchProcessEvent",
    "EndImportEvent",
    "EndCloseEvent",
)


class qMRMLWidget(QWidget):  # noqa: N801
    """A widget that holds a scene and hands it on."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene, and tell those who listen."""
        if scene is not self._scene:
            self._scene = scene
            self.scene_changed()
            self.mrmlSceneChanged.emit(scene)

    def scene_changed(self) -> None:
        """Follow the new scene; for subclasses."""


def release(observed: list[tuple[Any, int]], *_: Any) -> None:
    """Observe no longer."""
    while observed:
        thing, tag = observed.pop()
        thing.RemoveObserver(tag)


def _flag(name: str, default: bool) -> Property:
    """A setting without effect here: there is no menu for it."""

    def read(self: Any) -> bool:
        return bool(self._flags.get(name, default))

    def write(self: Any, value: bool) -> None:
        self._flags[name] = bool(value)

    return Property(bool, read, write)


class qMRMLNodeComboBox(qMRMLWidget):  # noqa: N801
    """A list of the scene's nodes of some classes."""

    currentNodeChanged = Signal(object)
    currentNodeBoolChanged = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)

    SIGNALS_BY_SIGNATURE = {"currentNodeChanged(bool)": "currentNodeBoolChanged"}  # noqa: RUF012

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._types: list[str] = []
        self._attributes: dict[str, dict[str, str | None]] = {}
        self._none_enabled = self._show_hidden = False
        self._add_enabled = self._child_types = True
        self._none_text, self._base_name = "None", ""
        self._flags: dict[str, Any] = {}
        self._current: str | None = None
        self._observed: list[tuple[Any, int]] = []
        self._named: list[tuple[Any, int]] = []
        self._box, self._add = QComboBox(self), QToolButton(self)
        self._add.setText("+")
        self._add.setVisible(False)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box, 1)
        layout.addWidget(self._add)
        self._box.currentIndexChanged.connect(self._chosen)
        self._box.activated.connect(lambda index: self.nodeActivated.emit(self.currentNode()))
        self._add.clicked.connect(lambda: self.addNode())
        # A function of its own: a method is no longer called when its object is gone.
        self.destroyed.connect(partial(release, self._observed))
        self.destroyed.connect(partial(release, self._named))

    def comboBox(self) -> QComboBox:
        """The list itself."""
        return self._box

    def nodes(self) -> list[Any]:
        """The nodes that can be chosen, in the scene's order."""
        if self._scene is None:
            return []
        nodes = (self._scene.GetNthNode(n) for n in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if self._accepts(node)]

    def nodeCount(self) -> int:
        """How many nodes can be chosen."""
        return len(self.nodes())

    def _accepts(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._show_hidden:
            return False
        for kind in self._types:
            fits = node.IsA(kind) if self._child_types else node.GetClassName() == kind
            if fits and self._has_attributes(node, kind):
                return True
        return False

    def _has_attributes(self, node: Any, kind: str) -> bool:
        for name, value in self._attributes.get(kind, {}).items():
            held = node.GetAttribute(name)
            if held is None or (value is not None and held != value):
                return False
        return True

    def currentNode(self) -> Any:
        """The chosen node, or None."""
        if self._scene is None or self._current is None:
            return None
        return self._scene.GetNodeByID(self._current)

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node of the list, or None."""
        self.setCurrentNodeID(node.GetID() if hasattr(node, "GetID") else node)

    def setCurrentNodeID(self, node_id: str | None) -> None:
        """Choose the node of an ID; "" or None chooses nothing."""
        known = any(node.GetID() == node_id for node in self.nodes())
        self._take(node_id if known else None)
        self._show()

    currentNodeID = Property(str, lambda self: self._current or "", setCurrentNodeID)

    def _take(self, node_id: str | None) -> None:
        if node_id == self._current:
            return
        self._current = node_id
        node = self.currentNode()
        self.currentNodeChanged.emit(node)
        self.currentNodeBoolChanged.emit(node is not None)
        self.currentNodeIDChanged.emit(node_id or "")

    def _chosen(self, index: int) -> None:
        self._take(self._box.itemData(index) if index >= 0 else None)

    def _show(self) -> None:
        """Make the list agree with the scene and the choice."""
        nodes = self.nodes()
        release(self._named)
        with QSignalBlocker(self._box):
            self._box.clear()
            if self._none_enabled:
                self._box.addItem(self._none_text, None)
            for node in nodes:
                self._box.addItem(node.GetName() or node.GetID(), node.GetID())
                self._named.append((node, node.AddObserver("ModifiedEvent", self._rename)))
            self._box.setCurrentIndex(self._box.findData(self._current) if self._current else -1)
            if self._current is None and self._none_enabled:
                self._box.setCurrentIndex(0)

    def _rename(self, node: Any, _: str) -> None:
        place = self._box.findData(node.GetID())
        if place >= 0 and self._box.itemText(place) != node.GetName():
            self._box.setItemText(place, node.GetName())

    def _scene_event(self, *_: Any) -> None:
        if self._scene is None or self._scene.IsBatchProcessing():
            return
        self._follow()

    def _follow(self) -> None:
        """Keep the choice where its node is still there; else None, or the first node."""
        ids = [node.GetID() for node in self.nodes()]
        current = self._current if self._current in ids else None
        if current is None and not self._none_enabled and ids:
            current = ids[0]
        self._take(current)
        self._show()

    def scene_changed(self) -> None:
        """Observe the new scene."""
        release(self._observed)
        if self._scene is not None:
            for name in _SCENE_EVENTS:
                tag = self._scene.AddObserver(getattr(self._scene, name), self._scene_event)
                self._observed.append((self._scene, tag))
        self._follow()

    def addNode(self, kind: str | None = None) -> Any:
        """Add a node to the scene as the user does with "Create new"."""
        kind = kind or self._types[0]
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self._base_name or node.GetNodeTagName()))
        for attribute, value in self._attributes.get(kind, {}).items():
            node.SetAttribute(attribute, value or "")
        self._scene.AddNode(node)
        self.nodeAdded.emit(node)
        self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        """Remove the chosen node from the scene."""
        node = self.currentNode()
        if node is not None:
            self.nodeAboutToBeRemoved.emit(node)
            self._scene.RemoveNode(node)

    def addAttribute(self, kind: str, name: str, value: str | None = None) -> None:
        """List only nodes that have an attribute (with a value, where one is given)."""
        self._attributes.setdefault(kind, {})[name] = value
        self._follow()

    def setNodeTypes(self, types: Iterable[str]) -> None:
        """Set the classes that are listed."""
        self._types = list(types)
        self._follow()

    nodeTypes = Property("QStringList", lambda self: self._types, setNodeTypes)

    def setNoneEnabled(self, enabled: bool) -> None:
        """Whether nothing can be chosen."""
        self._none_enabled = bool(enabled)
        self._follow()

    noneEnabled = Property(bool, lambda self: self._none_enabled, setNoneEnabled)

    def setNoneDisplay(self, text: str) -> None:
        """Set the text of the entry for nothing."""
        self._none_text = text
        self._show()

    noneDisplay = Property(str, lambda self: self._none_text, setNoneDisplay)

    def setAddEnabled(self, enabled: bool) -> None:
        """Whether the user can create a node."""
        self._add_enabled = bool(enabled)
        self._add.setVisible(self._add_enabled)

    addEnabled = Property(bool, lambda self: self._add_enabled, setAddEnabled)

    def setShowHidden(self, shown: bool) -> None:
        """Whether nodes hidden from editors are listed."""
        self._show_hidden = bool(shown)
        self._follow()

    showHidden = Property(bool, lambda self: self._show_hidden, setShowHidden)

    def setShowChildNodeTypes(self, shown: bool) -> None:
        """Whether subclasses of the listed classes are listed too."""
        self._child_types = bool(shown)
        self._follow()

    showChildNodeTypes = Property(bool, lambda self: self._child_types, setShowChildNodeTypes)

    def setBaseName(self, name: str) -> None:
        """Set the name of created nodes."""
        self._base_name = name

    baseName = Property(str, lambda self: self._base_name, setBaseName)
    removeEnabled = _flag("removeEnabled", True)
    editEnabled = _flag("editEnabled", False)
    renameEnabled = _flag("renameEnabled", False)
    selectNodeUponCreation = _flag("selectNodeUponCreation", False)
