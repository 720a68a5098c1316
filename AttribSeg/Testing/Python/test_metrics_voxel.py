import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.metrics.voxel import (
    RankedScores,
    auprc,
    auroc,
    auroc10,
    dice,
    hausdorff_distance,
    oracle_dice,
    pearson_correlation,
    surface_distances,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

quick = settings(max_examples=40, deadline=None)

sklearn_metrics = pytest.importorskip("sklearn.metrics")


@st.composite
def scored(draw, *, both=True):
    """Scores (few values: heavy ties; or many) and truth with both classes."""
    size = draw(st.integers(2, 60))
    levels = draw(st.sampled_from([1, 2, 3, 7, 1000]))
    kind = draw(st.sampled_from([np.float32, np.float64, np.int16]))
    raw = draw(hnp.arrays(np.int16, size, elements=st.integers(-levels, levels)))
    scores = raw.astype(kind) if kind is np.int16 else (raw * 1e-7).astype(kind)
    truth = draw(hnp.arrays(bool, size))
    if both:
        truth[0], truth[1] = True, False
    return scores, truth


def brute_dice(scores, truth):
    """Every threshold there is, one by one, through the plain definition."""
    cuts = [np.nextafter(np.float64(scores.min()), -np.inf), *np.unique(scores)]
    return max(dice(scores > np.float64(cut), truth) for cut in cuts)


@quick
@given(scored())
def test_areas_equal_scikit_learn(pair):
    scores, truth = pair
    assert auroc(scores, truth) == pytest.approx(sklearn_metrics.roc_auc_score(truth, scores))
    expected = sklearn_metrics.average_precision_score(truth, scores)
    assert auprc(scores, truth) == pytest.approx(expected)


@quick
@given(scored())
def test_auroc10_equals_the_area_under_scikit_learn_s_roc_curve(pair):
    scores, truth = pair
    false, true, _ = sklearn_metrics.roc_curve(truth, scores, drop_intermediate=False)
    before = false < 0.1
    # Where the curve is vertical at 0.1 exactly, the area is the same for any height there.
    end = np.argmax(false >= 0.1)
    share = (0.1 - false[end - 1]) / (false[end] - false[end - 1])
    height = true[end - 1] + share * (true[end] - true[end - 1])
    x, y = np.append(false[before], 0.1), np.append(true[before], height)
    area = np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)
    assert auroc10(scores, truth) == pytest.approx(area / 0.1)


def test_auroc10_is_not_the_mcclish_form():
    rng = np.random.default_rng(0)
    truth = rng.random(20_000) < 0.3
    scores = rng.normal(size=truth.size) + truth
    mcclish = sklearn_metrics.roc_auc_score(truth, scores, max_fpr=0.1)
    lowest, highest = 0.1**2 / 2, 0.1
    area = (2 * mcclish - 1) * (highest - lowest) + lowest
    assert auroc10(scores, truth) == pytest.approx(area / 0.1, rel=1e-9)
    assert abs(auroc10(scores, truth) - mcclish) > 0.1
    chance = auroc10(rng.normal(size=truth.size), truth)
    assert chance == pytest.approx(0.05, abs=0.01)


@quick
@given(scored(both=False))
def test_oracle_dice_is_the_best_of_all_thresholds_and_its_threshold_reaches_it(pair):
    scores, truth = pair
    best, cut = oracle_dice(scores, truth)
    assert best == pytest.approx(brute_dice(scores, truth))
    # In double precision and in the scores' own alike.
    assert dice(scores > np.float64(cut), truth) == pytest.approx(best)
    if scores.dtype.kind == "f":
        assert dice(scores > scores.dtype.type(cut), truth) == pytest.approx(best)


@quick
@given(scored())
def test_ranked_counts_are_those_of_the_mask(pair):
    scores, truth = pair
    ranked = RankedScores.of(scores, truth)
    for cut, hits, alarms in zip(
        ranked.cuts, ranked.true_positives, ranked.false_positives, strict=True
    ):
        mask = scores > cut
        assert (mask & truth).sum() == hits
        assert (mask & ~truth).sum() == alarms


