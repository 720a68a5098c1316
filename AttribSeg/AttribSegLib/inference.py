"""A trained network applied to prepared arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .channel_reduction import SUM, reduce_channels
from .errors import InputError
from .image import Geometry, Image
from .map_processing import channels_times_input, times_input

#: Share of the brain that must lie inside the network's grid.
_LEAST_COVERAGE = 0.95
#: A slice with less brain than this share of its pixels is not looked at.
_LEAST_BRAIN = 0.02
_BATCH = 16


@dataclass(frozen=True)
class Prediction:
    """What the network says of one image.

    Parameters
    ----------
    logit : float
        F(x); the image is called pathological when it is positive.
    attribution : ndarray of shape (I, J, K)
        Map on the network's grid, positive where it argues for pathological; the reduction of
        those of all channels.
    channels : ndarray of shape (C, I, J, K)
        Map of each channel; a single one where the method gives no more.
    reduction : str
        See :func:`.reduce_channels`.
    """

    logit: float
    attribution: NDArray[np.float32]
    channels: NDArray[np.float32]
    reduction: str = SUM

    @classmethod
    def of(cls, logit: float, channels: NDArray[np.float32], reduction: str = SUM) -> Prediction:
        """Prediction whose combined map is a reduction of the channels' maps."""
        return cls(logit, reduce_channels(channels, reduction), channels, reduction)

    def reduced(self, reduction: str) -> Prediction:
        """The same with another combined map."""
        return Prediction.of(self.logit, self.channels, reduction)

    def by_channel(self, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Maps by the names of their channels; empty where there is only the combined one."""
        if len(names) != len(self.channels) or len(names) < 2:
            return {}
        return dict(zip(names, self.channels, strict=True))

    def times_input(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Combined map times intensity, shape (I, J, K).

        Sums over input channels take every channel's map with its own channel; other maps, whose
        channels are not those of the input, go with the first.
        """
        if self.reduction == SUM:
            return channels_times_input(self.channels, images)
        return times_input(self.attribution, images[0])

    @property
    def probability(self) -> float:
        """Probability of pathological, the logistic function of the logit."""
        return float(1.0 / (1.0 + np.exp(-np.clip(self.logit, -700, 700))))


#: Logits and maps of a batch by a network, as `Recipe.explain` gives them.
Explain = Callable[[Any, Any], tuple[Any, Any]]


def predict(
    bundle: Bundle,
    arrays: NDArray[np.float32],
    *,
    device: Any = None,
    explain: Explain | None = None,
) -> list[Prediction]:
    """Logits and attribution maps of prepared images.

    Parameters
    ----------
    bundle : Bundle
    arrays : ndarray of shape (B, C, I, J, K)
        Standardised images on the bundle's grid; K is 1 for slices.
    device : torch.device, optional
        The network is moved there and stays there.
    explain : callable, optional
        Another way to read maps from the network than the recipe's own; channels are then summed.

    Raises
    ------
    InputError
        If the arrays do not fit the bundle, or memory runs out.
    """
    import torch

    device = device or torch.device("cpu")
    expected = (len(bundle.channels), *bundle.geometry.size[: bundle.dimensions])
    if arrays.ndim != 5 or arrays.shape[1 : 2 + bundle.dimensions] != expected:
        raise InputError(
            f"images of shape {arrays.shape[1:]}: the bundle expects (channels, voxels) {expected}"
        )
    x = torch.from_numpy(np.ascontiguousarray(arrays))
    if bundle.dimensions == 2:
        x = x[..., 0]
    network = bundle.network.to(device)
    frozen = [p for p in network.parameters() if p.requires_grad]
    for parameter in frozen:  # no weight gradients: a third less memory and time
        parameter.requires_grad_(False)
    try:
        logits, maps = (explain or bundle.recipe.explain)(network, x.to(device))
    except (RuntimeError, MemoryError) as error:
        # The CPU's allocator raises a plain RuntimeError.
        known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not known and "allocate memory" not in str(error):
            raise
        elsewhere = "" if device.type == "cpu" else "--device cpu, "
        raise InputError(
            f"out of memory on {device}; use {elsewhere}2 mm images or a narrower network"
        ) from error
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    values = maps.float().cpu().numpy()
    if bundle.dimensions == 2:
        values = values[..., None]
    return [
        Prediction.of(float(logit), value, bundle.reduction if explain is None else SUM)
        for logit, value in zip(logits.double().cpu().tolist(), values, strict=True)
    ]


def predict_volume(
    bundle: Bundle,
    array: NDArray[np.float32],
    brain: NDArray[np.bool_],
    geometry: Geometry,
    *,
    device: Any = None,
    explain: Explain | None = None,
) -> Prediction:
    """Logit and map of one volume, through the bundle's grid and back onto its own.

    Parameters
    ----------
    bundle : Bundle
        Trained on volumes.
    array : ndarray of shape (C, I, J, K)
        Standardised channels.
    brain : ndarray of shape (I, J, K)
    geometry : Geometry
        Grid of both.
    device, explain
        See :func:`predict`.

    Raises
    ------
    InputError
        If the volume does not lie where the training volumes lay.
    """
    grid = bundle.geometry
    if geometry.same_grid(grid):
        return predict(bundle, array[None], device=device, explain=explain)[0]
    background = bundle.recipe.background
    if grid.nominal:
        if geometry.size != grid.size:
            raise InputError(
                f"image of {geometry.size} voxels: the bundle was trained on {grid.size} voxels "
                "of unknown size, and only such images fit it"
            )
        return predict(bundle, array[None], device=device, explain=explain)[0]
    geometry.require_spacing("a place on the atlas")
    _require_coverage(brain, geometry, grid)
    moved = [
        Image(channel, geometry).resample(grid, background=background).array for channel in array
    ]
    moved_array = np.stack(moved)[None].astype(np.float32)
    prediction = predict(bundle, moved_array, device=device, explain=explain)[0]
    # Where the network saw nothing the map takes its least value: a threshold may be below zero.
    back = [
        Image(values, grid).resample(geometry, background=float(values.min())).array
        for values in prediction.channels
    ]
    return Prediction.of(prediction.logit, np.stack(back).astype(np.float32), prediction.reduction)


def _require_coverage(brain: NDArray[np.bool_], geometry: Geometry, grid: Geometry) -> None:
    """Refuse an image that does not lie where the network's training images lay."""
    voxels = np.argwhere(brain)
    voxels = voxels[:: max(1, len(voxels) // 20_000)]
    places = grid.to_ijk(geometry.to_lps(voxels))
    covered = ((places > -0.5) & (places < np.array(grid.size) - 0.5)).all(axis=1).mean()
    if covered < _LEAST_COVERAGE:
        raise InputError(
            f"only {covered:.0%} of the brain lies on the bundle's grid; register the image to "
            "MNI152 first"
        )


def predict_slices(
    bundle: Bundle,
    array: NDArray[np.float32],
    brain: NDArray[np.bool_],
    geometry: Geometry,
    *,
    device: Any = None,
) -> tuple[Prediction, list[dict[str, float]]]:
    """Logit and map of one volume, read axial slice by axial slice.

    Parameters
    ----------
    bundle : Bundle
        Trained on slices.
    array, brain, geometry, device
        As for :func:`predict_volume`, oriented as slices are (see :data:`.SLICE_ORIENTATION`).

    Returns
    -------
    prediction : Prediction
        Its logit is the largest over slices.
    rows : list of dict
        Slice index, logit and probability of every slice with enough brain.
    """
    in_plane, expected = geometry.size[:2], bundle.geometry.size[:2]
    spacing = (*bundle.geometry.spacing[:2], geometry.spacing[2])
    resized = replace(geometry, size=(*expected, geometry.size[2]), spacing=spacing)
    known = not bundle.geometry.nominal and not geometry.nominal
    same_pixels = np.allclose(spacing, geometry.spacing, rtol=1e-3) or not known
    if in_plane == expected and same_pixels:
        moved_array, moved_brain, grid = array, brain, geometry
    elif known:
        moved_array, moved_brain, grid = _onto_plane(array, brain, geometry, resized, bundle)
    else:
        raise InputError(
            f"axial slices of {in_plane} pixels: the bundle was trained on {expected} pixels of "
            "unknown size, and only such slices fit it"
        )
    indices = [k for k in range(geometry.size[2]) if moved_brain[:, :, k].mean() >= _LEAST_BRAIN]
    if not indices:
        raise InputError("no slice holds enough brain; check the brain mask")
    result: NDArray[np.float32] | None = None
    rows: list[dict[str, float]] = []
    for start in range(0, len(indices), _BATCH):
        chunk = indices[start : start + _BATCH]
        batch = np.stack([moved_array[:, :, :, k : k + 1] for k in chunk])
        for k, prediction in zip(chunk, predict(bundle, batch, device=device), strict=True):
            if result is None:
                result = np.zeros((len(prediction.channels), *grid.size), dtype=np.float32)
            result[..., k] = prediction.channels[..., 0]
            row = {"slice": k, "logit": prediction.logit, "probability": prediction.probability}
            rows.append(row)
    assert result is not None  # there is at least one slice
    unseen = [k for k in range(geometry.size[2]) if k not in indices]
    back = []
    for values in result:
        least = float(values[..., indices].min())  # as in `predict_volume`
        values[..., unseen] = least
        back.append(Image(values, grid).resample(geometry, background=least).array)
    logit = max(row["logit"] for row in rows)
    return Prediction.of(logit, np.stack(back).astype(np.float32), bundle.reduction), rows


def _onto_plane(
    array: NDArray[np.float32],
    brain: NDArray[np.bool_],
    geometry: Geometry,
    resized: Geometry,
    bundle: Bundle,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Geometry]:
    """Slices on the bundle's pixels, centred on the brain's box."""
    box = np.argwhere(brain)
    middle = geometry.to_lps((box.min(axis=0) + box.max(axis=0)) / 2)
    shift = middle - resized.to_lps([(n - 1) / 2 for n in resized.size])
    shift -= resized.direction[:, 2] * (shift @ resized.direction[:, 2])  # stay on the slices
    grid = replace(resized, origin=tuple(np.asarray(resized.origin) + shift))
    background = bundle.recipe.background
    moved = [Image(c, geometry).resample(grid, background=background).array for c in array]
    mask = Image(brain, geometry).resample(grid, interpolation="nearest").array
    return np.stack(moved).astype(np.float32), mask, grid
