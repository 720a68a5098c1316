import numpy as np
import pytest
from AttribSegLib.attribution.supervoxels import supervoxels
from AttribSegLib.errors import InputError
from scipy import ndimage

SHAPES = {2: (48, 40), 3: (30, 28, 26)}


def image_of(dimensions: int) -> np.ndarray:
    noise = np.random.default_rng(3).normal(size=SHAPES[dimensions])
    return ndimage.gaussian_filter(noise, 3)


def unexplained(image: np.ndarray, labels: np.ndarray) -> float:
    """Share of the variance that is left within the regions."""
    means = ndimage.mean(image, labels, np.arange(labels.max() + 1))
    return float(((image - means[labels]) ** 2).mean() / image.var())


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("count", [12, 60, 200])
def test_regions_are_numbered_and_about_as_many_as_asked(dimensions, count):
    labels = supervoxels(image_of(dimensions), count=count)
    assert labels.dtype == np.int64
    assert labels.shape == SHAPES[dimensions]
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    assert 0.5 * count <= labels.max() + 1 <= 1.6 * count


@pytest.mark.parametrize("dimensions", [2, 3])
def test_regions_follow_the_image(dimensions):
    image = image_of(dimensions)
    loose, tight = (supervoxels(image, count=60, compactness=c) for c in (0.3, 1000.0))
    assert unexplained(image, loose) < 0.6 * unexplained(image, tight)
    # Scale and offset of the intensities do not matter.
    np.testing.assert_array_equal(supervoxels(1000 + 64 * image, count=60, compactness=0.3), loose)


def test_an_edge_is_a_border_of_regions():
    image = np.zeros((40, 40))
    image[:, 17:] = 1.0
    labels = supervoxels(image, count=16, compactness=0.5)
    assert not set(np.unique(labels[:, :17])) & set(np.unique(labels[:, 17:]))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_regions_are_connected(dimensions):
    labels = supervoxels(image_of(dimensions), count=60)
    neighbours = ndimage.generate_binary_structure(dimensions, dimensions)
    for label in range(labels.max() + 1):
        assert ndimage.label(labels == label, neighbours)[1] == 1


@pytest.mark.parametrize("dimensions", [2, 3])
def test_outside_the_brain_is_one_region(dimensions):
    image = image_of(dimensions)
    grid = np.indices(image.shape).reshape(dimensions, -1).T.reshape(*image.shape, dimensions)
    brain = ((grid - np.array(image.shape) / 2) ** 2).sum(-1) < 11**2
    labels = supervoxels(image, count=40, brain=brain)
    assert (labels[~brain] == 0).all()
    assert labels[brain].min() == 1
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    assert 20 <= labels.max() <= 80
    # What lies outside plays no part, not even values that are no numbers.
    dirty = np.where(brain, image, np.nan)
    np.testing.assert_array_equal(supervoxels(dirty, count=40, brain=brain), labels)
    everywhere = np.ones_like(brain)
    np.testing.assert_array_equal(
        supervoxels(image, count=40, brain=everywhere), supervoxels(image, count=40)
    )


def test_flat_and_thin_images():
    assert supervoxels(np.full((20, 30), 7.0), count=6).max() == 5
    assert supervoxels(np.ones((3, 30, 30)), count=4).max() == 3
    assert supervoxels(np.ones((30, 30, 1)), count=9).max() == 8
    assert supervoxels(image_of(2), count=1).max() == 0
    assert supervoxels(np.random.default_rng(0).normal(size=(4, 4)), count=1000).max() <= 15


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.ones(5), {}, "image of shape"),
        (np.ones((5, 5, 5, 5)), {}, "image of shape"),
        (np.full((5, 5), np.inf), {}, "finite"),
        (np.ones((5, 5)), {"count": 0}, "count 0"),
        (np.ones((5, 5)), {"compactness": 0.0}, "compactness 0"),
        (np.ones((5, 5)), {"brain": np.zeros((5, 5))}, "brain"),
        (np.ones((5, 5)), {"brain": np.ones((5, 4))}, "brain"),
    ],
)
def test_bad_input(image, options, message):
    with pytest.raises(InputError, match=message):
        supervoxels(image, **options)
