"""The panel leaves to the user what is the user's: views, scenes, empty fields."""

from __future__ import annotations

import pytest
from attribseg_panel import HEALTHY, TUMOUR, workplace


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with workplace(tmp_path_factory.mktemp("scene")) as opened:
        yield opened


@pytest.fixture(scope="module")
def nodes(place):
    return place.detect(place.load(TUMOUR))


def test_views_stay_as_the_user_arranges_them(place, nodes):
    import slicer

    other = place.load(HEALTHY)
    slicer.util.setSliceViewerLayers(background=other, foreground=None)
    red = place.app.scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    place.ui.epochsSpinBox.setValue(7)
    place.app.scene.RemoveNode(place.app.scene.AddNewNodeByClass("vtkMRMLTextNode"))
    place.widget.enter()
    assert red.GetBackgroundVolumeID() == other.GetID()
    assert not red.GetForegroundVolumeID()
    place.ui.opacitySlider.setValue(0.3)
    assert red.GetForegroundVolumeID() == nodes.attribution_node.GetID()
    assert red.GetForegroundOpacity() == pytest.approx(0.3)


def test_lesion_table_has_names_and_all_rows(place, nodes):
    from PySide6.QtCore import Qt

    model = place.ui.lesionTableView.model()
    names = [model.headerData(c, Qt.Orientation.Horizontal) for c in range(model.columnCount())]
    assert names[:2] == ["Lesion", "Volume (mL)"]
    assert model.rowCount() == nodes.table_node.GetNumberOfRows()
    assert model.data(model.index(0, 0)) == "1"


def test_scene_imported_over_a_used_one(place, nodes):
    """As a user who loads a saved scene without closing the present one."""
    import slicer

    path = place.app.save_scene(place.folder / "scene.mrb")
    slicer.util.loadScene(str(path))
    place.app.process_events()
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    assert place.message == ""
    assert place.ui.thresholdSlider.enabled
    assert place.ui.lesionTableView.mrmlTableNode() is not None
    assert place.ui.lesionTableView.model().rowCount() >= 1


def test_emptied_path_stays_empty(place):
    import qt

    edit = place.ui.bundlePathLineEdit
    edit.setCurrentPath("/somewhere")
    assert place.parameters.bundleFolder == "/somewhere"
    text = edit.findChildren(qt.QLineEdit)[0]
    text.clear()
    text.textEdited.emit("")  # as typing does
    assert place.parameters.bundleFolder == ""
    place.ui.epochsSpinBox.setValue(8)
    assert edit.currentPath == ""
