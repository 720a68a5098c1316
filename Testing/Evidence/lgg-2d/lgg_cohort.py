"""Turn ``lgg_flair_2d.npz`` into a cohort of slices that the ``attribseg`` commands take.

One volume per patient, made of the slices in the middle half of the stack (skull base and vertex
left out), its skull removed slice by slice, with a brain mask and the tumour mask. Cases are
single slices: healthy without a tumour pixel, pathological with a tumour on more than 0.1 % of
the slice; the few in between are not used. Patients are split 60 / 15 / 25 %, once and for all.
The voxel size is unknown: the spacing is declared nominal.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from AttribSegLib.cohort import Case, Cohort, write_cohort
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import write_image
from numpy.typing import NDArray
from skull_removal import brain_masks_of_patient

CENTRAL = 0.5
LEAST_TUMOUR = 0.001
SPLITS = {"train": 0.6, "validation": 0.15, "test": 0.25}


def assign_patients(patients: NDArray[np.str_]) -> dict[str, str]:
    """Split of every patient."""
    order = np.random.default_rng(0).permutation(np.unique(patients))
    counts = [round(share * len(order)) for share in SPLITS.values()]
    ends = np.cumsum(counts)
    names = list(SPLITS)
    return {
        str(patient): names[min(int(np.searchsorted(ends, index, side="right")), 2)]
        for index, patient in enumerate(order)
    }


def convert(
    source: Path,
    out: Path,
    *,
    patients: Sequence[str] | None = None,
    on_patient: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the cohort; returns its table.

    Parameters
    ----------
    source : Path
        ``lgg_flair_2d.npz``.
    out : Path
        Folder for volumes and ``cohort.csv``.
    patients : sequence of str, optional
        These only.
    on_patient : callable, optional
        Called with (done, total).
    """
    table = out / "cohort.csv"
    with np.load(source) as content:
        flair, patient = content["flair"], content["patient"]
        tumour = np.unpackbits(content["mask"], axis=-1).astype(bool)
        order = content["slice_index"]
    split = assign_patients(patient)
    names = np.unique(patient) if patients is None else np.array(sorted(patients))
    cases: list[Case] = []
    for done, name in enumerate(names, start=1):
        rows = np.flatnonzero(patient == name)
        rows = rows[np.argsort(order[rows])]
        margin = round(len(rows) * (1 - CENTRAL) / 2)
        rows = rows[margin : len(rows) - margin]
        brain = brain_masks_of_patient(flair[rows])
        geometry = Geometry((flair.shape[2], flair.shape[1], len(rows)), nominal=True)

        def save(
            stack: NDArray[np.generic], kind: str, grid: Geometry = geometry, who: str = name
        ) -> Path:
            path = out / "volumes" / f"{who}_{kind}.nii.gz"
            # Pictures are (row, column): columns run towards the left, rows towards the back.
            volume = np.ascontiguousarray(stack.transpose(2, 1, 0)).astype(np.uint8)
            write_image(Image(volume, grid), path)
            return path

        paths = {
            "FLAIR": save(np.where(brain, flair[rows], 0), "FLAIR"),
            "brain": save(brain, "brain"),
            "lesions": save(tumour[rows], "lesions"),
        }
        for index, row in enumerate(rows):
            area = tumour[row].mean()
            if 0 < area <= LEAST_TUMOUR or brain[index].mean() < 0.02:
                continue
            cases.append(
                Case(
                    case=f"{name}-{index:02d}",
                    patient=str(name),
                    label=int(area > 0),
                    split=split[str(name)],
                    channels={"FLAIR": paths["FLAIR"]},
                    brain=paths["brain"],
                    lesions=paths["lesions"],
                    slice=index,
                    nominal_spacing=True,
                )
            )
        if on_patient is not None:
            on_patient(done, len(names))
    write_cohort(Cohort(tuple(cases), ("FLAIR",), str(table)), table)
    return table


def main() -> None:
    """Command line of the converter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="lgg_flair_2d.npz")
    parser.add_argument("out", type=Path, help="folder to make")
    args = parser.parse_args()
    table = convert(
        args.source,
        args.out,
        on_patient=lambda done, total: print(f"{done}/{total} patients", flush=True),
    )
    print(table)


if __name__ == "__main__":
    main()
