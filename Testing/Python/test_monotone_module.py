"""The MonotoneNet panel: inspect, train, counterfactual maps, and the channel that is segmented."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The open panel, a folder, and pictures of what a person sees."""
    from headless.application import HeadlessApplication

    # In Slicer, where the module it stands on is on the path too.
    sys.path.insert(0, str(REPOSITORY / "AttribSeg"))
    folder = tmp_path_factory.mktemp("monotone")
    pictures = Path(os.environ.get("ATTRIBSEG_SCREENSHOTS", folder / "pictures"))
    with HeadlessApplication() as app:
        widget = app.load_module(REPOSITORY / "MonotoneNet" / "MonotoneNet.py")
        ui = widget.ui
        ui.workFolderLineEdit.setCurrentPath(str(folder / "runs"))

        def wait(seconds=300):
            app.wait_until(lambda: widget.panel.run.task is None, timeout_s=seconds)
            app.process_events()

        def picture(name, *sections):
            for section in ("inspect", "train", "detect", "job"):
                getattr(ui, f"{section}CollapsibleButton").collapsed = section not in sections
            app.process_events()
            app.screenshot(widget.parent, pictures / f"monotone-{name}.png")

        yield SimpleNamespace(
            app=app, widget=widget, ui=ui, folder=folder, wait=wait, picture=picture
        )


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    """Cohort of small brains, a bright ball in the pathological ones, and its lesion masks."""
    from AttribSegLib.image import Geometry, Image
    from AttribSegLib.image_io import write_image

    folder = tmp_path_factory.mktemp("brains")
    grid = Geometry((36, 40, 34), (5.0,) * 3, (-90.0, 100.0, -70.0), np.diag([1.0, -1.0, 1.0]))
    i, j, k = np.indices(grid.size)
    brain = ((i - 17.5) / 15) ** 2 + ((j - 19.5) / 17) ** 2 + ((k - 16.5) / 14) ** 2 < 1
    rng = np.random.default_rng(0)
    rows = ["case,patient,label,split,FLAIR,lesions"]
    for split, count in (("train", 4), ("validation", 4), ("test", 2)):
        for number in range(count):
            case, label = f"{split}{number}", number % 2
            array = np.where(brain, 100 + 15 * np.cos(i / 4) + 4 * rng.standard_normal(i.shape), 0)
            a, b, c = rng.integers(12, 22, 3)
            ball = brain & ((i - a) ** 2 + (j - b) ** 2 + (k - c) ** 2 < 20) & bool(label)
            array[ball] += 80
            write_image(Image(array.astype(np.float32), grid), folder / f"{case}_FLAIR.nii.gz")
            write_image(Image(ball.astype(np.uint8), grid), folder / f"{case}_lesions.nii.gz")
            drawn = f"{case}_lesions.nii.gz" if label else ""
            rows.append(f"{case},p{case},{label},{split},{case}_FLAIR.nii.gz,{drawn}")
    table = folder / "cohort.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


@pytest.fixture(scope="module")
def model(place, brains):
    """Folder of a model that the panel's buttons trained."""
    ui, out = place.ui, place.folder / "model"
    ui.cohortPathLineEdit.setCurrentPath(str(brains))
    ui.outputPathLineEdit.setCurrentPath(str(out))
    for name, value in (("epochs", 1), ("width", 0.0625), ("features", 3), ("batchSize", 2)):
        getattr(ui, f"{name}SpinBox").setValue(value)
    ui.falsePositiveSpinBox.setValue(5.0)
    ui.trainDeviceComboBox.setCurrentText("cpu")
    ui.featureGradientCheckBox.setChecked(False)
    ui.constraintsGroupBox.collapsed = False
    ui.advancedGroupBox.collapsed = False
    ui.trainButton.click()
    assert ui.trainButton.text == "Cancel"
    place.app.wait_until(lambda: "Epoch 1" in ui.trainingLabel.text, timeout_s=300)
    place.picture("training", "train", "job")
    place.wait()
    assert ui.messageLabel.text == ""
    return out


