"""From the panel: a U-Net learns the lesion masks that there are, and finds lesions."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

from attribseg_panel import TUMOUR, workplace

SUPERVISED = "lesion masks alone (supervised U-Net)"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with workplace(tmp_path_factory.mktemp("supervised")) as opened:
        yield opened


def test_what_a_supervised_network_has_no_use_for_is_off(place):
    from AttribSegLib.recipes import recipe_from_dict
    from AttribSegPanel.train_section import recipe_from_parameters

    ui = place.ui
    controls = [ui.attributionComboBox, ui.networkComboBox, ui.alphaSpinBox]
    for choice in (SUPERVISED, "image labels and lesion masks", SUPERVISED, "image labels alone"):
        ui.constraintComboBox.setCurrentText(choice)
        assert [c.enabled for c in controls] == [choice != SUPERVISED] * 3
        recipe = recipe_from_parameters(place.parameters)
        assert recipe_from_dict(recipe).name == (
            "supervised" if choice == SUPERVISED else "attribution"
        )
        # A few corrected cases are in every batch, and their lesions count.
        assert recipe.get("balanced", False) == (choice == "image labels and lesion masks")


def test_a_few_masks_train_it_and_its_lesions_are_shown(place, tmp_path):
    import csv

    from AttribSegLib.bundle import load_bundle
    from AttribSegLib.simulation.cohort import simulate_cohort
    from AttribSegScene.detection_nodes import DetectionNodes

    simulate_cohort(tmp_path, healthy=5, pathological=5, lesions="tumour", seed=3)
    table = tmp_path / "cohort.csv"
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    masked = [row for row in rows if row["split"] == "train" and row["label"] == "1"]
    for row in masked[1:]:  # one patient is corrected, the others are not
        row["lesions"] = ""
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    ui = place.ui
    ui.cohortPathLineEdit.setCurrentPath(str(table))
    ui.constraintComboBox.setCurrentText(SUPERVISED)
    ui.epochsSpinBox.setValue(1)
    ui.widthSpinBox.setValue(0.125)
    ui.batchSizeSpinBox.setValue(2)
    ui.trainDeviceComboBox.setCurrentText("cpu")
    ui.outputPathLineEdit.setCurrentPath(str(tmp_path / "model"))
    ui.trainButton.click()
    place.wait()
    assert place.message == ""
    bundle = load_bundle(tmp_path / "model")
    assert bundle.recipe.name == "supervised"
    assert "masks of 1 of 3 pathological ones" in bundle.description
    place.picture("supervised", "train")
    ui.useBundleButton.click()
    ui.inputVolumeSelector.setCurrentNode(place.load(TUMOUR))
    ui.detectButton.click()
    place.wait()
    assert place.message == ""
    nodes = DetectionNodes.of(place.parameters.segmentation)
    assert nodes.attribution_node.GetImageData() is not None
    low, high = nodes.attribution_node.GetImageData().GetScalarRange()
    assert 0.0 <= low < high <= 1.0
    place.picture("supervised-detected", "detect")
