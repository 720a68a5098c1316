from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.overlay import attribution_colours, attribution_limit, save_overlay

GRID = Geometry((40, 50, 30), (2.0, 2.0, 3.0), (-39.0, -49.0, -43.5))  # LPS, centred at 0


def head(geometry: Geometry = GRID) -> Image:
    """A ball of tissue with some texture."""
    points = geometry.to_lps(np.stack(np.indices(geometry.size), axis=-1))
    ball = (np.square(points).sum(axis=-1) < 36.0**2) * (100.0 + points[..., 1])
    return Image(ball.astype(np.float32), geometry)


def box_at(ras: tuple[float, float, float], geometry: Geometry = GRID) -> Image:
    """A mask of a few voxels around a RAS point."""
    points = geometry.to_ras(np.stack(np.indices(geometry.size), axis=-1))
    return Image((np.abs(points - np.array(ras)) < 6.5).all(axis=-1), geometry)


def read(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)[..., :3]


def overlaid(picture: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Rows and columns that differ between two pictures of the same layout."""
    return np.argwhere(np.abs(picture - plain).max(axis=-1) > 0.2)


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SAR", "PIR"])
@pytest.mark.parametrize(("right", "half"), [(-20.0, "right"), (20.0, "left")])
def test_patients_left_is_on_the_right(
    tmp_path: Path, orientation: str, right: float, half: str
) -> None:
    image = head()
    axial = Image(image.array[:, :, 15:16], replace(GRID, size=(40, 50, 1), origin=(-39, -49, 1.5)))
    mask = box_at((right, 0.0, 1.5), axial.geometry)
    empty = mask.with_array(np.zeros_like(mask.array))
    save_overlay(tmp_path / "a.png", axial.reorient(orientation), mask.reorient(orientation))
    save_overlay(tmp_path / "b.png", axial.reorient(orientation), empty.reorient(orientation))
    picture, plain = read(tmp_path / "a.png"), read(tmp_path / "b.png")
    columns = overlaid(picture, plain)[:, 1]
    # The overlay is the right picture of the pair; the middle of it is at three quarters.
    middle = picture.shape[1] * 0.75
    assert columns.size
    assert (columns > middle).all() if half == "right" else (columns < middle).all()
    assert columns.min() > picture.shape[1] / 2


def test_anterior_and_superior_are_up(tmp_path: Path) -> None:
    image = head()
    coronal = Image(image.array[:, 25:26], replace(GRID, size=(40, 1, 30), origin=(-39, 1, -43.5)))
    mask = box_at((0, -1.0, 20.0), coronal.geometry)
    save_overlay(tmp_path / "a.png", coronal, mask)
    save_overlay(tmp_path / "b.png", coronal, mask.with_array(np.zeros_like(mask.array)))
    first, second = read(tmp_path / "a.png"), read(tmp_path / "b.png")
    rows = overlaid(first, second)[:, 0]
    bright = np.argwhere(second.max(axis=-1) > 0.3)[:, 0]
    assert rows.size
    assert rows.max() < (bright.min() + bright.max()) / 2


def test_the_picture_does_not_depend_on_the_orientation_of_the_input(tmp_path: Path) -> None:
    image, mask = head(), box_at((-15, 10, 5))
    save_overlay(tmp_path / "a.png", image, mask, title="case")
    save_overlay(tmp_path / "b.png", image.reorient("ASR"), mask.reorient("ASR"), title="case")
    np.testing.assert_array_equal(read(tmp_path / "a.png"), read(tmp_path / "b.png"))


@pytest.mark.parametrize("across", [0, 1, 2])
def test_planes_keep_their_proportions(tmp_path: Path, across: int) -> None:
    """A ball stays round although its voxels are not cubes."""
    ball = Geometry((120, 27, 25), (1.0, 3.0, 4.0), (-59.5, -39.0, -48.0))
    points = ball.to_lps(np.stack(np.indices(ball.size), axis=-1))
    inside = np.square(points).sum(axis=-1) < 36.0**2
    middle = np.take(inside, [ball.size[across] // 2], axis=across).astype(float)
    save_overlay(tmp_path / "a.png", Image(middle, replace(ball, size=middle.shape)))
    bright = read(tmp_path / "a.png").min(axis=-1) > 0.95
    left = bright[:, : bright.shape[1] // 2]
    rows, columns = (np.flatnonzero(left.sum(axis=axis) > 30) for axis in (1, 0))
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(1.0, abs=0.08)


def test_sizes_and_layouts(tmp_path: Path) -> None:
    image, mask = head(), box_at((-15, 10, 5))
    attribution = image.with_array(mask.array * 2.0 - 0.5)
    save_overlay(tmp_path / "full.png", image, mask, attribution, reference=mask, title="case")
    save_overlay(tmp_path / "bare.png", image)
    piece = [x.axial_slice(14) for x in (image, mask, attribution)]
    save_overlay(tmp_path / "slice.png", *piece)
    full, bare, single = (read(tmp_path / f"{name}.png") for name in ("full", "bare", "slice"))
    assert full.shape[1] > bare.shape[1] > 700  # the colour bar is beside the pictures
    assert full.shape[0] > bare.shape[0] > 700  # the legend is below them
    assert single.shape[1] > 1.3 * single.shape[0]  # one pair, side by side
    assert full[0, 0].max() < 0.1  # dark background


def test_attribution_is_shown_by_its_sign(tmp_path: Path) -> None:
    image = head().axial_slice(14)
    mask = box_at((-15, 10, 0), image.geometry)
    for name, sign in (("hot", 1.0), ("cold", -1.0)):
        save_overlay(
            tmp_path / f"{name}.png", image, None, image.with_array(sign * mask.array), limit=1.0
        )
    save_overlay(tmp_path / "zero.png", image, None, image.with_array(0.0 * mask.array), limit=1.0)
    hot, cold, zero = (read(tmp_path / f"{name}.png") for name in ("hot", "cold", "zero"))
    where = overlaid(hot, zero)
    assert len(where) > 100
    red, _, blue = hot[tuple(where.T)].mean(axis=0)
    assert red > blue
    red, _, blue = cold[tuple(where.T)].mean(axis=0)
    assert blue > red


def test_colours_and_limit() -> None:
    colours = attribution_colours(201, opacity=0.8)
    assert colours.shape == (201, 4)
    assert colours[100, 3] == 0.0
    assert colours[[0, -1], 3] == pytest.approx(0.8)
    np.testing.assert_allclose(colours[:, 3], colours[::-1, 3], atol=1e-12)
    assert colours.min() >= 0
    assert colours.max() <= 1
    values = np.zeros((10, 10, 10))
    assert attribution_limit(Image(values, Geometry((10, 10, 10)))) == 1.0
    values[0] = -4.0
    assert attribution_limit(Image(values, Geometry((10, 10, 10)))) == 4.0


def test_degenerate_images_are_drawn(tmp_path: Path) -> None:
    constant = Image(np.zeros((8, 9, 10)), Geometry((8, 9, 10), nominal=True))
    save_overlay(tmp_path / "a.png", constant, constant, constant, reference=constant)
    everything = constant.with_array(np.ones((8, 9, 10), dtype=bool))
    save_overlay(tmp_path / "b.png", constant, everything)
    one = Image(np.ones((1, 1, 1)), Geometry((1, 1, 1)))
    save_overlay(tmp_path / "c.png", one, one, one)
    assert len(list(tmp_path.iterdir())) == 3


def test_no_global_state_of_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib as mpl

    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    before = dict(mpl.rcParams.copy())  # reading the backend of the original imports pyplot
    save_overlay(tmp_path / "a.png", head(), box_at((0, 0, 0)), head(), title="case")
    assert "matplotlib.pyplot" not in sys.modules
    assert dict(mpl.rcParams.copy()) == before


def test_faulty_input(tmp_path: Path) -> None:
    image = head()
    moved = Image(image.array, replace(GRID, origin=(0.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="attribution and the image lie on different grids"):
        save_overlay(tmp_path / "a.png", image, None, moved)
    with pytest.raises(InputError, match="only 0 and 1"):
        save_overlay(tmp_path / "a.png", image, image)
    with pytest.raises(InputError, match="limit"):
        save_overlay(tmp_path / "a.png", image, None, image, limit=0.0)
    assert list(tmp_path.iterdir()) == []


def test_outlines_lie_around_their_mask():
    from AttribSegLib.slice_pictures import draw_outline
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    mask = np.zeros((10, 8), bool)
    mask[2:4, 5:7] = True  # rows from the top
    draw_outline(axes, mask, (0.0, 16.0, 0.0, 10.0), "red", 1.0)
    box = axes.collections[0].get_paths()[0].get_extents()
    assert (box.x0, box.x1) == pytest.approx((10, 14))
    assert (box.y0, box.y1) == pytest.approx((6, 8))
