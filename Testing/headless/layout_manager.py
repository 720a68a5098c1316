"""``slicer.app.layoutManager()``: layouts, slice views and their logics."""

from __future__ import annotations

from typing import Any

from .slicer_app import HeadlessSlicer

_VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}


class SliceWidget:
    """The parts of a slice view that scripts ask for."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name, self._logic = name, logic

    def mrmlSliceNode(self) -> Any:
        """The ``vtkMRMLSliceNode``."""
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        """The ``vtkMRMLSliceCompositeNode``."""
        return self._logic.GetSliceCompositeNode()

    def sliceLogic(self) -> Any:
        """The ``vtkMRMLSliceLogic``."""
        return self._logic


class LayoutManager:
    """Red, green and yellow slices on real slice logics; layouts as numbers in the layout node."""

    threeDViewCount = 0
    tableViewCount = 0
    plotViewCount = 0

    def __init__(self, slicer_app: HeadlessSlicer) -> None:
        from slicer import vtkMRMLLayoutNode

        self._app = slicer_app
        scene = slicer_app.scene
        layout = vtkMRMLLayoutNode()
        layout.SetSingletonTag("vtkMRMLLayoutNode")
        self._layout = scene.AddNode(layout)
        self._logics = slicer_app.app.app_logic.GetSliceLogics()
        self._slices = {name: SliceWidget(name, self._slice_logic(name)) for name in _VIEWS}

    def _slice_logic(self, name: str) -> Any:
        """The logic of a slice view; what Slicer makes along with the view's widget."""
        from slicer import vtkMRMLSliceCompositeNode, vtkMRMLSliceLogic

        scene = self._app.scene
        # Made by the scene, which knows the presets of the orientations.
        node = scene.CreateNodeByClass("vtkMRMLSliceNode")
        node.UnRegister(None)
        node.SetName(name)
        node.SetLayoutName(name)
        node.SetSingletonTag(name)
        node = scene.AddNode(node)
        node.SetOrientation(_VIEWS[name])
        composite = vtkMRMLSliceCompositeNode()
        composite.SetName(name)
        composite.SetLayoutName(name)
        composite.SetSingletonTag(name)
        scene.AddNode(composite)
        logic = vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._app.app.app_logic)
        logic.SetMRMLScene(scene)
        logic.SetSliceNode(node)
        self._logics.AddItem(logic)
        return logic

    def setLayout(self, layout: int) -> None:
        """Set the arrangement of views, a ``vtkMRMLLayoutNode`` constant."""
        self._layout.SetViewArrangement(int(layout))

    @property
    def layout(self) -> int:
        """The arrangement of views."""
        return int(self._layout.GetViewArrangement())

    def sliceViewNames(self) -> list[str]:
        """Names of the slice views."""
        return list(self._slices)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        """A slice view by its name."""
        return self._slices.get(name)

    def mrmlSliceLogics(self) -> Any:
        """The ``vtkCollection`` of slice logics."""
        return self._logics

    def resetSliceViews(self) -> None:
        """Fit every slice view to its background."""
        for view in self._slices.values():
            view.sliceLogic().FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """Nothing to do: a 3D picture is fitted when it is made."""

    def close(self) -> None:
        """Let go of the scene."""
        for view in self._slices.values():
            self._logics.RemoveItem(view.sliceLogic())
            view.sliceLogic().SetMRMLScene(None)
        self._slices.clear()
