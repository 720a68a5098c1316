"""Brain masks of axial FLAIR slices that still have their skull; nothing learned.

The outline is star-shaped about the head's centre: one radius per angle, found by dynamic
programming on the polar image. A ray's cost is the sum over the inside of a "dark costs, brain-like
pays, scalp-bright costs a little" term (stops before the dark skull, crosses sulci, ventricles and
cavities with brain behind them), minus the inward-bright edge, plus a prior on the thickness of
skull and scalp; the angular slope is penalised, so bright tumours at the rim stay in. A second pass
draws every slice towards its neighbours' outlines; fat and bone open to the outside then go.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

Array = NDArray[np.float64]
N_ANGLES = 128
STEP = 0.5  # radial step, pixels
SLOPE = 3  # largest change of radius between neighbouring angles, in steps


def _pieces(mask: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Connected pieces at least `share` as large as the largest one."""
    label, n = ndi.label(mask)
    sizes = np.asarray(ndi.sum(mask, label, range(1, n + 1)))
    return np.isin(label, 1 + np.flatnonzero(sizes >= share * sizes.max()))


def head_mask(image: Array, level: float) -> NDArray[np.bool_]:
    """Largest component above `level`, holes filled, with nose, ears and pads opened away."""
    head = ndi.gaussian_filter(image, 1.0) > level
    pad = np.pad(head, 12, mode="edge")  # heads cut by the border
    pad = ndi.binary_closing(pad, iterations=4)
    pad = ndi.binary_fill_holes(pad)
    eroded = ndi.distance_transform_edt(pad) > 8
    pad = ndi.distance_transform_edt(~eroded) <= 8
    head = pad[12:-12, 12:-12]
    return _pieces(head, 1.0) if head.any() else np.ones_like(head)


def brain_mode(stack: Array) -> float:
    """Most frequent intensity of tissue near the middle of the head, over a stack (K, H, W)."""
    values = []
    for image in stack:
        head = head_mask(image, 0.25 * float(np.percentile(image, 90)))
        depth = ndi.distance_transform_edt(np.pad(head, 1))[1:-1, 1:-1]
        values.append(image[depth > 0.35 * depth.max()])
    v = np.concatenate(values)
    v = v[v > 0.3 * np.percentile(v, 75)]
    h, e = np.histogram(v, bins=np.linspace(0, v.max() + 1, 257))
    h = ndi.gaussian_filter1d(h.astype(float), 4)
    k = int(np.argmax(h))
    return float((e[k] + e[k + 1]) / 2)


def _polar(image: Array, centre: tuple[float, float], n_r: int) -> Array:
    theta = np.arange(N_ANGLES) * 2 * np.pi / N_ANGLES
    r = np.arange(n_r) * STEP
    yy = centre[0] + np.outer(np.sin(theta), r)
    xx = centre[1] + np.outer(np.cos(theta), r)
    return np.asarray(ndi.map_coordinates(image, [yy, xx], order=1, cval=0.0))


