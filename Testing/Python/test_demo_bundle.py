"""The demonstration bundle that ships with the extension, on brains it has never seen."""

from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.bundle import load_bundle
from AttribSegLib.detection import detect, write_detection
from AttribSegLib.metrics.voxel import auprc
from AttribSegLib.segmentation_file import read_segmentation
from AttribSegLib.simulation.subject import simulate_subject

FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "DemoBundle"


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(FOLDER)


@pytest.fixture(scope="module")
def subjects():
    return [
        (label, simulate_subject(label, lesions="tumour", seed=90_000 + number))
        for number in range(3)
        for label in (0, 1)
    ]


def test_it_is_small_and_says_what_it_is(bundle):
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    assert size < 5e6
    assert bundle.channels == ("FLAIR",)
    assert bundle.thresholds["attribution"].rule == "healthy-false-positive-volume"
    assert "image-level labels only" in bundle.description


def test_its_maps_lie_on_the_tumours(bundle, subjects):
    scores, truth, logits = [], [], {0: [], 1: []}
    for label, subject in subjects:
        found = detect(bundle, {"FLAIR": subject.image})
        logits[label].append(found.logit)
        if label == 1:
            inside = subject.brain.array
            scores.append(found.attribution.array[inside])
            truth.append(subject.lesions.array[inside])
    assert np.mean(logits[1]) > np.mean(logits[0])
    prevalence = np.concatenate(truth).mean()
    assert auprc(np.concatenate(scores), np.concatenate(truth)) > 5 * prevalence


def test_a_detection_can_be_written_and_read_back(bundle, subjects, tmp_path):
    subject = next(subject for label, subject in subjects if label == 1)
    found = detect(bundle, {"FLAIR": subject.image}, minimum_ml=0.05)
    files = write_detection(found, tmp_path / "case", name="case", record={})
    mask = read_segmentation(files["segmentation"]).resample(
        subject.image.geometry, interpolation="nearest"
    )
    np.testing.assert_array_equal(mask.array != 0, found.mask.array)
