"""The names ``qt`` and ``ctk``: PythonQt's look on real widgets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Form</class>
 <widget class="qMRMLWidget" name="Form">
  <layout class="QVBoxLayout" name="column">
   <item>
    <widget class="ctkCollapsibleButton" name="section">
     <property name="text"><string>Inputs</string></property>
     <property name="collapsed"><bool>true</bool></property>
     <layout class="QFormLayout" name="form">
      <item row="0" column="1">
       <widget class="QCheckBox" name="box">
        <property name="text"><string>Box</string></property>
        <property name="SlicerParameterName" stdset="0"><string>box</string></property>
       </widget>
      </item>
      <item row="1" column="1">
       <widget class="ctkSliderWidget" name="slider">
        <property name="decimals"><number>3</number></property>
        <property name="singleStep"><double>0.001</double></property>
        <property name="maximum"><double>2.0</double></property>
        <property name="value"><double>0.125</double></property>
       </widget>
      </item>
      <item row="2" column="1">
       <widget class="ctkPathLineEdit" name="path">
        <property name="filters">
         <set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable</set>
        </property>
       </widget>
      </item>
      <item row="3" column="1">
       <widget class="qMRMLNodeComboBox" name="selector">
        <property name="nodeTypes">
         <stringlist><string>vtkMRMLTextNode</string></stringlist>
        </property>
        <property name="noneEnabled"><bool>true</bool></property>
       </widget>
      </item>
     </layout>
    </widget>
   </item>
  </layout>
 </widget>
 <customwidgets>
  <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><container>1</container>
  </customwidget>
  <customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends>
   <container>1</container></customwidget>
 </customwidgets>
 <connections>
  <connection>
   <sender>Form</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
  </connection>
  <connection>
   <sender>box</sender><signal>toggled(bool)</signal>
   <receiver>slider</receiver><slot>setEnabled(bool)</slot>
  </connection>
 </connections>
</ui>
"""


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    from headless import HeadlessApplication

    with HeadlessApplication() as application:
        yield application


@pytest.fixture
def form(app: Any, tmp_path: Path) -> Iterator[Any]:
    import slicer

    (tmp_path / "form.ui").write_text(UI, encoding="utf-8")
    widget = slicer.util.loadUI(str(tmp_path / "form.ui"))
    yield widget
    widget.delete()
    app.answers.clear()


def test_properties_are_attributes(app: Any) -> None:
    import qt

    label = qt.QLabel("one")
    assert label.text == "one"
    label.text, label.enabled, label.toolTip = "two", False, "tip"
    assert (label.text, label.enabled, label.toolTip) == ("two", False, "tip")
    assert qt.QLabel.text(label) == "two"  # Qt itself has it, not only the attribute
    assert not label.isEnabled()
    label.name = "first"
    assert label.objectName == label.name == "first"
    label.alignment = qt.Qt.AlignRight
    assert label.alignment & qt.Qt.AlignRight
    label.note = [1]  # not Qt's: any Python attribute
    assert label.note == [1]
    with pytest.raises(AttributeError):
        label.nothing  # noqa: B018


def test_read_only_property_is_not_written(app: Any) -> None:
    import qt

    combo = qt.QComboBox()
    combo.addItems(["a", "b"])
    combo.currentText = "b"
    assert (combo.count, combo.currentIndex) == (2, 1)
    with pytest.raises(AttributeError, match="count"):
        combo.count = 3


def test_number_is_converted(app: Any) -> None:
    import qt

    spin = qt.QSpinBox()
    spin.maximum = 300
    spin.value = 120.0
    assert spin.value == 120
    bar = qt.QProgressBar()
    bar.value = 40
    assert (bar.value, bar.text) == (40, "40%")


def test_objects_that_qt_made_have_the_look(app: Any) -> None:
    import qt

    table = qt.QTableWidget(2, 3)
    assert (table.rowCount, table.columnCount) == (2, 3)
    table.horizontalHeader().stretchLastSection = True
    assert table.horizontalHeader().stretchLastSection
    assert len(table.findChildren("QHeaderView")) == 2
    assert isinstance(table.horizontalHeader(), qt.QWidget)


def test_signals_connect_by_signature(app: Any) -> None:
    import qt

    heard: list[Any] = []

    def takes_one(checked: bool) -> None:
        heard.append(checked)

    def takes_none() -> None:
        heard.append("none")

    box = qt.QCheckBox()
    box.connect("toggled(bool)", takes_one)
    box.connect("toggled(bool)", takes_none)  # what it has no room for is left out
    box.connect("clicked()", lambda *values: heard.append(values))
    box.click()
    assert heard == [True, "none", ()]
    assert box.disconnect("toggled(bool)", takes_one)
    assert not box.disconnect("toggled(bool)", takes_one)
    box.click()
    assert heard[3:] == ["none", ()]
    with pytest.raises(AttributeError, match="pressedHard"):
        box.connect("pressedHard()", takes_none)


