"""The reader of the study chapter6-accuracy, and what it calls divergence."""

import io
import math
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from AttribSegLib.errors import InputError
from PIL import Image

STUDY = Path(__file__).resolve().parents[1] / "Evidence" / "chapter6-accuracy"
sys.path.insert(0, str(STUDY))
from mednist import read_mednist  # noqa: E402
from training import outcome  # noqa: E402


def archive_of(path, counts):
    """A zip whose images all have a grey value of their own."""
    grey = iter(range(255))
    with zipfile.ZipFile(path, "w") as archive:
        for folder, count in counts.items():
            for number in range(count):
                buffer = io.BytesIO()
                flat = np.full((8, 8), next(grey), np.uint8)
                Image.fromarray(flat).save(buffer, "JPEG", quality=95)
                archive.writestr(f"{folder}/{number:06d}.jpeg", buffer.getvalue())
    return path


def test_parts_share_no_image_and_the_inner_one_has_its_share_of_every_class(tmp_path):
    counts = {"train/A": 40, "train/B": 100, "val/A": 5, "val/B": 7}
    data = read_mednist(archive_of(tmp_path / "m.zip", counts))
    assert data.classes == ("A", "B")
    parts = (data.train, data.inner, data.test)
    assert [np.bincount(part.y).tolist() for part in parts] == [[34, 85], [6, 15], [5, 7]]
    grey = [{round(v, 3) for v in part.x.mean(dim=(1, 2, 3)).tolist()} for part in parts]
    assert [len(each) for each in grey] == [119, 21, 12]
    assert not grey[0] & grey[1]
    assert not (grey[0] | grey[1]) & grey[2]
    # Grey values rise in the order in which they were written: A and B of train, then of val.
    assert data.train.x[data.train.y == 0].max() < data.train.x[data.train.y == 1].min()
    assert data.train.x[data.train.y == 1].max() < data.test.x.min()
    torch.testing.assert_close(data.train.x.mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(data.train.x.std(), torch.tensor(1.0), atol=1e-3, rtol=0)


def test_a_seed_gives_the_same_parts_and_another_one_others(tmp_path):
    path = archive_of(tmp_path / "m.zip", {"train/A": 60, "train/B": 60, "val/A": 3, "val/B": 3})
    first, again, other = (read_mednist(path, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.inner.x, again.inner.x)
    assert torch.equal(first.train.y, again.train.y)
    assert not torch.equal(first.inner.x, other.inner.x)


def test_a_zip_without_the_folders_is_refused(tmp_path):
    with pytest.raises(InputError, match="train/CLASS"):
        read_mednist(archive_of(tmp_path / "m.zip", {"elsewhere/A": 2}))


@pytest.mark.parametrize(
    ("losses", "accuracy", "expected"),
    [
        ([2.0] + [1.0] * 9, 0.8, "learned"),
        ([2.0] + [1.7] * 9, 0.2, "not learned"),
        ([2.0] + [2.1] * 9, 0.8, "diverged"),
        ([2.0, 1.0, math.nan], 0.0, "diverged"),
        ([math.inf], 0.0, "diverged"),
        # A single high loss on the way is no divergence.
        ([2.0, 50.0] + [1.0] * 8, 0.9, "learned"),
    ],
)
def test_what_counts_as_divergence(losses, accuracy, expected):
    assert outcome(losses, accuracy) == expected
