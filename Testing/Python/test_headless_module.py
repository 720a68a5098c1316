"""A tiny scripted module in the application without its window.

The same tests pass with Slicer's own base classes (environment variable ``SLICER_PYTHON_DIR``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

MODULE = """
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin


@parameterNodeWrapper
class Parameters:
    volume: slicer.vtkMRMLScalarVolumeNode
    threshold: Annotated[float, WithinRange(0, 100)] = 20.0


class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("Tiny module")
        self.started = False
        slicer.app.connect("startupCompleted()", self.on_startup)

    def on_startup(self):
        self.started = True


class TinyLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return Parameters(super().getParameterNode())

    def count(self, parameters):
        return int((slicer.util.arrayFromVolume(parameters.volume) >= parameters.threshold).sum())


class TinyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.calls = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/Tiny.ui"))
        widget.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = TinyLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.on_start_close)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.initialise)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.initialise)
        self.ui.countButton.connect("clicked(bool)", self.on_count)
        self.tag = self.parameters = None
        self.initialise()

    def initialise(self, caller=None, event=None):
        if self.parameters is not None:
            self.parameters.disconnectGui(self.tag)
        self.parameters = self.logic.getParameterNode()
        self.tag = self.parameters.connectParametersToGui(
            {"volume": self.ui.volumeSelector, "threshold": self.ui.threshold})

    def on_start_close(self, caller, event):
        self.calls.append("close")

    def on_count(self):
        if self.parameters.volume is None:
            slicer.util.errorDisplay("Choose a volume.")
            return
        self.ui.result.text = str(self.logic.count(self.parameters))

    def enter(self):
        self.calls.append("enter")

    def exit(self):
        self.calls.append("exit")

    def cleanup(self):
        self.calls.append("cleanup")
        self.removeObservers()


class TinyTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.delayDisplay("Counting")
        self.assertIsNotNone(TinyLogic().getParameterNode())
        slicer.tinyTested = True
"""

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Tiny</class>
 <widget class="qMRMLWidget" name="Tiny">
  <layout class="QFormLayout" name="form">
   <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="volumeSelector">
    <property name="noneEnabled"><bool>true</bool></property></widget></item>
   <item row="1" column="1"><widget class="ctkSliderWidget" name="threshold"/></item>
   <item row="2" column="1"><widget class="QPushButton" name="countButton">
    <property name="text"><string>Count</string></property></widget></item>
   <item row="3" column="1"><widget class="QLabel" name="result"/></item>
  </layout>
 </widget>
 <connections><connection>
  <sender>Tiny</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
  <receiver>volumeSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
 </connection></connections>
</ui>
"""


@pytest.fixture
def module_file(tmp_path: Path) -> Path:
    folder = tmp_path / "Tiny"
    (folder / "Resources" / "UI").mkdir(parents=True)
    (folder / "Tiny.py").write_text(MODULE, encoding="utf-8")
    (folder / "Resources" / "UI" / "Tiny.ui").write_text(UI, encoding="utf-8")
    return folder / "Tiny.py"


@pytest.fixture
def app() -> Iterator[Any]:
    from headless import HeadlessApplication

    with HeadlessApplication() as application:
        yield application


