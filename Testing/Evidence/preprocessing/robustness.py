"""Registration under random poses: does it land where the unposed scan lands?

Four raw scans (ATTRIBSEG_DATA/ms/raw/patient01) and four simulated heads, some poses each. Finished
runs are kept in robustness.jsonl, so that the study can be stopped and run again.
"""

import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from AttribSegLib.image import Image
from AttribSegLib.image_io import read_image
from AttribSegLib.preprocessing.atlas import load_atlas
from AttribSegLib.preprocessing.registration import register_to_atlas
from AttribSegLib.simulation import acquire_stack, simulate_head
from AttribSegLib.transform import Affine
from patient import RAW
from poses import pose
from scipy import ndimage

REAL = ("study1_FLAIR", "study1_T1W", "study2_FLAIR", "study2_T1W")
#: Simulated heads: modality, seed, voxel size in mm. Pathological, the tumour in one of them.
SIMULATED = {
    "head0_T1": ("T1", 0, (1.0, 1.0, 1.0)),
    "head1_T1": ("T1", 1, (0.9, 0.9, 3.0)),
    "head2_FLAIR": ("FLAIR", 2, (0.7, 0.7, 4.0)),
    "head3_FLAIR": ("FLAIR", 3, (1.2, 1.2, 1.2)),
}
SCANS = (*REAL, *SIMULATED)
#: Beyond what is asked for, to see failures and whether they are flagged: half of an axis cropped,
#: the bias field and the noise three times as strong.
HARD = {"crop": 0.5, "strength": 3.0}
#: Landed: this far, in mm, on average over the brain.
WITHIN_MM = 3.0


@lru_cache(maxsize=2)
def unposed(scan: str) -> tuple[Image, Affine, float]:
    """A scan as it is, where it lands, and how far that is from the truth (simulated heads)."""
    atlas = load_atlas()
    if scan in REAL:
        image = read_image(RAW / f"{scan}.nii.gz")
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


def measure(scan: str, number: int, hard: bool) -> dict:
    """Distances between the posed scan's result and the unposed one's, over the brain."""
    image, reference, to_truth = unposed(scan)
    posed, truth = draw(scan, number, image, hard)
    found = register_to_atlas(posed, load_atlas())
    distances = apart(found.transform @ truth, reference)
    return {
        "scan": scan,
        "pose": number,
        "hard": hard,
        "mean_mm": float(distances.mean()),
        "p95_mm": float(np.percentile(distances, 95)),
        "unposed_to_truth_mm": to_truth,
        "warnings": list(found.warnings),
        **found.quality,
        "transform": found.transform.to_list(),
    }


def draw(scan: str, number: int, image: Image, hard: bool) -> tuple[Image, Affine]:
    """The pose of this number of a scan."""
    rng = np.random.default_rng([SCANS.index(scan), number])
    return pose(image, rng, **(HARD if hard else {}))


def table(rows: list[dict]) -> str:
    """Markdown: per scan, how many land and what is flagged."""
    lines = [
        "| scan | poses | landed | median mm | worst mm | failures flagged | false flags | "
        "unposed to truth, mm |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scan in (*SCANS, "real", "simulated", "real, hard"):
        members = [
            row for row in rows if scan == kind(row) or (scan == row["scan"] and not row["hard"])
        ]
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


def kind(row: dict) -> str:
    """Which part of the study a run belongs to."""
    return ("real" if row["scan"] in REAL else "simulated") + (", hard" if row["hard"] else "")


def montage(rows: list[dict], path: Path) -> None:
    """The worst pose of every scan: middle slices on the atlas, with the outline of its brain."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    atlas = load_atlas()
    brain = atlas.brain.array
    rows = [row for row in rows if not row["hard"]]
    names = [scan for scan in SCANS if any(row["scan"] == scan for row in rows)]
    figure, axes = plt.subplots(len(names), 6, figsize=(13, 2.3 * len(names)), squeeze=False)
    for line, scan in zip(axes, names, strict=True):
        worst = max((r for r in rows if r["scan"] == scan), key=lambda r: r["mean_mm"])
        posed, _ = draw(scan, worst["pose"], unposed(scan)[0], worst["hard"])
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


def run(work: Path, picture: Path, *, jobs: int, poses: int) -> list[dict]:
    """Run what is missing; write the montage and return one row per run."""
    kept = work / "robustness.jsonl"
    rows = (
        [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
        if kept.exists()
        else []
    )
    done = {(row["scan"], row["pose"], row["hard"]) for row in rows}
    tasks = [(s, n, False) for s in SCANS for n in range(poses)]
    tasks += [(s, n, True) for s in REAL for n in range(poses)]
    tasks = [task for task in tasks if task not in done]
    print(f"{len(tasks)} registrations, about {len(tasks) * 0.25 / jobs:.0f} minutes", flush=True)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(measure, *task) for task in tasks]):
            rows.append(future.result())
            with kept.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
            last = rows[-1]
            print(last["scan"], last["pose"], kind(last), f"{last['mean_mm']:.2f} mm", flush=True)
    order = {scan: number for number, scan in enumerate(SCANS)}
    rows.sort(key=lambda row: (row["hard"], order[row["scan"]], row["pose"]))
    if tasks or not picture.is_file():
        montage(rows, picture)
    return rows
