"""The whole preprocessing chain with N4 on raw T1 and FLAIR: seconds, and memory.

Beside it a like pipeline of antspyx (the `benchmark` extra), measured in the same run: affine
registration of T1 and rigid of FLAIR, the atlas's mask brought onto the scan, N4. It does neither
inter-slice interpolation nor a search over poses nor a brain mask of the scan's own.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.preprocessing.atlas import load_atlas
from AttribSegLib.preprocessing.chain import prepare
from AttribSegLib.preprocessing.options import ChainOptions
from timing import median_seconds, peak_mb, resident_mb

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RAW = Path(os.environ.get("ATTRIBSEG_DATA", SHARED)) / "ms" / "raw" / "patient01"


def measure() -> dict[str, float]:
    """Study 1 of the raw patient at 2 and 1 mm; nothing where the data are absent."""
    paths = {"T1": RAW / "study1_T1W.nii.gz", "FLAIR": RAW / "study1_FLAIR.nii.gz"}
    if not all(path.is_file() for path in paths.values()):
        return {}
    scans = {name: read_image(path) for name, path in paths.items()}
    options = {s: ChainOptions(spacing=s).with_steps(add=("n4",)) for s in (1, 2)}
    before = resident_mb()
    prepare(scans, options[2])
    results = {"chain_2mm_mb": peak_mb() - before}
    results["chain_2mm_s"] = median_seconds(lambda: prepare(scans, options[2]))
    results["chain_1mm_s"] = median_seconds(lambda: prepare(scans, options[1]))
    if find_spec("ants") is not None:
        results["chain_2mm_ants_s"] = median_seconds(lambda: _ants(paths), repetitions=3)
    return results


def _ants(paths: dict[str, Path]) -> None:
    import tempfile

    import ants

    atlas = load_atlas()
    with tempfile.TemporaryDirectory() as folder:
        for name, image in (("t1", atlas.t1), ("brain", atlas.brain)):
            write_image(image, Path(folder) / f"{name}.nii.gz")
        template = ants.resample_image(ants.image_read(f"{folder}/t1.nii.gz"), (2, 2, 2))
        brain = ants.image_read(f"{folder}/brain.nii.gz")
    t1, flair = (ants.image_read(str(paths[name])) for name in ("T1", "FLAIR"))
    affine = ants.registration(template, t1, type_of_transform="Affine")["fwdtransforms"]
    rigid = ants.registration(t1, flair, type_of_transform="Rigid")["fwdtransforms"]
    mask = ants.resample_image_to_target(brain, template, interp_type="nearestNeighbor")
    for scan, transforms in ((t1, affine), (flair, [*affine, *rigid])):
        onto = ants.apply_transforms(template, scan, transforms)
        ants.n4_bias_field_correction(onto, mask=mask, shrink_factor=2)
