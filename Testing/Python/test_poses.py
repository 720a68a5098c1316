"""Random poses of the robustness study: the truth they tell is the truth."""

import sys
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.image import Geometry, Image

sys.path.append(str(Path(__file__).resolve().parents[1] / "Evidence" / "preprocessing"))

from poses import pose


@pytest.mark.parametrize("seed", range(6))
def test_a_bright_point_is_where_the_truth_says(seed):
    rng = np.random.default_rng(seed)
    array = np.zeros((40, 50, 30), np.float32)
    array[20, 25, 15] = 1000.0
    image = Image(array, Geometry((40, 50, 30), (1.2, 0.9, 3.0), (5, -7, 30)))
    posed, truth = pose(image, rng)
    index = np.unravel_index(posed.array.argmax(), posed.array.shape)
    here = posed.geometry.to_lps(index)
    there = truth(image.geometry.to_lps([20, 25, 15])[None])[0]
    assert here == pytest.approx(there, abs=1e-6)
    assert truth.determinant > 0  # never mirrored
    assert 0.9**3 <= truth.determinant <= 1.1**3
    assert posed.array.size == pytest.approx(0.8 * array.size)


def test_poses_differ_and_repeat():
    image = Image(np.ones((20, 20, 20), np.float32), Geometry((20, 20, 20)))
    first = pose(image, np.random.default_rng(1))
    again = pose(image, np.random.default_rng(1))
    other = pose(image, np.random.default_rng(2))
    assert np.array_equal(first[0].array, again[0].array)
    assert np.array_equal(first[1].matrix, again[1].matrix)
    assert not np.allclose(first[1].matrix, other[1].matrix)
