import itertools

import numpy as np
import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.training.augmentation import (
    NO_AUGMENTATION,
    Augmentation,
    AugmentationOptions,
)

SIZES = {2: (20, 24), 3: (16, 18, 14)}


def case(dimensions, *, channels=2, background=0.0, seed=0):
    """An image with an ellipsoid of brain, off centre."""
    size = SIZES[dimensions]
    generator = torch.Generator().manual_seed(seed)
    places = torch.meshgrid(*[torch.linspace(-1.1, 0.9, n) for n in size], indexing="ij")
    brain = (sum(place**2 for place in places) < 0.6)[None]
    image = torch.randn(channels, *size, generator=generator)
    return torch.where(brain, image, background), brain


def make(dimensions, *, flip_axis=0, background=0.0, **options):
    chosen = {"brightness": (1.0, 1.0), "flip": 0.0, "elastic": 0.0, "affine": 0.0} | options
    return Augmentation(
        AugmentationOptions(**chosen), SIZES[dimensions], flip_axis=flip_axis, background=background
    )


@pytest.mark.parametrize("dimensions", [2, 3])
def test_identity_when_off(dimensions):
    image, brain = case(dimensions)
    found, mask = Augmentation(NO_AUGMENTATION, SIZES[dimensions])(image, brain, seed=(1, 2))
    assert torch.equal(found, image)
    assert torch.equal(mask, brain)


def test_no_amplitude_is_no_deformation():
    image, brain = case(2)
    found, _ = make(2, elastic=1.0, elastic_amplitude=0.0)(image, brain, seed=(1,))
    assert torch.equal(found, image)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_affine_keeps_image_and_brain_together(dimensions):
    _, brain = case(dimensions)
    image = torch.where(brain, 1.0, 0.0).expand(2, *brain.shape[1:]).clone()
    augmentation = make(dimensions, affine=1.0)
    for number in range(5):
        found, mask = augmentation(image, brain, seed=(number,))
        assert (found[mask.expand_as(found)] > 0.5 - 1e-6).all()
        assert not torch.equal(mask, brain)
        assert 2 * (mask & brain).sum() / (mask.sum() + brain.sum()) > 0.5


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_seed_names_the_draw(dimensions):
    image, brain = case(dimensions)
    augmentation = make(dimensions, brightness=(0.5, 2.0), flip=0.5, elastic=1.0)
    found, mask = augmentation(image, brain, seed=(3, 1, 4))
    augmentation(image, brain, seed=(0,))  # nothing is left over from another draw
    np.random.seed(99)  # noqa: NPY002  (MONAI's global generator must not matter)
    torch.manual_seed(99)
    again, mask_again = augmentation(image, brain, seed=(3, 1, 4))
    assert torch.equal(found, again)
    assert torch.equal(mask, mask_again)
    fresh = make(dimensions, brightness=(0.5, 2.0), flip=0.5, elastic=1.0)
    assert torch.equal(fresh(image, brain, seed=(3, 1, 4))[0], found)
    assert not torch.equal(augmentation(image, brain, seed=(3, 1, 5))[0], found)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_gives_plain_tensors_of_the_same_kind(dimensions):
    image, brain = case(dimensions)
    augmentation = make(dimensions, brightness=(0.5, 2.0), flip=1.0, elastic=1.0)
    before = image.clone(), brain.clone()
    found, mask = augmentation(image, brain, seed=(1,))
    # A subclass would follow the images through the whole network.
    assert type(found) is torch.Tensor
    assert type(mask) is torch.Tensor
    assert (found.shape, found.dtype) == (image.shape, torch.float32)
    assert (mask.shape, mask.dtype) == (brain.shape, torch.bool)
    assert torch.equal(image, before[0])
    assert torch.equal(brain, before[1])


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("background", [0.0, -4.0])
def test_background_is_untouched(dimensions, background):
    image, brain = case(dimensions, background=background)
    augmentation = make(
        dimensions, background=background, brightness=(0.5, 2.0), flip=0.5, elastic=1.0
    )
    for number in range(6):
        found, mask = augmentation(image, brain, seed=(number,))
        assert (found[(~mask).expand_as(found)] == background).all()
        assert mask.any()
        assert not mask.all()


