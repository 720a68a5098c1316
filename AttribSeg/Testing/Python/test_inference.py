"""What the network says does not depend on how the voxels are laid out."""

import gc
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from AttribSegLib.cases import SLICE_ORIENTATION, prepare_channels
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.inference import Prediction, predict, predict_slices, predict_volume


def prepared(image, bundle=None):
    """Standardised array of shape (1, I, J, K), brain mask and geometry."""
    background = bundle.recipe.background if bundle else 0.0
    return prepare_channels({"FLAIR": image}, None, background=background)


def turned(geometry, degrees):
    """The same field of view, turned about its centre and a voxel larger all round."""
    angle = math.radians(degrees)
    turn = np.array(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )
    return centred(geometry, tuple(n + 6 for n in geometry.size), geometry.spacing, turn)


def centred(geometry, size, spacing, turn=None):
    """Another grid with the same centre."""
    direction = (np.eye(3) if turn is None else turn) @ geometry.direction
    result = Geometry(size, spacing, (0, 0, 0), direction)
    middles = [g.to_lps((np.array(g.size) - 1) / 2) for g in (geometry, result)]
    return replace(result, origin=tuple(middles[0] - middles[1]))


@pytest.mark.parametrize("logit", [-3.0, -0.25, 0.0, 1.0, 12.0])
def test_probability_is_the_logistic_of_the_logit(logit):
    found = Prediction.of(logit, np.zeros((1, 1, 1, 1))).probability
    assert found == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-12)


def test_extreme_logits_do_not_overflow():
    with np.errstate(all="raise"):
        assert Prediction.of(1e6, np.zeros((1, 1))).probability == 1.0
        assert Prediction.of(-1e6, np.zeros((1, 1))).probability == pytest.approx(0.0, abs=1e-300)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_prediction_is_the_recipe_s(tiny_bundle, rng, dimensions):
    """Logits of the network and maps of its recipe, for a batch and for each image alone."""
    bundle = tiny_bundle(channels=("FLAIR", "T1"), dimensions=dimensions)
    size = bundle.geometry.size[:dimensions]
    x = torch.from_numpy(rng.normal(size=(3, 2, *size)).astype(np.float32))
    logits, maps = bundle.recipe.explain(bundle.network, x)
    arrays = x.numpy()[..., None] if dimensions == 2 else x.numpy()
    found = predict(bundle, arrays)
    assert [p.logit for p in found] == logits.double().tolist()
    for prediction, expected in zip(found, maps.numpy(), strict=True):
        assert prediction.attribution.shape == (*size, *([1] if dimensions == 2 else []))
        assert prediction.attribution.dtype == np.float32
        np.testing.assert_array_equal(prediction.channels.reshape(2, *size), expected)
        np.testing.assert_array_equal(prediction.attribution, prediction.channels.sum(axis=0))
    alone = predict(bundle, arrays[1:2])[0]
    assert alone.logit == pytest.approx(found[1].logit, rel=1e-4, abs=1e-6)
    scale = np.abs(alone.attribution).max()
    np.testing.assert_allclose(found[1].attribution, alone.attribution, atol=1e-3 * scale)


def test_prediction_leaves_no_trace(tiny_bundle, rng):
    """Weights can be trained afterwards; no graph, no gradient and no tensor stays."""
    bundle = tiny_bundle()
    x = rng.normal(size=(1, 1, *bundle.geometry.size)).astype(np.float32)
    predict(bundle, x)
    assert all(p.requires_grad and p.grad is None for p in bundle.network.parameters())
    gc.collect()
    gc.disable()  # so that a cycle would be seen
    try:
        before = sum(torch.is_tensor(o) for o in gc.get_objects())
        for _ in range(3):
            predict(bundle, x)
        after = sum(torch.is_tensor(o) for o in gc.get_objects())
    finally:
        gc.enable()
    assert after == before