def test_virtual_functions_are_overridden(app: Any) -> None:
    import qt

    class Square(qt.QWidget):
        def sizeHint(self) -> Any:  # noqa: N802
            return qt.QSize(31, 31)

    parent = qt.QWidget()
    layout = qt.QVBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(Square())
    assert layout.sizeHint() == qt.QSize(31, 31)
    assert parent.className() == "QWidget"


def test_widgets_of_a_file_are_of_the_exact_types(form: Any) -> None:
    import ctk
    import qt
    import slicer

    ui = slicer.util.childWidgetVariables(form)
    assert type(ui.box) is qt.QCheckBox
    assert type(ui.slider) is ctk.ctkSliderWidget
    assert type(ui.path) is ctk.ctkPathLineEdit
    assert type(ui.selector) is slicer.qMRMLNodeComboBox
    assert type(form) is slicer.qMRMLWidget
    assert ui.box.parent() is ui.section
    assert ui.box.property("SlicerParameterName") == "box"
    assert ui.box.property("SlicerOther") is None
    assert (ui.slider.value, ui.slider.maximum, ui.slider.decimals) == (0.125, 2.0, 3)
    assert ui.path.filters == ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Readable
    assert list(ui.selector.nodeTypes) == ["vtkMRMLTextNode"]


def test_connections_of_a_file(form: Any, app: Any) -> None:
    import slicer

    ui = slicer.util.childWidgetVariables(form)
    form.setMRMLScene(app.scene)
    assert ui.selector.mrmlScene() is app.scene
    ui.box.checked = True
    ui.box.checked = False
    assert not ui.slider.enabled


def test_collapsed_section_hides_its_contents(form: Any, app: Any) -> None:
    import slicer

    ui = slicer.util.childWidgetVariables(form)
    heard: list[bool] = []
    ui.section.connect("contentsCollapsed(bool)", heard.append)
    form.show()
    app.process_events()
    closed = form.sizeHint().height()
    assert not ui.box.visible
    ui.section.collapsed = False
    app.process_events()
    assert ui.box.visible
    assert form.sizeHint().height() > closed + 50
    ui.section.click()
    assert not ui.box.visible
    assert heard == [False, True]


def test_slider_widget(app: Any) -> None:
    import ctk

    heard: list[float] = []
    slider = ctk.ctkSliderWidget()
    slider.minimum, slider.maximum, slider.singleStep, slider.decimals = -1.0, 1.0, 0.01, 2
    slider.connect("valueChanged(double)", heard.append)
    slider.value = 0.5
    slider.value = 0.5
    slider.value = 7.0
    assert heard == [0.5, 1.0]
    slider.slider().setValue(0)
    slider.spinBox().setValue(0.25)
    assert heard[2:] == [-1.0, 0.25]
    assert slider.slider().value == 125
    slider.tracking = False
    slider.slider().setSliderDown(True)
    slider.slider().setSliderPosition(0)
    assert slider.value == 0.25
    slider.slider().setSliderDown(False)
    assert slider.value == -1.0


def test_range_widget(app: Any) -> None:
    import ctk

    heard: list[tuple[float, float]] = []
    widget = ctk.ctkRangeWidget()
    widget.setRange(0.0, 10.0)
    widget.connect("valuesChanged(double,double)", lambda low, high: heard.append((low, high)))
    widget.setValues(2.0, 30.0)
    widget.minimumValue = 4.0
    assert heard[-1] == (4.0, 10.0)
    assert (widget.minimumValue, widget.maximumValue) == (4.0, 10.0)


def test_path_widgets_take_the_given_answer(app: Any, tmp_path: Path) -> None:
    import ctk
    import qt

    heard: list[Path] = []
    line, button = ctk.ctkPathLineEdit(), ctk.ctkDirectoryButton()
    line.connect("currentPathChanged(QString)", lambda path: heard.append(Path(path)))
    button.connect("directoryChanged(QString)", lambda path: heard.append(Path(path)))
    app.answers["file"] = str(tmp_path)
    line.browse()
    button.click()
    assert heard == [tmp_path] * 2
    assert Path(line.currentPath) == Path(button.directory) == tmp_path
    assert qt.QFileDialog.getExistingDirectory(None, "Folder") == str(tmp_path)
    app.answers.clear()
    line.browse()  # cancelled
    assert Path(line.currentPath) == tmp_path


