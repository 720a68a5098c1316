"""Simulated heads: what surrounds the brain, and the truth about it."""

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image, mni152_geometry
from AttribSegLib.simulation import acquire_stack, simulate_head, simulate_subject
from scipy import ndimage


@pytest.fixture(scope="module")
def head():
    return simulate_head(1, modality="T1", seed=4)


def overlap(first, second):
    both = (first.array & second.array).sum()
    return 2 * both / (first.array.sum() + second.array.sum())


def ring(head, near, far):
    distance = ndimage.distance_transform_edt(~head.brain.array[::2, ::2, ::2]) * 2
    return head.image.array[::2, ::2, ::2][(distance > near) & (distance <= far)]


def test_the_brain_inside_is_the_subject(head):
    subject = simulate_subject(1, modality="T1", spacing=1, seed=4)
    onto = head.brain.resample(subject.brain.geometry)
    assert np.array_equal(onto.array, subject.brain.array)
    assert head.lesions.array.sum() == subject.lesions.array.sum() > 0
    there = head.image.resample(subject.image.geometry).array[subject.brain.array]
    assert np.corrcoef(there, subject.image.array[subject.brain.array])[0, 1] > 0.8


def test_dark_skull_then_bright_fat_then_air(head):
    inside = np.median(head.image.array[head.brain.array])
    array = head.image.array
    middle = int(np.argwhere(head.brain.array)[:, 1].mean())
    height = int(np.argwhere(head.brain.array)[:, 2].mean()) + 20
    row = array[:, middle, height].astype(float)  # right to left through both sides of the skull
    brain = np.flatnonzero(head.brain.array[:, middle, height])
    outside = row[: brain[0]]
    fat = int(outside.argmax())
    assert outside[fat] > 1.3 * inside  # scalp
    assert outside[fat:].min() < 0.4 * inside  # skull
    assert np.median(outside[: fat - 12]) < 0.15 * inside  # air
    assert np.median(outside[: fat - 12]) > 0  # with the scanner's noise


def test_flair_heads_show_bright_brains():
    head = simulate_head(0, modality="FLAIR", seed=1)
    assert not head.lesions.array.any()
    assert np.median(ring(head, 4, 10)) < 0.4 * np.median(head.image.array[head.brain.array])


def test_the_truth_brings_the_brain_onto_the_atlas(head):
    from AttribSegLib.preprocessing.atlas import load_atlas

    atlas = load_atlas()
    onto = head.brain.resample(mni152_geometry(1), transform=head.to_atlas)
    assert overlap(onto, atlas.brain) > 0.93
    assert overlap(onto, atlas.brain) > overlap(
        head.brain.resample(mni152_geometry(1)), atlas.brain
    )


def test_stacks_average_over_their_slices(rng):
    noise = Image(rng.normal(0, 1, (40, 40, 40)).astype(np.float32), Geometry((40, 40, 40)))
    stack = acquire_stack(noise, spacing=(1, 1, 4))
    assert stack.geometry.size == (40, 40, 10)
    assert stack.array.std() < 0.6
    ramp = Image(np.indices((40, 40, 40))[2].astype(np.float32), Geometry((40, 40, 40)))
    values = acquire_stack(ramp, spacing=(2, 2, 4)).array[10, 10]
    assert values == pytest.approx(1.5 + 4 * np.arange(10), abs=0.2)
    small = acquire_stack(ramp, spacing=(2, 2, 4), field=(20, 40, 100))
    assert small.geometry.size == (10, 20, 10)
    middle = small.geometry.to_lps((np.array(small.geometry.size) - 1) / 2)
    assert middle == pytest.approx(ramp.geometry.to_lps([19.5] * 3))
    for bad in ({"spacing": (1, 0, 1)}, {"field": (0, 1, 1)}, {"spacing": (1, 1)}):
        with pytest.raises(InputError, match="above 0"):
            acquire_stack(ramp, **bad)
