"""A bundle assessed on a split of a cohort, always beside the plain intensity threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .bundle import ATTRIBUTION, Bundle
from .cases import CaseLoader, PreparedCase, iterate_cases
from .cohort import Case, Cohort
from .errors import InputError
from .evaluation import EvaluatedCase, Evaluation, evaluate
from .inference import Explain, Prediction, predict, predict_volume
from .map_processing import PROCESSED
from .operating_point import post_process


def assess(
    bundle: Bundle,
    cohort: Cohort,
    *,
    split: str = "test",
    mask_tuned: bool = False,
    device: Any = None,
    seed: int = 0,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Evaluation:
    """Predict every case of a split and evaluate.

    Parameters
    ----------
    bundle : Bundle
    cohort : Cohort
        With the bundle's channels.
    split : {"test", "validation", "train"}
    mask_tuned : bool
        Use the thresholds that were tuned on validation masks instead of the label-only ones.
    device : torch.device, optional
    seed : int
        Of the bootstrap.
    on_event : callable, optional
        Receives ``case`` events.

    Raises
    ------
    InputError
        If channels are missing, the split is empty, or mask-tuned thresholds do not exist.
    """
    missing = [name for name in bundle.channels if name not in cohort.channels]
    if missing:
        raise InputError(
            f"{cohort.source}: the bundle expects channel {', '.join(missing)}, the cohort has "
            f"{', '.join(cohort.channels)}"
        )
    if mask_tuned and not bundle.alternatives:
        raise InputError("the bundle holds no mask-tuned threshold: no validation case had a mask")
    cases = cohort.in_split(split)
    if not cases:
        raise InputError(f"{cohort.source}: no case in the {split} split")
    return evaluate(
        evaluated_cases(bundle, cases, device=device),
        thresholds=bundle.alternatives if mask_tuned else bundle.thresholds,
        split=split,
        seed=seed,
        on_event=on_event,
    )


def evaluated_cases(
    bundle: Bundle, cases: Sequence[Case], *, device: Any = None
) -> Iterator[EvaluatedCase]:
    """Predict cases one by one: their maps, and what is known of them."""
    recipe = bundle.recipe
    plain = CaseLoader(background=recipe.background)
    for prepared in iterate_cases(cases, background=recipe.background, clip=recipe.clip):
        order = [list(prepared.case.channels).index(name) for name in bundle.channels]
        array = prepared.array[order]
        prediction = predict_case(bundle, prepared, array, device=device)
        # The baseline is the plain intensity: a clip serves the network, not a threshold.
        intensity = plain(prepared.case).array[order[0]] if recipe.clip else array[0]
        maps = {ATTRIBUTION: prediction.attribution, bundle.intensity_name: intensity}
        others = {name: prediction.reduced(how) for name, how in bundle.other_reductions.items()}
        maps |= {name: each.attribution for name, each in others.items()}
        maps |= {
            f"{ATTRIBUTION} of {name}": values
            for name, values in prediction.by_channel(bundle.map_channels).items()
        }
        masks = {}
        for name, processing in bundle.processing.items():
            brain, geometry = prepared.brain, prepared.geometry
            if name == ATTRIBUTION or name in others:
                read = others.get(name, prediction)
                processed = post_process(read, processing, array, brain, geometry)
            else:
                processed = processing.map(maps[name], array[0], brain, geometry)
            maps[name + PROCESSED] = processed
            masks[name + PROCESSED] = processing
        yield EvaluatedCase(
            case=prepared.case.case,
            patient=prepared.case.patient,
            label=prepared.case.label,
            probability=prediction.probability,
            logit=prediction.logit,
            maps=maps,
            processing=masks,
            brain=prepared.brain,
            lesions=prepared.lesions,
            geometry=prepared.geometry,
        )


def predict_case(
    bundle: Bundle,
    prepared: PreparedCase,
    array: Any,
    *,
    device: Any = None,
    explain: Explain | None = None,
) -> Prediction:
    """Prediction on the case's own grid.

    Parameters
    ----------
    bundle : Bundle
    prepared : PreparedCase
    array : ndarray of shape (C, I, J, K)
        Its channels in the bundle's order.
    device, explain
        See :func:`.predict`.

    Raises
    ------
    InputError
        Names the case, where it does not fit the bundle.
    """
    if (prepared.case.slice is None) != (bundle.dimensions == 3):
        kind = "slices" if bundle.dimensions == 2 else "volumes"
        raise InputError(f"case {prepared.case.case}: the bundle was trained on {kind}")
    try:
        if bundle.dimensions == 2:
            return predict(bundle, array[None], device=device, explain=explain)[0]
        brain, geometry = prepared.brain, prepared.geometry
        return predict_volume(bundle, array, brain, geometry, device=device, explain=explain)
    except InputError as error:
        raise InputError(f"case {prepared.case.case}: {error}") from error
