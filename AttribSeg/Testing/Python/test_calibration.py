import numpy as np
import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.metrics.image import class_weighted_accuracy
from AttribSegLib.recipes.calibration import CalibratedScore, best_offset


def test_the_offset_has_the_best_class_weighted_accuracy():
    source = np.random.default_rng(0)
    for _ in range(50):
        labels = np.r_[0, 1, source.integers(0, 2, 10)]
        scores = np.round(source.normal(labels, 1.0), 1)  # rounded: some are equal
        every = [*(scores - 1e-6), scores.max() + 1]
        best = max(class_weighted_accuracy(labels, scores > threshold) for threshold in every)
        offset = best_offset(scores.tolist(), labels.tolist())
        assert class_weighted_accuracy(labels, scores > offset) == best
    assert best_offset([1.0, 2.0, 3.0, 7.0], [0, 0, 1, 1]) == 2.5
    assert best_offset([1.0, 1.0], [0, 1]) == 1.0
    assert best_offset([1.0, 0.0], [0, 1]) == 1.0


@pytest.mark.parametrize(
    ("scores", "labels"),
    [([0.1, 0.2], [0, 0]), ([0.1], [0, 1]), ([float("nan"), 1.0], [0, 1])],
)
def test_calibration_refuses(scores, labels):
    with pytest.raises(InputError, match="calibration"):
        best_offset(scores, labels)


class Sum(torch.nn.Module):
    """Scores an image by its sum."""

    def __init__(self):
        super().__init__()
        self.register_buffer("offset", torch.zeros(()))

    def forward(self, x):
        return x.flatten(1).sum(1) - self.offset


def test_calibration_moves_the_offset_and_nothing_else():
    network, x = Sum(), torch.arange(12.0).reshape(4, 1, 3)
    assert (network(x) > 0).all()
    CalibratedScore().calibrate(network, network(x).tolist(), [0, 0, 1, 1])
    assert (network(x) > 0).tolist() == [False, False, True, True]
    assert network(x).diff().tolist() == pytest.approx(x.sum((1, 2)).diff().tolist())
    assert not network.offset.requires_grad
