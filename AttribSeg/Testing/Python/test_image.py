"""Images and their geometry: physical points are never moved."""

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image, mni152_geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

ORIENTATIONS = [
    "".join(letters) for pairs in permutations(("LR", "PA", "SI")) for letters in product(*pairs)
]


def rotation(angles):
    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


@st.composite
def geometries(draw):
    """Any grid: anisotropic, oblique, permuted, of either handedness."""
    direction = rotation([draw(st.floats(-180, 180)) for _ in range(3)])
    if draw(st.booleans()):
        direction = direction @ np.diag([-1.0, 1.0, 1.0])
    return Geometry(
        size=tuple(draw(st.integers(1, 5)) for _ in range(3)),
        spacing=tuple(draw(st.floats(0.3, 6)) for _ in range(3)),
        origin=tuple(draw(st.floats(-200, 200)) for _ in range(3)),
        direction=direction,
    )


def numbered(geometry):
    """An image whose voxels all differ."""
    return Image(np.arange(np.prod(geometry.size)).reshape(geometry.size), geometry)


def positions(image):
    """Physical point of every voxel value."""
    indices = np.stack(np.meshgrid(*map(np.arange, image.array.shape), indexing="ij"), -1)
    points = image.geometry.to_lps(indices).reshape(-1, 3)
    order = np.argsort(image.array.ravel())
    return image.array.ravel()[order], points[order]


def assert_same_voxels(first, second, atol=1e-9):
    values, points = positions(first)
    other_values, other_points = positions(second)
    np.testing.assert_array_equal(values, other_values)
    np.testing.assert_allclose(points, other_points, atol=atol)


@given(geometries(), st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_to_lps_and_to_ijk_are_inverse(geometry, ijk):
    np.testing.assert_allclose(geometry.to_ijk(geometry.to_lps(ijk)), ijk, atol=1e-8)


@given(geometries())
@settings(max_examples=30)
def test_to_lps_agrees_with_simpleitk(geometry):
    image = numbered(geometry).to_sitk()
    corner = [n - 1 for n in geometry.size]
    np.testing.assert_allclose(
        geometry.to_lps(corner), image.TransformIndexToPhysicalPoint(corner), atol=1e-8
    )
    np.testing.assert_allclose(
        geometry.to_ras(corner), geometry.to_lps(corner) * [-1, -1, 1], atol=0
    )


def test_to_lps_by_hand():
    geometry = Geometry((4, 4, 4), (1, 2, 3), (10, 20, 30))
    np.testing.assert_allclose(geometry.to_lps((1, 1, 1)), (11, 22, 33))
    np.testing.assert_allclose(geometry.to_ras((1, 1, 1)), (-11, -22, 33))


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_orientation_letters_agree_with_simpleitk(code):
    image = numbered(Geometry((2, 3, 4), (1, 2, 3), (5, 6, 7))).reorient(code)
    assert image.geometry.orientation() == code
    direction = image.geometry.direction.ravel().tolist()
    assert sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction) == code
    assert code[image.geometry.axis_towards("S")] in "SI"


@given(geometries(), st.sampled_from(ORIENTATIONS))
def test_reorient_moves_no_voxel_and_has_an_exact_inverse(geometry, code):
    image = numbered(geometry)
    turned = image.reorient(code)
    assert turned.geometry.orientation() == code
    assert_same_voxels(image, turned)
    back = turned.reorient(geometry.orientation())
    np.testing.assert_array_equal(back.array, image.array)
    np.testing.assert_array_equal(back.geometry.direction, geometry.direction)
    assert back.geometry == geometry


@pytest.mark.parametrize("angles", [(0, 0, 45), (45, 0, 0), (45, 45, 0), (0, 45, 135)])
@pytest.mark.parametrize("code", ORIENTATIONS)
def test_reorient_is_exact_for_axes_at_45_degrees(angles, code):
    geometry = Geometry((2, 3, 4), (1, 2, 3), direction=rotation(angles))
    back = numbered(geometry).reorient(code).reorient(geometry.orientation())
    np.testing.assert_array_equal(back.array, numbered(geometry).array)


