"""One simulated subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..image import Image, mni152_geometry
from .anatomy import build_anatomy, draw_deformation
from .confounders import add_confounders
from .contrast import acquire, draw_contrast, tissue_signal
from .lesions import Lesions, draw_ms_lesions, plant
from .shapes import draw_shape_lesions
from .signature import MARKED, sign_acquisition, stamp
from .tumours import TumourSeed, draw_tumour, draw_tumour_seed, mass_effect

MODALITIES = ("FLAIR", "T1")
KINDS = ("ms", "tumour", "mixed")


@dataclass(frozen=True)
class Subject:
    """A simulated brain in memory.

    Attributes
    ----------
    image : Image
        int16, exactly 0 outside the brain.
    lesions, brain : Image
        Masks, bool; ``lesions`` is empty in a healthy subject.
    fractions : dict of ndarray of shape (I, J, K), float32
        Share of ``grey``, ``white``, ``fluid`` and ``lesion`` in each voxel.
    parameters : dict
        What was drawn: contrast, kind of lesions, volumes in mL.
    """

    image: Image
    lesions: Image
    brain: Image
    fractions: dict[str, Any]
    parameters: dict[str, Any]


def simulate_subject(
    label: int,
    *,
    modality: str = "FLAIR",
    spacing: float = 2,
    lesions: str = "ms",
    lesion_shapes: Sequence[Path] = (),
    scanner_signature: float = 0.0,
    corner_mark: str = "none",
    mark_brightness: float = 1.0,
    seed: int | np.random.SeedSequence = 0,
) -> Subject:
    """Simulate the skull-stripped image of one subject in MNI152 space.

    Anatomy, contrast, confounders, lesions and noise each have a random stream of their own: the
    healthy subject of a seed is the pathological one of the same seed without its lesions (and
    without the mass effect of a tumour).

    Parameters
    ----------
    label : {0, 1}
        Healthy or pathological.
    modality : {"FLAIR", "T1"}
    spacing : {1, 2}
        Voxel size, mm.
    lesions : {"ms", "tumour", "mixed"}
        Kind of lesions of a pathological subject; mixed draws one of the two.
    lesion_shapes : sequence of Path
        Masks in atlas space to plant instead.
    scanner_signature : float
        Strength of an artefact that depends on the class (`sign_acquisition`).
    corner_mark : {"none", "pathological", "healthy"}
        Class whose images carry a small bright cube in a corner (`stamp`).
    mark_brightness : float
        How bright it is, as a share of the brain's brightest voxel: above 0, at most 1.
    seed : int or SeedSequence

    Returns
    -------
    Subject

    Raises
    ------
    InputError
        For an unknown modality, kind, spacing or label.
    """
    check_options(modality, spacing, lesions, scanner_signature, corner_mark, mark_brightness)
    if label not in (0, 1):
        raise InputError(f"label {label!r}: 0 (healthy) or 1 (pathological) was expected")
    shape_rng, tissue_rng, contrast_rng, texture_rng, confounder_rng, lesion_rng, noise_rng = (
        subject_streams(seed)
    )
    geometry, voxel = mni152_geometry(spacing), float(spacing)

    kind = "none" if label == 0 else "shapes" if lesion_shapes else lesions
    if kind == "mixed":
        kind = ("ms", "tumour")[int(lesion_rng.integers(2))]
    coordinates = draw_deformation(shape_rng, voxel)
    tumour: TumourSeed | None = None
    if kind == "tumour":
        tumour = draw_tumour_seed(lesion_rng, coordinates, voxel)
        coordinates = mass_effect(coordinates, tumour, voxel)
    anatomy = build_anatomy(tissue_rng, coordinates, voxel)

    contrast = draw_contrast(contrast_rng, modality)
    signal = tissue_signal(texture_rng, anatomy, contrast)
    signal = add_confounders(confounder_rng, signal, anatomy, modality)
    blank = np.zeros(geometry.size, np.float32)
    planted = Lesions(blank, blank)
    if tumour is not None:
        planted = draw_tumour(lesion_rng, anatomy, tumour, modality)
    elif kind == "shapes":
        planted = draw_shape_lesions(lesion_rng, anatomy, lesion_shapes)
    elif kind == "ms":
        planted = draw_ms_lesions(lesion_rng, anatomy)
    if kind != "none":
        signal = plant(signal, planted, contrast.lesion)

    signed, gain = sign_acquisition(contrast, label=label, strength=scanner_signature, voxel=voxel)
    image = acquire(noise_rng, signal, anatomy, signed, gain=gain)
    marked = corner_mark == ("healthy", "pathological")[label]
    if marked:
        image = stamp(image, anatomy.brain, voxel, brightness=mark_brightness)
    mask = planted.mask & anatomy.brain
    ml = geometry.voxel_volume_ml
    return Subject(
        image=Image(image, geometry),
        lesions=Image(mask, geometry),
        brain=Image(anatomy.brain, geometry),
        fractions={
            "grey": anatomy.grey,
            "white": anatomy.white,
            "fluid": anatomy.fluid,
            "lesion": planted.fraction,
        },
        parameters={
            "kind": kind,
            "brain_ml": round(float(anatomy.brain.sum()) * ml, 1),
            "lesions_ml": round(float(mask.sum()) * ml, 3),
            "corner_mark": marked,
            "contrast": {k: round(v, 4) for k, v in asdict(replace(signed)).items()},
        },
    )


def subject_streams(seed: int | np.random.SeedSequence) -> list[np.random.Generator]:
    """Random streams of a subject: of its shape, tissue, contrast and so on."""
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    # Keys rather than spawn(): spawning would change the caller's sequence.
    return [
        np.random.default_rng(
            np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, number))
        )
        for number in range(7)
    ]


def check_options(
    modality: str,
    spacing: float,
    lesions: str,
    scanner_signature: float,
    corner_mark: str = "none",
    mark_brightness: float = 1.0,
) -> None:
    """Refuse options that do not exist, before anything is computed.

    Raises
    ------
    InputError
    """
    if modality not in MODALITIES:
        raise InputError(f"modality {modality!r}: expected {' or '.join(MODALITIES)}")
    if lesions not in KINDS:
        raise InputError(f"lesions {lesions!r}: expected one of {', '.join(KINDS)}")
    if not np.isfinite(scanner_signature) or not -5 <= scanner_signature <= 5:
        raise InputError(f"scanner signature {scanner_signature}: expected a strength from -5 to 5")
    if corner_mark not in MARKED:
        raise InputError(f"corner mark {corner_mark!r}: expected one of {', '.join(MARKED)}")
    if not 0 < mark_brightness <= 1:
        raise InputError(f"mark brightness {mark_brightness}: expected above 0 and at most 1")
    mni152_geometry(spacing)
