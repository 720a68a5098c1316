"""A slice view without a window, and a mouse for it; support code for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import vtk

from .scripted_effect import ScriptedEffect


class SliceWidget:
    """The part of ``qMRMLSliceWidget`` that effects see, and a mouse for it.

    Parameters
    ----------
    scene : vtkMRMLScene
    effect : ScriptedEffect
        Gets the events.
    orientation : {"Axial", "Sagittal", "Coronal"}
    """

    def __init__(self, scene: Any, effect: ScriptedEffect, orientation: str = "Axial") -> None:
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        # Made by the scene, a node knows the orientations by name.
        node = scene.CreateNodeByClass("vtkMRMLSliceNode")
        node.UnRegister(None)
        node.SetLayoutName(f"Mouse{orientation}")
        node.SetName(f"Mouse{orientation}")
        self.slice_node = scene.AddNode(node)
        self.slice_node.SetOrientation(orientation)
        self.slice_node.SetDimensions(400, 300, 1)
        self.slice_node.SetFieldOfView(200.0, 150.0, 1.0)
        self.renderer = vtk.vtkRenderer()
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self._effect = effect

    def className(self) -> str:
        return "qMRMLSliceWidget"

    def show(self, point: Sequence[float]) -> None:
        """Move the slice to a point (RAS, mm)."""
        self.slice_node.JumpSliceByOffsetting(*(float(x) for x in point))

    def press(self, point: Sequence[float], **keys: bool) -> bool:
        """Press the left button at a point of the slice."""
        return self.send(vtk.vtkCommand.LeftButtonPressEvent, point, **keys)

    def move(self, point: Sequence[float], **keys: bool) -> bool:
        return self.send(vtk.vtkCommand.MouseMoveEvent, point, **keys)

    def release(self, point: Sequence[float], **keys: bool) -> bool:
        return self.send(vtk.vtkCommand.LeftButtonReleaseEvent, point, **keys)

    def click(self, point: Sequence[float], **keys: bool) -> bool:
        """Show a point, press there and let go; whether the effect took the press."""
        self.show(point)
        taken = self.press(point, **keys)
        self.release(point, **keys)
        return taken

    def drag(self, points: Sequence[Sequence[float]], **keys: bool) -> None:
        """Press, move through points of one slice and let go."""
        self.show(points[0])
        self.press(points[0], **keys)
        for point in points[1:]:
            self.move(point, **keys)
        self.release(points[-1], **keys)

    def send(
        self, event: int, point: Sequence[float], *, shift: bool = False, control: bool = False
    ) -> bool:
        """Any event of the mouse."""
        to_xy = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.slice_node.GetXYToRAS(), to_xy)
        x, y, _, _ = to_xy.MultiplyPoint((*(float(value) for value in point), 1.0))
        self.interactor.SetEventInformation(round(x), round(y), int(control), int(shift))
        return bool(self._effect.self().processInteractionEvents(self.interactor, int(event), self))
