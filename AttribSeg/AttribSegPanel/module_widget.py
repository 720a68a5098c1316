"""What the widgets of both modules are: a panel bound to parameters of the scene."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import slicer
import vtk
from AttribSegScene.volumes import first_scan
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin


class PanelWidget(ScriptedLoadableModuleWidget, VTKObservationMixin, ABC):
    """Loads the controls, binds them to the parameter node and follows the scene.

    A subclass says which logic and which panel (`makeLogic`, `makePanel`); its ``.ui`` file has
    the module's name.

    Attributes
    ----------
    logic : object
        The module's logic.
    panel : Panel
        Its sections; they have ``run`` and ``forget_scene()``.
    """

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.panel: Any = None
        self._gui_tag: Any = None

    @abstractmethod
    def makeLogic(self) -> Any:
        """The module's logic."""

    @abstractmethod
    def makePanel(self, ui: Any, logic: Any) -> Any:
        """The module's panel, of the controls and the logic."""

    def setup(self) -> None:
        """Load the controls and connect the sections."""
        super().setup()
        widget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = self.makeLogic()
        self.panel = self.makePanel(self.ui, self.logic)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        # What is shown may be replaced by the scene that comes in.
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartSaveEvent, self.onSceneStartSave)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        slicer.app.connect("aboutToQuit()", self.panel.run.close)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """The panel goes away: nothing runs on, nothing is observed."""
        if self.panel is not None:
            self.panel.run.close()
            self.panel.settle()
            self.panel.forget_scene()
            self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """The module is opened."""
        if self.panel.parameters is None:
            self.initializeParameterNode()
        self.panel.refresh()

    def exit(self) -> None:
        """Another module is opened; a run goes on."""

    def initializeParameterNode(self) -> None:
        """Take the parameters of the scene; make them if there are none."""
        self.setParameterNode(self.logic.getParameterNode())
        parameters = self.panel.parameters
        if parameters.inputVolume is None:
            parameters.inputVolume = first_scan(slicer.mrmlScene)

    def setParameterNode(self, parameters: Any) -> None:
        """Bind the controls to parameters, or to nothing."""
        old = self.panel.parameters
        if old is not None:
            old.disconnectGui(self._gui_tag)
            self.removeObserver(
                old.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified
            )
        self.panel.parameters = parameters
        if parameters is not None:
            # Not connectGui: it keeps to itself what disconnectGui needs, and controls that stay
            # connected write into a scene that is loaded while they are filled anew.
            self._gui_tag = parameters.connectParametersToGui(self._bound())
            self.addObserver(
                parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified
            )
            self.panel.refresh()

    def _bound(self) -> dict[str, Any]:
        """Controls by the parameter that they are bound to."""
        named = {w.property("SlicerParameterName"): w for w in vars(self.ui).values()}
        return {str(name): widget for name, widget in named.items() if name}

    def onParametersModified(self, caller: Any = None, event: Any = None) -> None:
        """A parameter changed, by a control, the console or a scene."""
        if not slicer.mrmlScene.IsBatchProcessing():
            self.panel.refresh()

    def onNodeRemoved(self, caller: Any = None, event: Any = None) -> None:
        """A node of the detection that is shown may be gone."""
        if not slicer.mrmlScene.IsBatchProcessing():
            self.panel.refresh()

    def onSceneStartClose(self, caller: Any = None, event: Any = None) -> None:
        """The scene is about to be closed; a run goes on, its results stay in its folder."""
        self.panel.forget_scene()
        self.setParameterNode(None)

    def onSceneStartSave(self, caller: Any = None, event: Any = None) -> None:
        """What the user is still at is saved as it is."""
        self.panel.settle()

    def onSceneEndClose(self, caller: Any = None, event: Any = None) -> None:
        """The scene is empty, or another one was loaded."""
        self.initializeParameterNode()
