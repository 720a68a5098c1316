"""Typed parameters in a real ``vtkMRMLScriptedModuleNode``, and the widgets that show them.

The same tests pass with Slicer's own package (environment variable ``SLICER_PYTHON_DIR``).
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")


class Kind(enum.Enum):
    """For a parameter."""

    FIRST = 1
    SECOND = 2


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    from headless import HeadlessApplication

    with HeadlessApplication() as application:
        yield application


@pytest.fixture
def node(app: Any) -> Iterator[Any]:
    parameter_node = app.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    yield parameter_node
    app.scene.RemoveNode(parameter_node)


@pytest.fixture(scope="module")
def wrapped(app: Any) -> type:
    import slicer
    from slicer.parameterNodeWrapper import (
        Choice,
        Default,
        Minimum,
        WithinRange,
        parameterNodeWrapper,
    )

    class Parameters:
        on = True
        count = 3
        name = "x"
        device = "auto"

    # Given so because names of a function are not found in annotations that are strings.
    Parameters.__annotations__ = {
        "on": bool,
        "count": Annotated[int, Minimum(1)],
        "threshold": Annotated[float, WithinRange(0.0, 10.0), Default(2.5)],
        "name": str,
        "device": Annotated[str, Choice(["auto", "cpu"])],
        "folder": Path,
        "kind": Kind,
        "channels": list[str],
        "volume": slicer.vtkMRMLScalarVolumeNode,
    }
    return parameterNodeWrapper(Parameters)


def test_defaults(wrapped: type, node: Any) -> None:
    parameters = wrapped(node)
    assert parameters.parameterNode is node
    assert parameters.on is True
    assert (parameters.count, parameters.threshold, parameters.name) == (3, 2.5, "x")
    assert parameters.device == "auto"
    assert parameters.folder == Path()
    assert parameters.kind is Kind.FIRST
    assert list(parameters.channels) == []
    assert parameters.volume is None


def test_values_live_in_the_node(wrapped: type, node: Any, app: Any) -> None:
    parameters = wrapped(node)
    volume = app.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.on, parameters.count, parameters.threshold = False, 8, 0.1
    parameters.name, parameters.folder = "two words", Path("a") / "b"
    parameters.kind, parameters.channels, parameters.volume = Kind.SECOND, ["FLAIR", "T1"], volume
    again = wrapped(node)
    assert (again.on, again.count, again.threshold) == (False, 8, 0.1)
    assert (again.name, again.folder, again.kind) == ("two words", Path("a") / "b", Kind.SECOND)
    assert list(again.channels) == ["FLAIR", "T1"]
    assert again.volume is volume
    assert node.GetParameter("count") == "8"
    assert node.GetParameter("on") == "False"
    assert node.GetNodeReference("volume") is volume
    parameters.volume = None
    assert again.volume is None
    app.scene.RemoveNode(volume)


def test_removed_node_is_none(wrapped: type, node: Any, app: Any) -> None:
    parameters = wrapped(node)
    parameters.volume = app.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    app.scene.RemoveNode(parameters.volume)
    assert parameters.volume is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 0),
        ("threshold", 11.0),
        ("threshold", -1.0),
        ("device", "gpu"),
        ("name", None),
        ("name", 3),
        ("count", 2.5),
        ("on", "yes"),
        ("folder", "text"),
        ("kind", 1),
    ],
)
def test_bad_values_are_refused(wrapped: type, node: Any, name: str, value: Any) -> None:
    parameters = wrapped(node)
    before = getattr(parameters, name)
    with pytest.raises((TypeError, ValueError)):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_node_of_another_class_is_refused(wrapped: type, node: Any, app: Any) -> None:
    text = app.scene.AddNewNodeByClass("vtkMRMLTextNode")
    with pytest.raises(TypeError):
        wrapped(node).volume = text
    app.scene.RemoveNode(text)


@pytest.mark.skipif("SLICER_PYTHON_DIR" in os.environ, reason="for our own wrapper only")
def test_node_type_with_a_bar_is_refused(app: Any) -> None:
    """Slicer 5.10 takes a node's class alone, which may be None anyway; so does ours."""
    import slicer
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    class Barred:
        pass

    Barred.__annotations__ = {"volume": slicer.vtkMRMLScalarVolumeNode | None}
    with pytest.raises(TypeError, match="type"):
        parameterNodeWrapper(Barred)


