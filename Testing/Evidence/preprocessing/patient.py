"""The raw patient: registration and brain masks beside the authors', and lesions there and back."""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_image
from AttribSegLib.preprocessing.atlas import load_atlas
from AttribSegLib.preprocessing.brain import extract_brain
from AttribSegLib.preprocessing.mask_transfer import transfer_mask
from AttribSegLib.preprocessing.registration import Registration, register_to_atlas
from AttribSegLib.preprocessing.rigid import register_rigid
from AttribSegLib.transform import Affine
from scipy import ndimage

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("ATTRIBSEG_DATA", HERE.parents[3] / "shared" / "data"))
RAW = DATA / "ms" / "raw" / "patient01"
STUDIES = ("study1", "study2")


def scan(study: str, channel: str) -> Image:
    """A raw scan, channel FLAIR or T1W."""
    return read_image(RAW / f"{study}_{channel}.nii.gz")


def authors_transform(study: str, name: str) -> Affine:
    """One of the authors' transforms, as a map of points."""
    return Affine.from_sitk(sitk.ReadTransform(str(RAW / f"{study}_{name}.txt")))


@lru_cache(maxsize=2)
def authors_mask(study: str) -> Image:
    """The authors' brain mask on the FLAIR grid."""
    flair = scan(study, "FLAIR").to_sitk()
    transform = sitk.ReadTransform(str(RAW / f"{study}_FLAIR_to_common_space.txt"))
    mask = sitk.ReadImage(str(RAW / "common_space_brainmask.nii.gz"))
    there = sitk.Resample(mask, flair, transform.GetInverse(), sitk.sitkNearestNeighbor)
    found = Image.from_sitk(there)
    return found.with_array(found.array != 0)


@lru_cache(maxsize=2)
def registered(study: str) -> tuple[Registration, Registration, Registration]:
    """T1 to the atlas, FLAIR to T1, and FLAIR alone to the atlas."""
    atlas = load_atlas()
    t1, flair = scan(study, "T1W"), scan(study, "FLAIR")
    onto = register_to_atlas(t1, atlas)
    return onto, register_rigid(flair, t1, atlas, onto), register_to_atlas(flair, atlas)


def registration() -> dict[str, float]:
    """Distances in mm, over the brain, to the authors' transforms."""
    atlas = load_atlas()
    result = {}
    flair_to_atlas = {}
    for study in STUDIES:
        onto, rigid, alone = registered(study)
        points = alone.transform.inverse()(atlas.points())
        theirs = authors_transform(study, "T1W_intrastudy_to_FLAIR")(points)
        apart = np.linalg.norm(rigid.transform(points) - theirs, axis=1)
        result[f"{study}: FLAIR to T1 against the authors', mean mm"] = apart.mean()
        flair_to_atlas[study] = onto.transform @ rigid.transform
        other = flair_to_atlas[study](points) - atlas.points()
        result[f"{study}: FLAIR alone against FLAIR through T1, mean mm"] = np.linalg.norm(
            other, axis=1
        ).mean()
    # One brain at two visits: through the authors' common space and ours it is the same place.
    # The authors' files hold what resampling onto the common space needs: its points to FLAIR's.
    common = {s: authors_transform(s, "FLAIR_to_common_space").inverse() for s in STUDIES}
    first = flair_to_atlas["study1"].inverse()(atlas.points())
    second = common["study2"].inverse()(common["study1"](first))
    both = flair_to_atlas["study2"](second) - atlas.points()
    result["visit 1 against visit 2 in the atlas, mean mm"] = np.linalg.norm(both, axis=1).mean()
    return {name: float(value) for name, value in result.items()}


def brain_masks() -> list[dict]:
    """Dice and volume of our masks on the FLAIR grid beside the authors'."""
    atlas = load_atlas()
    rows = []
    for study in STUDIES:
        onto, rigid, alone = registered(study)
        scans = {"T1": scan(study, "T1W"), "FLAIR": scan(study, "FLAIR")}
        through = {"T1": onto.transform, "FLAIR": onto.transform @ rigid.transform}
        for names, transforms in (
            (("FLAIR",), {"FLAIR": alone.transform}),
            (("T1",), through),
            (("T1", "FLAIR"), through),
        ):
            used = {name: scans[name] for name in names}
            found = extract_brain(used, atlas, transforms).mask
            back = transforms["FLAIR"].inverse()
            ours = found.resample(scans["FLAIR"].geometry, transform=back).array
            theirs = authors_mask(study).array
            rows.append(
                {
                    "study": study,
                    "from": " and ".join(names),
                    "dice": float(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())),
                    "volume_percent": float(100 * (ours.sum() / theirs.sum() - 1)),
                }
            )
    return rows


def round_trip() -> list[dict]:
    """Real lesion masks from the atlas to the FLAIR grids: volumes and centres of each lesion.

    Beside it the usual way, interpolated and cut at one half.
    """
    paths = sorted((DATA / "ms" / "mni").glob("*/lesions.nii.gz"))
    rows = []
    for study in STUDIES:
        onto, rigid, _ = registered(study)
        back = (onto.transform @ rigid.transform).inverse()
        grid = scan(study, "FLAIR").geometry
        errors: dict[str, list[tuple[float, float]]] = {"ours": [], "cut at one half": []}
        for path in paths:
            mask = read_image(path)
            mask = mask.with_array(mask.array != 0)
            ways = {
                "ours": transfer_mask(mask, grid, back),
                "cut at one half": mask.resample(grid, transform=back),
            }
            for name, there in ways.items():
                errors[name] += _lesion_errors(mask, there, grid, back)
        for name, pairs in errors.items():
            volume, centre = np.array(pairs).T
            rows.append(
                {
                    "study": study,
                    "way": name,
                    "lesions": len(pairs),
                    "within_5_percent": float((np.abs(volume) <= 0.05).mean()),
                    "worst_volume_percent": float(100 * np.abs(volume).max()),
                    "within_1_mm": float((centre <= 1).mean()),
                    "worst_centre_mm": float(np.nanmax(centre)),
                }
            )
    return rows


def _lesion_errors(
    mask: Image, there: Image, grid: Geometry, back: Affine
) -> list[tuple[float, float]]:
    """Relative volume error and distance of the centre, mm, of lesions over 0.1 mL."""
    labels, count = ndimage.label(mask.array, np.ones((3, 3, 3)))
    nearest = ndimage.distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    owner = mask.with_array(labels[tuple(nearest)]).resample(
        grid, transform=back, interpolation="nearest"
    )
    numbers = range(1, count + 1)
    volumes = np.bincount(labels.ravel())[1:] * mask.geometry.voxel_volume_ml * back.determinant
    centres = np.array(ndimage.center_of_mass(mask.array, labels, numbers))
    centres = back(mask.geometry.to_lps(centres))
    members = owner.array * there.array
    found = np.bincount(members.ravel(), minlength=count + 1)[1:] * grid.voxel_volume_ml
    pairs = []
    for number in np.flatnonzero(volumes > 0.1):
        place = np.argwhere(members == number + 1)
        away = float("inf")
        if len(place):
            away = float(np.linalg.norm(grid.to_lps(place.mean(axis=0)) - centres[number]))
        pairs.append((float(found[number] / volumes[number] - 1), away))
    return pairs
