"""From a cohort to a bundle: load, train, choose the threshold, write."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..bundle import Bundle, is_bundle, load_bundle, save_bundle
from ..cases import PreparedCase, common_grid, crop_to_brains, load_cases
from ..cohort import Case, Cohort
from ..cohort_fingerprint import cohort_fingerprint, patient_marks
from ..errors import Cancelled, InputError
from ..files import make_folder
from ..image import Geometry
from ..map_processing import MapProcessing
from ..operating_point import Allowance, choose_operating_point, require_masks
from ..preprocessing.options import recorded_options
from ..provenance import record
from ..recipes import Recipe
from .curves import draw_curves
from .distributed import joined, select_device
from .trainer import OnEvent, Trainer

#: How the best epoch is chosen, in words.
_SELECTIONS = {
    "classification": "class-weighted validation accuracy, then AUROC, then the later",
    "reconstruction": "lowest mean score of healthy validation images, then the later",
}

#: Splits that a bundle is made from; test cases are never read and need not exist.
_SEEN = ("train", "validation")


def train_bundle(
    cohort: Cohort,
    recipe: Recipe,
    out: str | Path,
    *,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    allowance: Allowance | None = None,
    processing: str | MapProcessing = "none",
    reduction: str = "labels",
    on_event: OnEvent | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Bundle:
    """Train a classifier on a cohort and write it as a bundle.

    Parameters
    ----------
    cohort : Cohort
        Its training and validation splits are used; test cases are never read.
    recipe : Recipe
    out : path
        Bundle folder; checkpoints go to its subfolder ``training``.
    seed : int
    device : {"auto", "cpu", "cuda"}
    resume : bool
        Go on from the last checkpoint in ``out``; a finished bundle is given back where recipe,
        seed and the cases to train and validate on (rows and files) are still the same.
    overwrite : bool
        Replace a bundle that is already there.
    allowance : Allowance, optional
        False positives on healthy validation images; it sets the threshold.
    processing : {"none", "labels", "masks"} or MapProcessing
        Post-processing of the maps; see :func:`.choose_operating_point`.
    reduction : {"labels", "masks"} or str
        How the best channel is chosen where maps have several to choose from, or which reduction
        to take; see :func:`.choose_reduction`.
    on_event : callable, optional
        Receives ``load``, ``start``, ``history`` (of a resumed run), ``step``, ``epoch``,
        ``threshold`` and ``done`` events.
    should_stop : callable, optional
        Asked after every image that is read and after every step.

    Raises
    ------
    InputError
        If the cohort does not allow training, or ``out`` holds another bundle.
    Cancelled
        When asked to stop; the run can be resumed.
    """
    folder = Path(out)
    allowance = allowance or Allowance()
    known = ("labels", "masks", *recipe.reductions)
    if reduction not in known:
        raise InputError(f"reduction {reduction!r}: one of {', '.join(known)} was expected")
    choices = _choices(allowance, processing, reduction)
    if resume and is_bundle(folder):
        finished = load_bundle(folder)
        if not _made_by(finished, recipe, seed, cohort):
            raise InputError(
                f"{folder}: a finished bundle of another recipe, seed or cohort (splits and files "
                "count too); give another --out, or --overwrite instead of --resume to replace it"
            )
        # Older bundles do not know how theirs were chosen.
        earlier = finished.record.get("operating_point", choices)
        differing = [name for name, value in choices.items() if earlier.get(name) != value]
        if differing:
            raise InputError(
                f"{folder}: finished with another {' and '.join(differing)} "
                f"({earlier.get(differing[0])}); give the same, another --out, or --overwrite"
            )
        if on_event:
            best = finished.record.get("best_epoch")
            on_event({"event": "done", "bundle": str(folder), "best_epoch": best})
        return finished
    used_before = is_bundle(folder) or (folder / "training" / "last.safetensors").exists()
    if used_before and not (resume or overwrite):
        raise InputError(
            f"{folder}: holds a model or an unfinished run already; give another --out, --resume "
            "to go on with it or --overwrite to replace it"
        )
    for what, amount in (("mL", allowance.ml), ("of the brain", allowance.fraction)):
        if not (math.isfinite(amount) and amount >= 0):
            raise InputError(f"allowed false positives {amount} {what}: at least 0 was expected")
    splits = {name: cohort.in_split(name) for name in _SEEN}
    for name, members in splits.items():
        if {case.label for case in members} != {0, 1}:
            raise InputError(
                f"{cohort.source}: the {name} split needs healthy and pathological cases; add "
                "some or leave the split column empty"
            )
    # Before anything is read: what changes from now on is not what the bundle was made from.
    made_from = cohort_fingerprint(cohort, _SEEN)
    chosen_device = select_device(device)
    with joined(chosen_device) as process:
        emit: OnEvent = on_event if on_event and process.leads else lambda event: None
        if process.leads:
            make_folder(folder)
        process.wait()
        # One of several processes must not leave the others waiting for it.
        loaded = _load(splits, recipe, emit, should_stop if process.world == 1 else None)
        geometry = common_grid([*loaded["train"], *loaded["validation"]])
        if splits["train"][0].slice is None and not geometry.nominal:
            count = len(loaded["train"])
            cropped = crop_to_brains([*loaded["train"], *loaded["validation"]])
            loaded = {"train": cropped[:count], "validation": cropped[count:]}
            geometry = cropped[0].geometry
        _check_allowance(loaded["validation"], geometry, allowance)
        for what, rule in (("post-processing", processing), ("reduction", reduction)):
            if rule == "masks":  # before the training, not after it
                require_masks(loaded["validation"], what)
        trainer = Trainer(
            recipe,
            loaded["train"],
            loaded["validation"],
            folder=folder / "training",
            seed=seed,
            device=chosen_device,
            process=process,
            on_event=emit,
            should_stop=should_stop,
        )
        if process.leads and overwrite and not resume:  # not before the new run can start
            shutil.rmtree(folder / "training", ignore_errors=True)
            (folder / "config.json").unlink(missing_ok=True)
        process.wait()
        emit(_start_event(cohort, trainer))
        result = trainer.run(resume=resume)
        bundle = Bundle(
            recipe=recipe,
            network=result.network,
            channels=cohort.channels,
            dimensions=trainer.dimensions,
            geometry=geometry,
            thresholds={},
            reduction=recipe.reductions[0],
            description=_describe(cohort, trainer),
            preprocessing=recorded_options(cohort.source),
        )
        if process.leads:
            bundle = choose_operating_point(
                bundle,
                loaded["validation"],
                allowance=allowance,
                processing=processing,
                reduction=reduction,
                device=chosen_device,
                on_event=emit,
            )
            bundle.network.to("cpu")
            bundle.certificate.update(recipe.certificate(bundle.network))
            best = result.history[result.best_epoch - 1]
            bundle.record.update(
                record(
                    seed=seed,
                    device=chosen_device.type,
                    processes=process.world,
                    cohort=cohort.summary(),
                    cohort_fingerprint=made_from,
                    training_patients=patient_marks(
                        case for members in splits.values() for case in members
                    ),
                    operating_point=choices,
                    epochs=len(result.history),
                    best_epoch=result.best_epoch,
                    selection=_SELECTIONS[recipe.selection],
                    validation={k: v for k, v in best.items() if k.startswith("validation_")},
                    history=result.history,
                )
            )
            draw_curves(result.history, folder / "training" / "curves.png", result.best_epoch)
            save_bundle(bundle, folder)
            emit({"event": "done", "bundle": str(folder), "best_epoch": result.best_epoch, **best})
        process.wait()
    return bundle


def _choices(
    allowance: Allowance, processing: str | MapProcessing, reduction: str
) -> dict[str, Any]:
    """How the operating point is chosen, in plain form."""
    steps = processing.to_dict() if isinstance(processing, MapProcessing) else processing
    return {"allowance": asdict(allowance), "post-processing": steps, "reduction": reduction}


def _load(
    splits: dict[str, list[Case]],
    recipe: Recipe,
    emit: OnEvent,
    should_stop: Callable[[], bool] | None,
) -> dict[str, list[PreparedCase]]:
    total = sum(len(members) for members in splits.values())
    loaded: dict[str, list[PreparedCase]] = {}
    before = 0
    for name, members in splits.items():

        def report(count: int, start: int = before) -> None:
            emit({"event": "load", "done": start + count, "total": total})
            if should_stop is not None and should_stop():
                raise Cancelled("no epoch was trained yet; start it again")

        loaded[name] = load_cases(
            members, background=recipe.background, clip=recipe.clip, on_done=report
        )
        before += len(members)
    return loaded


def _made_by(bundle: Bundle, recipe: Recipe, seed: int, cohort: Cohort) -> bool:
    """Whether a finished bundle is what this run would make."""

    def facts(summary: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in summary.items() if key != "source"}

    if bundle.recipe.to_dict() != recipe.to_dict() or bundle.record.get("seed") != seed:
        return False
    if made_from := bundle.record.get("cohort_fingerprint"):
        return bool(made_from == cohort_fingerprint(cohort, _SEEN))
    # Older bundles know no more of their cohort than its counts.
    return facts(bundle.record.get("cohort", {})) == facts(cohort.summary())


def _check_allowance(
    validation: list[PreparedCase], geometry: Geometry, allowance: Allowance
) -> None:
    """Refuse before the training what no threshold could be chosen for after it."""
    whole, allowed, unit = 1.0, allowance.fraction, "of the brain"
    if not geometry.nominal:
        healthy = [case for case in validation if case.case.label == 0]
        volumes = [case.brain.sum() * case.geometry.voxel_volume_ml for case in healthy]
        whole, allowed, unit = sum(volumes) / len(volumes), allowance.ml, "mL per case"
    if not allowed < whole:
        raise InputError(
            f"allowed false positives {allowed} {unit}: less than the whole brain ({whole:.4g}) "
            "was expected"
        )


def _start_event(cohort: Cohort, trainer: Trainer) -> dict[str, Any]:
    network = trainer.network
    return {
        "event": "start",
        "cohort": cohort.summary(),
        "recipe": trainer.recipe.to_dict(),
        "device": str(trainer.device),
        "processes": trainer.process.world,
        "parameters": sum(p.numel() for p in network.parameters()),
        "receptive_field": getattr(network, "receptive_field", None),
        "steps_per_epoch": trainer.batches.steps,
    }


def _describe(cohort: Cohort, trainer: Trainer) -> str:
    kind = "axial slices" if trainer.dimensions == 2 else "volumes"
    counts = cohort.summary()["splits"]["train"]
    drawn = len(trainer.make_batch.masked)
    if trainer.recipe.least_masked == 1:  # the others were not shown to it
        return (
            f"Network that segments lesions of {', '.join(cohort.channels)} {kind}, trained on "
            f"{counts['healthy']} healthy ones and on the lesion masks of {drawn} of "
            f"{counts['pathological']} pathological ones."
        )
    masks = f"and the lesion masks of {drawn} of them" if drawn else "only"
    return (
        f"Healthy/pathological classifier of {', '.join(cohort.channels)} {kind}, trained on "
        f"{counts['healthy']} healthy and {counts['pathological']} pathological ones of "
        f"{counts['patients']} patients, with image-level labels {masks}."
    )
