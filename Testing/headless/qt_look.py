"""PythonQt's look on PySide's objects: properties are attributes, signals connect by signature.

Slicer's Python sees Qt through PythonQt, where ``label.text`` is a string and
``button.connect("clicked(bool)", f)`` connects. PySide calls the very same Qt in another way.
The look is put on ``QObject`` itself, so that objects that Qt made (headers, layouts, children of a
``.ui`` file) have it too, and every class keeps its identity: ``type(box) is qt.QCheckBox``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

_plain_get = QtCore.QObject.__getattribute__
_plain_connect = QtCore.QObject.connect
_plain_disconnect = QtCore.QObject.disconnect
_plain_find_child = QtCore.QObject.findChild
_plain_find_children = QtCore.QObject.findChildren

#: Per class: the names that are read and written as Qt properties.
_PROPERTIES: dict[type, dict[str, QtCore.QMetaProperty]] = {}
#: Properties whose getters are virtual. They stay functions, unlike in PythonQt: Qt looks up an
#: override by the very same name, and must find a function.
_FUNCTIONS = frozenset({"duration", "minimumSizeHint", "sizeHint"})


def dress() -> None:
    """Put the look on every ``QObject`` of this process; again is without effect."""
    QtCore.QObject.__getattribute__ = _get
    # Every class that has meta-properties comes with its own way of setting attributes.
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            cls = getattr(module, name)
            is_object = isinstance(cls, type) and issubclass(cls, QtCore.QObject)
            if is_object and "__setattr__" in vars(cls):
                cls.__setattr__ = _set


def _class_name(self: QtCore.QObject) -> str:
    return str(_plain_get(self, "metaObject")().className())


def _delete(self: QtCore.QObject) -> None:
    shiboken6.delete(self)


def _execute(self: Any, *arguments: Any) -> Any:
    """PythonQt's name of ``exec``, which was a keyword of Python 2."""
    return self.exec(*arguments)


def _plain_set(instance: QtCore.QObject, name: str, value: Any) -> None:
    declared = next((vars(cls)[name] for cls in type(instance).__mro__ if name in vars(cls)), None)
    if isinstance(declared, QtCore.Property):
        declared.fset(instance, value)
    elif hasattr(declared, "__set__"):
        declared.__set__(instance, value)
    else:
        _plain_get(instance, "__dict__")[name] = value


def is_written_in_python(cls: type) -> bool:
    """Whether a class of a widget's ancestry is ours, not Qt's."""
    return not cls.__module__.startswith(("PySide6", "Shiboken", "builtins"))


def _properties(instance: QtCore.QObject) -> dict[str, QtCore.QMetaProperty]:
    cls = type(instance)
    if cls not in _PROPERTIES:
        # What a Python class defines (a virtual function, a Property) is found in the usual way.
        own = {name for base in cls.__mro__ if is_written_in_python(base) for name in vars(base)}
        meta = _plain_get(instance, "metaObject")()
        found = (meta.property(index) for index in range(meta.propertyCount()))
        own |= _FUNCTIONS
        _PROPERTIES[cls] = {entry.name(): entry for entry in found if entry.name() not in own}
    return _PROPERTIES[cls]


def _get(self: QtCore.QObject, name: str) -> Any:
    if name.startswith("_"):
        return _plain_get(self, name)
    if name in _METHODS:
        return _METHODS[name].__get__(self)
    properties = _properties(self)
    if name == "name" and "name" not in properties and not _defines(self, "name"):
        name = "objectName"
    if name not in properties:
        return _plain_get(self, name)
    if name == "text" and isinstance(self, QtWidgets.QProgressBar):
        return QtWidgets.QProgressBar.text(self)  # virtual, see _FUNCTIONS; not by its name
    value = _plain_get(self, "property")(name)
    if value is None or properties[name].isEnumType():
        getter = getattr(type(self), name, None)
        if callable(getter):
            return _plain_get(self, name)()
    return value


def _set(self: QtCore.QObject, name: str, value: Any) -> None:
    properties = _properties(self)
    if name == "name" and "name" not in properties and not _defines(self, "name"):
        name = "objectName"
    if name not in properties:
        _plain_set(self, name, value)
        return
    if not properties[name].isWritable():
        raise AttributeError(f"property {name!r} of {type(self).__name__} is not writable")
    setter = getattr(type(self), f"set{name[0].upper()}{name[1:]}", None)
    if setter is not None:
        try:
            setter(self, value)
            return
        except TypeError:  # PythonQt converts: an int to an enumerator, a float to an int
            pass
    if not _plain_get(self, "setProperty")(name, value):
        raise TypeError(f"property {name!r} of {type(self).__name__} does not take {value!r}")


