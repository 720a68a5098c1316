"""The comparison itself: train or reuse every recipe, score its maps, gather the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..attribution import NEEDS_REFERENCES
from ..bundle import Bundle, load_bundle
from ..cases import CaseLoader, PreparedCase
from ..cohort import Cohort
from ..cohort_fingerprint import cohort_fingerprint, patients_seen
from ..errors import InputError
from ..files import make_folder
from ..inference import Prediction
from ..provenance import file_hash
from ..recipes import Recipe
from ..training.alpha_search import train_with_largest_alpha
from ..training.distributed import select_device
from ..training.run import train_bundle
from .entries import (
    completeness_of,
    describe_failure,
    kind_of,
    methods_of,
    notes_on,
    prevalence_of,
    primary_of,
    require_channels,
    result_of,
)
from .examples import choose_examples, cut_slice, finish_examples, save_example_maps
from .plan import Plan, slug
from .results import Comparison, Example, RunResult, SweepPoint
from .scoring import Scores, score_maps
from .sources import IntensityMaps, NetworkMaps, reference_images
from .store import key_of, stored_result

#: What one recipe may fail with while the others go on. Running out of memory, on a processor or
#: a GPU, is a RuntimeError or a MemoryError.
_FAILURES = (InputError, RuntimeError, MemoryError)

OnEvent = Callable[[dict[str, Any]], None]

#: Raised whenever stored results would mean something else.
_RESULTS_VERSION = 2


def compare(
    cohort: Cohort,
    plan: Plan,
    out: str | Path,
    *,
    sweep_cohorts: Mapping[str, Cohort] | None = None,
    split: str = "test",
    device: str = "auto",
    description: str = "",
    on_event: OnEvent | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Comparison:
    """Train several recipes under one budget and score all their maps alike.

    Every recipe and seed is a bundle below ``models/``, its figures a file below ``results/``;
    what is there already is not made again, so that a comparison that was stopped, or to which
    a recipe was added, goes on where it was. A recipe that fails is reported and does not stop
    the others.

    Parameters
    ----------
    cohort : Cohort
    plan : Plan
    out : path
    sweep_cohorts : mapping of str to Cohort, optional
        Of the resolutions of the plan's sweep.
    split : {"test", "validation"}
        What is reported; thresholds and post-processing come from validation in any case.
    device : {"auto", "cpu", "cuda"}
    description : str
        Of the cohort, for the report.
    on_event : callable, optional
        Receives ``run`` events beside those of the trainings, and ``case`` events.
    should_stop : callable, optional
        Asked during trainings, and before every case that is scored.

    Returns
    -------
    Comparison
        See :func:`.write_comparison`.

    Raises
    ------
    InputError
        If the cohort does not fit, or every recipe failed.
    Cancelled
        When asked to stop; calling again goes on.
    """
    run = _Run(cohort, plan, make_folder(out), split, device, on_event, should_stop)
    if plan.sweep and set(plan.sweep.cohorts) - set(sweep_cohorts or {}):
        raise InputError("a cohort for every resolution of the sweep was expected")
    runs = [run.intensity()]
    failed: list[str] = []
    for name, recipe in plan.recipes.items():
        for seed in plan.seeds if name not in plan.bundles else plan.seeds[:1]:
            try:
                runs.append(run.entry(name, recipe, seed))
            except _FAILURES as error:
                failed.append(f"{name}, seed {seed}, failed: {describe_failure(error)}")
                run.emit({"event": "failed", "entry": name, "seed": seed, "error": failed[-1]})
    if len(runs) == 1:
        raise InputError(f"every recipe failed; the first: {failed[0]}")
    sweep = run.sweep(sweep_cohorts or {}, failed) if plan.sweep else []
    found = {each.entry for each in runs}
    reference = plan.reference
    if reference not in found:
        reference = runs[1].entry
        failed.append(f"{plan.reference} failed: the tests are against {reference} instead.")
    notes = [*failed, *notes_on(plan, runs, split)]
    return Comparison(
        title=plan.title,
        description=description,
        split=split,
        counts=run.counts(len(runs[0].cases)),
        prevalence=run.prevalence,
        nominal=cohort.nominal_spacing,
        runs=runs,
        reference=reference,
        sweep=sweep,
        examples=finish_examples(run.examples, runs, run.stored_maps),
        notes=notes,
    )


class _Run:
    """One comparison under way."""

    def __init__(
        self,
        cohort: Cohort,
        plan: Plan,
        out: Path,
        split: str,
        device: str,
        on_event: OnEvent | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self.cohort, self.plan, self.out, self.split = cohort, plan, out, split
        self.device, self.should_stop = device, should_stop
        self.emit: OnEvent = on_event or (lambda event: None)
        self.test = cohort.in_split(split)
        self.validation = cohort.in_split("validation")
        for name, members in ((split, self.test), ("validation", self.validation)):
            if not members:
                raise InputError(f"{cohort.source}: no case in the {name} split")
        self.fingerprint = cohort_fingerprint(cohort)
        self.prevalence = float("nan")
        first = next(iter(plan.recipes.values()))
        self.background = first.background
        self.examples: dict[str, Example] = {}
        if plan.examples:
            self.examples = choose_examples(self.test, plan.examples, background=self.background)

    def counts(self, masked: int) -> dict[str, int]:
        """Cases of the reported split."""
        labels = [case.label for case in self.test]
        return {
            "cases": len(labels),
            "healthy": labels.count(0),
            "pathological": labels.count(1),
            "patients": len({case.patient for case in self.test}),
            "masked": masked,
        }

    def intensity(self) -> RunResult:
        """The plain intensity of the first channel."""
        source = IntensityMaps(self.cohort.channels[0], background=self.background)
        name = source.names[0]

        def make() -> tuple[RunResult, float]:
            scores = self._score(source, "intensity", self.cohort, self.background, 0.0)
            return result_of(scores, name, 0, "intensity", name), prevalence_of(scores)

        result, self.prevalence = self._stored("intensity", "", self.cohort, [], make)
        return result

    def entry(self, name: str, recipe: Recipe, seed: int) -> RunResult:
        """One recipe with one seed."""
        self.emit({"event": "run", "entry": name, "seed": seed})
        stem = f"{slug(name)}-{seed}"
        if name in self.plan.bundles:
            folder = self.plan.bundles[name]
            bundle = load_bundle(folder)
            require_channels(bundle, self.cohort)
        else:
            folder = self._model(stem)
            bundle = self._train(self.cohort, recipe, stem, seed, search=name in self.plan.searched)
        seen = patients_seen(bundle.record, self.test)
        if seen and self.split == "test":
            raise InputError(
                f"{folder}: was trained or validated on {len(seen)} of these patients, such as "
                f"{seen[0]}"
            )
        methods = methods_of(recipe, self.plan.methods(name))
        weights = file_hash([folder / "models" / "model.safetensors"])
        primary = primary_of(recipe, methods)

        def make() -> tuple[RunResult, float]:
            source = self._source(bundle, methods, self.cohort, seed)
            first = CaseLoader(background=recipe.background, clip=recipe.clip)(self.validation[0])
            left_out = source.leave_out_failing(first, primary=primary)
            scores = self._score(source, stem, self.cohort, recipe.background, recipe.clip, primary)
            kind = kind_of(recipe, methods)
            result = result_of(scores, name, seed, kind, primary, recipe, bundle)
            return dataclasses.replace(
                result, completeness=completeness_of(source), notes=left_out
            ), prevalence_of(scores)

        facts = [*methods, bundle.reduction]
        return self._stored(stem, weights, self.cohort, facts, make)[0]

    def sweep(self, cohorts: Mapping[str, Cohort], failed: list[str]) -> list[SweepPoint]:
        """Trainings with several alphas, on several resolutions."""
        assert self.plan.sweep is not None  # the caller has looked
        points = []
        recipe = self.plan.recipes[self.plan.sweep.recipe]
        for resolution in self.plan.sweep.cohorts:
            cohort = cohorts[resolution]
            for alpha in self.plan.sweep.alphas:
                varied = recipe.varied(alpha=alpha)
                for seed in self.plan.seeds:
                    try:
                        points.append(self._point(cohort, varied, resolution, alpha, seed))
                    except _FAILURES as error:
                        reason = describe_failure(error)
                        failed.append(f"alpha {alpha:g} on {resolution}, seed {seed}: {reason}")
        return points

    def _point(
        self, cohort: Cohort, recipe: Any, resolution: str, alpha: float, seed: int
    ) -> SweepPoint:
        stem = f"sweep-{slug(resolution)}-{alpha:g}-{seed}"
        self.emit({"event": "run", "entry": f"alpha {alpha:g}, {resolution}", "seed": seed})
        assert self.plan.sweep is not None  # the caller has looked
        model = stem
        entry = self.plan.sweep.recipe
        if recipe == self.plan.recipes[entry] and cohort is self.cohort:
            model = f"{slug(entry)}-{seed}"  # trained already
        bundle = self._train(cohort, recipe, model, seed)
        primary = primary_of(recipe, methods_of(recipe, ()))
        weights = file_hash([self._model(model) / "models" / "model.safetensors"])

        def make() -> tuple[RunResult, float]:
            source = self._source(bundle, [primary], cohort, seed)
            scores = self._score(source, stem, cohort, recipe.background, recipe.clip, rules=())
            result = result_of(scores, stem, seed, "classifier", primary, recipe, bundle)
            return result, prevalence_of(scores)

        result = self._stored(stem, weights, cohort, [primary], make)[0]
        found = result.map(primary)
        assert found is not None  # it is the only one
        return SweepPoint(
            resolution=resolution,
            alpha=alpha,
            seed=seed,
            true_positive_rate=result.image["true_positive_rate"],
            true_negative_rate=result.image["true_negative_rate"],
            auroc=result.image["auroc"],
            dice=found.pooled["dice"],
            tuned_dice=found.pooled["tuned_dice"],
            auprc=found.pooled["auprc"],
        )

    def stored_maps(self, run: RunResult) -> Path:
        """File with the example slices of a run."""
        stem = "intensity" if run.kind == "intensity" else f"{slug(run.entry)}-{run.seed}"
        return self.out / "results" / f"{stem}.safetensors"

    def _model(self, stem: str) -> Path:
        return self.out / "models" / stem

    def _train(
        self, cohort: Cohort, recipe: Recipe, stem: str, seed: int, *, search: bool = False
    ) -> Bundle:
        return (train_with_largest_alpha if search else train_bundle)(
            cohort,
            recipe,
            self._model(stem),
            seed=seed,
            device=self.device,
            resume=True,
            allowance=self.plan.allowance,
            reduction=self.plan.reduction,
            on_event=self.emit,
            should_stop=self.should_stop,
        )

    def _source(
        self, bundle: Bundle, methods: Sequence[str], cohort: Cohort, seed: int
    ) -> NetworkMaps:
        references = None
        if set(methods) & set(NEEDS_REFERENCES):
            count = self.plan.references
            references = reference_images(bundle, cohort.in_split("train"), count, seed=seed)
        device = select_device(self.device)
        return NetworkMaps(bundle, methods, references=references, device=device)

    def _score(
        self,
        source: Any,
        stem: str,
        cohort: Cohort,
        background: float,
        clip: float,
        primary: str = "",
        rules: Sequence[str] | None = None,
    ) -> Scores:
        kept: dict[str, Any] = {}

        def keep(case: PreparedCase, maps: dict[str, Prediction]) -> None:
            if case.case.case in self.examples:
                values = maps[primary or source.names[0]].attribution
                kept[case.case.case] = cut_slice(values, case)

        scores = score_maps(
            source,
            cohort.in_split("validation"),
            cohort.in_split(self.split),
            background=background,
            clip=clip,
            rules=self.plan.post_processing if rules is None else rules,
            allowance=self.plan.allowance,
            split=self.split,
            on_case=keep,
            on_event=self.emit,
            should_stop=self.should_stop,
        )
        make_folder(self.out / "results")
        save_example_maps(self.out / "results" / f"{stem}.safetensors", kept)
        return scores

    def _stored(
        self,
        stem: str,
        weights: str,
        cohort: Cohort,
        reading: Sequence[str],
        make: Callable[[], tuple[RunResult, float]],
    ) -> tuple[RunResult, float]:
        key = key_of(
            results=_RESULTS_VERSION,
            version=__version__,
            weights=weights,
            cohort=self.fingerprint if cohort is self.cohort else cohort_fingerprint(cohort),
            split=self.split,
            reading=list(reading),
            rules=list(self.plan.post_processing),
            references=self.plan.references,
            allowance=dataclasses.asdict(self.plan.allowance),
            examples=sorted(self.examples),
        )
        return stored_result(self.out / "results" / f"{stem}.json", key, make)
