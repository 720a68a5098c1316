"""Registration finds the atlas from any pose, and the brain's surface where it is."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from AttribSegLib.errors import InputError
from AttribSegLib.image import Image
from AttribSegLib.image_io import read_image
from AttribSegLib.preprocessing.atlas import load_atlas
from AttribSegLib.preprocessing.brain import extract_brain
from AttribSegLib.preprocessing.intensity import brain_levels
from AttribSegLib.preprocessing.pose_search import rotations, search_poses
from AttribSegLib.preprocessing.registration import register_to_atlas
from AttribSegLib.preprocessing.rigid import register_rigid
from AttribSegLib.simulation import simulate_subject
from AttribSegLib.transform import Affine
from scipy.spatial.transform import Rotation

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
RAW = Path(os.environ.get("ATTRIBSEG_DATA", SHARED)) / "ms" / "raw" / "patient01"


def turned(image, degrees, shift):
    """The image in another pose: header alone, so that the truth is exact."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(degrees)).as_matrix()
    matrix[:3, 3] = shift
    pose = Affine(matrix)
    grid = image.geometry
    origin = tuple(pose(np.array(grid.origin)[None])[0])
    geometry = replace(grid, origin=origin, direction=matrix[:3, :3] @ grid.direction)
    return Image(image.array, geometry), pose


def distance(first, second, points):
    return float(np.linalg.norm(first(second.inverse()(points)) - points, axis=1).mean())


@pytest.fixture(scope="module")
def atlas():
    return load_atlas()


@pytest.fixture(scope="module")
def scan():
    return simulate_subject(0, modality="T1", seed=5).image


@pytest.fixture(scope="module")
def registered(scan, atlas):
    return register_to_atlas(scan, atlas)


def test_the_rotations_cover_all_and_reflect_nothing():
    turns = rotations(320)
    assert np.allclose(np.linalg.det(turns), 1)
    assert np.allclose(turns[0], np.eye(3))
    for probe in Rotation.random(50, random_state=0).as_matrix():
        angles = np.degrees(np.arccos(((turns * probe).sum(axis=(1, 2)) - 1).clip(-2, 2) / 2))
        assert angles.min() < 34


def test_search_finds_a_brain_lying_on_its_side(scan, atlas):
    posed, pose = turned(scan, (0, 95, 20), (40, -30, 60))
    best = search_poses(posed, atlas, brain_levels(posed)[0], keep=1)[0].transform @ pose
    assert best.rotation_degrees < 30
    assert np.linalg.norm(best(atlas.centre[None]) - atlas.centre) < 25


def test_any_pose_lands_in_the_same_place(scan, atlas, registered):
    assert registered.warnings == ()
    posed, pose = turned(scan, (150, 40, -60), (-50, 20, 60))
    other = register_to_atlas(posed, atlas)
    assert distance(other.transform @ pose, registered.transform, atlas.points()) < 1.0
    assert other.transform.determinant > 0


def test_storage_order_changes_nothing(scan, atlas, registered):
    other = register_to_atlas(scan.reorient("SAR"), atlas)
    assert distance(other.transform, registered.transform, atlas.points()) < 1.0


def test_the_simulated_brain_is_brought_onto_the_atlas(scan, atlas, registered):
    brain = scan.with_array(scan.array != 0)
    there = brain.resample(atlas.brain.geometry, transform=registered.transform).array
    both = 2 * (there & atlas.brain.array).sum() / (there.sum() + atlas.brain.array.sum())
    assert both > 0.93


def test_what_is_no_head_is_flagged(scan, atlas, rng):
    """A phantom: a bright ellipsoid with an even inside."""
    i, j, k = np.indices(scan.array.shape)
    ball = ((i - 45) / 30) ** 2 + ((j - 54) / 30) ** 2 + ((k - 45) / 30) ** 2 < 1
    noise = rng.normal(0, 2, scan.array.shape)
    assert register_to_atlas(scan.with_array(100.0 * ball + noise), atlas).warnings
    assert register_to_atlas(scan.with_array(50 + noise), atlas).warnings


def test_masks_without_an_edge_say_so(scan, atlas, registered, rng):
    good = extract_brain({"T1": scan}, atlas, {"T1": registered.transform}).quality
    noise = scan.with_array(rng.normal(100, 10, scan.array.shape))
    bad = extract_brain({"T1": noise}, atlas, {"T1": registered.transform}).quality
    assert good["edge"] > 0.5
    assert good["moved_mm"] < 3
    assert bad["edge"] < 0.1
    assert bad["moved_mm"] > 5


def test_a_mask_elsewhere_is_refused(scan, atlas):
    away = replace(scan.geometry, origin=(900, 0, 0))
    with pytest.raises(InputError, match="does not lie on the scan"):
        register_to_atlas(scan, atlas, brain=Image(scan.array != 0, away))


@pytest.mark.skipif(not RAW.is_dir(), reason="the raw scans of ATTRIBSEG_DATA are not here")
@pytest.mark.parametrize("study", ["study1", "study2"])
def test_brain_masks_of_real_scans(atlas, study):
    """Beside the authors' masks: Dice at least 0.95, volume within 8 %."""
    flair, t1 = (read_image(RAW / f"{study}_{name}.nii.gz") for name in ("FLAIR", "T1W"))
    to_common = sitk.ReadTransform(str(RAW / f"{study}_FLAIR_to_common_space.txt"))
    mask = sitk.ReadImage(str(RAW / "common_space_brainmask.nii.gz"))
    truth = sitk.Resample(mask, flair.to_sitk(), to_common.GetInverse(), sitk.sitkNearestNeighbor)
    truth = Image.from_sitk(truth).array != 0
    alone = register_to_atlas(flair, atlas)
    reference = register_to_atlas(t1, atlas)
    rigid = register_rigid(flair, t1, atlas, reference)
    theirs = sitk.ReadTransform(str(RAW / f"{study}_T1W_intrastudy_to_FLAIR.txt"))
    points = alone.transform.inverse()(atlas.points())
    apart = np.linalg.norm(rigid.transform(points) - Affine.from_sitk(theirs)(points), axis=1)
    assert apart.mean() < 1.0
    both = {"T1": reference.transform, "FLAIR": reference.transform @ rigid.transform}
    for channels, transforms in (
        ({"FLAIR": flair}, {"FLAIR": alone.transform}),
        ({"T1": t1, "FLAIR": flair}, both),
    ):
        found = extract_brain(channels, atlas, transforms).mask
        back = found.resample(flair.geometry, transform=transforms["FLAIR"].inverse()).array
        assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.95
        assert back.sum() == pytest.approx(truth.sum(), rel=0.08)