@quick
@given(scored(), st.floats(0.1, 10), st.floats(-3, 3))
def test_areas_depend_on_the_order_only(pair, scale, shift):
    scores, truth = pair
    order = np.unique(scores, return_inverse=True)[1].astype(float)
    moved = np.exp(order / 50) * scale + shift
    for metric in (auroc, auroc10, auprc):
        assert metric(moved, truth) == pytest.approx(metric(scores, truth))
    assert auroc(-order, truth) == pytest.approx(1 - auroc(order, truth))


def test_one_class_and_no_voxels():
    assert np.isnan(auroc([1.0, 2.0], [1, 1]))
    assert np.isnan(auroc10([1.0, 2.0], [0, 0]))
    assert np.isnan(auprc([1.0, 2.0], [0, 0]))
    assert auprc([1.0, 2.0], [1, 1]) == 1.0
    assert oracle_dice([1.0, 2.0], [0, 0]) == (1.0, 2.0)
    with pytest.raises(InputError, match="no voxels"):
        auroc([], [])
    with pytest.raises(InputError, match="NaN"):
        auroc([np.nan, 1.0], [0, 1])
    with pytest.raises(InputError, match="same grid"):
        auroc([1.0, 2.0, 3.0], [0, 1])


def test_dice_edge_cases():
    assert dice([0, 0], [0, 0]) == 1.0
    assert dice([0, 0], [0, 1]) == 0.0
    assert dice([1, 1], [1, 1]) == 1.0
    # Sums of small integers must not wrap around.
    ones = np.ones(300, np.uint8)
    assert dice(ones, ones) == 1.0
    with pytest.raises(InputError, match="same grid"):
        dice(np.ones((2, 3)), np.ones((3, 2)))


@quick
@given(scored(both=False))
def test_dice_is_the_f1_score(pair):
    scores, truth = pair
    mask = scores > 0
    expected = sklearn_metrics.f1_score(truth, mask, zero_division=1.0)
    if mask.any() or truth.any():
        assert dice(mask, truth) == pytest.approx(expected)
    assert dice(mask, truth) == dice(truth, mask)


def test_pooled_metrics_of_millions_of_voxels():
    rng = np.random.default_rng(0)
    truth = rng.random(3_000_000) < 0.01
    scores = rng.normal(size=truth.size).astype(np.float32) + truth.astype(np.float32)
    ranked = RankedScores.of(scores, truth)
    results = ranked.auroc(), ranked.auroc(0.1), ranked.auprc(), ranked.oracle_dice()[0]
    assert results[0] == pytest.approx(0.7602, abs=0.01)  # Phi(1 / sqrt 2)


masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=7))


@st.composite
def two_masks(draw):
    first = draw(masks)
    second = draw(hnp.arrays(bool, first.shape))
    spacing = draw(st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * first.ndim))
    first.flat[draw(st.integers(0, first.size - 1))] = True
    second.flat[draw(st.integers(0, first.size - 1))] = True
    return first, second, spacing


