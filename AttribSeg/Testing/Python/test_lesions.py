from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.lesions import (
    binary_array,
    label_lesions,
    lesion_table,
    remove_small_lesions,
    write_lesion_table,
)

GRID = Geometry((12, 10, 8), (1.0, 2.0, 2.5), (-5.0, 4.0, 10.0))  # 0.005 mL per voxel


def two_lesions(geometry: Geometry = GRID) -> tuple[Image, Image]:
    """A lesion of 8 voxels and one of 2 that touch at a corner, and an attribution."""
    mask = np.zeros(geometry.size, dtype=bool)
    mask[2:4, 2:4, 2:4] = True
    mask[8, 6, 5] = mask[9, 7, 6] = True
    attribution = np.zeros(geometry.size, dtype=np.float32)
    attribution[2:4, 2:4, 2:4] = 1.0
    attribution[2, 2, 2] = 3.0
    attribution[8, 6, 5], attribution[9, 7, 6] = -1.0, 5.0
    return Image(mask, geometry), Image(attribution, geometry)


def test_table_by_hand() -> None:
    large, small = lesion_table(*two_lesions())
    assert (large.number, large.voxels, small.number, small.voxels) == (1, 8, 2, 2)
    assert large.volume_ml == pytest.approx(0.04)
    assert large.centre_ijk == pytest.approx((2.5, 2.5, 2.5))
    # LPS is origin + index * spacing = (-2.5, 9, 16.25); RAS negates the first two.
    assert large.centre_ras_mm == pytest.approx((2.5, -9.0, 16.25))
    assert large.mean_attribution == pytest.approx(10 / 8)
    assert large.peak_attribution == 3.0
    assert small.mean_attribution == pytest.approx(2.0)
    assert small.peak_attribution == 5.0


def test_centre_is_the_physical_centre(geometry: Geometry) -> None:
    mask = np.zeros(geometry.size, dtype=np.uint8)
    mask[4, 3, 0] = 1
    (lesion,) = lesion_table(Image(mask, geometry), Image(mask.astype(float), geometry))
    assert lesion.centre_ras_mm == pytest.approx(tuple(geometry.to_ras((4, 3, 0))))
    assert lesion.volume_ml == pytest.approx(geometry.voxel_volume_ml)


def test_labels_agree_with_simpleitk(rng: np.random.Generator) -> None:
    mask = Image(rng.random(GRID.size) > 0.9, GRID)
    labels, count = label_lesions(mask)
    other = sitk.ConnectedComponent(mask.to_sitk(), True)
    other_array = sitk.GetArrayFromImage(other).transpose(2, 1, 0)
    assert count == other_array.max() > 3
    assert len(np.unique(labels * 1000 + other_array)) == count + 1  # a one-to-one relation
    sizes = [lesion.voxels for lesion in lesion_table(mask, mask.with_array(mask.array * 1.0))]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == mask.array.sum()


@pytest.mark.parametrize(
    ("minimum", "voxels"), [(0.0, 10), (0.005, 10), (0.01, 10), (0.011, 8), (0.04, 8), (0.05, 0)]
)
def test_remove_small_lesions(minimum: float, voxels: int) -> None:
    mask, _ = two_lesions()
    kept = remove_small_lesions(mask, minimum)
    assert kept.array.dtype == bool
    assert kept.array.sum() == voxels
    assert kept.geometry == mask.geometry
    assert not (kept.array & ~mask.array).any()


def test_nominal_spacing_has_no_volumes(tmp_path) -> None:
    mask, attribution = two_lesions(replace(GRID, nominal=True))
    with pytest.raises(InputError, match="nominal"):
        remove_small_lesions(mask, 0.01)
    lesions = lesion_table(mask, attribution)
    assert all(lesion.volume_ml is None and lesion.centre_ras_mm is None for lesion in lesions)
    write_lesion_table(lesions, tmp_path / "lesions.csv")
    header = (tmp_path / "lesions.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert header[:3] == ["number", "voxels", "centre_i"]
    assert not [name for name in header if name.endswith(("_mm", "_ml"))]


def test_table_file(tmp_path) -> None:
    write_lesion_table(lesion_table(*two_lesions()), tmp_path / "lesions.csv")
    with (tmp_path / "lesions.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["voxels"] for row in rows] == ["8", "2"]
    assert float(rows[0]["volume_ml"]) == pytest.approx(0.04)
    assert float(rows[0]["centre_a_mm"]) == pytest.approx(-9.0)
    assert float(rows[1]["peak_attribution"]) == 5.0


def test_no_lesions_still_a_header(tmp_path) -> None:
    mask = Image(np.zeros(GRID.size, dtype=bool), GRID)
    lesions = lesion_table(mask, mask.with_array(np.zeros(GRID.size)))
    assert lesions == []
    assert not remove_small_lesions(mask, 1.0).array.any()
    write_lesion_table(lesions, tmp_path / "a.csv")
    write_lesion_table(lesions, tmp_path / "b.csv", nominal=True)
    assert (
        (tmp_path / "a.csv")
        .read_text(encoding="utf-8")
        .startswith("number,voxels,volume_ml,centre_r_mm")
    )
    assert (tmp_path / "b.csv").read_text(encoding="utf-8").startswith("number,voxels,centre_i")


def test_faulty_input() -> None:
    mask, attribution = two_lesions()
    other = Image(attribution.array, replace(GRID, origin=(0.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="different grids"):
        lesion_table(mask, other)
    for minimum in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="zero or more"):
            remove_small_lesions(mask, minimum)
    for value in (2.0, 0.5, np.nan):
        with pytest.raises(InputError, match="only 0 and 1"):
            binary_array(mask.with_array(np.full(GRID.size, value)))
