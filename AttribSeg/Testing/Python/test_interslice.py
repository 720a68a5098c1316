"""Slices in between: met half-way, in-plane only, old slices kept."""

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.preprocessing.interslice import interpolate_slices, slice_displacements
from scipy import ndimage

SPACING = (1.0, 1.0, 5.0)


def tilted_tubes(slices, spacing=SPACING, size=64):
    """Bright tubes that run obliquely through the stack: 2.4 mm of shift per 5 mm slice."""
    i, j, k = np.meshgrid(*(np.arange(n, dtype=float) for n in (size, size, slices)), indexing="ij")
    z = k * spacing[2]
    array = np.zeros(i.shape)
    for x, y in ((18, 20), (40, 24), (26, 44)):
        array += np.exp(-((i - x - 0.48 * (z - 20)) ** 2 + (j - y) ** 2) / (2 * 3.0**2))
    return array.astype(np.float32)


def test_the_field_lies_in_the_plane_and_follows_the_tubes():
    stack = tilted_tubes(9)
    field = slice_displacements(stack, SPACING)
    assert field.shape == (3, 64, 64, 8)
    assert not field[2].any()
    on_tube = stack[:, :, 3] > 0.7
    assert field[0, :, :, 3][on_tube].mean() == pytest.approx(2.4, abs=0.8)
    assert abs(field[1, :, :, 3][on_tube].mean()) < 0.3


def test_closer_to_the_truth_than_linear_and_cubic_interpolation():
    truth = tilted_tubes(41, (1.0, 1.0, 1.0))
    image = Image(np.ascontiguousarray(truth[:, :, ::5]), Geometry((64, 64, 9), SPACING))
    ours = interpolate_slices(image)
    fine = Geometry((64, 64, 41))
    assert ours.geometry.same_grid(fine)

    def error(array):
        return float(np.sqrt(((array - truth) ** 2).mean()))

    linear = image.resample(fine).array
    cubic = image.resample(fine, interpolation="bspline").array
    assert error(ours.array) < 0.8 * min(error(linear), error(cubic))


def test_old_slices_are_kept_exactly():
    stack = tilted_tubes(5)
    ours = interpolate_slices(Image(stack, Geometry(stack.shape, SPACING)))
    assert np.array_equal(ours.array[:, :, ::5], stack)


def test_any_axis_and_handedness(geometry):
    """The same tissue lies at the same place, however the stack is stored."""
    stack = tilted_tubes(5, size=48)
    image = Image(stack, Geometry(stack.shape, SPACING, (3, 4, 5), geometry.direction))
    expected = interpolate_slices(image)
    for order in ("LPS", "SAL", "RSP"):
        other = interpolate_slices(image.reorient(order))
        back = other.reorient(image.geometry.orientation())
        assert back.geometry.same_grid(expected.geometry)
        assert np.allclose(back.array, expected.array, atol=0.05)


def test_fine_stacks_come_back_as_they_are():
    image = Image(np.zeros((8, 8, 8), np.int16), Geometry((8, 8, 8), (1.0, 1.0, 1.4)))
    assert interpolate_slices(image) is image
    assert interpolate_slices(image, factor=1.2) is not image


def test_constant_slices_and_short_stacks():
    stack = np.full((16, 16, 2), 7, np.int16)
    ours = interpolate_slices(Image(stack, Geometry(stack.shape, SPACING)))
    assert ours.array.shape == (16, 16, 6)
    assert (ours.array == 7).all()
    blank = interpolate_slices(Image(np.zeros((16, 16, 3)), Geometry((16, 16, 3), SPACING)))
    assert not blank.array.any()


def test_bad_input():
    image = Image(np.ones((8, 8, 1)), Geometry((8, 8, 1), SPACING))
    with pytest.raises(InputError, match="one slice"):
        interpolate_slices(image)
    with pytest.raises(InputError, match=r"factor 0\.5"):
        interpolate_slices(image, factor=0.5)
    with pytest.raises(InputError, match="spacing 0"):
        interpolate_slices(image, spacing=0)


def test_the_field_is_smooth():
    rng = np.random.default_rng(0)
    stack = tilted_tubes(7) + 0.05 * rng.standard_normal((64, 64, 7)).astype(np.float32)
    field = slice_displacements(stack, SPACING)[0]
    assert np.abs(np.diff(field, axis=0)).max() < 0.5
    assert np.abs(field - ndimage.uniform_filter(field, (3, 3, 1))).max() < 0.2
