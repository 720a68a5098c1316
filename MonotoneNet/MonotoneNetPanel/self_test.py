"""What the module's self test does: the real workflow, on simulated data, with assertions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer


def inspection(logic: Any, folder: Path) -> None:
    """Convert a small network, and look at what is shown of it.

    Parameters
    ----------
    logic : MonotoneNetLogic
    folder : Path
        For everything that is written.

    Raises
    ------
    AssertionError
        If a step does not do what it should.
    """
    logic.workFolder = folder / "runs"
    found = logic.inspect(network="patchgan", dimensions=2, inChannels=4, width=0.0625)
    assert found.verdict.startswith("Certified"), found.verdict
    assert "weights made positive" in found.text_node.GetText(), found.text_node.GetText()
    assert found.table_node.GetNumberOfRows() > 3, "layers in the table"
    assert found.chart_node.GetNumberOfPlotSeriesNodes() == 3, "initialisations in the plot"


def training_and_channels(logic: Any, folder: Path) -> None:
    """Train on simulated brains, make counterfactual maps, choose a channel.

    Parameters, Raises: as `inspection`.
    """
    from AttribSegLib.jobs import Job
    from AttribSegLib.mrml import mask_from_segment
    from AttribSegScene.runs import command_program
    from AttribSegScene.task import Task

    logic.workFolder = folder / "runs"
    arguments = ["simulate", str(folder / "cohort"), "--healthy", "6", "--pathological", "6"]
    job = Job(
        [*arguments, "--lesions", "tumour"], folder=folder / "simulate", program=command_program()
    )
    Task("Simulating a cohort", job, lambda _: True).wait(slicer.app.processEvents)

    table = folder / "cohort" / "cohort.csv"
    recipe = {"features": 3, "epochs": 1, "width": 0.0625, "batch_size": 2}
    trained = logic.train(table, folder / "model", recipe=recipe, device="cpu", falsePositiveMl=5.0)
    assert trained.bundle.certified, trained.bundle

    volume = slicer.util.loadVolume(str(folder / "cohort" / "images" / "pathological-006.nii.gz"))
    found = logic.counterfactual(volume, folder / "model", device="cpu", prepared=True)
    maps = found.channel_attribution_nodes
    assert len(maps) == 3, maps
    high = max(float(slicer.util.arrayFromVolume(node).max()) for node in maps.values())
    channel = next(
        name for name, node in maps.items() if slicer.util.arrayFromVolume(node).max() == high
    )
    again = logic.chooseChannel(found.segmentation_node, channel, threshold=high / 2)
    mask = mask_from_segment(
        again.segmentation_node, again.segment_id, reference=again.volume_node
    ).array
    expected = slicer.util.arrayFromVolume(maps[channel]).transpose(2, 1, 0) > high / 2
    assert np.array_equal(mask, expected), "segment and map of the channel"
    segments = logic.segmentChannels(again.segmentation_node)
    assert segments.GetSegmentation().GetNumberOfSegments() == 3, "segments of all channels"