def test_node_combo_box_follows_the_scene(app: Any) -> None:
    import slicer

    heard: list[Any] = []
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.noneEnabled = True
    combo.setMRMLScene(app.scene)
    combo.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    combo.connect("currentNodeChanged(bool)", heard.append)
    combo.connect("currentNodeIDChanged(QString)", heard.append)
    volume = app.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "FLAIR")
    labels = app.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    app.scene.AddNewNodeByClass("vtkMRMLTextNode", "Text")
    assert combo.nodes() == [volume, labels]
    assert combo.currentNode() is None
    combo.setCurrentNode(volume)
    assert combo.currentNodeID == volume.GetID()
    assert heard == [volume, True, volume.GetID()]
    volume.SetName("T2 FLAIR")
    assert combo.comboBox().currentText == "T2 FLAIR"
    combo.showChildNodeTypes = False
    assert combo.nodes() == [volume]
    app.scene.RemoveNode(volume)
    assert combo.currentNode() is None
    assert heard[3:] == [None, False, ""]
    combo.delete()
    app.scene.RemoveNode(labels)  # nothing is called in a deleted widget
    assert app.errors == []


def test_node_combo_box_without_none_chooses_the_first(app: Any) -> None:
    import slicer

    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLTableNode"]
    combo.addAttribute("vtkMRMLTableNode", "Kind", "ours")
    combo.setMRMLScene(app.scene)
    app.scene.AddNewNodeByClass("vtkMRMLTableNode", "Other")
    assert combo.currentNode() is None
    combo.baseName = "Ours"
    made = combo.addNode()
    assert made.GetAttribute("Kind") == "ours"
    assert combo.currentNode() is made
    assert made.GetName() == "Ours"
    combo.delete()


def test_table_view_shows_its_node(app: Any) -> None:
    import qt
    import slicer
    from vtkmodules.vtkCommonCore import vtkStringArray

    node = app.scene.AddNewNodeByClass("vtkMRMLTableNode")
    column = vtkStringArray()
    column.SetName("Lesion")
    column.InsertNextValue("left")
    node.AddColumn(column)
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(node)
    model = view.model()
    # As in Slicer, unless told otherwise: the names of the columns are the first row.
    assert (model.rowCount(), model.columnCount()) == (2, 1)
    assert [model.data(model.index(row, 0)) for row in range(2)] == ["Lesion", "left"]
    assert model.headerData(0, qt.Qt.Horizontal) == "A"
    node.SetUseColumnTitleAsColumnHeader(True)
    view.setMRMLTableNode(node)
    assert (model.rowCount(), model.columnCount()) == (1, 1)
    assert model.data(model.index(0, 0)) == "left"
    assert model.headerData(0, qt.Qt.Horizontal) == "Lesion"
    node.AddEmptyRow()
    assert model.rowCount() == 2


def test_dialogs_are_recorded_and_answered(app: Any) -> None:
    import qt
    import slicer

    app.messages.clear()
    slicer.util.errorDisplay("broken")
    slicer.util.warningDisplay("careful")
    assert slicer.util.confirmOkCancelDisplay("Go on?")
    app.answers["question"] = False
    assert not slicer.util.confirmYesNoDisplay("Really?")
    assert qt.QMessageBox.question(None, "T", "Yes?") == qt.QMessageBox.No
    with pytest.raises(ValueError, match="bad"), slicer.util.tryWithErrorDisplay("It failed."):
        raise ValueError("bad")
    kinds = [(message.kind, message.text.partition("\n")[0]) for message in app.messages]
    assert kinds == [
        ("error", "broken"),
        ("warning", "careful"),
        ("question", "Go on?"),
        ("question", "Really?"),
        ("question", "Yes?"),
        ("error", "It failed."),
    ]
    with pytest.raises(RuntimeError, match="must not install"):
        slicer.util.pip_install("anything")
    app.answers.clear()


def test_errors_of_slots_are_kept(app: Any) -> None:
    import qt

    def fail() -> None:
        raise ValueError("in a slot")

    button = qt.QPushButton()
    button.connect("clicked()", fail)
    button.click()
    assert len(app.errors) == 1
    assert "in a slot" in app.errors[0]
    app.errors.clear()


def test_second_application_is_refused(app: Any) -> None:
    from headless import HeadlessApplication

    with pytest.raises(RuntimeError, match="another"):
        HeadlessApplication()
