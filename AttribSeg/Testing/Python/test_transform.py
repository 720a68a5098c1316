"""Affine maps agree with SimpleITK, and their files with what Slicer and ITK expect."""

import numpy as np
import pytest
import SimpleITK as sitk
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.transform import Affine, read_transform, write_transform
from scipy.spatial.transform import Rotation


@pytest.fixture
def affine(rng):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([0.2, -0.4, 0.3]).as_matrix() @ np.diag([1.1, 0.9, 1.2])
    matrix[:3, 3] = (10, -20, 5)
    return Affine(matrix)


def test_inverse_and_composition(affine, rng):
    points = rng.normal(0, 50, (20, 3))
    other = Affine(np.diag([2.0, 1, 1, 1]))
    assert np.allclose(affine.inverse()(affine(points)), points)
    assert np.allclose((other @ affine)(points), other(affine(points)))


def test_points_move_as_in_simpleitk(affine, rng):
    for point in rng.normal(0, 50, (5, 3)):
        assert np.allclose(affine.to_sitk().TransformPoint(point), affine(point))
    assert Affine.from_sitk(affine.to_sitk()) == affine


def test_quantities(affine):
    assert affine.determinant == pytest.approx(1.1 * 0.9 * 1.2)
    assert affine.anisotropy == pytest.approx(1.2 / 0.9)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec([0, 0, 0.5]).as_matrix()
    assert Affine(turn).rotation_degrees == pytest.approx(np.degrees(0.5))
    assert Affine(np.diag([-1.0, 1, 1, 1])).determinant == -1


def test_a_file_resamples_the_source_onto_the_target(affine, tmp_path, rng):
    """The convention of ITK's files: what sitk.Resample(source, target, transform) takes."""
    grid = Geometry((20, 18, 16), (2.0, 2.0, 2.0), (-20.0, -18.0, -16.0))
    image = Image(rng.random(grid.size).astype(np.float32), grid)
    ours = image.resample(grid, transform=affine)
    write_transform(affine, tmp_path / "t.tfm")
    reference = sitk.Resample(
        image.to_sitk(), image.to_sitk(), sitk.ReadTransform(str(tmp_path / "t.tfm"))
    )
    assert np.allclose(ours.array, Image.from_sitk(reference).array, atol=1e-5)
    assert read_transform(tmp_path / "t.tfm") == affine


def test_bad_transforms(tmp_path):
    with pytest.raises(InputError, match="invertible"):
        Affine(np.diag([1.0, 1, 0, 1]))
    with pytest.raises(InputError, match="no such transform"):
        read_transform(tmp_path / "absent.tfm")
    (tmp_path / "bad.tfm").write_text("nothing", encoding="utf-8")
    with pytest.raises(InputError, match=r"bad\.tfm: not an ITK"):
        read_transform(tmp_path / "bad.tfm")
    with pytest.raises(InputError, match="linear"):
        Affine.from_sitk(_bent())


def _bent():
    field = sitk.Image([9, 9, 9], sitk.sitkVectorFloat64)
    field.SetSpacing((50.0, 50.0, 50.0))
    field.SetOrigin((-200.0, -200.0, -200.0))
    field[5, 3, 5] = (30.0, 0.0, 0.0)
    return sitk.DisplacementFieldTransform(field)
