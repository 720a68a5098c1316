"""Pictures of the study: figures against the number of images, and detections as users see them."""

import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.files import atomic_path
from AttribSegLib.image_io import read_image
from ms_page import INTENSITY
from study import Study, attribseg

_CONSTRAINED, _OTHER, _PLAIN = "#0072B2", "#D55E00", "#444444"
Found = dict[str, Any]


def draw_counts(study: Study, found: Sequence[Found], path: Path) -> None:
    """AUROC of images and AUPRC of voxels against the number of training images."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings = study.settings
    first = found[0]
    panels: list[tuple[str, Callable[[Found], float], float | None, float]] = [
        ("image AUROC, simulated test", lambda f: f["simulated"]["image_auroc"], None, 0.5),
        (
            "AUPRC, simulated test",
            lambda f: f["simulated"]["maps"]["attribution"]["auprc"],
            first["simulated"]["maps"][INTENSITY]["auprc"],
            first["simulated"]["prevalence"],
        ),
    ]
    for name in settings["patients"]:
        panels.append(
            (
                f"AUPRC, {name} (real)",
                lambda f, name=name: f["real"][name]["maps"]["attribution"]["auprc"],
                first["real"][name]["maps"][INTENSITY]["auprc"],
                first["real"][name]["prevalence"],
            )
        )
    figure = Figure(figsize=(13, 3.6), layout="constrained", dpi=110)
    for axis, (title, read, plain, chance) in zip(figure.subplots(1, 4), panels, strict=True):
        for name, about in settings["models"].items():
            members = [f for f in found if f["model"] == name]
            colour, marker = (_CONSTRAINED, "o") if name == settings["counts_of"] else (_OTHER, "s")
            counts = sorted({f["training_images"] for f in members})
            means = [
                np.mean([read(f) for f in members if f["training_images"] == n]) for n in counts
            ]
            axis.plot(counts, means, marker="_", markersize=14, color=colour, label=about["label"])
            axis.plot(
                [f["training_images"] for f in members],
                [read(f) for f in members],
                marker,
                color=colour,
                alpha=0.7,
                fillstyle="none",
            )
        if plain is not None:
            axis.axhline(plain, color=_PLAIN, linestyle="--", label="plain FLAIR threshold")
        axis.axhline(chance, color="#999999", linestyle=":", label="chance")
        axis.set_xscale("log")
        counts = sorted({f["training_images"] for f in found})
        axis.set_xticks(counts, [str(n) for n in counts])
        axis.minorticks_off()
        axis.margins(x=0.12)
        axis.set_xlabel("training images")
        axis.set_title(title, fontsize=10)
        lowest = min(read(each) for each in found)
        axis.set_ylim(bottom=min(0.45, lowest - 0.05) if plain is None else 0)
    figure.axes[1].legend(fontsize=8, loc="center left")
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def draw_detections(study: Study) -> None:
    """Detections by the command, and slice views of Slicer with the segments."""
    from headless.slicer_app import HeadlessSlicer

    settings = study.settings
    for name in settings["patients"]:
        image = study.data / "ms" / "mni" / name / "FLAIR.nii.gz"
        inbox = study.work / "inbox" / f"{name}.nii.gz"
        inbox.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, inbox)
        attribseg(
            *("detect", str(inbox), "--bundle", str(study.work / settings["counts_of"])),
            *("--out", str(study.work / "detections")),
            *("--minimum-ml", str(settings["minimum_ml"])),
        )
        found = study.work / "detections" / name
        shutil.copy(found / f"{name}_overlay.png", study.out / f"{name}_overlay.png")
        with HeadlessSlicer() as slicer:
            volume = slicer.load_volume(inbox)
            slicer.load_segmentation(found / f"{name}_lesions.seg.nrrd")
            slicer.render_slice(
                study.out / f"{name}_slicer_axial.png",
                "Axial",
                _centre(found / f"{name}_lesions.csv", image.with_name("lesions.nii.gz")),
                background=volume,
            )


def _centre(table: Path, mask: Path) -> tuple[float, float, float]:
    """RAS point of the largest detection, or the middle of the slice with most lesions."""
    with table.open(encoding="utf-8") as stream:
        largest = next(csv.DictReader(stream), None)
    if largest is not None:
        right, anterior, superior = (float(largest[f"centre_{axis}_mm"]) for axis in "ras")
        return right, anterior, superior
    truth = read_image(mask)
    centre = truth.geometry.to_ras([n / 2 for n in truth.geometry.size])
    slices = (truth.array > 0).sum(axis=(0, 1))
    centre[2] = truth.geometry.to_ras([0, 0, int(slices.argmax())])[2]
    return float(centre[0]), float(centre[1]), float(centre[2])
