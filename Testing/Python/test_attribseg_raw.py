"""A raw scan in the panel: prepared, detected, corrected, and sent to a cohort in the atlas."""

from __future__ import annotations

import numpy as np
import pytest
from attribseg_panel import HEAD, voxels, workplace


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with workplace(tmp_path_factory.mktemp("raw")) as opened:
        yield opened


@pytest.fixture(scope="module")
def head(place):
    return place.load(HEAD)


def test_prepare_makes_volume_mask_and_transform(place, head):
    import slicer
    from AttribSegLib.mrml import image_from_volume_node
    from AttribSegScene.transforms import affine_from_node

    ui = place.ui
    ui.inputVolumeSelector.setCurrentNode(head)
    place.app.process_events()
    ui.intersliceCheckBox.setChecked(False)
    ui.preprocessButton.click()
    assert ui.preprocessButton.text == "Cancel"
    place.wait()
    assert "Made SimulatedHead_FLAIR (FLAIR, prepared)" in place.message
    place.picture("preprocess", "inputs", "preprocess", "job")
    prepared = image_from_volume_node(slicer.util.getNode("SimulatedHead_FLAIR (FLAIR, prepared)"))
    brain = image_from_volume_node(slicer.util.getNode("SimulatedHead_FLAIR (brain)"))
    assert prepared.geometry.same_grid(brain.geometry)
    assert prepared.geometry.spacing == (2, 2, 2)
    inside = brain.array != 0
    assert prepared.array[inside].mean() == pytest.approx(0, abs=0.1)
    assert np.ptp(prepared.array[~inside]) == 0
    # The transform takes the head to the atlas: resampled through it, the scan is the prepared one.
    transform = affine_from_node(slicer.util.getNode("SimulatedHead_FLAIR (FLAIR to atlas)"))
    scan = image_from_volume_node(head)
    moved = scan.with_array(scan.array.astype(np.float32)).resample(
        prepared.geometry, transform=transform
    )
    agreement = np.corrcoef(moved.array[inside], prepared.array[inside])[0, 1]
    assert agreement > 0.99
    ui.intersliceCheckBox.setChecked(True)


def test_raw_scan_is_detected_in_its_own_space_and_corrected_in_the_atlas(place, head):
    from AttribSegLib.cohort_editing import create_cohort
    from AttribSegLib.cohort_state import cohort_rows
    from AttribSegLib.image_io import read_image
    from AttribSegLib.mrml import image_from_volume_node

    ui = place.ui
    nodes = place.detect(head)
    assert nodes.attribution_node.GetImageData().GetDimensions() == (
        head.GetImageData().GetDimensions()
    )
    assert nodes.transform_node is not None
    ui.thresholdSlider.setValue(ui.thresholdSlider.minimum + 0.3 * ui.thresholdSlider.maximum)
    place.app.wait_until(lambda: place.widget.panel.detect.view.threshold.ready)
    assert voxels(nodes.segmentation_node, nodes.segment_id, head) > 0

    table = place.folder / "study" / "cohort.csv"
    table.parent.mkdir()
    create_cohort(table, ("FLAIR",))
    ui.cohortPathLineEdit.setCurrentPath(str(table))
    ui.addCorrectionButton.click()
    place.wait()
    assert "is in the cohort" in place.message, place.message
    (row,) = cohort_rows(table)
    assert row.state == "corrected"
    stored, mask = read_image(row.channels["FLAIR"]), read_image(row.lesions)
    prepared = image_from_volume_node(nodes.prepared_nodes["FLAIR"])
    assert stored.geometry.same_grid(prepared.geometry)
    np.testing.assert_allclose(stored.array, prepared.array, atol=1e-5)
    assert mask.geometry.same_grid(stored.geometry)
    native = voxels(nodes.segmentation_node, nodes.segment_id, head) * float(
        np.prod(head.GetSpacing())
    )
    # The atlas is larger than most brains; lesions grow with it.
    scale = abs(np.linalg.det(_linear_part(nodes.transform_node)))
    assert (mask.array != 0).sum() * 8 == pytest.approx(native * scale, rel=0.05)


def _linear_part(node):
    import slicer

    return slicer.util.arrayFromTransformMatrix(node)[:3, :3]