@pytest.mark.parametrize("code", ["LPX", "LP", "LLS", "", "LRS"])
def test_reorient_refuses_what_is_no_orientation(code):
    with pytest.raises(InputError, match="three letters"):
        numbered(Geometry((2, 2, 2))).reorient(code)


def test_resample_onto_its_own_grid_is_the_identity():
    image = numbered(Geometry((3, 4, 5), (1, 2, 3)))
    np.testing.assert_array_equal(image.resample(image.geometry).array, image.array)


@pytest.mark.parametrize("interpolation", ["linear", "nearest", "bspline"])
def test_resample_agrees_with_simpleitk(interpolation):
    rng = np.random.default_rng(0)
    moving = Image(rng.random((9, 8, 7)).astype("f4"), Geometry((9, 8, 7), (1, 1.5, 2)))
    onto = Geometry((7, 6, 8), (1.3, 1.1, 1.7), (0.7, 0.4, -0.6), rotation((5, -8, 12)))
    reference = sitk.Image(onto.size, sitk.sitkFloat32)
    reference.SetSpacing(onto.spacing)
    reference.SetOrigin(onto.origin)
    reference.SetDirection(onto.direction.ravel())
    kind = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}.get(
        interpolation, sitk.sitkBSpline
    )
    expected = sitk.Resample(moving.to_sitk(), reference, sitk.Transform(), kind, -1.0)
    result = moving.resample(onto, interpolation=interpolation, background=-1.0)
    assert result.geometry == onto
    np.testing.assert_allclose(
        result.array, sitk.GetArrayFromImage(expected).transpose(2, 1, 0), atol=1e-6
    )


def test_resample_of_a_linear_ramp_is_the_ramp():
    geometry = Geometry((8, 8, 8), (2, 2, 2))
    ramp = Image(np.arange(8.0)[:, None, None] * np.ones((8, 8, 8)) * 2, geometry)
    finer = Geometry((8, 4, 4), (1, 1, 1), (3, 3, 3))
    np.testing.assert_allclose(ramp.resample(finer).array[:, 0, 0], 3 + np.arange(8), atol=1e-6)


def test_resample_cuts_a_mask_at_one_half():
    array = np.zeros((4, 1, 1), bool)
    array[1] = True
    shifted = Geometry((4, 1, 1), origin=(0.4, 0, 0))
    result = Image(array, Geometry((4, 1, 1))).resample(shifted)
    assert result.array.dtype == bool
    np.testing.assert_array_equal(result.array.ravel(), [False, True, False, False])


def test_resample_keeps_the_spacing_nominal():
    image = numbered(Geometry((2, 2, 2), nominal=True))
    assert image.resample(Geometry((2, 2, 2))).geometry.nominal
    assert image.resample(Geometry((3, 3, 3))).geometry.nominal


def test_resample_refuses_an_unknown_interpolation():
    with pytest.raises(InputError, match="cubic"):
        numbered(Geometry((2, 2, 2))).resample(Geometry((3, 3, 3)), interpolation="cubic")


@given(geometries())
@settings(max_examples=50)
def test_axial_slice_keeps_voxels_in_place(geometry):
    image = numbered(geometry)
    axis = geometry.axis_towards("S")
    for index in range(geometry.size[axis]):
        piece = image.axial_slice(index)
        assert piece.geometry.size[axis] == 1
        corner = [0, 0, 0]
        corner[axis] = index
        np.testing.assert_allclose(piece.geometry.origin, geometry.to_lps(corner), atol=1e-9)
        np.testing.assert_array_equal(piece.array.squeeze(axis), image.array.take(index, axis=axis))


def test_axial_slice_out_of_range():
    with pytest.raises(InputError, match="0 to 4"):
        numbered(Geometry((3, 4, 5))).axial_slice(5)
    with pytest.raises(InputError, match="slice -1"):
        numbered(Geometry((3, 4, 5))).axial_slice(-1)


@given(geometries())
@settings(max_examples=30)
def test_sitk_round_trip(geometry):
    image = numbered(geometry)
    back = Image.from_sitk(image.to_sitk())
    np.testing.assert_array_equal(back.array, image.array)
    assert back.geometry == geometry


