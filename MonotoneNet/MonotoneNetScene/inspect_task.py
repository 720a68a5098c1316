"""Inspection of a monotone network: conversion report, certificate, statistics by depth."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AttribSegLib.errors import InputError
from AttribSegLib.files import read_json
from AttribSegLib.jobs import Job
from AttribSegScene.plots import columns_plot
from AttribSegScene.runs import command_program, new_run_folder
from AttribSegScene.scenes import scene_or_default
from AttribSegScene.tables import table_node
from AttribSegScene.task import Task

from .channels import require_monotone

_STD = "std_"
#: What the table's columns are called in the legend.
_LEGEND = {
    "trained": "trained",
    "monotone_ours": "monotone, variance propagated",
    "monotone_kaiming": "monotone, Kaiming",
    "ordinary_kaiming": "ordinary, Kaiming",
}


@dataclass(frozen=True)
class Inspection:
    """What a monotone network is.

    Attributes
    ----------
    verdict : str
        The certificate in a sentence.
    by_construction : bool
        Whether training cannot change what is certified.
    text_node : vtkMRMLTextNode
        The verdict, what the conversion changed, and what was found of every module.
    table_node : vtkMRMLTableNode
        Standard deviation of features and gradients, a row per layer.
    chart_node : vtkMRMLPlotChartNode
        Standard deviation of features by depth, a line per initialisation; logarithmic.
    folder : Path
        Files of the inspection, with a figure of them all.
    """

    verdict: str
    by_construction: bool
    text_node: Any
    table_node: Any
    chart_node: Any
    folder: Path


def inspect_task(
    *,
    network: str = "patchgan",
    dimensions: int = 3,
    in_channels: int = 1,
    width: float = 1.0,
    bundle: str | Path = "",
    size: int | None = None,
    scene: Any = None,
    work_folder: Path,
) -> Task[Inspection]:
    """Make the run that converts a network to monotone form, or opens a model, and shows it.

    Parameters
    ----------
    network : str
        Of those that can be trained, such as "resnet18".
    dimensions : {2, 3}
    in_channels : int
        Channels of its input.
    width : float
        Factor on the number of filters.
    bundle : path
        Folder of a trained monotone model, instead of all above; empty for none.
    size : int, optional
        Voxels along an axis of the noise that features are measured on; by default 64, in 3D 32.
    scene : vtkMRMLScene, optional
        Where the nodes are made.
    work_folder : Path

    Raises
    ------
    InputError
        If the bundle cannot be read, is of another recipe, or a number is out of its range.
    """
    if str(bundle):
        card = require_monotone(bundle)
        name, dimensions = card.name, card.dimensions
        options = ["--bundle", str(card.folder)]
    else:
        if in_channels < 1 or not (math.isfinite(width) and width > 0) or dimensions not in (2, 3):
            raise InputError(
                f"{dimensions} dimensions, {in_channels} channels, width {width}: 2 or 3, at least "
                "1 and a positive number were expected"
            )
        name = f"{network}, {dimensions}D"
        options = ["--network", network, "--dimensions", str(dimensions)]
        options += ["--in-channels", str(in_channels), "--width", repr(float(width))]
    size = size or {2: 64, 3: 32}[dimensions]
    folder = new_run_folder(work_folder, "inspect", name.replace(", ", "-"))
    out, title = folder / "output", f"Inspecting {name}"
    job = Job(
        ["inspect", *options, "--size", str(size), "--out", str(out)],
        folder=folder,
        program=command_program(),
        title=title,
    )
    return Task(
        title,
        job,
        lambda found: _show(*found, name=name, folder=out, scene=scene),
        read=lambda: (_read_text(out / "report.txt"), *_read_certificate(out), _read_depth(out)),
    )


def _show(
    report: str,
    verdict: str,
    by_construction: bool,
    columns: dict[str, list[Any]],
    *,
    name: str,
    folder: Path,
    scene: Any,
) -> Inspection:
    scene = scene_or_default(scene)
    text = scene.AddNewNodeByClass("vtkMRMLTextNode", f"Monotone {name}: report")
    text.SetText(f"{verdict}\n\n{report}")
    table = table_node(columns, scene=scene, name=f"Monotone {name}: depth")
    chart = columns_plot(
        table,
        "depth",
        {key: _LEGEND.get(key[len(_STD) :], key) for key in columns if key.startswith(_STD)},
        name=f"Standard deviation by depth: {name}",
        x_title="Depth, in layers",
        y_title="Standard deviation of features",
        logarithmic=True,
    )
    return Inspection(verdict, by_construction, text, table, chart, folder)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); inspect again") from error


def _read_certificate(folder: Path) -> tuple[str, bool]:
    """The certificate in a sentence, and whether it lasts."""
    content = read_json(folder / "certificate.json")
    try:
        lasting = bool(content["by_construction"])
        weights, layers = int(content["weights"]), int(content["layers"])
        smallest = float(content["smallest_weight"] or 0.0)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / 'certificate.json'}: {error!r} is missing or of another kind; inspect again"
        ) from error
    return (
        f"Certified: monotone {'by construction' if lasting else 'for its present weights'}. All "
        f"{weights} weights of {layers} layers are at least {smallest:.3g}, no bias acts, all "
        "activations increase, and every path through the network was followed."
    ), lasting


def _read_depth(folder: Path) -> dict[str, list[Any]]:
    """Columns of ``depth.csv``, after the depth; what was not measured is None."""
    path = folder / "depth.csv"
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        columns: dict[str, list[Any]] = {
            "depth": list(range(len(rows))),
            "layer": [row["layer"] for row in rows],
        }
        for key in rows[0] if rows else ():
            if key != "layer":
                columns[key] = [float(row[key]) if row[key] else None for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a table of layers ({error!r}); inspect again") from error
    return columns