def _defines(instance: QtCore.QObject, name: str) -> bool:
    """Whether Python's own lookup, not Qt, knows the name."""
    if any(name in vars(base) for base in type(instance).__mro__ if is_written_in_python(base)):
        return True
    return name in _plain_get(instance, "__dict__")


def _connect(self: Any, signal: Any, receiver: Any, slot: Any = None) -> Any:
    """Connect by signature, ``sender.connect("clicked(bool)", function)``.

    Raises
    ------
    AttributeError
        If the object has no such signal; PythonQt prints it and goes on, which hides mistakes.
    """
    if not isinstance(signal, str):  # PySide's own form, which names the sender first
        return _plain_connect(signal, receiver, slot)
    instance, count = _signal(self, signal)
    target = receiver if slot is None else getattr(receiver, slot.partition("(")[0])
    if isinstance(target, QtCore.SignalInstance):
        instance.connect(target)
        return True
    takes = min(count, _capacity(target), len(_FORWARD) - 1)
    call = _FORWARD[takes](target)
    instance.connect(call)
    _connections(self).append((signal.partition("(")[0], target, instance, call))
    return True


#: PySide counts a function's arguments to choose between a signal's forms; by that number.
_FORWARD: tuple[Callable[[Any], Callable[..., Any]], ...] = (
    lambda target: lambda: target(),
    lambda target: lambda a: target(a),
    lambda target: lambda a, b: target(a, b),
    lambda target: lambda a, b, c: target(a, b, c),
)


def _disconnect(self: Any, signal: Any, receiver: Any = None, slot: Any = None) -> Any:
    """Undo :func:`_connect`; whether there was such a connection."""
    if not isinstance(signal, str):
        return _plain_disconnect(signal, receiver, slot)
    target = receiver if slot is None else getattr(receiver, slot.partition("(")[0])
    kept, dropped = [], []
    for entry in _connections(self):
        same = entry[0] == signal.partition("(")[0] and (target is None or entry[1] == target)
        (dropped if same else kept).append(entry)
    for _, _, instance, call in dropped:
        instance.disconnect(call)
    _connections(self)[:] = kept
    return bool(dropped)


def _signal(sender: Any, signature: str) -> tuple[Any, int]:
    """A signal by its signature, and how many values the signature names."""
    name, _, types = signature.replace(" ", "").partition("(")
    types = types.rstrip(")")
    # Two signals of one name, which Python cannot have, are told apart by a class's own table.
    name = getattr(type(sender), "SIGNALS_BY_SIGNATURE", {}).get(f"{name}({types})", name)
    instance = getattr(sender, name, None)
    if not hasattr(instance, "connect"):
        raise AttributeError(f"{type(sender).__name__} has no signal {signature!r}")
    return instance, len(types.split(",")) if types else 0


def _connections(sender: Any) -> list[tuple[str, Any, Any, Callable[..., None]]]:
    try:
        return _plain_get(sender, "_connections_by_signature")
    except AttributeError:
        connections: list[tuple[str, Any, Any, Callable[..., None]]] = []
        _plain_set(sender, "_connections_by_signature", connections)
        return connections


def _capacity(target: Callable[..., Any]) -> int:
    """How many positional values a function takes; PythonQt leaves out what it has no room for."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return 99
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return 99
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in parameters)


def _find_child(self: Any, kind: Any, name: str = "", *options: Any) -> Any:
    if isinstance(kind, str):
        found = self.findChildren(kind, name)
        return found[0] if found else None
    return _plain_find_child(self, kind, name, *options)


def _find_children(self: Any, kind: Any = QtCore.QObject, name: Any = "", *options: Any) -> Any:
    """Children by class or by the class's name, as PythonQt has it."""
    if not isinstance(kind, str):
        return _plain_find_children(self, kind, name, *options)
    found = _plain_find_children(self, QtCore.QObject, name)
    return [child for child in found if child.inherits(kind)]


#: Methods that PythonQt has and PySide has not, or has otherwise.
_METHODS: dict[str, Callable[..., Any]] = {
    "className": _class_name,
    "connect": _connect,
    "delete": _delete,
    "disconnect": _disconnect,
    "exec_": _execute,
    "findChild": _find_child,
    "findChildren": _find_children,
}