@pytest.fixture(scope="module")
def maps(place, model, brains):
    """Nodes of the counterfactual maps of a test volume, made by the button."""
    import slicer
    from AttribSegScene.detection_nodes import DetectionNodes

    ui = place.ui
    volume = slicer.util.loadVolume(str(brains.parent / "test1_FLAIR.nii.gz"))
    ui.inputVolumeSelector.setCurrentNode(volume)
    ui.useBundleButton.click()
    ui.minimumMlSpinBox.setValue(0.0)
    ui.deviceComboBox.setCurrentText("cpu")
    ui.detectButton.click()
    settle(place)
    assert ui.messageLabel.text == ""
    place.picture("maps", "detect")
    return DetectionNodes.of(place.widget.panel.parameters.segmentation)


def settle(place):
    """Until nothing runs, and smoothing and smallest lesion are in force."""
    place.wait()
    place.app.wait_until(lambda: place.widget.panel.maps.view.threshold.ready, timeout_s=120)


def array_of(node):
    """Voxels of a volume node, shape (I, J, K)."""
    import slicer

    return slicer.util.arrayFromVolume(node).transpose(2, 1, 0).copy()


def segment_of(nodes):
    """Lesion mask of a detection, shape (I, J, K)."""
    from AttribSegLib.mrml import mask_from_segment

    node, volume = nodes.segmentation_node, nodes.volume_node
    return mask_from_segment(node, nodes.segment_id, reference=volume).array


def other_channel(nodes, channels):
    """A channel with a map of its own that is not segmented now."""
    return max(
        (name for name in channels.names if name != channels.chosen),
        key=lambda name: array_of(nodes.channel_attribution_nodes[name]).max(),
    )


def click_picture(place, channels, name):
    place.ui.channelList.setCurrentRow(channels.names.index(name))
    place.app.process_events()