@pytest.mark.parametrize(
    ("dimensions", "shape"),
    [
        (3, (1, 1, 34, 36, 31)),
        (3, (1, 2, 34, 36, 32)),
        (3, (1, 34, 36, 32)),
        (2, (1, 1, 36, 34, 1)),
    ],
)
def test_arrays_of_another_shape(tiny_bundle, dimensions, shape):
    with pytest.raises(InputError, match=r"the bundle expects \(channels, voxels\) \(1, 34, 36"):
        predict(tiny_bundle(dimensions=dimensions), np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        MemoryError(),
    ],
    ids=["CUDA", "CPU", "NumPy"],
)
def test_memory_that_runs_out_is_told(tiny_bundle, monkeypatch, error):
    bundle = tiny_bundle()

    def explain(self, network, x):
        raise error

    monkeypatch.setattr(type(bundle.recipe), "explain", explain)
    with pytest.raises(InputError, match="out of memory on cpu; use 2 mm images"):
        predict(bundle, np.zeros((1, 1, *bundle.geometry.size), np.float32))
    assert all(p.requires_grad for p in bundle.network.parameters())


def test_other_failures_are_not_mistaken_for_memory(tiny_bundle, monkeypatch):
    bundle = tiny_bundle()

    def explain(self, network, x):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(type(bundle.recipe), "explain", explain)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        predict(bundle, np.zeros((1, 1, *bundle.geometry.size), np.float32))


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIL", "SRA", "AIR"])
def test_axes_flipped_and_permuted(tiny_bundle, tiny_brain, tiny_geometry, orientation):
    """No interpolation is needed: the same logit and the same map at every voxel."""
    bundle = tiny_bundle()
    image, _ = tiny_brain(tiny_geometry, 1)
    expected = predict_volume(bundle, *prepared(image))
    other = image.reorient(orientation)
    found = predict_volume(bundle, *prepared(other))
    assert found.logit == pytest.approx(expected.logit, rel=1e-4, abs=1e-6)
    assert found.attribution.shape == other.array.shape
    back = Image(found.attribution, other.geometry).reorient(image.geometry.orientation()).array
    scale = np.abs(expected.attribution).max()
    np.testing.assert_allclose(back, expected.attribution, atol=1e-3 * scale)


class SmoothRecipe:
    """A linear score, whose map is known in physical space: exp(-|x - c|^2 / 2 s^2)."""

    background = 0.0

    def __init__(self, geometry):
        places = geometry.to_lps(np.moveaxis(np.indices(geometry.size), 0, -1))
        self.map = torch.from_numpy(np.float32(known(places)))

    def explain(self, network, x):
        return (x[:, 0] * self.map).flatten(1).sum(1), self.map[None, None].expand(
            len(x), 1, -1, -1, -1
        )


def known(places):
    """A bump of 20 mm off the centre, so that a flip would be seen."""
    return np.exp(-((places - (12.0, -20.0, 25.0)) ** 2).sum(-1) / (2 * 20.0**2))


@pytest.mark.parametrize(
    "layout", ["finer", "coarser", "anisotropic", "oblique", "oblique permuted", "shifted"]
)
def test_another_grid_gives_the_same_map_at_the_same_places(
    tiny_bundle, tiny_brain, tiny_geometry, layout
):
    """A map that is known everywhere comes back at its place, within the interpolation's error."""
    grid = tiny_geometry
    bundle = replace(tiny_bundle(), recipe=SmoothRecipe(grid))
    other = {
        "finer": centred(grid, (60, 64, 58), (2.9, 2.8, 2.7)),
        "coarser": centred(grid, (26, 28, 26), (6.0,) * 3),
        "anisotropic": centred(grid, (40, 44, 30), (4.0, 4.0, 5.5)),
        "oblique": turned(grid, 7),
        "oblique permuted": turned(grid, -5),
        "shifted": replace(grid, origin=tuple(np.add(grid.origin, (2.0, -1.5, 2.5)))),
    }[layout]
    image, _ = tiny_brain(other, 2)
    if layout == "oblique permuted":
        image = image.reorient("SAR")
    array, brain, geometry = prepared(image)
    found = predict_volume(bundle, array, brain, geometry)
    places = geometry.to_lps(np.argwhere(brain))
    inner = (np.abs(grid.to_ijk(places) - (np.array(grid.size) - 1) / 2) < 15).all(axis=1)
    assert inner.mean() > 0.8
    # Linear interpolation errs by at most h^2/8 times the second derivative, along each axis.
    bound = 3 * grid.spacing[0] ** 2 / 8 / 20.0**2
    error = np.abs(found.attribution[brain] - known(places))[inner]
    assert error.max() < 1.1 * bound
    # The score is that of the standardised image where the network saw it.
    reference, _ = tiny_brain(grid, 2)
    assert found.logit == pytest.approx(predict_volume(bundle, *prepared(reference)).logit, rel=0.4)


