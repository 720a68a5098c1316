"""Where the maps of a comparison come from: a trained network, or the plain intensity."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..assessment import predict_case
from ..attribution import NEEDS_REFERENCES, explain
from ..attribution.integrated_gradients import integrated_gradients_with_report
from ..bundle import Bundle
from ..cases import CaseLoader, PreparedCase
from ..constraints import scale_attribution
from ..errors import InputError
from ..image import Image
from ..inference import Explain, Prediction, predict

#: What keeps hundreds of cases affordable. Where F(x) - F(x') is next to nothing, completeness to
#: 1 % of it takes hundreds of evaluations.
_OPTIONS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"maximum": 33},
    "expected_gradients": {"samples": 32},
    "integrated_expected_gradients": {"samples": 32},
}


class MapSource(Protocol):
    """Maps of prepared cases, on their own grids."""

    #: Names of the maps, in the order of the tables.
    names: tuple[str, ...]
    #: Cases that are best given together.
    at_once: int

    def maps(
        self, cases: Sequence[PreparedCase], names: Sequence[str]
    ) -> list[dict[str, Prediction]]:
        """Predictions of every case, by the name of the map."""
        ...

    def array(self, case: PreparedCase) -> NDArray[np.float32]:
        """Channels (C, I, J, K) of a case that go with the channels of its maps."""
        ...


#: Slices are small: together they keep the processor busy.
_SLICES_AT_ONCE = 16


class IntensityMaps:
    """The plain intensity of the first channel: the baseline that any method must beat."""

    def __init__(self, channel: str, *, background: float) -> None:
        self.names, self.at_once = (f"{channel} intensity",), 1
        self._load = CaseLoader(background=background)

    def maps(
        self, cases: Sequence[PreparedCase], names: Sequence[str]
    ) -> list[dict[str, Prediction]]:
        """Intensity standardised over the brain, never clipped; there is no logit."""
        images = [self._load(case.case).array[:1] for case in cases]
        return [{name: Prediction.of(0.0, image) for name in names} for image in images]

    def array(self, case: PreparedCase) -> NDArray[np.float32]:
        """First channel."""
        return case.array[:1]


class NetworkMaps:
    """A trained network read by several attributions, or by its recipe's own map.

    Parameters
    ----------
    bundle : Bundle
    methods : sequence of str
        Attributions of a classifier; empty where the recipe knows its own map. Where that one has
        channels to choose from, it comes in the bundle's choice and reduced over all.
    references : ndarray of shape (R, C, I, J[, K])
        Training images on the bundle's grid, for expected gradients.
    device : torch.device, optional
    """

    def __init__(
        self,
        bundle: Bundle,
        methods: Sequence[str],
        *,
        references: NDArray[np.float32] | None = None,
        device: Any = None,
    ) -> None:
        self.bundle, self.device = bundle, device
        self.at_once = _SLICES_AT_ONCE if bundle.dimensions == 2 else 1
        #: Gap and evaluations of every integrated gradient.
        self.completeness: list[tuple[float, int]] = []
        self._ways: dict[str, Explain | None] = {}
        for method in methods:
            images = references if method in NEEDS_REFERENCES else None
            self._ways[method] = partial(_read, method, images, self.completeness)
        #: Maps that are another reduction of the recipe's own.
        self._reductions: dict[str, str] = {}
        if not methods:
            own = bundle.recipe.map_name
            self._ways[own] = None
            for reduction in bundle.other_reductions.values():
                self._ways[f"{own}, {reduction}"] = None
                self._reductions[f"{own}, {reduction}"] = reduction

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the maps, in the order of the tables."""
        return tuple(self._ways)

    def leave_out_failing(self, case: PreparedCase, *, primary: str) -> list[str]:
        """Try every attribution on a case, and leave out those that do not work on this network.

        Parameters
        ----------
        case : PreparedCase
        primary : str
            Must work.

        Returns
        -------
        list of str
            What was left out and why.

        Raises
        ------
        InputError
            If the primary map fails.
        """
        reasons = []
        for name in self.names:
            try:
                self.maps([case], [name])
            except InputError as error:
                if name == primary:
                    raise
                reasons.append(f"{name} is left out: {error}")
                del self._ways[name]
        self.completeness.clear()
        return reasons

    def maps(
        self, cases: Sequence[PreparedCase], names: Sequence[str]
    ) -> list[dict[str, Prediction]]:
        """Predictions by the named attributions."""
        found: list[dict[str, Prediction]] = [{} for _ in cases]
        arrays = [self.array(case) for case in cases]
        own: list[Prediction] | None = None
        for name in names:
            if own is not None and self._ways[name] is None:  # the same, reduced otherwise
                for each, prediction in zip(found, own, strict=True):
                    each[name] = prediction.reduced(self._reduction(name))
                continue
            options: dict[str, Any] = {"device": self.device, "explain": self._ways[name]}
            if self.at_once > 1 and len(cases) > 1:
                predictions = predict(self.bundle, np.stack(arrays), **options)
            else:
                predictions = [
                    predict_case(self.bundle, case, array, **options)
                    for case, array in zip(cases, arrays, strict=True)
                ]
            if self._ways[name] is None:
                own = [each.reduced(self._reduction(name)) for each in predictions]
                predictions = own
            for each, prediction in zip(found, predictions, strict=True):
                each[name] = prediction
        return found

    def _reduction(self, name: str) -> str:
        return self._reductions.get(name, self.bundle.reduction)

    def array(self, case: PreparedCase) -> NDArray[np.float32]:
        """Channels in the bundle's order."""
        return case.array[[list(case.case.channels).index(name) for name in self.bundle.channels]]


def _read(
    method: str,
    references: NDArray[np.float32] | None,
    completeness: list[tuple[float, int]],
    network: Any,
    x: Any,
) -> tuple[Any, Any]:
    """Logits and maps by one attribution, scaled as the recipe scales its own."""
    import torch

    options = _OPTIONS.get(method, {})
    if method == "integrated_gradients":
        maps, report = integrated_gradients_with_report(network, x, local=True, **options)
        completeness += zip(report.gap, report.evaluations, strict=True)
        with torch.no_grad():
            logits = network(x)
    else:
        images = None if references is None else torch.from_numpy(references)
        logits, maps = explain(method, network, x, references=images, **options)
    return logits, scale_attribution(maps, "voxels")


def reference_images(
    bundle: Bundle, cases: Sequence[Any], count: int, *, seed: int = 0
) -> NDArray[np.float32]:
    """Training images for expected gradients, drawn at random, on the bundle's grid.

    Parameters
    ----------
    bundle : Bundle
    cases : sequence of Case
        The training split.
    count : int
    seed : int

    Returns
    -------
    ndarray of shape (R, C, I, J[, K])
    """
    recipe = bundle.recipe
    load = CaseLoader(background=recipe.background, clip=recipe.clip)
    chosen = np.random.default_rng([seed, 7]).permutation(len(cases))[:count]
    images = []
    for index in sorted(chosen):
        case = load(cases[index])
        order = [list(case.case.channels).index(name) for name in bundle.channels]
        array = case.array[order]
        if bundle.dimensions == 2:
            images.append(array[..., 0])
            continue
        if not case.geometry.same_grid(bundle.geometry):
            array = np.stack(
                [
                    Image(channel, case.geometry)
                    .resample(bundle.geometry, background=recipe.background)
                    .array
                    for channel in array
                ]
            )
        images.append(array)
    return np.stack(images).astype(np.float32)