@pytest.mark.parametrize(("dimensions", "axis"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
def test_flip_is_the_flip_of_image_and_brain_together(dimensions, axis):
    image, brain = case(dimensions)
    found, mask = make(dimensions, flip=1.0, flip_axis=axis)(image, brain, seed=(1,))
    assert torch.equal(found, image.flip(1 + axis))
    assert torch.equal(mask, brain.flip(1 + axis))
    assert not torch.equal(mask, brain)


def test_flip_happens_as_often_as_asked():
    image, brain = case(2)
    augmentation = make(2, flip=0.25)
    flips = sum(
        not torch.equal(augmentation(image, brain, seed=(0, number))[1], brain)
        for number in range(400)
    )
    assert 60 < flips < 140


@pytest.mark.parametrize("background", [0.0, -3.0])
def test_brightness_is_one_factor_within_its_range(background):
    image, brain = case(2, background=background)
    augmentation = make(2, brightness=(0.5, 2.0), background=background)
    factors = []
    for number in range(100):
        found, mask = augmentation(image, brain, seed=(number,))
        assert torch.equal(mask, brain)
        inside = brain.expand_as(image)
        # The same factor for all voxels and channels, counted from the background.
        before, after = image[inside] - background, found[inside] - background
        factors.append(float((after / before).median()))
        torch.testing.assert_close(after, before * factors[-1], rtol=1e-4, atol=1e-4)
    assert 0.5 <= min(factors) < 0.6
    assert 1.8 < max(factors) <= 2.0


@pytest.mark.parametrize("dimensions", [2, 3])
def test_brain_follows_the_elastic_deformation(dimensions):
    _, brain = case(dimensions)
    # The image is the mask itself, plus a value for brain that interpolation cannot hide.
    image = torch.where(brain, 1.0, 0.0).expand(2, *brain.shape[1:]).clone()
    augmentation = make(dimensions, elastic=1.0, elastic_amplitude=0.2)
    changed = 0
    for number in range(5):
        found, mask = augmentation(image, brain, seed=(number,))
        inside = mask.expand_as(found)
        assert (found[inside] > 0.5 - 1e-6).all()
        assert (found[~inside] == 0).all()
        changed += int((mask != brain).sum() > 0)
        overlap = 2 * (mask & brain).sum() / (mask.sum() + brain.sum())
        assert overlap > 0.6
    assert changed == 5


@pytest.mark.parametrize("dimensions", [2, 3])
def test_elastic_amplitude_bounds_the_displacement(dimensions):
    size = SIZES[dimensions]
    brain = torch.ones(1, *size, dtype=torch.bool)
    for axis, amplitude in itertools.product(range(dimensions), (0.05, 0.2)):
        shape = [1] * dimensions
        shape[axis] = size[axis]
        ramp = torch.linspace(-1, 1, size[axis]).reshape(1, *shape).expand(1, *size).contiguous()
        augmentation = make(dimensions, elastic=1.0, elastic_amplitude=amplitude)
        moved = torch.stack([augmentation(ramp, brain, seed=(n,))[0] - ramp for n in range(8)])
        assert 0.5 * amplitude < moved.abs().max() <= 1.01 * amplitude
        # Nothing but the deformation moves voxels: a tiny one leaves the grid where it is.
        augmentation = make(dimensions, elastic=1.0, elastic_amplitude=1e-6)
        assert (augmentation(ramp, brain, seed=(1,))[0] - ramp).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"brightness": (0.0, 1.0)}, "brightness"),
        ({"brightness": (2.0, 1.0)}, "brightness"),
        ({"brightness": (1.0, float("inf"))}, "brightness"),
        ({"flip": -0.1}, "flip -0.1"),
        ({"elastic": 2.0}, "elastic 2"),
        ({"elastic_amplitude": -0.1}, "elastic_amplitude -0.1"),
        ({"elastic_amplitude": float("nan")}, "elastic_amplitude nan"),
    ],
)
def test_errors_name_the_option(options, named):
    with pytest.raises(InputError, match=named):
        AugmentationOptions(**options)
