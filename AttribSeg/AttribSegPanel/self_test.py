"""What the module's self test does: the real workflow, on simulated data, with assertions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer

from .resources import demonstration_bundle, resource


def detection_threshold_and_correction(logic: Any, folder: Path) -> None:
    """Detect with the demonstration model, threshold, correct, and send it to a cohort.

    Parameters
    ----------
    logic : AttribSegLogic
    folder : Path
        For everything that is written.

    Raises
    ------
    AssertionError
        If a step does not do what it should.
    """
    from AttribSegLib.cohort_editing import create_cohort
    from AttribSegLib.image_io import read_image
    from AttribSegLib.mrml import mask_from_segment
    from AttribSegScene.live_threshold import LiveThreshold

    logic.workFolder = folder / "runs"
    samples = {
        kind: slicer.util.loadVolume(str(resource(f"SampleData/Simulated{kind}_FLAIR.nii.gz")))
        for kind in ("Healthy", "Tumour")
    }
    healthy = logic.detect(samples["Healthy"], demonstration_bundle())
    found = logic.detect(samples["Tumour"], demonstration_bundle(), minimumMl=0.05)
    assert not healthy.pathological, "class of the healthy sample"
    assert found.pathological, "class of the pathological sample"
    assert found.table_node.GetNumberOfRows() > 0, "lesions of the sample image"

    live = LiveThreshold(found.attribution_node, found.segmentation_node, found.segment_id)
    low, high = live.range
    counts = [live.set(low + share * (high - low)) for share in (0.05, 0.2, 0.5)]
    assert counts == sorted(counts, reverse=True), counts
    assert counts[0] > counts[-1], counts
    assert live.finish(), "lesions after dragging the threshold"
    mask = mask_from_segment(
        found.segmentation_node, found.segment_id, reference=found.volume_node
    ).array
    assert np.count_nonzero(mask) == counts[-1], "segment and threshold"

    cohort = folder / "cohort.csv"
    create_cohort(cohort, ("FLAIR",))
    logic.addCase(cohort, samples["Healthy"], label=0)
    row = logic.addCorrection(found.segmentation_node, cohort, author="self test")
    assert row.state == "corrected", row
    assert row.lesions is not None, row
    stored = read_image(row.lesions)
    assert np.array_equal(stored.array != 0, mask), "correction in the cohort"


def training(logic: Any, folder: Path) -> None:
    """Simulate a cohort, train, stop after the first epoch, resume to the end.

    Parameters, Raises: as `detection_threshold_and_correction`.
    """
    from AttribSegLib.jobs import Job
    from AttribSegScene.runs import command_program
    from AttribSegScene.task import Task

    logic.workFolder = folder / "runs"
    arguments = ["simulate", str(folder / "cohort"), "--healthy", "6", "--pathological", "6"]
    job = Job(
        [*arguments, "--lesions", "tumour"], folder=folder / "simulate", program=command_program()
    )
    Task("Simulating a cohort", job, lambda _: True).wait(slicer.app.processEvents)

    recipe = {"recipe": "attribution", "epochs": 2, "width": 0.0625, "batch_size": 2}
    options = {"recipe": recipe, "device": "cpu", "falsePositiveMl": 5.0}
    table = folder / "cohort" / "cohort.csv"
    task = logic.trainTask(table, folder / "model", **options)
    task.start()
    while not task.done:
        for event in task.poll():
            if event.get("event") == "epoch":
                task.stop()
        slicer.app.processEvents()
    assert task.state == "stopped", task.failure
    result = logic.train(table, folder / "model", resume=True, **options)
    assert result.bundle.channels == ("FLAIR",), result.bundle
    assert result.plot.table.GetNumberOfRows() > 0, "plot of the training"
