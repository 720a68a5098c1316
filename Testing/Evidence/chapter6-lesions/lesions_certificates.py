"""What the bundles of the study record of their monotonicity, and whether trying it out agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from AttribSegLib.bundle import load_bundle
from AttribSegLib.cases import iterate_cases
from AttribSegLib.cohort import Case
from AttribSegLib.errors import InputError
from AttribSegLib.files import read_json
from MonotoneNetLib.numerical_check import check_monotone


def certificate_of(folder: Path) -> dict[str, Any]:
    """What a bundle's file says of dM/df >= 0; loading it proves it anew.

    Returns
    -------
    dict
        "by_construction", "layers", "weights", "smallest_weight"; empty where the recipe
        guarantees nothing.

    Raises
    ------
    InputError
        If the record is not what the loaded network has.
    """
    recorded = read_json(folder / "config.json").get("certificate") or {}
    proved = load_bundle(folder).certificate
    names = ("by_construction", "layers", "weights", "smallest_weight")
    if any(recorded.get(name) != proved.get(name) for name in names):
        raise InputError(f"{folder}: its record of monotonicity is not that of its network")
    return {name: recorded[name] for name in names if name in recorded}


def tried_out(folder: Path, cases: list[Case], *, directions: int = 4) -> dict[str, Any]:
    """Search for a fall of M where features rise, from the features of some images.

    Parameters
    ----------
    folder : Path
        Bundle with a monotone body.
    cases : list of Case
    directions : int
        See :func:`.check_monotone`.
    """
    bundle = load_bundle(folder)
    recipe = bundle.recipe
    prepared = iterate_cases(cases, background=recipe.background, clip=recipe.clip)
    images = torch.from_numpy(np.stack([case.array[..., 0] for case in prepared]))
    with torch.no_grad():
        features = bundle.network.encoder(images)
    found = check_monotone(
        bundle.network.body,
        features,
        directions=directions,
        generator=torch.Generator().manual_seed(0),
    )
    return {
        "ok": found.ok,
        "samples": found.samples,
        "largest_fall": found.violation,
        "most_negative_gradient": found.gradient_violation,
    }
