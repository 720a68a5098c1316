"""Folds of the brain tumours in the study chapter6-accuracy, and intervals of its differences."""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from PIL import Image

STUDY = Path(__file__).resolve().parents[1] / "Evidence" / "chapter6-accuracy"
sys.path.insert(0, str(STUDY))
from brain_tumours import (  # noqa: E402
    folds_of,
    groups_of_alike,
    nearest_accuracy,
    normed,
    read_brain_tumours,
)
from labelled_images import standardised_parts  # noqa: E402
from slices import threshold_accuracy  # noqa: E402
from table62 import interval_over_groups, interval_over_runs  # noqa: E402


def jpeg(values):
    """The bytes of a grey image."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_reader_pools_both_folders_and_finds_what_is_there_twice(tmp_path):
    generator = np.random.default_rng(0)
    files = [jpeg(generator.integers(0, 255, (32, 32), np.uint8)) for _ in range(5)]
    path = tmp_path / "tumours.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (
            ("train/a/1.jpg", files[0]),
            ("train/a/2.jpg", files[1]),
            ("train/b/1.jpg", files[2]),
            ("val/a/1.jpg", files[0]),
            ("val/b/9.jpg", files[3]),
            ("elsewhere/b/1.jpg", files[4]),
        ):
            archive.writestr(name, content)
    data = read_brain_tumours(path, size=8, alike=0.97)
    assert data.classes == ("a", "b")
    assert data.images.shape == (5, 8, 8)
    assert data.labels.tolist() == [0, 0, 1, 0, 1]
    assert data.from_val.tolist() == [False, False, False, True, True]
    assert data.groups[0] == data.groups[3]
    assert len(set(data.groups)) == 4
    with pytest.raises(InputError, match="train/CLASS"):
        read_brain_tumours(_empty(tmp_path), size=8, alike=0.97)
    with pytest.raises(InputError, match="size 0"):
        read_brain_tumours(path, size=0, alike=0.97)


def _empty(folder):
    path = folder / "empty.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "")
    return path


def test_alike_are_linked_from_image_to_image_whatever_the_brightness():
    first, second = np.random.default_rng(1).standard_normal((2, 64))
    rows = np.stack([first, 3 * first + 100, second, first + 0.05 * second, np.zeros(64)])
    names = np.array(["a", "b", "c", "d", "c"])
    groups = groups_of_alike(normed(rows), names, 0.97)
    # Brighter and contrasted, or nearly the same, is alike; an equal file too; the rest is not.
    assert groups[0] == groups[1] == groups[3]
    assert groups[2] == groups[4] != groups[0]


def test_folds_report_everything_once_and_keep_groups_together():
    generator = np.random.default_rng(2)
    labels = generator.choice(4, 800, p=(0.3, 0.3, 0.25, 0.15))
    groups = generator.integers(0, 400, 800)
    groups = 4 * groups + labels
    reported = []
    for train, inner, test in folds_of(labels, groups, 5):
        parts = (train, inner, test)
        assert sorted(np.concatenate(parts)) == list(range(800))
        kept = [set(groups[part]) for part in parts]
        assert sum(len(each) for each in kept) == len(set.union(*kept))
        for part in parts:
            np.testing.assert_allclose(
                np.bincount(labels[part]) / len(part), np.bincount(labels) / 800, atol=0.05
            )
        assert len(inner) == pytest.approx(640 / 7, rel=0.15)
        reported.extend(test)
    assert sorted(reported) == list(range(800))


def test_nearest_neighbour_and_threshold_on_constructed_cases():
    rows = normed(np.array([[1.0, 0, 0], [0, 1, 0], [2, 0.1, 0], [0.1, 3, 0]]))
    labels = np.array([0, 1, 0, 0])
    assert nearest_accuracy(rows, labels, np.array([0, 1]), np.array([2, 3])) == 0.5
    train, low = np.array([1.0, 2, 3, 4]), np.array([True, True, False, False])
    # Below is the pathological side here.
    assert threshold_accuracy(train, low, np.array([0.0, 9.0]), np.array([True, False])) == 1.0
    assert threshold_accuracy(train, ~low, np.array([0.0, 9.0]), np.array([True, False])) == 0.0


def test_parts_are_standardised_by_what_is_trained_on_and_must_not_overlap():
    x = np.random.default_rng(3).normal(7, 3, (20, 4, 4))
    train, rest = np.arange(12), np.arange(12, 20)
    first, second = standardised_parts(x, np.arange(20) % 2, (train, rest))
    mean, std = x[:12].mean(), x[:12].std()
    np.testing.assert_allclose(first.x[:, 0], (x[:12] - mean) / std, atol=1e-5)
    np.testing.assert_allclose(second.x[:, 0], (x[12:] - mean) / std, atol=1e-5)
    assert second.most_common() == 0.5
    with pytest.raises(InputError, match="in two"):
        standardised_parts(x, np.arange(20) % 2, (train, np.arange(11, 20)))


def test_interval_over_runs_is_that_of_a_paired_t_test():
    from scipy.stats import ttest_1samp

    gaps = np.array([0.01, -0.02, 0.03, 0.015, 0.0])
    expected = ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert interval_over_runs(gaps) == pytest.approx([expected.low, expected.high])
    wide = interval_over_runs(gaps, shared=0.25)
    # Of five folds 1 / 5 becomes 1 / 5 + 1 / 4: the interval is 1.5 times as wide.
    assert wide[1] - wide[0] == pytest.approx(1.5 * (expected.high - expected.low))
    assert interval_over_runs(gaps[:1]) is None


def test_interval_over_groups_is_wider_where_images_of_a_group_agree():
    generator = np.random.default_rng(4)
    per_group = generator.standard_normal(50)
    gaps, groups = np.repeat(per_group, 20), np.repeat(np.arange(50), 20)
    together = interval_over_groups(gaps, groups)
    apart = interval_over_groups(gaps, np.arange(1000))
    width = 2 * 1.96 * per_group.std() / np.sqrt(50)
    assert together[1] - together[0] == pytest.approx(width, rel=0.1)
    assert apart[1] - apart[0] == pytest.approx(width / np.sqrt(20), rel=0.1)