def surface_points(mask, spacing):
    """Voxels with a face neighbour outside, found by shifting; the border counts as outside."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(mask.ndim):
        for step in (-1, 1):
            inner &= np.roll(padded, step, axis)
    edge = (padded & ~inner)[(slice(1, -1),) * mask.ndim]
    return np.argwhere(edge) * np.asarray(spacing)


@quick
@given(two_masks())
def test_hausdorff_equals_scipy_on_surface_points(case):
    from scipy.spatial.distance import cdist, directed_hausdorff

    a, b, spacing = case
    points = surface_points(a, spacing), surface_points(b, spacing)
    expected = max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])
    assert hausdorff_distance(a, b, spacing) == pytest.approx(expected)
    assert hausdorff_distance(b, a, spacing) == pytest.approx(expected)
    assert hausdorff_distance(a, a, spacing) == 0.0
    table = cdist(*points)
    robust = max(np.percentile(table.min(axis=1), 95), np.percentile(table.min(axis=0), 95))
    assert hausdorff_distance(a, b, spacing, percentile=95) == pytest.approx(robust)


@settings(max_examples=8, deadline=None)
@given(two_masks())
def test_hausdorff_equals_monai(case):
    monai_metrics = pytest.importorskip("monai.metrics")
    import torch

    a, b, spacing = case
    tensors = [torch.from_numpy(mask.astype(np.float32))[None, None] for mask in (a, b)]
    for percentile in (None, 95):
        expected = monai_metrics.compute_hausdorff_distance(
            *tensors, include_background=True, percentile=percentile, spacing=list(spacing)
        ).item()
        found = hausdorff_distance(a, b, spacing, percentile=percentile or 100)
        assert found == pytest.approx(expected, rel=1e-5)


def test_hausdorff_closed_forms_and_edge_cases():
    grid = np.stack(np.meshgrid(*[np.arange(31) - 15] * 3, indexing="ij"))
    # Concentric cubes, half sides 12 and 7 voxels of 2 mm: from corner to corner.
    half = np.abs(grid).max(axis=0)
    expected = 5 * 2 * np.sqrt(3)
    assert hausdorff_distance(half <= 12, half <= 7, (2.0,) * 3) == pytest.approx(expected)
    # Concentric balls: the difference of the radii, but for the voxels' corners.
    radius = np.sqrt((grid**2).sum(0))
    found = hausdorff_distance(radius <= 14, radius <= 9, (2.0,) * 3)
    assert found == pytest.approx(10.0, abs=np.sqrt(3))
    empty = np.zeros((3, 3, 3))
    assert np.isnan(hausdorff_distance(empty, empty, (1, 1, 1)))
    assert hausdorff_distance(empty, empty + 1, (1, 1, 1)) == np.inf
    assert hausdorff_distance(empty + 1, empty, (1, 1, 1)) == np.inf
    with pytest.raises(InputError, match="3 numbers"):
        hausdorff_distance(empty + 1, empty + 1, (1, 1))


def test_a_slice_has_an_outline_whichever_axis_is_thin():
    a, b = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    a[1:8, 1:8] = True
    b[3:6, 3:6] = True
    flat = hausdorff_distance(a, b, (1.0, 2.0))
    for axis in range(3):
        spacing = np.insert([1.0, 2.0], axis, 9.0)
        thin = hausdorff_distance(np.expand_dims(a, axis), np.expand_dims(b, axis), spacing)
        assert thin == flat
    sides = surface_distances(a[..., None], b[..., None], (1.0, 2.0, 9.0))
    assert [side.size for side in sides] == [24, 8]


@quick
@given(hnp.arrays(np.float64, 12, elements=st.floats(-100, 100)), st.floats(1e-9, 1e3))
def test_pearson_equals_numpy_and_ignores_scale(values, scale):
    other = np.cos(np.arange(12.0)) + values**2
    found = pearson_correlation(values, other)
    if np.ptp(values) < 1e-3:
        return
    assert found == pytest.approx(np.corrcoef(values, other)[0, 1], abs=1e-9)
    assert pearson_correlation(values * scale, other) == pytest.approx(found, abs=1e-9)


def test_pearson_of_tiny_and_constant_maps():
    tiny = np.array([1.0, 2.0, 4.0], np.float32) * np.float32(1e-30)
    assert pearson_correlation(tiny, [1.0, 2.0, 4.0]) == pytest.approx(1.0)
    assert np.isnan(pearson_correlation([1.0, 1.0], [1.0, 2.0]))
    with pytest.raises(InputError, match="same grid"):
        pearson_correlation([1.0], [1.0, 2.0])