@pytest.mark.parametrize(
    ("dtype", "becomes"), [(bool, np.uint8), (np.float16, np.float32), (np.int16, np.int16)]
)
def test_types_that_simpleitk_lacks(dtype, becomes):
    image = Image(np.ones((2, 3, 4), dtype), Geometry((2, 3, 4)))
    assert Image.from_sitk(image.to_sitk()).array.dtype == becomes


def test_tensor_round_trip():
    image = numbered(Geometry((2, 3, 4), (1, 2, 3))).reorient("RAS")
    tensor = image.to_tensor()
    assert tensor.shape == (1, 1, 2, 3, 4)
    assert tensor.dtype == torch.float32
    back = Image.from_tensor(tensor, image.geometry)
    np.testing.assert_array_equal(back.array, image.array)
    tensor += 1  # the image does not change with its tensor
    assert image.array.min() == 0
    half = Image.from_tensor(image.to_tensor().bfloat16()[0, 0], image.geometry)
    np.testing.assert_array_equal(half.array, image.array)


def test_from_tensor_refuses_a_batch():
    with pytest.raises(InputError, match="one volume"):
        Image.from_tensor(torch.zeros(2, 1, 2, 3, 4), Geometry((2, 3, 4)))


@pytest.mark.parametrize(("spacing", "size"), [(1.0, (182, 218, 182)), (2.0, (91, 109, 91))])
def test_mni152_geometry(spacing, size):
    geometry = mni152_geometry(spacing)
    assert geometry.size == size
    # The anterior commissure is the origin of the atlas: voxel (90, 126, 72) mm from the corner.
    np.testing.assert_allclose(
        geometry.to_ras(np.array([90, 126, 72]) / spacing), (0, 0, 0), atol=1e-12
    )
    assert geometry.orientation() == "LAS"


def test_mni152_geometry_refuses_other_spacings():
    with pytest.raises(InputError, match="1 and 2 mm"):
        mni152_geometry(3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": (0, 2, 2)}, "size"),
        ({"size": (2, 2)}, "size"),
        ({"size": (2, 2, 2), "spacing": (1, 0, 1)}, "spacing"),
        ({"size": (2, 2, 2), "spacing": (1, np.nan, 1)}, "spacing"),
        ({"size": (2, 2, 2), "direction": np.ones((3, 3))}, "orthonormal"),
    ],
)
def test_geometry_refuses(fields, message):
    with pytest.raises(InputError, match=message):
        Geometry(**fields)


def test_image_refuses_an_array_of_another_size():
    with pytest.raises(InputError, match=r"\(2, 3, 4\)"):
        Image(np.zeros((2, 3, 4)), Geometry((4, 3, 2)))


def test_from_sitk_refuses_vectors_and_complex_voxels():
    with pytest.raises(InputError, match="3 components"):
        Image.from_sitk(sitk.Image((2, 2, 2), sitk.sitkVectorUInt8, 3))
    with pytest.raises(InputError, match="complex"):
        Image.from_sitk(sitk.Image((2, 2, 2), sitk.sitkComplexFloat32))


def test_nominal_spacing_refuses_volumes():
    geometry = Geometry((2, 2, 2), (2, 3, 4))
    assert geometry.voxel_volume_ml == pytest.approx(0.024)
    image = Image(np.zeros((2, 2, 2)), geometry).with_nominal(True)
    with pytest.raises(InputError, match="nominal"):
        _ = image.geometry.voxel_volume_ml
    assert image.geometry != geometry


@given(geometries())
@settings(max_examples=20)
def test_dictionary_round_trip(geometry):
    assert Geometry.from_dict(geometry.to_dict()) == geometry


def test_same_grid_sees_a_shift_and_a_flip():
    geometry = Geometry((4, 5, 6), (1, 1, 2))
    assert geometry.same_grid(Geometry((4, 5, 6), (1, 1, 2), (0.001, 0, 0)))
    assert not geometry.same_grid(Geometry((4, 5, 6), (1, 1, 2), (0.5, 0, 0)))
    assert not geometry.same_grid(Geometry((4, 5, 6), (1, 1, 2), direction=np.diag([1, 1, -1.0])))
