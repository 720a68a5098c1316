"""What Slicer's C++ gives the Python class of a Segment Editor effect.

Support code for tests; what it does to segments is done by ``vtkSlicerSegmentEditorLogic``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .segment_editor import SegmentEditor


class AbstractEffect:
    """Enumerations of ``qSlicerSegmentEditorAbstractEffect``."""

    ModificationModeSet, ModificationModeAdd, ModificationModeRemove = range(3)
    ModificationModeRemoveAll = 3
    NotConfirmed, ConfirmedWithoutDialog, ConfirmedWithDialog = range(3)


class ScriptedEffect(AbstractEffect):
    """What an effect's Python class calls ``self.scriptedEffect``.

    Parameters
    ----------
    parent : None
        As in Slicer.
    """

    def __init__(self, parent: Any = None) -> None:
        import qt

        self.name = self.title = ""
        self.perSegment = self.requireSegments = True
        self.showEffectCursorInSliceView = True
        self.showEffectCursorInThreeDView = False
        #: The Segment Editor that the effect works in.
        self.editor: SegmentEditor | None = None
        #: What a person answers when asked whether to edit a hidden segment.
        self.answer_hidden = AbstractEffect.ConfirmedWithoutDialog
        self._self: Any = None
        self._active = False
        self._frame = qt.QFrame()
        self._layout = qt.QFormLayout(self._frame)

    # Loading

    def setPythonSource(self, path: str) -> bool:
        """Load the effect's file as Slicer does: under the name of its folder."""
        name = Path(path).parent.name
        module = sys.modules.get(name)
        if module is None or not hasattr(module, "SegmentEditorEffect"):
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
        self._self = module.SegmentEditorEffect(self)
        return True

    def self(self) -> Any:
        """The object of the effect's Python class."""
        return self._self

    # Life

    def active(self) -> bool:
        return self._active

    def activate(self) -> None:
        self._active = True
        self.call("updateGUIFromMRML")
        self.call("activate")

    def deactivate(self) -> None:
        self._active = False
        self.call("deactivate")

    def updateGUIFromMRML(self) -> None:
        if self._active:
            self.call("updateGUIFromMRML")

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method that the effect's class may have."""
        function = getattr(self._self, method, None)
        return function(*arguments) if function is not None else None

    # Options

    def optionsFrame(self) -> Any:
        return self._frame

    def optionsLayout(self) -> Any:
        return self._layout

    def addOptionsWidget(self, widget: Any) -> None:
        self._layout.addRow(widget)

    def addLabeledOptionsWidget(self, label: str, widget: Any) -> Any:
        import qt

        text = qt.QLabel(label)
        self._layout.addRow(text, widget)
        return text

    # Parameters

    def parameterSetNode(self) -> Any:
        return self.editor.node if self.editor is not None else None

    def scene(self) -> Any:
        node = self.parameterSetNode()
        return node.GetScene() if node is not None else None

    def parameterDefined(self, name: str) -> bool:
        return bool(self.parameterSetNode().GetAttribute(f"{self.name}.{name}"))

    def parameter(self, name: str) -> str:
        node = self.parameterSetNode()
        value = node.GetAttribute(f"{self.name}.{name}") or node.GetAttribute(name)
        if value is None:
            raise KeyError(f"{self.name} has no parameter {name}")
        return str(value)

    def integerParameter(self, name: str) -> int:
        return int(self.parameter(name))

    def doubleParameter(self, name: str) -> float:
        return float(self.parameter(name))

    def setParameter(self, name: str, value: Any) -> None:
        self.setCommonParameter(f"{self.name}.{name}", value)

    def setParameterDefault(self, name: str, value: Any) -> None:
        if not self.parameterDefined(name):
            self.setParameter(name, value)

    def setCommonParameter(self, name: str, value: Any) -> None:
        # Qt writes a double with six digits.
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        node = self.parameterSetNode()
        if text != node.GetAttribute(name):
            was_disabled = node.GetDisableModifiedEvent()
            node.SetDisableModifiedEvent(1)
            node.SetAttribute(name, text)
            node.SetDisableModifiedEvent(was_disabled)
            node.InvokeCustomModifiedEvent(node.EffectParameterModified)

    def nodeReference(self, name: str) -> Any:
        node = self.parameterSetNode()
        return node.GetNodeReference(f"{self.name}.{name}") or node.GetNodeReference(name)

    def setNodeReference(self, name: str, referenced: Any) -> None:
        node = self.parameterSetNode()
        if node.GetNodeReference(f"{self.name}.{name}") is not referenced:
            identifier = referenced.GetID() if referenced is not None else None
            node.SetNodeReferenceID(f"{self.name}.{name}", identifier)
            node.InvokeCustomModifiedEvent(node.EffectParameterModified)

    # Volumes

    def defaultModifierLabelmap(self) -> Any:
        logic = self._logic()
        return logic.GetModifierLabelmap() if logic.ResetModifierLabelmapToDefault() else None

    def modifierLabelmap(self) -> Any:
        return self._logic().GetModifierLabelmap()

    def maskLabelmap(self) -> Any:
        logic = self._logic()
        return logic.GetMaskLabelmap() if logic.UpdateMaskLabelmap() else None

    def selectedSegmentLabelmap(self) -> Any:
        logic = self._logic()
        return logic.GetSelectedSegmentLabelmap() if logic.UpdateSelectedSegmentLabelmap() else None

    def sourceVolumeImageData(self) -> Any:
        logic = self._logic()
        return logic.GetAlignedSourceVolume() if logic.UpdateAlignedSourceVolume() else None

    def referenceGeometryImage(self) -> Any:
        logic = self._logic()
        return logic.GetReferenceGeometryImage() if logic.UpdateReferenceGeometryImage() else None

    # Changes

    def saveStateForUndo(self) -> None:
        self._logic().SaveStateForUndo()

    def modifySelectedSegmentByLabelmap(
        self, labelmap: Any, mode: int, extent: Sequence[int] | None = None
    ) -> None:
        """Change the selected segment; the modes are those of `AbstractEffect`."""
        logic, node = self._logic(), self.parameterSetNode()
        modes = (
            logic.ModificationModeSet,
            logic.ModificationModeAdd,
            logic.ModificationModeRemove,
            logic.ModificationModeRemoveAll,
        )
        logic.ModifySegmentByLabelmap(
            node.GetSegmentationNode(),
            node.GetSelectedSegmentID() or "",
            labelmap,
            modes[mode],
            list(extent) if extent is not None else [0, -1, 0, -1, 0, -1],
            self.perSegment,
            False,
        )

    def confirmCurrentSegmentVisible(self) -> int:
        """Ask, as Slicer does, before a hidden segment is changed."""
        return (
            AbstractEffect.ConfirmedWithoutDialog
            if self._logic().IsSelectedSegmentVisible()
            else self.answer_hidden
        )

    # Views

    def viewNode(self, view_widget: Any) -> Any:
        return view_widget.slice_node

    def addActor2D(self, view_widget: Any, actor: Any) -> None:
        view_widget.renderer.AddActor2D(actor)

    def removeActor2D(self, view_widget: Any, actor: Any) -> None:
        view_widget.renderer.RemoveActor2D(actor)

    def scheduleRender(self, view_widget: Any) -> None:
        """Views of tests are rendered on request."""

    def _logic(self) -> Any:
        assert self.editor is not None
        return self.editor.logic
