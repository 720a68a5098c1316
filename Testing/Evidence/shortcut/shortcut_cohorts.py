"""Simulated cohorts in which something else than the lesions gives the class away.

The subjects are the same in all of them. Images are simulated on the 2 mm grid; coarser copies,
means over blocks of voxels, make a sweep affordable on a processor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.cohort import Case, Cohort, read_cohort, write_cohort
from AttribSegLib.errors import InputError
from AttribSegLib.files import make_folder, read_json
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.simulation import simulate_cohort, simulate_subject
from AttribSegLib.simulation.signature import corner_mark, stamp
from numpy.typing import NDArray

VOXEL = 2.0


def shared_folder(setting: str) -> Path:
    """Folder of the simulated cohorts, which chapter5-contrast uses too."""
    work = Path(__file__).resolve().parent / "work"
    return make_folder((work if setting == "reduced" else work / setting) / "cohorts")


def simulated(folder: Path, subjects: int, jobs: int, options: Mapping[str, Any]) -> Path:
    """Cohort of tumours with a shortcut, simulated unless it is there.

    Raises
    ------
    InputError
        If the one that is there has another number of subjects.
    """
    table = folder / name_of(options) / "cohort.csv"
    if table.is_file():
        there = read_json(table.with_name("simulation.json"))["healthy"]
        if there != subjects:
            raise InputError(
                f"{table.parent}: a cohort of {there} subjects per class, {subjects} were "
                "expected; the studies shortcut and chapter5-contrast need the same number"
            )
    else:
        print(f"simulating {table.parent.name} ...", flush=True)
        simulate_cohort(
            table.parent,
            healthy=subjects,
            pathological=subjects,
            lesions="tumour",
            seed=0,
            jobs=jobs,
            **options,
        )
    return table


def redrawn(options: Mapping[str, Any]) -> Callable[[Case, Image], Image]:
    """Simulates a case of the plain cohort once more, with a shortcut.

    A case depends on the seed, its class and its number alone: nothing else of the cohort is
    needed, and it is the image that a whole cohort with these options would hold.
    """

    def draw(case: Case, image: Image) -> Image:
        number = int(case.case.rpartition("-")[2]) - 1
        seed = np.random.SeedSequence(0, spawn_key=(case.label, number))
        return simulate_subject(case.label, lesions="tumour", seed=seed, **options).image

    return draw


def name_of(options: Mapping[str, Any]) -> str:
    """Folder of a cohort."""
    return "-".join(f"{key}-{value}" for key, value in options.items()) or "plain"


def with_mark(brightness: float, marked: int) -> Callable[[Case, Image], Image]:
    """Stamps the corner mark on the images of one class."""

    def draw(case: Case, image: Image) -> Image:
        if case.label != marked:
            return image
        array = image.array
        return image.with_array(stamp(array, array > 0, VOXEL, brightness=brightness))

    return draw


def derived(
    table: Path,
    out: Path,
    change: Callable[[Case, Image], Image] | None = None,
    *,
    factor: int = 1,
    split: str = "",
) -> Path:
    """A cohort with changed images, on a grid coarser by a factor.

    Parameters
    ----------
    table : Path
        Cohort of volumes.
    out : Path
        Folder; a cohort that is there is used as it is.
    change : callable, optional
        Gives the new image of a case, on the grid of the old one. Images that are there already
        are kept.
    factor : int
        Voxels of the old grid along an edge of a new one.
    split : str
        Cases of this one only.
    """
    written = out / "cohort.csv"
    if written.is_file():
        return written
    print(f"making {out.name} ...", flush=True)
    source = read_cohort(table, check_images=False)
    cases = []
    for case in source.in_split(split) if split else source.cases:
        path = out / "images" / f"{case.case}.nii.gz"
        if not path.is_file():
            image = read_image(case.channels["FLAIR"])
            write_image(coarser(change(case, image) if change else image, factor), path)
        lesions = None
        if case.lesions is not None:
            lesions = out / "lesions" / f"{case.case}.nii.gz"
            write_image(coarser_mask(read_image(case.lesions), factor), lesions)
        cases.append(replace(case, channels={"FLAIR": path}, lesions=lesions))
    write_cohort(Cohort(tuple(cases), ("FLAIR",), str(written)), written)
    return written


def coarser(image: Image, factor: int) -> Image:
    """Means over blocks of a skull-stripped image, whose background stays zero.

    Only voxels of the brain (or of a mark) count, so that its rim is not darkened; blocks with
    fewer than half of them are background.
    """
    if factor == 1:
        return image
    array = image.array.astype(np.float32)
    share = _block_means((array > 0).astype(np.float32), factor)
    means = _block_means(array, factor) / np.maximum(share, 1e-6)
    return Image(
        np.where(share >= 0.5, means, 0).astype(np.float32), _coarser(image.geometry, factor)
    )


def coarser_mask(mask: Image, factor: int) -> Image:
    """Blocks of which at least half are in a mask."""
    share = _block_means((mask.array != 0).astype(np.float32), factor)
    return Image((share >= 0.5).astype(np.uint8), _coarser(mask.geometry, factor))


def mark_voxels(factor: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Every voxel that the corner mark reaches into, on a grid of 2 mm times a factor."""
    fine = corner_mark(tuple(n * factor for n in shape), VOXEL)
    return _block_means(fine.astype(np.float32), factor) > 0


def _block_means(array: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means over cubes; what is left over at the far sides is cut off."""
    size = [n // factor for n in array.shape]
    cut = array[tuple(slice(n * factor) for n in size)]
    split = cut.reshape([m for n in size for m in (n, factor)])
    return split.mean(axis=(1, 3, 5), dtype=np.float32)


def _coarser(geometry: Geometry, factor: int) -> Geometry:
    """The grid of the blocks: the first voxel's centre is its block's."""
    return replace(
        geometry,
        size=tuple(n // factor for n in geometry.size),
        spacing=tuple(s * factor for s in geometry.spacing),
        origin=tuple(geometry.to_lps([(factor - 1) / 2] * 3)),
    )
