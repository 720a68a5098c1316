"""Registration of real scans under random poses: does it land where the unposed scan lands?

Four raw scans (ATTRIBSEG_DATA/ms/raw/patient01), ten poses each; about ten minutes on two cores.
Finished runs are kept in work/robustness.jsonl, so that the script can be stopped and run again.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from AttribSegLib.files import write_text
from AttribSegLib.image import Image
from AttribSegLib.image_io import read_image
from AttribSegLib.preprocessing.atlas import load_atlas
from AttribSegLib.preprocessing.registration import register_to_atlas
from AttribSegLib.transform import Affine
from scipy.ndimage import zoom
from scipy.spatial.transform import Rotation

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("ATTRIBSEG_DATA", HERE.parents[3] / "shared" / "data"))
SCANS = ("study1_FLAIR", "study1_T1W", "study2_FLAIR", "study2_T1W")


def pose(image: Image, rng: np.random.Generator) -> tuple[Image, Affine]:
    """A random pose, and the exact map from the scan's space to the posed one's.

    One of the 24 proper axis turns, a rotation to 40 degrees, a shift to 60 mm, a scale of 0.9 to
    1.1, 20 % of one axis cropped, a bias field, noise, and any storage order.
    """
    axis = rng.standard_normal(3)
    turn = Rotation.from_rotvec(np.radians(rng.uniform(0, 40)) * axis / np.linalg.norm(axis))
    turn = turn * Rotation.create_group("O")[int(rng.integers(24))]
    matrix = np.eye(4)
    matrix[:3, :3] = rng.uniform(0.9, 1.1) * turn.as_matrix()
    middle = image.geometry.to_lps((np.array(image.geometry.size) - 1) / 2)
    shift = rng.standard_normal(3)
    shift *= rng.uniform(0, 60) / np.linalg.norm(shift)
    matrix[:3, 3] = middle + shift - matrix[:3, :3] @ middle
    truth = Affine(matrix)

    array = image.array.astype(np.float32)
    coarse = rng.normal(0, 0.2, (3, 3, 3))
    array *= np.exp(zoom(coarse, np.array(array.shape) / 3, order=1))
    array = np.abs(array + rng.normal(0, 0.03 * np.percentile(array, 98), array.shape))
    cut_axis, side = int(rng.integers(3)), int(rng.integers(2))
    count = array.shape[cut_axis]
    start, stop = (count // 5, count) if side else (0, count - count // 5)
    window = [slice(None)] * 3
    window[cut_axis] = slice(start, stop)
    corner = np.zeros(3)
    corner[cut_axis] = start
    array = np.ascontiguousarray(array[tuple(window)])
    grid = image.geometry
    scale = truth.determinant ** (1 / 3)
    geometry = replace(
        grid,
        size=array.shape,
        spacing=tuple(scale * step for step in grid.spacing),
        origin=tuple(truth(grid.to_lps(corner)[None])[0]),
        direction=turn.as_matrix() @ grid.direction,
    )
    order = ["LR", "PA", "SI"]
    letters = "".join(order[i][int(rng.integers(2))] for i in rng.permutation(3))
    return Image(array, geometry).reorient(letters), truth


def measure(scan: str, number: int) -> dict:
    """Distances in mm between the posed scan's result and the unposed one's, over the brain."""
    atlas = load_atlas()
    image = read_image(DATA / "ms" / "raw" / "patient01" / f"{scan}.nii.gz")
    reference = register_to_atlas(image, atlas).transform
    rng = np.random.default_rng([SCANS.index(scan), number])
    posed, truth = pose(image, rng)
    found = register_to_atlas(posed, atlas)
    points = atlas.points()
    moved = (found.transform @ truth)(reference.inverse()(points))
    apart = np.linalg.norm(moved - points, axis=1)
    return {
        "scan": scan,
        "pose": number,
        "mean_mm": float(apart.mean()),
        "p95_mm": float(np.percentile(apart, 95)),
        "warnings": list(found.warnings),
        **found.quality,
    }


def table(rows: list[dict]) -> str:
    """Markdown: per scan, how many land within 3 mm on average and what is flagged."""
    lines = [
        "# Registration under random poses",
        "",
        "Distance to the unposed scan's result, mean over the atlas's brain.",
        "",
        "| scan | poses | within 3 mm | median mm | worst mm | failures flagged | false flags |",
        "|---|---|---|---|---|---|---|",
    ]
    for scan in (*SCANS, "all"):
        members = [row for row in rows if scan in (row["scan"], "all")]
        if not members:
            continue
        errors = np.array([row["mean_mm"] for row in members])
        flagged = np.array([bool(row["warnings"]) for row in members])
        bad = errors > 3
        lines.append(
            f"| {scan} | {len(members)} | {(~bad).sum()} | {np.median(errors):.2f} | "
            f"{errors.max():.2f} | {(bad & flagged).sum()} of {bad.sum()} | "
            f"{(~bad & flagged).sum()} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--poses", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    kept = HERE / "work" / "robustness.jsonl"
    kept.parent.mkdir(exist_ok=True)
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(row["scan"], row["pose"]) for row in rows}
    tasks = [(s, n) for n in range(args.poses) for s in SCANS if (s, n) not in done]
    print(f"{len(tasks)} runs, about {len(tasks) * 0.5 / args.jobs:.0f} minutes")
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(measure, *task) for task in tasks]):
            rows.append(future.result())
            with kept.open("a") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
            print(rows[-1]["scan"], rows[-1]["pose"], f"{rows[-1]['mean_mm']:.2f} mm", flush=True)
    write_text(HERE / "robustness.md", table(rows))


if __name__ == "__main__":
    main()
