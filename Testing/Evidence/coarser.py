"""The slices once more with pixels twice as large, as the thesis compares 1 mm with 2 mm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from AttribSegLib.cohort import Cohort, read_cohort, write_cohort
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_image, write_image
from numpy.typing import NDArray


def coarser_cohort(table: Path, out: Path) -> Path:
    """Cohort whose pixels are twice as large in plane; made unless it is there.

    Intensities are means over the brain pixels of every block of 2 x 2; a block belongs to the
    brain, or to the lesion, if at least half of it does.
    """
    coarse = out / "cohort.csv"
    if coarse.is_file():
        return coarse
    cohort = read_cohort(table, check_images=False)
    done: dict[Path, Path] = {}

    def path_of(source: Path | None, brain: Path | None = None) -> Path | None:
        if source is None:
            return None
        if source not in done:
            done[source] = out / "volumes" / source.name
            inside = None if brain is None else read_image(brain).array > 0
            write_image(halved(read_image(source), inside), done[source])
        return done[source]

    cases = [
        replace(
            case,
            channels={name: path_of(p, case.brain) for name, p in case.channels.items()},
            brain=path_of(case.brain),
            lesions=path_of(case.lesions),
        )
        for case in cohort.cases
    ]
    write_cohort(Cohort(tuple(cases), cohort.channels, str(coarse)), coarse)
    return coarse


def halved(image: Image, brain: NDArray[np.bool_] | None) -> Image:
    """An image with half as many pixels along its first two axes; a mask without a brain."""
    weight = np.ones(image.array.shape) if brain is None else brain.astype(float)
    mean = _blocks(image.array * weight) / np.maximum(_blocks(weight), 1e-9)
    if brain is None:
        values = (mean >= 0.5).astype(np.uint8)
    else:
        values = np.where(_blocks(weight) >= 0.5, mean, 0).astype(np.float32)
    return Image(values, Geometry(values.shape, nominal=True))


def _blocks(array: NDArray[np.generic]) -> NDArray[np.float64]:
    i, j, k = array.shape
    return array.astype(float).reshape(i // 2, 2, j // 2, 2, k).mean(axis=(1, 3))