def test_opening_the_module_imports_no_torch():
    code = (
        "import sys; sys.path[:0] = ['Testing', 'AttribSeg']\n"
        "from headless.application import HeadlessApplication\n"
        "with HeadlessApplication() as app:\n"
        "    app.load_module('MonotoneNet/MonotoneNet.py')\n"
        "    app.process_events()\n"
        "    print('loaded', sorted({'torch', 'monai', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert "loaded []" in done.stdout


def test_inspection_by_name(place):
    from AttribSegLib.networks import build_network
    from torch import nn

    ui, p = place.ui, place.widget.panel.parameters
    place.picture("start", "inspect")
    ui.inspectDimensionsComboBox.setCurrentText("2D slices")
    ui.inspectChannelsSpinBox.setValue(4)
    ui.inspectWidthSpinBox.setValue(0.0625)
    ui.inspectButton.click()
    assert ui.inspectButton.text == "Cancel"
    place.wait()
    assert ui.messageLabel.text == ""
    network = build_network("patchgan", dimensions=2, in_channels=4, width=0.0625)
    layers = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    weights = sum(layer.weight.numel() for layer in layers)
    assert ui.certificateLabel.text.startswith("Certified: monotone by construction")
    assert f"All {weights} weights of {len(layers)} layers" in ui.certificateLabel.text
    assert f"{len(layers)} weights made positive" in ui.reportText.plainText
    assert p.inspectTable.GetNumberOfRows() == len(layers)
    assert ui.depthTableView.mrmlTableNode() is p.inspectTable
    chart = p.inspectChart
    assert chart.GetYAxisLogScale()
    assert chart.GetNumberOfPlotSeriesNodes() == 3
    for n in range(3):
        series = chart.GetNthPlotSeriesNode(n)
        table = series.GetTableNode().GetTable()
        assert table.GetColumnByName(series.GetYColumnName()) is not None
    place.picture("inspected", "inspect")


def test_another_kind_of_model_is_refused_in_words(place):
    ui = place.ui
    ui.inspectBundlePathLineEdit.setCurrentPath(str(REPOSITORY / "Resources" / "DemoBundle"))
    assert not ui.inspectNetworkComboBox.enabled
    ui.inspectButton.click()
    assert "recipe 'monotone'" in ui.messageLabel.text
    assert place.widget.panel.run.task is None
    place.widget.panel.parameters.inspectBundle = ""
    assert ui.inspectNetworkComboBox.enabled


def test_refused_inspection_keeps_the_last_result(place):
    from AttribSegScene.task import Task

    ui, p = place.ui, place.widget.panel.parameters
    before = p.inspectReport, p.inspectTable, p.inspectChart
    gate = threading.Event()
    other = Task("Something else", None, lambda value: value, write=gate.wait)
    other.start()
    ui.inspectButton.click()
    other.kill()
    gate.set()
    assert "“Something else” is still running" in ui.messageLabel.text
    assert (p.inspectReport, p.inspectTable, p.inspectChart) == before
    assert ui.certificateLabel.text.startswith("Certified")
    place.widget.panel.refresh()
    assert ui.certificateLabel.text.startswith("Certified")


def test_training_says_what_was_left_out(place, model):
    from AttribSegLib.bundle_card import read_card

    ui = place.ui
    recipe = json.loads((model / "config.json").read_text(encoding="utf-8"))["recipe"]
    assert recipe["recipe"] == "monotone"
    assert recipe["ablate"] == ["feature_gradient"]
    assert recipe["features"] == 3
    assert not ui.gradientWeightSpinBox.enabled
    assert ui.negativeWeightSpinBox.enabled
    assert read_card(model).certified
    assert str(model) in ui.trainingLabel.text
    assert ui.cohortTableWidget.rowCount == 10
    place.picture("trained", "train")


def test_what_is_not_proved_is_said(place, model):
    ui = place.ui
    damaged = place.folder / "damaged"
    shutil.copytree(model, damaged)
    (damaged / "models" / "model.safetensors").unlink()
    ui.inspectBundlePathLineEdit.setCurrentPath(str(damaged))
    ui.inspectButton.click()
    place.wait()
    assert ui.certificateLabel.text.startswith("Not certified: ")
    assert "model.safetensors" in ui.certificateLabel.text
    assert "model.safetensors" in ui.messageLabel.text
    place.picture("not-certified", "inspect")
    assert not ui.reportText.visible
    assert ui.certificateLabel.visible


def test_trained_model_is_inspected(place, model):
    ui, p = place.ui, place.widget.panel.parameters
    ui.inspectBundlePathLineEdit.setCurrentPath(str(model))
    ui.inspectButton.click()
    place.wait()
    assert ui.messageLabel.text == ""
    assert ui.certificateLabel.text.startswith("Certified")
    assert p.inspectChart.GetNumberOfPlotSeriesNodes() == 4
    place.picture("inspected-model", "inspect")


def test_every_channel_has_a_map_and_a_picture(place, model, maps):
    from MonotoneNetScene.channels import channels_of

    channels, ui = channels_of(maps), place.ui
    assert set(maps.channel_attribution_nodes) == {"feature1", "feature2", "feature3"}
    assert ui.channelList.count == len(channels.names)
    reduction = json.loads((model / "config.json").read_text(encoding="utf-8"))["reduction"]
    best = f"feature{int(reduction.removeprefix('channel '))}"
    assert (channels.best, channels.expected, channels.chosen) == (best, best, best)
    starred = [n for n in range(ui.channelList.count) if "\N{BLACK STAR}" in text_of(ui, n)]
    assert [channels.names[n] for n in starred] == [best]
    assert np.array_equal(
        array_of(maps.attribution_node), array_of(maps.channel_attribution_nodes[best])
    )
    place.app.wait_until(lambda: place.widget.panel.maps.chooser.ready)
    for n, name in enumerate(channels.names):
        values = array_of(maps.channel_attribution_nodes[name])
        assert f"peak {values.max():.3g}" in text_of(ui, n)
        assert (values >= 0).all()  # nothing is ever added to a feature


def text_of(ui, row):
    return ui.channelList.item(row).text()


def test_pictures_are_hot_where_the_channel_is(maps):
    from MonotoneNetScene.channel_pictures import channel_pictures
    from MonotoneNetScene.channels import map_node

    assert any(array_of(node).any() for node in maps.channel_attribution_nodes.values())
    for picture in channel_pictures(maps, size=96):
        values = array_of(map_node(maps, picture.channel))
        assert picture.pixels.shape == (96, 96, 3)
        assert picture.peak == pytest.approx(values.max())
        red, _, blue = np.moveaxis(picture.pixels.astype(int), -1, 0)
        assert (blue <= red).all()  # no value is negative, so that nothing is blue
        if values.max() == 0:
            assert (red == blue).all()


def test_clicking_a_picture_shows_its_map_and_keeps_the_segment(place, maps):
    from MonotoneNetScene.channels import channels_of, map_node

    before, channels = segment_of(maps), channels_of(maps)
    name = other_channel(maps, channels)
    click_picture(place, channels, name)
    composite = place.app.scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert composite.GetForegroundVolumeID() == map_node(maps, name).GetID()
    assert name in place.ui.channelLabel.text
    assert np.array_equal(segment_of(maps), before)
    assert channels_of(maps) == channels


def test_choosing_a_channel_moves_threshold_and_segment_to_it(place, maps):
    from AttribSegScene.detection_nodes import DetectionNodes
    from MonotoneNetScene.channels import channels_of

    ui, channels = place.ui, channels_of(maps)
    name = other_channel(maps, channels)
    values = array_of(maps.channel_attribution_nodes[name])
    click_picture(place, channels, name)
    ui.chooseChannelButton.click()
    settle(place)
    assert ui.messageLabel.text == ""
    nodes = DetectionNodes.of(maps.segmentation_node)
    assert channels_of(nodes).chosen == name
    assert channels_of(nodes).names == channels.names
    assert np.array_equal(array_of(nodes.attribution_node), values)
    assert np.array_equal(segment_of(nodes), values > nodes.threshold)
    assert not nodes.edited
    slider = ui.thresholdSlider
    for share in (0.2, 0.6):
        slider.setValue(share * values.max())
        assert np.array_equal(segment_of(nodes), values > slider.value)
    place.app.process_events(0.5)
    assert nodes.threshold == pytest.approx(slider.value)
    place.picture("channel-chosen", "detect")

    click_picture(place, channels, channels.expected)
    ui.chooseChannelButton.click()
    settle(place)
    back = DetectionNodes.of(maps.segmentation_node)
    assert np.array_equal(
        array_of(back.attribution_node),
        array_of(maps.channel_attribution_nodes[channels.expected]),
    )
    assert channels_of(back).chosen == channels.expected


def test_model_map_is_kept_once_whoever_chooses(place, maps):
    from MonotoneNetScene.channel_tasks import choose_channel_task
    from MonotoneNetScene.channels import MODEL_MAP, channels_of

    def volumes():
        return place.app.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")

    before, original = volumes(), array_of(maps.attribution_node)
    for name in (other_channel(maps, channels_of(maps)), MODEL_MAP):
        nodes = choose_channel_task(maps, name, threshold=0.5).wait(place.app.process_events)
        assert nodes.threshold == 0.5
        assert np.array_equal(segment_of(nodes), array_of(nodes.attribution_node) > 0.5)
    assert volumes() == before
    assert np.array_equal(array_of(nodes.attribution_node), original)


def test_segments_of_all_channels(place, maps):
    from AttribSegLib.mrml import mask_from_segment
    from AttribSegScene.detection_nodes import DetectionNodes

    def segmentations():
        return place.app.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")

    nodes, before = DetectionNodes.of(maps.segmentation_node), segmentations()
    place.ui.segmentChannelsButton.click()
    place.wait()
    assert "3 segments" in place.ui.messageLabel.text
    node = nodes.segmentation_node.GetNodeReference("MonotoneNet.ChannelSegments")
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["feature1", "feature2", "feature3"]
    for name, other in nodes.channel_attribution_nodes.items():
        if name.startswith("feature"):
            mask = mask_from_segment(node, name, reference=nodes.volume_node).array
            assert np.array_equal(mask, array_of(other) > nodes.threshold)
    place.ui.segmentChannelsButton.click()
    place.wait()
    assert segmentations() == before + 1


def test_corrections_are_not_overwritten_unasked(place, maps):
    from AttribSegScene.detection_nodes import DetectionNodes
    from AttribSegScene.labelmap import write_mask
    from MonotoneNetScene.channels import channels_of, map_image

    nodes = DetectionNodes.of(maps.segmentation_node)
    drawn = np.zeros_like(segment_of(nodes))
    drawn[10:14, 10:14, 10:14] = True
    grid = map_image(nodes.attribution_node, nominal=False).geometry
    write_mask(nodes.segmentation_node, nodes.segment_id, drawn, grid)
    assert nodes.edited
    channels = channels_of(nodes)
    click_picture(place, channels, other_channel(nodes, channels))
    place.app.answers["question"] = False
    place.ui.chooseChannelButton.click()
    settle(place)
    assert np.array_equal(segment_of(nodes), drawn)
    with pytest.raises(Exception, match="edited by hand"):
        place.widget.logic.chooseChannel(nodes.segmentation_node, channels.expected)
    place.app.answers["question"] = True
    place.ui.chooseChannelButton.click()
    settle(place)
    assert not np.array_equal(segment_of(nodes), drawn)


def test_scene_is_saved_and_loaded_again(place, maps):
    from AttribSegScene.detection_nodes import DetectionNodes
    from MonotoneNetScene.channels import channels_of

    ui = place.ui
    nodes = DetectionNodes.of(maps.segmentation_node)
    before = channels_of(nodes), segment_of(nodes), ui.reportText.plainText
    pictures = ui.channelList.count
    path = place.app.save_scene(place.folder / "scene.mrb")
    place.app.close_scene()
    assert ui.channelList.count == 0
    assert ui.probabilityBar.format == ""
    assert not ui.chooseChannelButton.enabled
    assert not ui.reportText.visible
    place.app.load_scene(path)
    place.app.process_events(0.2)
    again = DetectionNodes.of(place.widget.panel.parameters.segmentation)
    assert (channels_of(again), ui.channelList.count) == (before[0], pictures)
    assert np.array_equal(segment_of(again), before[1])
    assert ui.reportText.plainText == before[2]
    assert ui.inspectDimensionsComboBox.currentText == "2D slices"
    assert ui.trainDeviceComboBox.currentText == "cpu"
    assert before[2]
    values = array_of(again.attribution_node)
    ui.thresholdSlider.setValue(0.4 * values.max())
    assert np.array_equal(segment_of(again), values > ui.thresholdSlider.value)
    place.app.process_events(0.5)
    place.picture("reloaded", "inspect", "detect")


def test_making_the_maps_again_ends_the_choice(place, model, maps):
    from AttribSegScene.detection_nodes import DetectionNodes
    from MonotoneNetScene.channels import channels_of

    p = place.widget.panel.parameters
    chosen = channels_of(DetectionNodes.of(p.segmentation)).chosen
    place.ui.detectButton.click()
    settle(place)
    assert place.ui.messageLabel.text == ""
    channels = channels_of(DetectionNodes.of(p.segmentation))
    assert channels.chosen == channels.expected != chosen


def test_missing_channel_and_other_segmentations_are_named(place, maps):
    from AttribSegLib.errors import InputError

    logic, p = place.widget.logic, place.widget.panel.parameters
    with pytest.raises(InputError, match="no map of 'feature9': the detection has feature1"):
        logic.chooseChannel(p.segmentation, "feature9")
    with pytest.raises(InputError, match="recipe 'monotone'"):
        logic.counterfactual(p.inputVolume, REPOSITORY / "Resources" / "DemoBundle")
    assert place.ui.channelList.visible
    other = place.app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    with pytest.raises(InputError, match="does not come from a detection"):
        logic.segmentChannels(other)
    place.ui.segmentationSelector.setCurrentNode(other)
    assert "does not come from a detection" in place.ui.messageLabel.text
    assert not place.ui.channelList.visible
    assert not place.ui.chooseChannelButton.enabled
