"""The decorator that makes a class of annotated names a view of a parameter node."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer
import vtk

from .annotations import Default, Validator, split
from .connectors import Connector, createGuiConnector
from .storage import Storage

#: Dynamic property of a ``.ui`` widget that names its parameter.
SlicerParameterNamePropertyName = "SlicerParameterName"

#: What Python gives every class anew.
_NOT_COPIED = frozenset({"__dict__", "__weakref__"})


class Parameter:
    """One name of the class, with its type and conditions; a descriptor."""

    def __init__(self, name: str, annotated: Any, owner: type) -> None:
        self.name, self.annotated = name, annotated
        kind, annotations = split(annotated)
        self._storage = Storage(kind)
        self._validators = [entry for entry in annotations if isinstance(entry, Validator)]
        given = [entry for entry in annotations if isinstance(entry, Default)]
        if hasattr(owner, name):
            given.insert(0, Default(getattr(owner, name)))
        self.default = given[0] if given else Default(generator=self._storage.default)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Read the value from the node."""
        if instance is None:
            return self
        if not self._storage.is_in(instance.parameterNode, self._key(instance)):
            return self.default.value
        return self._storage.read(instance.parameterNode, self._key(instance))

    def __set__(self, instance: Any, value: Any) -> None:
        """Check a value and write it to the node."""
        self._storage.check(value)
        for validator in self._validators:
            validator.validate(value)
        with slicer.util.NodeModify(instance.parameterNode):
            self._storage.write(instance.parameterNode, self._key(instance), value)

    def initialise(self, instance: Any) -> None:
        """Write the default where the node holds no value."""
        if not self._storage.is_in(instance.parameterNode, self._key(instance)):
            self.__set__(instance, self.default.value)

    def _key(self, instance: Any) -> str:
        return f"{instance._prefix}{self.name}"


class ParameterNode:
    """What every wrapped class gets: access by name, and connection with widgets."""

    allParameters: typing.ClassVar[dict[str, Parameter]]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode, self._prefix = parameterNode, prefix or ""
        self._connected: dict[int, dict[str, Connector]] = {}
        self._tags, self._showing = 0, False
        for parameter in self.allParameters.values():
            parameter.initialise(self)

    @classmethod
    def _parameter(cls, name: str) -> Parameter:
        if name not in cls.allParameters:
            raise ValueError(f"no parameter {name!r}; there are {', '.join(cls.allParameters)}")
        return cls.allParameters[name]

    def getValue(self, name: str) -> Any:
        """Value of a parameter."""
        return self._parameter(name).__get__(self)

    def setValue(self, name: str, value: Any) -> None:
        """Set a parameter."""
        self._parameter(name).__set__(self, value)

    def default(self, name: str) -> Default:
        """Default of a parameter."""
        return self._parameter(name).default

    @classmethod
    def dataType(cls, name: str) -> Any:
        """Type of a parameter, with its annotations."""
        return cls._parameter(name).annotated

    def connectGui(self, gui: Any) -> None:
        """Connect every widget that names a parameter in its property ``SlicerParameterName``.

        It returns nothing, like Slicer's: who wants to disconnect calls
        :meth:`connectParametersToGui`.
        """
        if hasattr(gui, "findChildren"):
            widgets = gui.findChildren(qt.QWidget)
        else:
            widgets = vars(gui).values()
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        self.connectParametersToGui({name: w for name, w in named.items() if name})

    def connectParametersToGui(self, mapping: Mapping[str, Any]) -> int:
        """Connect parameters with widgets, by name; returns what ``disconnectGui`` takes."""
        connectors = {
            name: createGuiConnector(widget, self.dataType(name))
            for name, widget in mapping.items()
        }
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._taker(name, connector))
        if not self._tags:
            self.AddObserver(vtk.vtkCommand.ModifiedEvent, self._show)
        self._tags += 1
        self._connected[self._tags] = connectors
        return self._tags

    def disconnectGui(self, tag: int | None) -> None:
        """Undo ``connectParametersToGui``; an unknown tag is left alone."""
        for connector in self._connected.pop(tag or 0, {}).values():
            connector.onChanged(None)

    def _taker(self, name: str, connector: Connector) -> Callable[[], None]:
        def take() -> None:
            if not self._showing:
                self.setValue(name, connector.read())

        return take

    def _show(self, *_: Any) -> None:
        """Let the widgets follow the node."""
        if self._showing:
            return
        self._showing = True
        try:
            for connectors in list(self._connected.values()):
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._showing = False

    def StartModify(self) -> int:
        """Hold back the node's events."""
        return int(self.parameterNode.StartModify())

    def EndModify(self, before: int) -> int:
        """Send the held-back events as one."""
        return int(self.parameterNode.EndModify(before))

    def AddObserver(self, event: Any, callback: Callable[..., None], priority: float = 0.0) -> int:
        """Observe the node."""
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:
        """Observe the node no longer."""
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        """Tell the node's observers that it has changed."""
        self.parameterNode.Modified()


def parameterNodeWrapper(cls: type | None = None) -> Any:
    """Make a class of annotated names a view of a parameter node.

    Raises
    ------
    TypeError
        For a parameter of a type that cannot be stored.
    """
    if cls is None:
        return parameterNodeWrapper
    parameters = {}
    for name, annotated in typing.get_type_hints(cls, include_extras=True).items():
        if hasattr(ParameterNode, name):
            raise ValueError(f"{name!r} cannot be the name of a parameter")
        parameters[name] = Parameter(name, annotated, cls)
    own = {
        name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")
    }
    wrapped = type(cls.__name__, (ParameterNode, *cls.__bases__), {**own, **parameters})
    wrapped.allParameters = parameters  # type: ignore[attr-defined]
    return wrapped


def isParameterNodeWrapper(thing: Any) -> bool:
    """Whether a class, or an object's class, was made by ``parameterNodeWrapper``."""
    return issubclass(thing if isinstance(thing, type) else type(thing), ParameterNode)
