"""The circle that shows the brush in a slice view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import vtk

_CORNERS = 48


class BrushOutline:
    """A circle in the pixels of a view: where the view's plane cuts the ball.

    Attributes
    ----------
    actor : vtkActor2D
        To be added to the view.
    """

    def __init__(self) -> None:
        self._points = vtk.vtkPoints()
        self._points.SetNumberOfPoints(_CORNERS)
        lines = vtk.vtkCellArray()
        lines.InsertNextCell(_CORNERS + 1)
        for corner in range(_CORNERS + 1):
            lines.InsertCellPoint(corner % _CORNERS)
        self._circle = vtk.vtkPolyData()
        self._circle.SetPoints(self._points)
        self._circle.SetLines(lines)
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputData(self._circle)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(mapper)
        self.actor.GetProperty().SetColor(1.0, 0.85, 0.0)
        self.actor.GetProperty().SetLineWidth(2)

    def place(self, slice_node: Any, xy: Sequence[float], radius_mm: float) -> None:
        """Move the circle.

        Parameters
        ----------
        slice_node : vtkMRMLSliceNode
        xy : sequence of float
            Centre, in pixels of the view.
        radius_mm : float
        """
        matrix = slice_node.GetXYToRAS()
        mm_per_pixel = float(np.hypot.reduce([matrix.GetElement(row, 0) for row in range(3)]))
        radius = radius_mm / mm_per_pixel
        for corner, angle in enumerate(np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)):
            x, y = xy[0] + radius * np.cos(angle), xy[1] + radius * np.sin(angle)
            self._points.SetPoint(corner, x, y, 0.0)
        self._points.Modified()
        self._circle.Modified()