def test_unknown_parameter(wrapped: type, node: Any) -> None:
    parameters = wrapped(node)
    parameters.setValue("count", 4)
    assert parameters.getValue("count") == 4
    with pytest.raises(ValueError, match="nothing"):
        parameters.getValue("nothing")


def widgets() -> dict[str, Any]:
    """A widget for every parameter that has one."""
    import ctk
    import qt
    import slicer

    combo = slicer.qMRMLNodeComboBox()
    combo.noneEnabled = True
    combo.setMRMLScene(slicer.mrmlScene)
    return {
        "on": qt.QCheckBox(),
        "count": qt.QSpinBox(),
        "threshold": ctk.ctkSliderWidget(),
        "name": qt.QLineEdit(),
        "device": qt.QComboBox(),
        "folder": ctk.ctkPathLineEdit(),
        "volume": combo,
    }


def test_widgets_show_and_set_parameters(wrapped: type, node: Any, app: Any) -> None:
    parameters, shown = wrapped(node), widgets()
    volume = app.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.connectParametersToGui(shown)
    assert (shown["on"].checked, shown["count"].value, shown["threshold"].value) == (True, 3, 2.5)
    assert (shown["threshold"].minimum, shown["threshold"].maximum) == (0.0, 10.0)
    assert (shown["name"].text, shown["device"].currentText) == ("x", "auto")
    assert [shown["device"].itemText(i) for i in range(shown["device"].count)] == ["auto", "cpu"]
    assert list(shown["volume"].nodeTypes) == ["vtkMRMLScalarVolumeNode"]
    # From the widgets to the node.
    shown["on"].click()
    shown["count"].value = 12
    shown["threshold"].value = 7.5
    shown["name"].text = "new"
    shown["device"].currentText = "cpu"
    shown["folder"].currentPath = str(Path("some") / "folder")
    shown["volume"].setCurrentNode(volume)
    assert (parameters.on, parameters.count, parameters.threshold) == (False, 12, 7.5)
    assert (parameters.name, parameters.device) == ("new", "cpu")
    assert parameters.folder == Path("some") / "folder"
    assert parameters.volume is volume
    # From the node to the widgets, in one step.
    before = node.StartModify()
    parameters.on, parameters.count, parameters.volume = True, 2, None
    node.EndModify(before)
    assert (shown["on"].checked, shown["count"].value) == (True, 2)
    assert shown["volume"].currentNode() is None
    app.scene.RemoveNode(volume)


def test_disconnected_widgets_rest(wrapped: type, node: Any) -> None:
    parameters, shown = wrapped(node), widgets()
    tag = parameters.connectParametersToGui(shown)
    parameters.disconnectGui(tag)
    shown["count"].value = 50
    assert parameters.count == 3
    parameters.count = 7
    assert shown["count"].value == 50


def test_widgets_are_found_by_their_property(wrapped: type, node: Any) -> None:
    import qt

    window = qt.QWidget()
    spin = qt.QSpinBox(window)
    spin.setProperty("SlicerParameterName", "count")
    qt.QSpinBox(window)
    parameters = wrapped(node)
    parameters.connectGui(window)
    assert spin.value == 3
    spin.value = 9
    assert parameters.count == 9


def test_widget_that_cannot_show_a_parameter(wrapped: type, node: Any) -> None:
    import qt

    with pytest.raises(RuntimeError, match="QSpinBox"):
        wrapped(node).connectParametersToGui({"name": qt.QSpinBox()})
