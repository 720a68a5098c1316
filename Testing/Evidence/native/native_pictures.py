"""Pictures of both visits: in common space side by side, and as users see them in native space."""

import shutil
from pathlib import Path

import numpy as np
from AttribSegLib.files import atomic_path
from AttribSegLib.image import Image
from AttribSegLib.segmentation_file import write_segmentation
from native_measures import PREPARED, RAW
from native_scans import Found, scans
from study import Study
from visit_agreement import brightest, largest_rise

_HOT, _BRIGHT, _NEW = "#ff8c1a", "#3fe0a5", "#4db8ff"


def draw_visits(
    study: Study, maps: list[dict[str, np.ndarray]], common: Image, model: str, path: Path
) -> None:
    """Both visits at the same places: highest attribution, brightest FLAIR, the new lesion."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    settings = study.settings
    region = common.array
    voxels = round(settings["volume_ml"] / common.geometry.voxel_volume_ml)
    new = largest_rise(maps[0][RAW], maps[1][RAW], region, rise_sd=settings["rise_sd"])
    places = np.argwhere(region)
    (left, front, _), (right, back, _) = places.min(axis=0) - 3, places.max(axis=0) + 4
    window = (slice(left, right), slice(front, back))
    columns = len(settings["slices_mm"])
    figure = Figure(figsize=(2.4 * columns, 7.4), layout="constrained", dpi=110)
    axes = figure.subplots(2, columns)
    for row, visit in enumerate(maps):
        flair = visit[RAW]
        low, high = np.percentile(flair[region], [1, 99.9])
        hot = brightest(visit[model], region, voxels)
        bright = brightest(visit[PREPARED], region, voxels)
        for axis, height in zip(axes[row], settings["slices_mm"], strict=True):
            k = round(float(common.geometry.to_ijk([0.0, 0.0, height])[2]))
            # Columns of the picture run towards the patient's left, rows towards posterior.
            axis.imshow(flair[(*window, k)].T, cmap="gray", vmin=low, vmax=high, aspect="equal")
            for mask, colour in ((hot, _HOT), (bright, _BRIGHT), (new, _NEW)):
                cut = mask[(*window, k)].T
                if cut.any() and not (mask is new and row == 0):
                    axis.contour(cut, [0.5], colors=colour, linewidths=1.1)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel("R" + " " * 30 + "L", fontsize=8)
            axis.set_title(f"S {height:+.0f} mm", fontsize=9)
        axes[row][0].set_ylabel(f"visit {row + 1}", fontsize=11)
    volume = f"{settings['volume_ml']:g} mL"
    lines = [
        Line2D([], [], color=_HOT, label=f"highest {volume}, {settings['models'][model]}"),
        Line2D([], [], color=_BRIGHT, label=f"brightest {volume} of the prepared FLAIR"),
        Line2D([], [], color=_NEW, label="new at visit 2 (from the FLAIR alone)"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=3, fontsize=9)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def draw_native(study: Study, visit: str, found: Found) -> None:
    """The command's own overlay, and Slicer's view of the highest volume over the native scan."""
    from headless.slicer_app import HeadlessSlicer

    shutil.copy(found.folder / f"{found.name}_overlay.png", study.out / f"{visit}_overlay.png")
    attribution = found.native("attribution")
    voxels = round(study.settings["volume_ml"] / attribution.geometry.voxel_volume_ml)
    hot = brightest(attribution.array, attribution.array != 0, voxels)
    segment = study.work / f"{visit}_highest.seg.nrrd"
    write_segmentation(attribution.with_array(hot), segment)
    peak = np.unravel_index(int(attribution.array.argmax()), attribution.array.shape)
    centre = [float(c) for c in attribution.geometry.to_ras([int(p) for p in peak])]
    with HeadlessSlicer() as slicer:
        volume = slicer.load_volume(scans(study, visit)["FLAIR"])
        slicer.load_segmentation(segment)
        picture = study.out / f"{visit}_slicer_axial.png"
        slicer.render_slice(picture, "Axial", centre, background=volume)
