"""Occlusion: how the score changes when a patch of the image is replaced."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch

from ..errors import InputError
from .memory import DEFAULT_MEMORY, batch_within
from .occlusion_local import LocalNetwork
from .path import Score

FILLS = ("constant", "noise", "blur", "permutation")

#: Where a patch lies: one slice per spatial axis.
Window = tuple[slice, ...]


def occlusion(
    score: Score,
    x: torch.Tensor,
    *,
    patch: int | Sequence[int] = 8,
    stride: int | Sequence[int] | None = None,
    fill: str = "constant",
    value: float = 0.0,
    blur: float = 4.0,
    seed: int = 0,
    memory: int = DEFAULT_MEMORY,
) -> torch.Tensor:
    """Occlusion (Zeiler and Fergus 2014; thesis ch. 2, IV).

    Every voxel gets F(x) - F(x with a patch replaced), averaged over the patches that cover it;
    all channels are replaced together. Where the network is a chain of convolutions, poolings and
    voxel-wise layers, only those outputs that a patch changes are computed again, layer by layer
    and exactly; other networks see the whole image once per patch.

    Parameters
    ----------
    score : callable
        Maps (B, C, I, J[, K]) to logits (B,). A network in evaluation mode.
    x : Tensor of shape (B, C, I, J[, K])
    patch, stride : int or sequence of int
        Size of the patch and distance between patches, in voxels; the stride is the patch's size
        unless given.
    fill : {"constant", "noise", "blur", "permutation"}
        What replaces a patch: a value; Gaussian noise of the image's own mean and standard
        deviation; the blurred image; the patch's own voxels in random order.
    value : float
        Of the constant.
    blur : float
        Standard deviation of the blur, in voxels.
    seed : int
        Of the noise and of the permutations.
    memory : int
        Bytes that images evaluated at once may take.

    Returns
    -------
    Tensor of shape (B, 1, I, J[, K])

    Raises
    ------
    InputError
        If the patch or the stride does not fit, or the fill is unknown.

    Examples
    --------
    Of a sum, each voxel's own value is lost:

    >>> occlusion(lambda x: x.flatten(1).sum(1), torch.tensor([[[[1.0, 3.0]]]]), patch=1)
    tensor([[[[1., 3.]]]])
    """
    size = tuple(x.shape[2:])
    patches = _per_axis(patch, size, "patch")
    strides = patches if stride is None else _per_axis(stride, size, "stride")
    if any(p > n for p, n in zip(patches, size, strict=True)):
        raise InputError(f"patch {patches}: no larger than the image, {size}, was expected")
    if fill not in FILLS:
        raise InputError(f"fill {fill!r}: one of {', '.join(FILLS)} was expected")
    windows = list(_windows(size, patches, strides))
    local = LocalNetwork.of(score) if isinstance(score, torch.nn.Module) else None
    result = x.new_zeros(len(x), 1, *size)
    covered = x.new_zeros(size)
    for window in windows:
        covered[window] += 1
    with torch.no_grad():
        score(x[:1])  # a network says itself what does not fit it
        at_once = 1 if local is not None else batch_within(score, x, memory)
        for number, image in enumerate(x.detach()):
            generator = torch.Generator().manual_seed(seed)
            replacement = _replacement(image, fill, value, blur, generator)
            contents = (
                _shuffled(image, window, generator)
                if fill == "permutation"
                else replacement[(slice(None), *window)]
                for window in windows
            )
            if local is not None:
                changes = local.changes(image, windows, list(contents), memory=memory)
            else:
                changes = _changes(score, image, windows, contents, at_once)
            for window, change in zip(windows, changes, strict=True):
                result[number, 0][window] += change
    # Between patches that leave gaps there are voxels that none covers.
    return result / covered.clamp(min=1)


def _changes(
    score: Score,
    image: torch.Tensor,
    windows: list[Window],
    contents: Iterator[torch.Tensor],
    at_once: int,
) -> list[float]:
    """F(x) - F(x with the patch replaced), the whole image once per patch."""
    whole = float(score(image[None]))
    changes: list[float] = []
    for start in range(0, len(windows), at_once):
        chunk = windows[start : start + at_once]
        occluded = image.expand(len(chunk), *image.shape).clone()
        for row, window in zip(occluded, chunk, strict=True):
            row[(slice(None), *window)] = next(contents)
        changes += [whole - logit for logit in score(occluded).double().tolist()]
    return changes


def _windows(
    size: tuple[int, ...], patches: tuple[int, ...], strides: tuple[int, ...]
) -> Iterator[Window]:
    """Patches from corner to corner; those at the end are cut off at the border."""
    axes = []
    for n, patch, stride in zip(size, patches, strides, strict=True):
        starts = [stride * i for i in range(math.ceil((n - patch) / stride) + 1)]
        axes.append([slice(a, min(a + patch, n)) for a in starts if a < n])
    return itertools.product(*axes)


def _replacement(
    image: torch.Tensor, fill: str, value: float, blur: float, generator: torch.Generator
) -> torch.Tensor:
    """Image (C, I, J[, K]) that patches are cut from."""
    if fill == "constant":
        return torch.full_like(image, value)
    if fill == "noise":
        noise = torch.randn(image.shape, generator=generator).to(image)
        axes = tuple(range(1, image.ndim))
        mean = image.mean(dim=axes, keepdim=True)
        return mean + noise * image.std(dim=axes, keepdim=True)
    if fill == "blur":
        from scipy.ndimage import gaussian_filter

        if not blur > 0:
            raise InputError(f"blur {blur}: a positive width was expected")
        width = [0.0] + [blur] * (image.ndim - 1)
        return torch.from_numpy(gaussian_filter(image.cpu().numpy(), width)).to(image)
    return image


def _shuffled(image: torch.Tensor, window: Window, generator: torch.Generator) -> torch.Tensor:
    """A patch with its voxels in random order, the same in all channels."""
    content = image[(slice(None), *window)]
    order = torch.randperm(content[0].numel(), generator=generator).to(image.device)
    return content.flatten(1)[:, order].reshape(content.shape)


def _per_axis(values: int | Sequence[int], size: tuple[int, ...], name: str) -> tuple[int, ...]:
    each = (values,) * len(size) if isinstance(values, int) else tuple(values)
    if len(each) != len(size) or any(not isinstance(n, int) or n < 1 for n in each):
        raise InputError(f"{name} {values!r}: {len(size)} whole numbers from 1 on were expected")
    return each
