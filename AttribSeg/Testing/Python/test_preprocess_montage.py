"""Montages show every channel, the atlas's outline and the mask."""

import numpy as np
import pytest
from AttribSegLib.preprocess_montage import save_montage
from AttribSegLib.preprocessing.atlas import load_atlas
from AttribSegLib.preprocessing.chain import prepare
from AttribSegLib.preprocessing.options import ChainOptions
from AttribSegLib.simulation import simulate_subject
from matplotlib.image import imread

ORANGE, GREEN = (1.0, 0.7, 0.28), (0.25, 0.88, 0.65)


def has(picture, colour):
    return (np.abs(picture[..., :3] - colour).max(axis=-1) < 0.1).any(axis=0)


@pytest.mark.parametrize("steps", [("standardise",), ("n4", "standardise")])
def test_outlines_and_columns(tmp_path, steps):
    image = simulate_subject(1, seed=2).image.reorient("SRA")
    scans = {"FLAIR": image, "T1": image}
    prepared = prepare(scans, ChainOptions(steps=steps, spacing=2))
    path = tmp_path / "case.png"
    save_montage(path, scans, prepared, load_atlas(), "case <1>")
    picture = imread(path)
    width = picture.shape[1]
    columns = 11 if "n4" in steps else 9
    places = {}
    for name, colour in (("atlas", ORANGE), ("brain", GREEN)):
        where = np.flatnonzero(has(picture, colour)) / width * columns
        places[name] = (where.min(), where.max())
    assert 2.9 < places["atlas"][0] < places["atlas"][1] < 6.1
    assert 5.9 < places["brain"][0] < places["brain"][1] < 9.1
    assert list(tmp_path.iterdir()) == [path]
