"""Where the maps of a comparison come from: a trained network, or the plain intensity."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..assessment import predict_case
from ..attribution import NEEDS_REFERENCES, explain
from ..bundle import Bundle
from ..cases import CaseLoader, PreparedCase
from ..constraints import scale_attribution
from ..image import Image
from ..inference import Explain, predict

#: What keeps hundreds of cases affordable. Where F(x) - F(x') is next to nothing, completeness to
#: 1 % of it takes hundreds of evaluations.
_OPTIONS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"maximum": 33},
    "expected_gradients": {"samples": 32},
    "integrated_expected_gradients": {"samples": 32},
}


#: Logit of a case, and its maps by name.
CaseMaps = tuple[float, dict[str, NDArray[np.float32]]]


class MapSource(Protocol):
    """Maps of prepared cases, on their own grids."""

    #: Names of the maps, in the order of the tables.
    names: tuple[str, ...]
    #: Cases that are best given together.
    at_once: int

    def maps(self, cases: Sequence[PreparedCase]) -> list[CaseMaps]:
        """Logit and maps of every case."""
        ...


#: Slices are small: together they keep the processor busy.
_SLICES_AT_ONCE = 16


class IntensityMaps:
    """The plain intensity of the first channel: the baseline that any method must beat."""

    def __init__(self, channel: str, *, background: float) -> None:
        self.names, self.at_once = (f"{channel} intensity",), 1
        self._load = CaseLoader(background=background)

    def maps(self, cases: Sequence[PreparedCase]) -> list[CaseMaps]:
        """Intensity standardised over the brain, never clipped; there is no logit."""
        return [(0.0, {self.names[0]: self._load(case.case).array[0]}) for case in cases]


class NetworkMaps:
    """A trained network read by several attributions, or by its recipe's own map.

    Parameters
    ----------
    bundle : Bundle
    methods : sequence of str
        Attributions of a classifier; empty for a baseline, whose recipe knows its only map.
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
        self._ways: dict[str, Explain | None] = {}
        for method in methods:
            needs = method in NEEDS_REFERENCES
            self._ways[method] = partial(_read, method, references if needs else None)
        if not methods:
            self._ways[getattr(bundle.recipe, "map_name", "map")] = None
        self.names = tuple(self._ways)

    def maps(self, cases: Sequence[PreparedCase]) -> list[CaseMaps]:
        """Logits and combined maps."""
        arrays = []
        for case in cases:
            order = [list(case.case.channels).index(name) for name in self.bundle.channels]
            arrays.append(case.array[order])
        found: list[dict[str, NDArray[np.float32]]] = [{} for _ in cases]
        logits = [0.0] * len(cases)
        for name, way in self._ways.items():
            options: dict[str, Any] = {"device": self.device, "explain": way}
            if self.at_once > 1:
                predictions = predict(self.bundle, np.stack(arrays), **options)
            else:
                predictions = [
                    predict_case(self.bundle, case, array, **options)
                    for case, array in zip(cases, arrays, strict=True)
                ]
            for number, prediction in enumerate(predictions):
                found[number][name] = prediction.attribution
                logits[number] = prediction.logit
        return list(zip(logits, found, strict=True))


def _read(
    method: str, references: NDArray[np.float32] | None, network: Any, x: Any
) -> tuple[Any, Any]:
    """Logits and maps by one attribution, scaled as the recipe scales its own."""
    import torch

    images = None if references is None else torch.from_numpy(references)
    logits, maps = explain(method, network, x, references=images, **_OPTIONS.get(method, {}))
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
