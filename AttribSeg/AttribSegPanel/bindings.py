"""Controls and parameters that Slicer has no binding for."""

from __future__ import annotations

from typing import Any


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

    def _to_parameter(self, path: str) -> None:
        parameters = self._panel.parameters
        if parameters is not None and getattr(parameters, self._name) != path:
            setattr(parameters, self._name, path)

    def refresh(self) -> None:
        """From the parameter to the control."""
        path = getattr(self._panel.parameters, self._name)
        if self._widget.currentPath != path:
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
