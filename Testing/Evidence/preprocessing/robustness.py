"""Registration under random poses: does it land where the unposed scan lands?

Four raw scans (ATTRIBSEG_DATA/ms/raw/patient01) and four simulated heads, ten poses each, about
twenty minutes on two cores. Finished runs are kept in work/robustness.jsonl, so that the script can
be stopped and run again; `--only real` and `--only simulated` run one half.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from AttribSegLib.files import write_text
from AttribSegLib.image import Image
from AttribSegLib.image_io import read_image
from AttribSegLib.preprocessing.atlas import load_atlas
from AttribSegLib.preprocessing.registration import register_to_atlas
from AttribSegLib.simulation import acquire_stack, simulate_head
from AttribSegLib.transform import Affine
from poses import pose
from scipy import ndimage

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("ATTRIBSEG_DATA", HERE.parents[3] / "shared" / "data"))
REAL = ("study1_FLAIR", "study1_T1W", "study2_FLAIR", "study2_T1W")
#: Simulated heads: modality, seed, voxel size in mm. Pathological, the tumour in one of them.
SIMULATED = {
    "head0_T1": ("T1", 0, (1.0, 1.0, 1.0)),
    "head1_T1": ("T1", 1, (0.9, 0.9, 3.0)),
    "head2_FLAIR": ("FLAIR", 2, (0.7, 0.7, 4.0)),
    "head3_FLAIR": ("FLAIR", 3, (1.2, 1.2, 1.2)),
}
SCANS = (*REAL, *SIMULATED)
#: Landed: this far, in mm, on average over the brain.
WITHIN_MM = 3.0


@lru_cache(maxsize=2)
def unposed(scan: str) -> tuple[Image, Affine, float]:
    """A scan as it is, where it lands, and how far that is from the truth (simulated heads)."""
    atlas = load_atlas()
    if scan in REAL:
        image = read_image(DATA / "ms" / "raw" / "patient01" / f"{scan}.nii.gz")
        return image, register_to_atlas(image, atlas).transform, float("nan")
    modality, seed, spacing = SIMULATED[scan]
    head = simulate_head(1, modality=modality, lesions="mixed", seed=seed)
    image = acquire_stack(head.image, spacing=spacing)
    found = register_to_atlas(image, atlas).transform
    return image, found, float(apart(found, head.to_atlas).mean())


def apart(first: Affine, second: Affine) -> np.ndarray:
    """Distances, mm, between where two transforms put what the second puts on the atlas's brain."""
    points = load_atlas().points()
    return np.linalg.norm(first(second.inverse()(points)) - points, axis=1)


def measure(scan: str, number: int) -> dict:
    """Distances between the posed scan's result and the unposed one's, over the brain."""
    image, reference, to_truth = unposed(scan)
    posed, truth = draw(scan, number, image)
    found = register_to_atlas(posed, load_atlas())
    distances = apart(found.transform @ truth, reference)
    return {
        "scan": scan,
        "pose": number,
        "mean_mm": float(distances.mean()),
        "p95_mm": float(np.percentile(distances, 95)),
        "unposed_to_truth_mm": to_truth,
        "warnings": list(found.warnings),
        **found.quality,
        "transform": found.transform.to_list(),
    }


def draw(scan: str, number: int, image: Image) -> tuple[Image, Affine]:
    """The pose of this number of a scan."""
    return pose(image, np.random.default_rng([SCANS.index(scan), number]))


def table(rows: list[dict]) -> str:
    """Markdown: per scan, how many land and what is flagged."""
    lines = [
        "| scan | poses | landed | median mm | worst mm | failures flagged | false flags | "
        "unposed to truth, mm |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scan in (*SCANS, "real", "simulated"):
        members = [row for row in rows if scan in (row["scan"], kind(row["scan"]))]
        if not members:
            continue
        errors = np.array([row["mean_mm"] for row in members])
        flagged = np.array([bool(row["warnings"]) for row in members])
        bad = errors > WITHIN_MM
        truth = members[0]["unposed_to_truth_mm"] if scan in SIMULATED else float("nan")
        lines.append(
            f"| {scan} | {len(members)} | {(~bad).sum()} | {np.median(errors):.2f} | "
            f"{errors.max():.2f} | {(bad & flagged).sum()} of {bad.sum()} | "
            f"{(~bad & flagged).sum()} | {'' if np.isnan(truth) else f'{truth:.1f}'} |"
        )
    return "\n".join(lines) + "\n"


def kind(scan: str) -> str:
    """Real or simulated."""
    return "real" if scan in REAL else "simulated"


def montage(rows: list[dict], path: Path) -> None:
    """The worst pose of every scan: middle slices on the atlas, with the outline of its brain."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    atlas = load_atlas()
    brain = atlas.brain.array
    names = [scan for scan in SCANS if any(row["scan"] == scan for row in rows)]
    figure, axes = plt.subplots(len(names), 6, figsize=(13, 2.3 * len(names)), squeeze=False)
    for line, scan in zip(axes, names, strict=True):
        worst = max((r for r in rows if r["scan"] == scan), key=lambda r: r["mean_mm"])
        posed, _ = draw(scan, worst["pose"], unposed(scan)[0])
        there = Affine(np.array(worst["transform"]))
        onto = posed.resample(atlas.brain.geometry, transform=there).array
        top = np.percentile(onto[brain], 99) * 1.3
        middle = [n // 2 for n in posed.array.shape]
        native = [np.take(posed.array, middle[axis], axis) for axis in range(3)]
        shapes = [
            np.array(posed.geometry.spacing)[[a for a in range(3) if a != x]] for x in (0, 1, 2)
        ]
        for axis in range(3):
            ratio = shapes[axis][1] / shapes[axis][0]
            line[axis].imshow(
                native[axis].T, cmap="gray", vmin=0, vmax=top, origin="lower", aspect=ratio
            )
            at = (90, 108, 84)[axis]
            line[3 + axis].imshow(
                np.take(onto, at, axis).T, cmap="gray", vmin=0, vmax=top, origin="lower"
            )
            outline = np.take(brain, at, axis)
            edge = outline & ~ndimage.binary_erosion(outline)
            line[3 + axis].contour(edge.T, [0.5], colors="tab:orange", linewidths=0.6)
        for panel in line:
            panel.axis("off")
        line[0].set_title(
            f"{scan}, pose {worst['pose']}: {worst['mean_mm']:.2f} mm"
            + (", flagged" if worst["warnings"] else ""),
            loc="left",
            fontsize=9,
        )
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    """Run what is missing, then write the table and the montage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--poses", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", choices=("real", "simulated"))
    args = parser.parse_args()
    kept = HERE / "work" / "robustness.jsonl"
    kept.parent.mkdir(exist_ok=True)
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(row["scan"], row["pose"]) for row in rows}
    scans = [s for s in SCANS if args.only in (None, kind(s))]
    tasks = [(s, n) for s in scans for n in range(args.poses) if (s, n) not in done]
    print(f"{len(tasks)} runs, about {len(tasks) * 0.4 / args.jobs:.0f} minutes")
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(measure, *task) for task in tasks]):
            rows.append(future.result())
            with kept.open("a") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
            print(rows[-1]["scan"], rows[-1]["pose"], f"{rows[-1]['mean_mm']:.2f} mm", flush=True)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    write_text(results / "robustness.md", table(rows))
    montage(rows, results / "robustness.png")


if __name__ == "__main__":
    main()