def test_the_background_fills_what_the_image_does_not_reach(tiny_bundle, tiny_brain, tiny_geometry):
    """Outside the image the network sees what it saw outside the brain in training."""
    seen = []

    class Watching(SmoothRecipe):
        background = -2.0

        def explain(self, network, x):
            seen.append(x.numpy().copy())
            return super().explain(network, x)

    bundle = replace(tiny_bundle(), recipe=Watching(tiny_geometry))
    small = centred(tiny_geometry, (30, 31, 28), (5.0,) * 3)
    image, _ = tiny_brain(small, 3)
    predict_volume(bundle, *prepared(image, bundle))
    edges = [seen[0][0, 0, 0], seen[0][0, 0, :, -1], seen[0][0, 0, :, :, 0]]
    assert all((edge == -2.0).all() for edge in edges)


def test_a_brain_elsewhere_is_refused(tiny_bundle, tiny_brain, tiny_geometry):
    bundle = tiny_bundle()
    image, _ = tiny_brain(tiny_geometry, 1)
    for shift, words in ((60.0, r"only \d+% of the brain"), (1000.0, "only 0% of the brain")):
        moved = replace(tiny_geometry, origin=(tiny_geometry.origin[0] + shift, 0.0, 0.0))
        with pytest.raises(InputError, match=words + r".*register the image to MNI152"):
            predict_volume(bundle, *prepared(Image(image.array, moved)))


def test_nominal_spacing_of_a_volume(tiny_bundle, tiny_brain, tiny_geometry):
    """Only voxel counts can be compared; nothing is resampled."""
    nominal = replace(tiny_geometry, nominal=True)
    image, _ = tiny_brain(tiny_geometry, 1)
    bundle = tiny_bundle(geometry=nominal)
    expected = predict(bundle, prepared(image)[0][None])[0]
    other = Image(image.array, Geometry(image.array.shape, (0.7, 0.7, 3.0), nominal=True))
    found = predict_volume(bundle, *prepared(other))
    assert found.logit == expected.logit
    np.testing.assert_array_equal(found.attribution, expected.attribution)
    cut = Image(image.array[:, :, 1:].copy(), Geometry((34, 36, 31), nominal=True))
    with pytest.raises(
        InputError, match=r"\(34, 36, 31\) voxels.*\(34, 36, 32\) voxels of unknown"
    ):
        predict_volume(bundle, *prepared(cut))
    # The other way round: an image of unknown size has no place on a known grid.
    with pytest.raises(InputError, match="spacing is nominal"):
        predict_volume(tiny_bundle(), *prepared(other))


def slices_of(tiny_brain, geometry, seed=1):
    return prepared(tiny_brain(geometry, seed)[0].reorient(SLICE_ORIENTATION))


@pytest.fixture
def slice_bundle(tiny_bundle, tiny_geometry):
    """A bundle whose training slices had the tiny grid's pixels."""

    def make(*, nominal=False):
        flat = replace(tiny_geometry, size=(34, 36, 1), nominal=nominal, direction=np.eye(3))
        return tiny_bundle(dimensions=2, geometry=flat)

    return make


@pytest.mark.parametrize("nominal", [False, True])
def test_slices_are_what_the_network_says_of_each(slice_bundle, tiny_brain, tiny_geometry, nominal):
    """On the pixels of training nothing is moved: every slice as `predict` sees it."""
    bundle = slice_bundle(nominal=nominal)
    # The brain lies off the centre of its field of view, as it may have done in training.
    origin = tuple(np.add(tiny_geometry.origin, (7.0, -4.0, 0.0)))
    grid = replace(tiny_geometry, origin=origin, nominal=nominal)
    array, brain, geometry = slices_of(tiny_brain, grid)
    found, rows = predict_slices(bundle, array, brain, geometry)
    share = brain.mean(axis=(0, 1))
    assert [row["slice"] for row in rows] == np.flatnonzero(share >= 0.02).tolist()
    assert 0 < len(rows) < geometry.size[2]
    for row in rows:
        k = row["slice"]
        alone = predict(bundle, array[None, :, :, :, k : k + 1])[0]
        assert row["logit"] == pytest.approx(alone.logit, rel=1e-4, abs=1e-6)
        assert row["probability"] == pytest.approx(alone.probability, rel=1e-4)
        scale = np.abs(alone.attribution).max()
        np.testing.assert_allclose(
            found.attribution[:, :, k], alone.attribution[:, :, 0], atol=1e-3 * scale
        )
    assert found.logit == max(row["logit"] for row in rows)
    empty = sorted(set(range(geometry.size[2])) - {row["slice"] for row in rows})
    assert (found.attribution[:, :, empty] == found.attribution.min()).all()