def add_volume(name: str = "FLAIR") -> Any:
    """A volume of 4 x 5 x 6 voxels with the values 0 to 119."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    values = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
    slicer.util.updateVolumeFromArray(node, values)
    return node


def test_buttons_work(app: Any, module_file: Path) -> None:
    import slicer

    panel = app.load_module(module_file)
    panel.ui.countButton.click()
    assert [(m.kind, m.text) for m in app.messages] == [("error", "Choose a volume.")]
    panel.ui.volumeSelector.setCurrentNode(add_volume())
    panel.ui.threshold.value = 100
    panel.ui.countButton.click()
    assert panel.ui.result.text == "20"
    assert slicer.modules.tiny.widgetRepresentation().self() is panel
    assert slicer.modules.TinyWidget is panel
    assert slicer.util.getModuleWidget("Tiny") is panel
    assert Path(slicer.util.modulePath("Tiny")) == module_file.resolve()
    assert slicer.modules.tiny.title == "Tiny module"


def test_scene_is_saved_closed_and_loaded(app: Any, module_file: Path, tmp_path: Path) -> None:
    import slicer

    panel = app.load_module(module_file)
    panel.ui.volumeSelector.setCurrentNode(add_volume())
    panel.ui.threshold.value = 60
    app.save_scene(tmp_path / "scene.mrb")
    app.close_scene()
    assert panel.calls == ["close"]
    assert panel.ui.volumeSelector.currentNode() is None
    assert (panel.ui.threshold.value, panel.parameters.threshold) == (20.0, 20.0)
    app.load_scene(tmp_path / "scene.mrb")
    volume = slicer.util.getNode("FLAIR")
    assert panel.parameters.volume is volume
    assert panel.ui.volumeSelector.currentNode() is volume
    assert panel.ui.threshold.value == 60.0
    panel.ui.countButton.click()
    assert panel.ui.result.text == "60"


def test_modules_are_entered_and_left(app: Any, module_file: Path) -> None:
    import slicer

    panel = app.load_module(module_file)
    slicer.util.selectModule("Tiny")
    slicer.util.selectModule("SegmentEditor")
    assert panel.calls == ["enter", "exit"]
    assert slicer.util.mainWindow().moduleSelector().selectedModule == "SegmentEditor"
    with pytest.raises(RuntimeError, match="Nothing"):
        slicer.util.selectModule("Nothing")


def test_start_up_end_and_self_test(module_file: Path) -> None:
    import slicer
    from headless import HeadlessApplication

    with HeadlessApplication() as app:
        panel = app.load_module(module_file)
        module = slicer.modules.TinyInstance
        assert not module.started
        app.start_up()
        assert module.started
        slicer.selfTests["Tiny"]()
        assert slicer.tinyTested
        folder = slicer.app.temporaryPath
        assert Path(folder).is_dir()
    assert panel.calls == ["cleanup"]
    assert not Path(folder).exists()
    assert "Tiny" not in sys.modules
    assert not hasattr(slicer, "mrmlScene")


def test_error_in_a_slot_fails_the_test(module_file: Path) -> None:
    from headless import HeadlessApplication

    application = HeadlessApplication()
    panel = application.load_module(module_file)
    panel.logic = None
    panel.ui.volumeSelector.setCurrentNode(add_volume())
    panel.ui.countButton.click()
    with pytest.raises(AssertionError, match="NoneType"):
        application.__exit__(None, None, None)


def test_segment_and_slice_layers_of_slicer_util(app: Any) -> None:
    """Functions of the real ``slicer.util`` that need the application."""
    import slicer

    volume = add_volume()
    segmentation = app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = segmentation.GetSegmentation().AddEmptySegment("lesions", "Lesions")
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[2:4, 1:3, 1:2] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segment, volume)
    read = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume)
    np.testing.assert_array_equal(read, mask)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    manager = slicer.app.layoutManager()
    assert manager.sliceViewNames() == ["Red", "Green", "Yellow"]
    for name in manager.sliceViewNames():
        composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
        assert composite.GetBackgroundVolumeID() == volume.GetID()
    layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    manager.setLayout(layout)
    assert app.scene.GetFirstNodeByClass("vtkMRMLLayoutNode").GetViewArrangement() == layout


def test_files_are_loaded_and_saved_by_slicer_util(app: Any, tmp_path: Path) -> None:
    import slicer

    volume = add_volume("one")
    assert slicer.util.saveNode(volume, str(tmp_path / "one.nii.gz"))
    loaded = slicer.util.loadVolume(str(tmp_path / "one.nii.gz"), {"name": "two"})
    assert loaded.GetName() == "two"
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume)
    )
    with pytest.raises(RuntimeError, match="absent"):
        slicer.util.loadVolume(str(tmp_path / "absent.nii.gz"))


def test_pictures(app: Any, module_file: Path, tmp_path: Path) -> None:
    """A panel, and a segment's surface in the 3D view, red against the bluish ground."""
    import slicer
    from matplotlib.image import imread

    panel = app.load_module(module_file)
    assert imread(app.screenshot(panel.parent, tmp_path / "panel.png", width=300)).shape[1] == 300
    volume = add_volume()
    segmentation = app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("a", "A", (1.0, 0.0, 0.0))
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[1:5, 1:4, 1:3] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "a", volume)

    def reds() -> int:
        picture = imread(app.render_3d(tmp_path / "3d.png", size=(200, 150)))
        assert picture.shape[:2] == (150, 200)
        return int((picture[..., 0] > picture[..., 2] + 0.2).sum())

    assert reds() == 0
    segmentation.CreateClosedSurfaceRepresentation()
    assert reds() > 100
    app.close_scene()
    assert reds() == 0


def test_picture_of_a_plot(app: Any, tmp_path: Path) -> None:
    """A red line that rises from the lower left to the upper right."""
    from matplotlib.image import imread
    from vtkmodules.vtkCommonCore import vtkFloatArray

    table = app.scene.AddNewNodeByClass("vtkMRMLTableNode")
    for name in ("epoch", "loss"):
        column = vtkFloatArray()
        column.SetName(name)
        for value in (0.0, 1.0, 2.0):
            column.InsertNextValue(value)
        table.AddColumn(column)
    series = app.scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "Loss")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("epoch")
    series.SetYColumnName("loss")
    series.SetPlotType(series.PlotTypeScatter)
    series.SetColor(1.0, 0.0, 0.0)
    chart = app.scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Training")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetLegendVisibility(False)
    picture = imread(app.render_plot(tmp_path / "plot.png", chart, size=(300, 200)))
    rows, columns = np.nonzero((picture[..., 0] > 0.8) & (picture[..., 1] < 0.5))
    assert np.ptp(columns) > 150
    assert np.corrcoef(rows, columns)[0, 1] < -0.9
    series.SetYColumnName("absent")
    with pytest.raises(ValueError, match="absent"):
        app.render_plot(tmp_path / "plot.png", chart)


def test_waiting(app: Any) -> None:
    import qt

    heard: list[int] = []
    qt.QTimer.singleShot(20, lambda: heard.append(1))
    app.wait_until(lambda: heard, timeout_s=5)
    with pytest.raises(TimeoutError):
        app.wait_until(lambda: False, timeout_s=0.05)


def test_settings_are_thrown_away() -> None:
    import slicer
    from headless import HeadlessApplication

    for _ in range(2):
        with HeadlessApplication():
            import qt

            assert slicer.util.settingsValue("Ours/Key", 5, converter=int) == 5
            qt.QSettings().setValue("Ours/Key", 6)
            assert slicer.util.settingsValue("Ours/Key", 5, converter=int) == 6


def test_segment_editor_gets_its_nodes(app: Any) -> None:
    import slicer

    segmentation = app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.GetSegmentation().AddEmptySegment("a", "A")
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.SegmentEditorWidget.editor
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(add_volume())
    node = app.scene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    assert node.GetSegmentationNode() is segmentation
    assert node.GetSelectedSegmentID() == "a"
    assert node.GetSourceVolumeNode().GetName() == "FLAIR"
