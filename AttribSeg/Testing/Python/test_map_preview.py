"""Live thresholding gives the very masks that labelling components at every threshold gives."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from AttribSegLib.detection import detect
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image, mni152_geometry
from AttribSegLib.lesions import remove_small_lesions
from AttribSegLib.map_preview import MapPreview
from AttribSegLib.map_processing import smooth
from AttribSegLib.thresholds import USER, Threshold
from scipy import ndimage

CUBES = Geometry((17, 14, 12), (2.0, 2.0, 2.0))


def rough_map(rng, geometry=CUBES, kind=np.float32):
    """Blobs of all sizes and signs, with many ties, zero in a part of the grid."""
    noise = ndimage.gaussian_filter(rng.standard_normal(geometry.size), 0.8)
    values = np.round(noise * 20) / 8
    values[:2] = 0
    return Image(values.astype(kind), geometry)


def large_components(above, least):
    """Components with at least so many voxels, by labelling and counting."""
    labels, _ = ndimage.label(above, structure=np.ones((3, 3, 3)))
    large = np.bincount(labels.ravel()) >= least
    large[0] = False
    return large[labels]


def some_thresholds(values):
    present = np.unique(values[values > 0])
    return [0.0, *present[:: max(1, len(present) // 6)], *(present[:3] + 1e-4), values.max() + 1]


@pytest.mark.parametrize("voxels", [0, 1, 2, 5, 23, 200, 10_000])
def test_masks_are_the_large_components_above_the_threshold(rng, voxels):
    score_map = rough_map(rng)
    preview = MapPreview(score_map)
    preview.prepare(minimum_ml=voxels * 0.008)
    for threshold in some_thresholds(score_map.array):
        above = score_map.array > threshold
        expected = large_components(above, voxels)
        assert np.array_equal(preview.mask(threshold), expected)
        mask = remove_small_lesions(score_map.with_array(above), voxels * 0.008)
        assert np.array_equal(preview.mask(threshold), mask.array)


def test_a_lesion_of_exactly_the_minimum_stays_whatever_the_rounding_of_the_spacing():
    grid = Geometry((9, 9, 9), (0.1, 0.7, 1.1))
    values = np.zeros(grid.size, np.float32)
    values[1:4, 1, 1] = 1.0
    values[6:8, 6, 6] = 1.0
    preview = MapPreview(Image(values, grid))
    preview.prepare(minimum_ml=3 * grid.voxel_volume_ml)
    assert preview.mask(0.5)[1:4, 1, 1].all()
    assert preview.mask(0.5).sum() == 3
    preview.prepare(minimum_ml=3.001 * grid.voxel_volume_ml)
    assert preview.mask(0.5).sum() == 0


def test_voxels_that_share_a_corner_belong_together():
    values = np.zeros((6, 6, 6), np.float32)
    values[[1, 2, 3], [1, 2, 3], [1, 2, 3]] = 2.0
    preview = MapPreview(Image(values, Geometry((6, 6, 6))))
    preview.prepare(minimum_ml=0.003)
    assert preview.mask(1.0).sum() == 3


def test_a_box_full_of_lesion_that_is_too_small_vanishes():
    values = np.zeros((8, 8, 8), np.float32)
    values[2:5, 2:5, 2:5] = np.arange(1, 28).reshape(3, 3, 3)
    preview = MapPreview(Image(values, Geometry((8, 8, 8))))
    preview.prepare(minimum_ml=0.028)
    assert not preview.mask(0.0).any()
    preview.prepare(minimum_ml=0.027)
    assert preview.mask(0.0).sum() == 27
    assert not preview.mask(1.0).any()


def test_lesions_may_touch_every_face_of_the_grid(rng):
    values = 1 + rng.random((7, 6, 5)).astype(np.float32)
    preview = MapPreview(Image(values, Geometry(values.shape)))
    preview.prepare(minimum_ml=0.02)
    for threshold in (0.0, 1.0, 1.3, 1.6, 1.9):
        assert np.array_equal(preview.mask(threshold), large_components(values > threshold, 20))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, np.uint8])
def test_thresholds_are_compared_in_double_precision(rng, kind):
    values = rng.integers(0, 200, (9, 8, 7)).astype(kind) / (10 if kind in (np.float32,) else 1)
    values = values.astype(kind)
    preview = MapPreview(Image(values, Geometry(values.shape)))
    third = float(values.ravel()[5])
    for threshold in (third, np.nextafter(third, 9e9), np.nextafter(third, 0.0), 0.1, 1e300):
        assert np.array_equal(preview.mask(threshold), Threshold(threshold, USER).mask(values))


@pytest.mark.parametrize("voxels", [0, 6])
def test_thresholds_below_zero_never_reach_out_of_the_brain(rng, voxels):
    score_map = rough_map(rng)
    brain = score_map.with_array(np.zeros(CUBES.size, bool))
    brain.array[3:12, 2:, 1:9] = True
    inside = np.where(brain.array, score_map.array, 0)
    preview = MapPreview(score_map, brain)
    preview.prepare(minimum_ml=voxels * 0.008)
    for threshold in (-0.7, -1e-3):
        expected = large_components((inside > threshold) & brain.array, voxels)
        assert np.array_equal(preview.mask(threshold), expected)
    masked = MapPreview(score_map.with_array(inside))
    assert not masked.mask(-0.5)[~brain.array].any()


def test_smoothing_is_that_of_the_post_processing(rng):
    grid = Geometry((17, 14, 12), (1.0, 2.0, 3.0))
    score_map = rough_map(rng, grid)
    inside = score_map.array != 0
    preview = MapPreview(score_map)
    preview.prepare(smoothing_mm=2.0, minimum_ml=0.05)
    assert preview.prepared == (0.05, 2.0)
    smoothed = smooth(score_map.array, inside, [2.0, 1.0, 2.0 / 3.0])
    assert preview.range == (smoothed[smoothed > 0].min(), smoothed.max())
    for threshold in np.quantile(smoothed[smoothed > 0], [0.1, 0.5, 0.9]):
        expected = large_components(smoothed > threshold, 0.05 / 0.006)
        assert np.array_equal(preview.mask(float(threshold)), expected)
    preview.prepare()
    assert preview.prepared == (0.0, 0.0)
    assert np.array_equal(preview.mask(0.3), score_map.array > 0.3)


def test_masks_follow_the_grid_of_any_orientation(geometry, rng):
    score_map = rough_map(rng, geometry)
    turned = score_map.reorient("RAS")
    for image in (score_map, turned):
        preview = MapPreview(image)
        preview.prepare(minimum_ml=4 * geometry.voxel_volume_ml)
        mask = preview.mask(0.2)
        assert np.array_equal(mask, large_components(image.array > 0.2, 4))
        assert mask.T.flags.c_contiguous


def test_the_mask_of_a_detection_is_found_again(tiny_bundle, tiny_brain, tiny_geometry):
    image, _ = tiny_brain(tiny_geometry, 3)
    found = detect(tiny_bundle(), {"FLAIR": image})
    values = found.attribution.array
    threshold = Threshold(float(np.quantile(values[values > 0], 0.8)), USER)
    for minimum in (0.0, 0.5, 5.0):
        again = detect(tiny_bundle(), {"FLAIR": image}, threshold=threshold, minimum_ml=minimum)
        preview = MapPreview(found.attribution)
        preview.prepare(minimum_ml=minimum)
        assert np.array_equal(preview.mask(threshold.value), again.mask.array)
        assert preview.mask(threshold.value).any()


def test_masks_go_on_while_another_preparation_runs_and_the_last_one_stays(rng):
    score_map = rough_map(rng, mni152_geometry(2))
    preview = MapPreview(score_map)
    threads = [
        threading.Thread(target=preview.prepare, kwargs={"minimum_ml": ml, "smoothing_mm": mm})
        for ml, mm in ((0.1, 6.0), (0.2, 0.0))
    ]
    threads[0].start()
    while preview._asked < 1:
        pass
    threads[1].start()
    allowed = []
    while any(thread.is_alive() for thread in threads):
        allowed.append(preview.prepared)
        preview.mask(0.3)
    assert set(allowed) <= {(0.0, 0.0), (0.1, 6.0), (0.2, 0.0)}
    assert preview.prepared == (0.2, 0.0)
    assert np.array_equal(preview.mask(0.3), large_components(score_map.array > 0.3, 25))


def test_a_map_without_a_positive_voxel_has_no_lesion_at_any_threshold_from_zero(rng):
    score_map = rough_map(rng)
    for values in (np.zeros_like(score_map.array), -np.abs(score_map.array)):
        preview = MapPreview(score_map.with_array(values))
        preview.prepare(minimum_ml=0.1)
        assert preview.range == (0.0, 0.0)
        assert not preview.mask(0.0).any()


def test_every_mask_is_a_new_array(rng):
    preview = MapPreview(rough_map(rng))
    first = preview.mask(0.1)
    before = first.copy()
    preview.mask(0.9)
    assert np.array_equal(first, before)


def test_bad_values_are_refused_and_change_nothing(rng):
    preview = MapPreview(rough_map(rng))
    preview.prepare(minimum_ml=0.04)
    for wrong in ({"minimum_ml": -1.0}, {"smoothing_mm": float("nan")}):
        with pytest.raises(InputError, match="at least 0 was expected"):
            preview.prepare(**wrong)
    assert preview.prepared == (0.04, 0.0)
    with pytest.raises(InputError, match="finite number"):
        preview.mask(float("nan"))
    holed = rough_map(rng)
    holed.array[3, 3, 3] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        MapPreview(holed)
    with pytest.raises(InputError, match="another grid"):
        MapPreview(rough_map(rng), Image(np.ones((3, 3, 3), bool), Geometry((3, 3, 3))))


def test_a_nominal_spacing_allows_thresholds_only(rng):
    score_map = rough_map(rng).with_nominal(True)
    preview = MapPreview(score_map)
    assert np.array_equal(preview.mask(0.2), score_map.array > 0.2)
    for what in ({"minimum_ml": 0.1}, {"smoothing_mm": 2.0}):
        with pytest.raises(InputError, match="nominal"):
            preview.prepare(**what)


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, AttribSegLib.map_preview; "
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    assert not set(done.stdout.split()) & {"torch", "monai", "SimpleITK", "scipy", "matplotlib"}
