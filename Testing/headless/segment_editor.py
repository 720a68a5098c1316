"""Slicer's Segment Editor without its look: scripted effects on the real editor logic.

Support code for tests. Masking, overwriting of segments and undo are done by Slicer's own
``vtkSlicerSegmentEditorLogic``; here is only what Slicer's C++ puts between it and the Python file
of an effect. Needs the names ``qt`` and ``slicer`` (see `HeadlessApplication`).
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import slicer
import vtk

from .scripted_effect import AbstractEffect, ScriptedEffect
from .segment_editor_panel import SegmentEditorWidget


class SegmentEditor(SegmentEditorWidget):
    """``qMRMLSegmentEditorWidget`` with every registered effect, one of them active."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self._effects: dict[str, ScriptedEffect] = {}
        self._active: ScriptedEffect | None = None
        self._source: Any = None
        self._tags: list[int] = []

    @property
    def node(self) -> Any:
        """The ``vtkMRMLSegmentEditorNode``."""
        return self.mrmlSegmentEditorNode()

    def scene_changed(self) -> None:
        """Follow the scene, which comes before the node."""
        self.logic.SetMRMLScene(self.mrmlScene())

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        """Set the parameters' node, and give the effects their defaults in it."""
        super().setMRMLSegmentEditorNode(node)
        self._source = node.GetSourceVolumeNode()
        self.logic.SetSegmentEditorNode(node)
        self._tags = [
            node.AddObserver(node.EffectParameterModified, self._on_parameter),
            node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_node),
        ]
        for registered in _Factory.instance().registered:
            effect = registered.self().clone()
            effect.editor = self
            effect.call("setupOptionsFrame")
            effect.call("setMRMLDefaults")
            self._effects[effect.name] = effect

    def effectByName(self, name: str) -> ScriptedEffect | None:
        """An effect of this editor."""
        return self._effects.get(name)

    def setActiveEffectByName(self, name: str) -> None:
        """Choose an effect; none of an unknown name."""
        super().setActiveEffectByName(name)
        if self._active is not None:
            self._active.deactivate()
        self._active = self._effects.get(name)
        if self._active is not None:
            self._active.activate()

    def activeEffect(self) -> ScriptedEffect | None:
        """The chosen effect."""
        return self._active

    def undo(self) -> None:
        """Go a step back."""
        self.logic.Undo()

    def redo(self) -> None:
        """Go a step forward again."""
        self.logic.Redo()

    def deleteLater(self) -> None:
        """Let go of effects, node and scene."""
        self.setActiveEffectByName("")
        for effect in self._effects.values():
            effect.call("cleanup")
            effect.optionsFrame().deleteLater()
        self._effects.clear()
        for tag in self._tags:
            self.node.RemoveObserver(tag)
        self._tags = []
        self.logic.SetSegmentEditorNode(None)
        self.logic.SetMRMLScene(None)
        super().deleteLater()

    def _on_parameter(self, *_: Any) -> None:
        if self._active is not None:
            self._active.updateGUIFromMRML()

    def _on_node(self, *_: Any) -> None:
        if self.node.GetSourceVolumeNode() is not self._source:
            self._source = self.node.GetSourceVolumeNode()
            for effect in self._effects.values():
                effect.call("sourceVolumeNodeChanged")
                effect.call("referenceGeometryChanged")


class _Factory:
    """``qSlicerSegmentEditorEffectFactory``."""

    _instance: _Factory | None = None

    def __init__(self) -> None:
        self.registered: list[ScriptedEffect] = []

    @classmethod
    def instance(cls) -> _Factory:
        cls._instance = cls._instance or cls()
        return cls._instance

    def registerEffect(self, effect: ScriptedEffect) -> bool:
        self.registered.append(effect)
        return True


class _AbstractScriptedEffect:
    """Stand-in for the base class of Slicer's scripted effects."""

    def __init__(self, scripted_effect: Any) -> None:
        self.scriptedEffect = scripted_effect

    def register(self) -> None:
        _Factory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self) -> None:
        """Nothing to let go of here."""


def install() -> None:
    """Make Slicer's names for the Segment Editor importable.

    Slicer's own ``SegmentEditorEffects`` is used where it is on the path.
    """
    slicer.qSlicerSegmentEditorAbstractEffect = AbstractEffect
    slicer.qSlicerSegmentEditorEffectFactory = _Factory
    slicer.qMRMLSegmentEditorWidget = SegmentEditor
    _Factory.instance().registered.clear()
    effects = {"qSlicerSegmentEditorScriptedEffect": ScriptedEffect}
    _provide("qSlicerSegmentationsEditorEffectsPythonQt", effects)
    if importlib.util.find_spec("SegmentEditorEffects") is None:
        names = {"AbstractScriptedSegmentEditorEffect": _AbstractScriptedEffect}
        _provide("SegmentEditorEffects", names)


def _provide(name: str, content: dict[str, Any]) -> None:
    module = ModuleType(name)
    module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    vars(module).update(content)
    sys.modules[name] = module
