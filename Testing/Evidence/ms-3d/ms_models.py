"""The trained models of the study: what each is called, trained once, measured once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from AttribSegLib.assessment import evaluated_cases
from AttribSegLib.bundle import Bundle, load_bundle
from AttribSegLib.cohort import Cohort, write_cohort
from AttribSegLib.evaluation import PATHOLOGICAL, EvaluatedCase, evaluate
from AttribSegLib.files import write_json
from simulated_ms import nested_part, real_case
from study import Study, pooled, train_once, with_smoothed


@dataclass(frozen=True)
class Model:
    """A recipe, a seed and the number of training images of each class (None for all)."""

    name: str
    seed: int
    count: int | None = None

    @property
    def folder(self) -> str:
        """Name of the bundle's folder."""
        size = "" if self.count is None else f"-{self.count}-per-class"
        return f"{self.name}{size}" + (f"-seed{self.seed}" if self.seed else "")


def models_of(study: Study) -> list[Model]:
    """All models of the setting, seed by seed: the one whose parts are studied, them, the rest."""
    settings = study.settings
    studied = settings["counts_of"]
    found = []
    for seed in settings["seeds"]:
        found += [Model(studied, seed, count) for count in (None, *settings["counts"])]
        found += [Model(name, seed) for name in settings["models"] if name != studied]
    return found


def train(study: Study, model: Model, cohort: Cohort) -> Path:
    """Folder of the bundle; trained unless it is there."""
    settings = study.settings
    table = study.work / "cohort" / "large_loads.csv"
    if model.count is not None:
        table = table.with_name(f"large_loads-{model.count}-per-class-seed{model.seed}.csv")
        write_cohort(nested_part(cohort, model.count, model.seed), table)
    recipe = {**settings["recipe"], **settings["models"][model.name]["recipe"]}
    train_once(table, study.work / model.folder, recipe, seed=model.seed)
    return study.work / model.folder


def measured(study: Study, model: Model, cohort: Cohort) -> dict[str, Any]:
    """Figures of a model on the simulated test split and on each real volume; kept in a file."""
    bundle = load_bundle(study.work / model.folder)
    path = study.work / "measured" / f"{model.folder}.json"
    created = bundle.record["created"]
    if path.is_file():
        earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if earlier["bundle_created"] == created:
            return earlier
    print(f"measuring {model.folder} ...", flush=True)
    sigma = study.settings["sigma_voxels"]
    real = {}
    for name in study.settings["patients"]:
        cases = evaluated_cases(bundle, [real_case(study, name)])
        real[name] = _figures(bundle, list(with_smoothed(cases, sigma)))
    splits = cohort.summary()["splits"]
    found = {
        "model": model.name,
        "seed": model.seed,
        "images_per_class": model.count,
        "training_images": 2 * model.count
        if model.count
        else splits["train"]["healthy"] + splits["train"]["pathological"],
        "bundle_created": created,
        "training_minutes": bundle.record["history"][-1]["seconds"] / 60,
        "epochs": bundle.record["epochs"],
        "best_epoch": bundle.record["best_epoch"],
        "thresholds": {key: each.to_dict() for key, each in bundle.thresholds.items()},
        "mask_tuned": {key: each.to_dict() for key, each in bundle.alternatives.items()},
        "simulated": _figures(bundle, list(evaluated_cases(bundle, cohort.in_split("test")))),
        "real": real,
    }
    write_json(path, found)
    # As it reads from the file: numbers that JSON lacks are null there.
    again: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return again


def _figures(bundle: Bundle, cases: list[EvaluatedCase]) -> dict[str, Any]:
    """Image and voxel figures; Dice at the label-only threshold and at the mask-tuned one."""
    evaluation = evaluate(cases, thresholds=bundle.thresholds)
    population = evaluation.populations[PATHOLOGICAL]
    rows = evaluation.rows
    first = [row for row in rows if row.map == rows[0].map]
    return {
        "counts": evaluation.counts,
        "image_auroc": evaluation.image["auroc"].value,
        "image_auroc_interval": [evaluation.image["auroc"].low, evaluation.image["auroc"].high],
        "tpr": evaluation.image["true_positive_rate"].value,
        "tnr": evaluation.image["true_negative_rate"].value,
        "probabilities": {row.case: row.probability for row in first},
        "lesion_ml": {row.case: row.lesion_ml for row in first if not row.healthy},
        "prevalence": population.prevalence,
        "maps": {
            name: {**pooled(population, name), "dice_mask_tuned": _tuned_dice(bundle, cases, name)}
            for name in population.maps
        },
        "segmented_ml": {
            name: {row.case: row.segmented_ml for row in rows if row.map == name}
            for name in bundle.thresholds
        },
        "false_positive_ml_of_healthy": {
            name: each["false_positive_ml"].mean for name, each in evaluation.healthy.items()
        },
    }


def _tuned_dice(bundle: Bundle, cases: list[EvaluatedCase], name: str) -> float:
    """Dice at the mask-tuned threshold, pooled over the pathological cases; NaN without one."""
    if name not in bundle.alternatives:
        return float("nan")
    hits = both = 0
    for case in cases:
        if case.label and case.lesions is not None:
            found = bundle.alternatives[name].mask(case.maps[name][case.brain])
            lesions = np.asarray(case.lesions)[case.brain]
            hits += int((found & lesions).sum())
            both += int(found.sum() + lesions.sum())
    return 2 * hits / both