def test_slices_of_other_pixels_are_brought_onto_those_of_training(
    slice_bundle, tiny_brain, tiny_geometry
):
    """A finer image of the same brain, off the centre of its field of view."""
    grid = tiny_geometry

    class Ramp:
        """A map known in the plane: pixels from the centre of the bundle's field of view."""

        background = 0.0
        map = torch.from_numpy(np.float32(np.add.outer(10.0 * np.arange(34), np.arange(36.0))))

        def explain(self, network, x):
            assert x.shape[1:] == (1, 34, 36)
            return x.flatten(1).amax(1), self.map.expand(len(x), 1, -1, -1)

    bundle = replace(slice_bundle(), recipe=Ramp())
    other = centred(grid, (80, 84, 30), (2.5, 2.5, 5.0))
    other = replace(other, origin=tuple(np.add(other.origin, (10.0, -5.0, 3.0))))
    array, brain, geometry = slices_of(tiny_brain, other)
    array = np.where(brain, np.arange(30), 0).astype(np.float32)[None]  # each slice its number
    found, rows = predict_slices(bundle, array, brain, geometry)
    assert len(rows) > 10
    for row in rows:  # moved within its plane only
        assert row["logit"] == pytest.approx(row["slice"], abs=1e-4)
    assert found.attribution.shape == geometry.size
    box = np.argwhere(brain)
    middle = (box.min(axis=0) + box.max(axis=0)) / 2
    # The brain's middle lies at the middle of the bundle's field of view; half as many steps.
    places = np.argwhere(brain)
    seen = np.isin(places[:, 2], [row["slice"] for row in rows])
    steps = (places[seen] - middle)[:, :2] * 2.5 / 5.0 + (33 / 2, 35 / 2)
    expected = 10.0 * steps[:, 0] + steps[:, 1]
    inside = ((steps > 0) & (steps < (33, 35))).all(axis=1)
    assert inside.mean() > 0.95
    np.testing.assert_allclose(
        found.attribution[tuple(places[seen].T)][inside], expected[inside], atol=0.05
    )


def test_slices_of_unknown_pixels_must_have_the_same_number(
    slice_bundle, tiny_brain, tiny_geometry
):
    bundle = slice_bundle(nominal=True)
    other = centred(tiny_geometry, (40, 36, 30), (5.0,) * 3)
    with pytest.raises(InputError, match=r"slices of \(40, 36\) pixels.*\(34, 36\) pixels of unkn"):
        predict_slices(bundle, *slices_of(tiny_brain, other))


def test_no_slice_with_brain(slice_bundle, tiny_geometry):
    array = np.zeros((1, *tiny_geometry.size), np.float32)
    brain = np.zeros(tiny_geometry.size, bool)
    brain[5, 5, 5] = True
    with pytest.raises(InputError, match="no slice holds enough brain"):
        predict_slices(slice_bundle(), array, brain, replace(tiny_geometry, direction=np.eye(3)))


def test_what_the_network_did_not_see_is_never_segmented(tiny_bundle, tiny_brain):
    """A threshold may be negative: voxels beyond the grid must not pass it by being zero."""
    bundle = tiny_bundle()
    grid = bundle.geometry
    image, _ = tiny_brain(grid, 1)
    array, brain, _ = prepare_channels({"FLAIR": image}, None)
    larger = replace(
        grid,
        size=tuple(n + 6 for n in grid.size),
        origin=tuple(grid.to_lps((-3, -3, -3))),
    )
    padded = np.pad(array, [(0, 0), (3, 3), (3, 3), (3, 3)])
    found = predict_volume(bundle, padded, np.pad(brain, 3), larger)
    inner = (slice(3, -3),) * 3
    outside = np.ones(larger.size, dtype=bool)
    outside[inner] = False
    assert (found.attribution[outside] == found.attribution.min()).all()
    exact = predict_volume(bundle, array, brain, grid).attribution
    np.testing.assert_allclose(found.attribution[inner], exact, rtol=1e-3, atol=1e-5)
