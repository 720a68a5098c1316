"""What a monotone network is: its conversion, its certificate, and its features by depth."""

from __future__ import annotations

import copy
import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from AttribSegLib.bundle import load_bundle
from AttribSegLib.errors import InputError
from AttribSegLib.files import atomic_path, make_folder, write_json, write_text
from AttribSegLib.networks import build_network
from AttribSegLib.provenance import record
from torch import nn

from .certificate import Certificate, certify
from .conversion import ConversionReport, conversion_report, monotone
from .depth_figure import depth_figure
from .depth_report import DepthReport, statistics_by_depth
from .initialisation import draw_standard_init_, propagate_variance_
from .network import InterpretableMonotoneNet

#: Images of noise. One value per image is what the last layer is judged by.
_IMAGES = {2: 16, 3: 4}

#: What is compared, by the name in the figure, and its columns in the table.
COLUMNS = {
    "Trained": "trained",
    "Monotone, ours": "monotone_ours",
    "Monotone, Kaiming": "monotone_kaiming",
    "Ordinary, Kaiming": "ordinary_kaiming",
}


@dataclass(frozen=True)
class Bodies:
    """A monotone network and the ordinary one of the same architecture.

    Parameters
    ----------
    monotone, ordinary : Module
        Map (B, C, I, J[, K]) to logits (B,).
    dimensions, in_channels : int
        Of their input.
    trained : bool
        Whether the weights of the monotone one were learned.
    about : dict
        Where it comes from, in plain form.
    """

    monotone: nn.Module
    ordinary: nn.Module
    dimensions: int
    in_channels: int
    trained: bool
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Inspection:
    """What was found about a monotone network."""

    conversion: ConversionReport
    certificate: Certificate
    depth: dict[str, DepthReport]
    about: dict[str, Any]


def converted_bodies(
    *,
    network: str = "patchgan",
    dimensions: int = 3,
    in_channels: int = 1,
    width: float = 1.0,
    norm: str = "instance",
    activation: str = "leaky_relu",
    positivity: str = "thesis",
    seed: int = 0,
) -> Bodies:
    """Build a network by name and convert it.

    Raises
    ------
    InputError
        If there is no such network, or it cannot be made monotone; names the module.
    """
    if in_channels < 1:
        raise InputError(f"in-channels {in_channels}: at least 1 was expected")
    torch.manual_seed(seed)
    options: dict[str, Any] = {"width": width, "norm": norm, "activation": activation}
    ordinary = build_network(network, dimensions=dimensions, in_channels=in_channels, **options)
    about = {"network": network, "dimensions": dimensions, "in_channels": in_channels}
    return Bodies(
        monotone(ordinary, positivity=positivity),
        ordinary,
        dimensions,
        in_channels,
        trained=False,
        about={**about, **options, "positivity": positivity},
    )


def bundle_bodies(folder: str | Path, *, seed: int = 0) -> Bodies:
    """The body of a trained model, and the ordinary one that its recipe would build.

    Raises
    ------
    InputError
        If the folder is no bundle of the monotone recipe, or its body was left ordinary.
    """
    bundle = load_bundle(folder)
    if not isinstance(bundle.network, InterpretableMonotoneNet):
        raise InputError(
            f"{folder}: a model of the recipe monotone was expected, not of {bundle.recipe.name}"
        )
    if not bundle.certificate:
        raise InputError(f"{folder}: its body was left ordinary (ablate), so nothing is monotone")
    torch.manual_seed(seed)
    parts = ("monotone", "initialisation")
    ordinary = bundle.recipe.varied(ablate=parts).build(
        in_channels=len(bundle.channels),
        dimensions=bundle.dimensions,
        size=bundle.geometry.size[: bundle.dimensions],
    )
    return Bodies(
        bundle.network.body,
        ordinary.get_submodule("body"),
        bundle.dimensions,
        len(bundle.map_channels),
        trained=True,
        about={"bundle": str(folder), "recipe": bundle.recipe.to_dict()},
    )


def inspect(
    bodies: Bodies,
    *,
    size: int = 64,
    seed: int = 0,
    on_step: Callable[[str], None] | None = None,
) -> Inspection:
    """Certify a monotone network, and compare initialisations of its architecture on noise.

    Parameters
    ----------
    bodies : Bodies
        Left as they are.
    size : int
        Voxels of the noise along every axis.
    seed : int
        Of weights and noise.
    on_step : callable, optional
        Called with "certify" and "statistics" before them.

    Raises
    ------
    NotMonotone
        If the network is not monotone; names the part.
    InputError
        If the noise is too small for the network.
    """
    tell = on_step or (lambda step: None)
    tell("certify")
    certificate = certify(bodies.monotone)
    tell("statistics")
    generator = torch.Generator().manual_seed(seed)
    shape = (_IMAGES[bodies.dimensions], bodies.in_channels, *[size] * bodies.dimensions)
    noise = torch.randn(shape, generator=generator)

    def measured(network: nn.Module) -> DepthReport:
        return statistics_by_depth(network, noise, generator=generator)

    try:
        depth = {"Trained": measured(bodies.monotone)} if bodies.trained else {}
        drawn = copy.deepcopy(bodies.monotone)
        draw_standard_init_(drawn, generator=generator)
        kaiming = measured(drawn)
        propagate_variance_(drawn, noise)
        depth |= {"Monotone, ours": measured(drawn), "Monotone, Kaiming": kaiming}
        ordinary = copy.deepcopy(bodies.ordinary)
        draw_standard_init_(ordinary, generator=generator)
        depth["Ordinary, Kaiming"] = measured(ordinary)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, (InputError, torch.OutOfMemoryError)) or "allocate" in str(error):
            raise
        raise InputError(
            f"noise of {size} voxels along an axis does not go through the network ({error}); "
            "give a larger --size"
        ) from error
    return Inspection(conversion_report(bodies.monotone), certificate, depth, bodies.about)


def write_inspection(found: Inspection, out: str | Path) -> dict[str, Path]:
    """Write ``report.txt``, ``certificate.json``, ``depth.csv`` and ``depth.png``.

    Returns
    -------
    dict of str to Path
        Keys ``report``, ``certificate``, ``depth``, ``figure``.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    folder = make_folder(out)
    paths = {
        "report": folder / "report.txt",
        "certificate": folder / "certificate.json",
        "depth": folder / "depth.csv",
        "figure": folder / "depth.png",
    }
    write_text(paths["report"], f"{found.conversion}\n\n{found.certificate}\n")
    content = {"of": found.about, **found.certificate.to_dict(), "record": record()}
    write_json(paths["certificate"], content)
    write_text(paths["depth"], depth_table(found.depth))
    with atomic_path(paths["figure"]) as temporary:
        depth_figure(found.depth).savefig(temporary)
    return paths


def depth_table(depth: dict[str, DepthReport]) -> str:
    """CSV with a row per layer, in the order of the network.

    Columns: ``layer``; ``std_X``, the standard deviation of the layer's output, and
    ``gradient_std_X`` of the gradient by it, with X of :data:`COLUMNS`. What is not finite, or not
    measured, is empty.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = [COLUMNS[name] for name in depth]
    writer.writerow(["layer", *(f"{what}_{n}" for what in ("std", "gradient_std") for n in names)])
    # Layers keep their names and their order when a network is converted.
    for rows in zip(*(report.layers for report in depth.values()), strict=True):
        values = [*(row.std for row in rows), *(row.gradient_std for row in rows)]
        writer.writerow([rows[0].name, *(v if math.isfinite(v) else "" for v in values)])
    return buffer.getvalue()
