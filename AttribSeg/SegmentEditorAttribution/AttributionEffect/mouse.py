"""The mouse in slice views: clicks on lesions, strokes of the brush."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import vtk

from .brush_outline import BrushOutline
from .editing import AttributionEditing

#: Tools: the mouse moves the views, keeps or drops a lesion, paints or erases.
NONE, KEEP, DROP, PAINT, ERASE = "NONE", "KEEP", "DROP", "PAINT", "ERASE"
#: Smallest and largest radius of the brush.
RADII_MM = (0.1, 50.0)
_WHEEL_STEP = 1.2
_Event = vtk.vtkCommand


class Mouse:
    """What the events of a view's interactor do.

    Parameters
    ----------
    host : qSlicerSegmentEditorScriptedEffect
        What Slicer gives an effect to work with; has the parameters.
    editing : AttributionEditing
    attempt : callable
        Runs an action; what it returns or raises is shown to the person.
    """

    def __init__(
        self,
        host: Any,
        editing: AttributionEditing,
        attempt: Callable[[Callable[[], str | None]], object],
    ) -> None:
        self._host = host
        self._editing = editing
        self._attempt = attempt
        self._outline = BrushOutline()
        self._outlined_view: Any = None

    def event(self, interactor: Any, event: int, view_widget: Any) -> bool:
        """Take an event; True when nobody else shall get it."""
        node = self._host.viewNode(view_widget)
        if node is None or not node.IsA("vtkMRMLSliceNode"):
            return False
        tool = self._host.parameter("Tool")
        if tool in (KEEP, DROP):
            return self._click(interactor, event, node, tool)
        if tool in (PAINT, ERASE):
            return self._draw(interactor, event, view_widget, node, tool)
        return False

    def stop(self) -> None:
        """Lift the brush, and show it no more."""
        self._editing.cancel_stroke()
        self.hide_outline()

    def hide_outline(self) -> None:
        """Show no brush."""
        if self._outlined_view is not None:
            view, self._outlined_view = self._outlined_view, None
            self._host.removeActor2D(view, self._outline.actor)

    def _click(self, interactor: Any, event: int, node: Any, tool: str) -> bool:
        keys = interactor.GetShiftKey() or interactor.GetControlKey() or interactor.GetAltKey()
        if event != _Event.LeftButtonPressEvent or keys:
            return False
        if self._may_click():
            point = _to_ras(node, interactor.GetEventPosition())
            if tool == DROP:
                self._attempt(lambda: self._editing.drop(point))
            else:
                threshold = self._host.doubleParameter("Threshold")
                self._attempt(lambda: self._editing.keep(point, threshold))
        return True

    def _draw(self, interactor: Any, event: int, view: Any, node: Any, tool: str) -> bool:
        xy = interactor.GetEventPosition()
        if event == _Event.LeaveEvent:
            self.hide_outline()
        elif event in (_Event.MouseMoveEvent, _Event.EnterEvent):
            self._show_outline(view, node, xy)
        if event == _Event.LeftButtonPressEvent:
            return self._press(interactor, node, xy, tool)
        if event in (_Event.MouseWheelForwardEvent, _Event.MouseWheelBackwardEvent):
            if not interactor.GetShiftKey():
                return False
            self._resize(larger=event == _Event.MouseWheelForwardEvent)
            self._show_outline(view, node, xy)
            return True
        if not self._editing.painting:
            return False
        if event == _Event.MouseMoveEvent:
            self._attempt(lambda: self._editing.extend_stroke(_to_ras(node, xy)))
        elif event == _Event.LeftButtonReleaseEvent:
            self._attempt(self._editing.finish_stroke)
        else:
            return False
        return True

    def _press(self, interactor: Any, node: Any, xy: Any, tool: str) -> bool:
        if interactor.GetControlKey() or interactor.GetAltKey():
            return False
        host = self._host
        erases = (tool == ERASE) != bool(interactor.GetShiftKey())
        strict = host.integerParameter("PaintAboveThreshold")
        within = None if erases else "threshold" if strict else "positive"
        if self._may_click():

            def begin() -> str:
                radius = host.doubleParameter("BrushRadiusMm")
                threshold = host.doubleParameter("Threshold")
                self._editing.begin_stroke(radius, within=within, threshold=threshold)
                self._editing.extend_stroke(_to_ras(node, xy))
                return ""

            self._attempt(begin)
        return True

    def _may_click(self) -> bool:
        """Whether a click may change the segment, which may be hidden."""
        # A dialog has swallowed the button's release, and the click was made blindly.
        answer = self._host.confirmCurrentSegmentVisible()
        return bool(answer == self._host.ConfirmedWithoutDialog)

    def _resize(self, *, larger: bool) -> None:
        radius = self._host.doubleParameter("BrushRadiusMm")
        radius *= _WHEEL_STEP if larger else 1 / _WHEEL_STEP
        # As text, since Slicer keeps six digits of a number.
        self._host.setParameter("BrushRadiusMm", repr(min(max(radius, RADII_MM[0]), RADII_MM[1])))
        self._host.updateGUIFromMRML()

    def _show_outline(self, view: Any, node: Any, xy: Any) -> None:
        if self._outlined_view is not view:
            self.hide_outline()
            self._host.addActor2D(view, self._outline.actor)
            self._outlined_view = view
        self._outline.place(node, xy, self._host.doubleParameter("BrushRadiusMm"))
        self._host.scheduleRender(view)


def _to_ras(slice_node: Any, xy: Any) -> tuple[float, float, float]:
    """Point in space under a pixel of a slice view, in mm."""
    r, a, s, _ = slice_node.GetXYToRAS().MultiplyPoint((float(xy[0]), float(xy[1]), 0.0, 1.0))
    return r, a, s