def _path(cost: Array, smooth: float) -> NDArray[np.intp]:
    """Closed path of least cost through (angle, radius): the middle third of three turns."""
    c = np.concatenate([cost] * 3)
    n, m = c.shape
    back = np.zeros((n, m), dtype=np.intp)
    total = c[0]
    shifts = np.arange(-SLOPE, SLOPE + 1)
    for t in range(1, n):
        padded = np.pad(total, SLOPE, constant_values=np.inf)
        options = np.stack([padded[SLOPE + s : SLOPE + s + m] + smooth * s * s for s in shifts])
        k = options.argmin(0)
        back[t] = np.arange(m) + shifts[k]
        total = options[k, np.arange(m)] + c[t]
    path = np.empty(n, dtype=np.intp)
    path[-1] = int(np.argmin(total))
    for t in range(n - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return path[N_ANGLES : 2 * N_ANGLES]


def _cost(image: Array, mode: float, centre: tuple[float, float]) -> Array:
    """Cost of ending the brain at each (angle, radius), for an image of any scale."""
    scaled = ndi.gaussian_filter(image / mode, 0.5)
    n_r = int(0.5 * np.hypot(*image.shape) / STEP)
    p = _polar(scaled, centre, n_r)
    u = np.interp(p, [0.0, 0.35, 0.65, 1.7, 2.4], [1.0, 1.0, -0.5, -0.4, 0.6])
    head = _polar(head_mask(image, 0.3 * mode).astype(float), centre, n_r) > 0.5
    outer = np.where(head.any(1), n_r - 1 - head[:, ::-1].argmax(1), n_r - 1)
    depth = (outer[:, None] - np.arange(n_r)) * STEP  # below the skin
    size = float(np.median(outer)) * STEP
    u = np.where((u > 0) & (depth > 0.3 * size), 0.4 * u, u)  # too deep for skull: CSF or cavity
    region = np.cumsum(u, axis=1) * STEP
    w = int(2 / STEP)
    capped = np.minimum(p, 1.2)
    mean = ndi.uniform_filter1d(capped, w, axis=1)
    edge = np.roll(mean, w // 2 + 1, axis=1) - np.roll(mean, -w // 2, axis=1)
    prior = 6.0 * np.clip(1 - depth / (0.11 * size), 0, 3)  # skin and skull have a thickness
    return np.asarray(region - 5.0 * edge + prior)


def _fill(path: Array, centre: tuple[float, float], shape: tuple[int, int]) -> NDArray[np.bool_]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    turn = np.mod(np.arctan2(y - centre[0], x - centre[1]), 2 * np.pi) / (2 * np.pi)
    radius = np.interp(turn * N_ANGLES, np.arange(N_ANGLES + 1), np.append(path, path[0]))
    return np.asarray(np.hypot(y - centre[0], x - centre[1]) <= radius * STEP)


def _disc(r: int) -> NDArray[np.bool_]:
    return np.asarray(np.hypot(*np.mgrid[-r : r + 1, -r : r + 1]) <= r + 0.3)


def _refine(mask: NDArray[np.bool_], image: Array, mode: float) -> NDArray[np.bool_]:
    """Take away fat and scalp that go on outside the outline, and dark bone and air open to it."""
    scaled = ndi.gaussian_filter(image / mode, 0.4)
    keep = mask.copy()
    for level in (1.5, 2.0, 2.6):  # bright pieces of which much lies outside the outline
        label, n = ndi.label(ndi.binary_opening(scaled > level))
        if n:
            inside = ndi.mean(mask, label, range(1, n + 1))
            away = np.append(False, np.asarray(inside) < 0.6)[label]
            keep &= ~ndi.binary_dilation(away)
    dark = (scaled < 0.5) | ~keep
    label, _ = ndi.label(dark)
    keep &= ~np.isin(label, np.unique(label[~mask]))
    keep = ndi.binary_opening(keep, _disc(3))
    if not keep.any():
        return mask
    keep = _pieces(keep, 0.15)
    keep = ndi.binary_closing(np.pad(keep, 8), _disc(4))[8:-8, 8:-8]
    return np.asarray(ndi.binary_fill_holes(keep) & mask)


def brain_masks_of_patient(
    stack: Array, smooth: float = 0.6, pull: float = 0.02
) -> NDArray[np.bool_]:
    """Masks (K, H, W) for one patient's slices in order; `pull` 0 switches the second pass off."""
    stack = np.asarray(stack, dtype=np.float64)
    mode = brain_mode(stack)
    centres = [ndi.center_of_mass(head_mask(s, 0.3 * mode)) for s in stack]
    centre = (float(np.median([c[0] for c in centres])), float(np.median([c[1] for c in centres])))
    costs = [_cost(s, mode, centre) for s in stack]
    paths = np.array([_path(c, smooth) for c in costs], dtype=float)
    if pull > 0 and len(stack) > 2:
        first = ndi.median_filter(paths, size=(5, 1), mode="nearest")
        radius = np.arange(costs[0].shape[1])
        for k, c in enumerate(costs):
            away = (radius[None] - first[k][:, None]) * STEP
            paths[k] = _path(c + np.minimum(pull * 10 * away**2, 12.0), smooth)
    paths = ndi.gaussian_filter1d(paths, 1.0, axis=1, mode="wrap")
    masks = [_fill(q, centre, s.shape) for q, s in zip(paths, stack, strict=True)]
    return np.stack([_refine(k, s, mode) for k, s in zip(masks, stack, strict=True)])


def brain_mask_of_slice(slice_2d: Array) -> NDArray[np.bool_]:
    """Mask of one slice on its own."""
    return np.asarray(brain_masks_of_patient(np.asarray(slice_2d)[None])[0])
