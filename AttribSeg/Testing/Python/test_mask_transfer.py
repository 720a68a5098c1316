"""Lesions keep their volume and their centre on any grid."""

import numpy as np
import pytest
from AttribSegLib.image import Geometry, Image
from AttribSegLib.preprocessing.mask_transfer import transfer_mask
from AttribSegLib.transform import Affine
from scipy import ndimage
from scipy.spatial.transform import Rotation

FINE = Geometry((80, 90, 70), (1.0, 1.0, 1.0), (-40.0, 45.0, -35.0), np.diag([1.0, -1.0, 1.0]))


def blobs(rng, count=6):
    """Ellipsoids of 0.1 mL and more that do not touch."""
    places = np.stack(np.indices(FINE.size), axis=-1)
    mask = np.zeros(FINE.size, bool)
    for number in range(count):
        centre = (18 + 22 * (number % 3), 25 + 35 * (number // 3), rng.uniform(25, 45))
        radii = rng.uniform(3.0, 8.0, 3)
        mask |= (((places - centre) / radii) ** 2).sum(-1) < 1
    return Image(mask, FINE)


def turn(rng):
    matrix = np.eye(4)
    rotation = Rotation.from_rotvec(rng.normal(0, 0.2, 3)).as_matrix()
    matrix[:3, :3] = rotation * rng.uniform(0.85, 1.0, 3)
    matrix[:3, 3] = rng.normal(0, 3, 3)
    return Affine(matrix)


@pytest.mark.parametrize("seed", range(4))
def test_volume_and_centre_on_thick_slices(seed):
    rng = np.random.default_rng(seed)
    mask, transform = blobs(rng), turn(rng)
    onto = Geometry((130, 130, 22), (0.8, 0.8, 4.5), (-52.0, -52.0, -48.0))
    found = transfer_mask(mask, onto, transform)
    labels, count = ndimage.label(mask.array)
    voxel = np.prod(onto.spacing)
    # Found voxels belong to the lesion whose voxel is nearest.
    nearest = ndimage.distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    owners = Image(labels[tuple(nearest)].astype(np.uint8), FINE)
    owner = owners.resample(onto, transform=transform, interpolation="nearest").array
    for label in range(1, count + 1):
        members = np.argwhere(found.array & (owner == label))
        truth = np.argwhere(labels == label)
        assert abs(len(members) * voxel - len(truth) * transform.determinant) <= voxel
        centre = transform(FINE.to_lps(truth.mean(axis=0))[None])[0]
        assert np.linalg.norm(onto.to_lps(members.mean(axis=0)) - centre) < 0.6


def test_the_same_grid_changes_nothing(rng):
    mask = blobs(rng)
    assert np.array_equal(transfer_mask(mask, FINE).array, mask.array)


def test_a_plate_between_two_slices_is_not_lost():
    array = np.zeros(FINE.size, bool)
    array[30:50, 30:50, 35] = True  # 1 mm thick; slices are 4 mm apart
    onto = Geometry((80, 90, 17), (1, 1, 4.0), (-40.0, -44.0, -34.0))
    mask = Image(array, FINE)
    assert not mask.resample(onto).array.any()
    found = transfer_mask(mask, onto)
    assert found.array.sum() == pytest.approx(array.sum() / 4, abs=1)


def test_what_the_field_of_view_cuts_stays_cut():
    array = np.zeros(FINE.size, bool)
    array[20:40, 30:50, 20:40] = True
    half = Geometry((30, 90, 70), FINE.spacing, FINE.origin, FINE.direction)
    found = transfer_mask(Image(array, FINE), half)
    assert np.array_equal(found.array, array[:30])


def test_nothing_gives_nothing():
    empty = Image(np.zeros(FINE.size, bool), FINE)
    assert not transfer_mask(empty, FINE).array.any()
    array = np.zeros(FINE.size, bool)
    array[40, 40, 40] = True
    away = Geometry((10, 10, 10), (1, 1, 1), (500, 500, 500))
    assert not transfer_mask(Image(array, FINE), away).array.any()
    coarse = Geometry((20, 20, 20), (5, 5, 5), (-50, -50, -50))
    assert not transfer_mask(Image(array, FINE), coarse).array.any()  # less than half a voxel
