"""Parameters of a module with types, kept in a ``vtkMRMLScriptedModuleNode``.

A small form of Slicer's package of this name, for tests: numbers, texts, paths, enumerations,
lists, nodes; no parameter packs, no unions.
"""

from .annotations import (
    Choice,
    Decimals,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    SingleStep,
    Validator,
    WithinRange,
)
from .connectors import createGuiConnector
from .wrapper import (
    SlicerParameterNamePropertyName,
    isParameterNodeWrapper,
    parameterNodeWrapper,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "createGuiConnector",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]
