"""Controls and parameters that Slicer has no binding for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt


class PathBinding:
    """Keeps a path edit and a parameter of type str alike.

    Slicer binds path edits to ``pathlib.Path`` alone, for which "nothing" is the current folder.

    Parameters
    ----------
    widget : ctkPathLineEdit
    panel : Panel
    name : str
        Of the parameter.
    """

    def __init__(self, widget: Any, panel: Any, name: str) -> None:
        self._widget, self._panel, self._name = widget, panel, name
        widget.connect("currentPathChanged(QString)", self._to_parameter)
        # The path edit says nothing when it is emptied: that is no path it accepts.
        self._text = widget.findChildren(qt.QLineEdit)[0]
        self._text.connect("textEdited(QString)", self._on_text)

    def _to_parameter(self, path: str) -> None:
        parameters = self._panel.parameters
        if parameters is not None and getattr(parameters, self._name) != path:
            setattr(parameters, self._name, path)

    def _on_text(self, text: str) -> None:
        if not text:
            self._to_parameter("")

    def refresh(self) -> None:
        """From the parameter to the control, unless somebody is typing there."""
        path = getattr(self._panel.parameters, self._name)
        if self._widget.currentPath != path and not self._text.focus:
            self._widget.setCurrentPath(path)


class NodeBinding:
    """Keeps a node selector of several classes and a reference of the parameter node alike.

    Parameters
    ----------
    widget : qMRMLNodeComboBox
    panel : Panel
    role : str
        Of the reference.
    """

    def __init__(self, widget: Any, panel: Any, role: str) -> None:
        self._widget, self._panel, self._role = widget, panel, role
        widget.connect("currentNodeChanged(vtkMRMLNode*)", self._to_parameter)

    @property
    def node(self) -> Any:
        """The node, or None."""
        return self._panel.parameters.parameterNode.GetNodeReference(self._role)

    def refresh(self) -> None:
        """From the parameter to the control."""
        if self._widget.currentNode() is not self.node:
            self._widget.setCurrentNode(self.node)

    def _to_parameter(self, node: Any) -> None:
        parameters = self._panel.parameters
        if parameters is not None and node is not self.node:
            identifier = None if node is None else node.GetID()
            parameters.parameterNode.SetNodeReferenceID(self._role, identifier)


class WorkFolder:
    """Keeps a path edit, the logic's work folder and the user's settings alike.

    Parameters
    ----------
    widget : ctkPathLineEdit
    logic : object
        Has ``workFolder`` and ``moduleName``.
    """

    def __init__(self, widget: Any, logic: Any) -> None:
        self._logic, self._key = logic, f"{logic.moduleName}/WorkFolder"
        remembered = qt.QSettings().value(self._key, "")
        if remembered:
            logic.workFolder = Path(remembered)
        widget.setCurrentPath(str(logic.workFolder))
        widget.connect("currentPathChanged(QString)", self._on_path)

    def _on_path(self, path: str) -> None:
        if path:
            self._logic.workFolder = Path(path)
            qt.QSettings().setValue(self._key, path)
