"""Inter-slice interpolation by registration: what lies between two slices is half-way warped.

Linear interpolation between slices 3 to 5 mm apart shows every edge twice. Here the edges of a
slice are moved to where they are in the next one, and slices in between are met half-way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..image import Geometry, Image
from ..simulation.fields import bspline_matrix

#: In-plane voxel of the registration, and distance of the B-spline's knots, mm.
_VOXEL_MM = 2.0
_KNOTS_MM = 14.0

#: Slices per knot along the stack: the displacements vary smoothly along it. The distance of the
#: slices does not matter; it is called this much.
_SLICES_PER_KNOT = 2.0
_STACK_MM = 1.0

#: Weight of the smoothness of the field against the images. Slices 6 to 8 mm apart ask for much:
#: with a tenth of it, FLAIR comes out worse than linearly interpolated (left-out slices).
_STIFFNESS = 25.0

#: In-plane blurs, mm, and Gauss-Newton steps at each.
_BLURS_MM = (4.0, 2.0, 1.0)
_ROUNDS = 5

Array = NDArray[np.float32]


def interpolate_slices(image: Image, *, factor: float = 1.5, spacing: float | None = None) -> Image:
    """Interpolate between the slices of an anisotropic stack (thesis ch. 1, III.2).

    A slice at fraction t between slices k and k + 1 is slice k warped by t times the displacement
    from k to k + 1, blended with slice k + 1 warped backwards by 1 - t times it.

    Parameters
    ----------
    image : Image
        Any axis may be the slice axis: it is the one with the largest spacing.
    factor : float
        Images whose slice spacing is at most this many times the in-plane one come back as they
        are.
    spacing : float, optional
        Distance between the new slices, mm; the in-plane spacing by default. The nearest distance
        that divides the old one is taken, so that all old slices are kept, exactly.

    Returns
    -------
    Image
        float32, from the centre of the first slice to that of the last.

    Raises
    ------
    InputError
        If the factor is below 1, the spacing not positive, or there are fewer than two slices.
    """
    if not factor >= 1:
        raise InputError(f"factor {factor}: at least 1 was expected")
    if spacing is not None and not spacing > 0:
        raise InputError(f"spacing {spacing}: a distance above 0 was expected")
    old = image.geometry
    axis = int(np.argmax(old.spacing))
    in_plane = max(step for other, step in enumerate(old.spacing) if other != axis)
    if old.spacing[axis] <= factor * in_plane:
        return image
    if old.size[axis] < 2:
        raise InputError("one slice: at least two were expected to interpolate between")
    parts = max(round(old.spacing[axis] / (spacing or in_plane)), 1)
    stack = np.moveaxis(image.array.astype(np.float32), axis, 2)
    order = [other for other in range(3) if other != axis] + [axis]
    steps = [old.spacing[other] for other in order]
    between = slice_displacements(stack, (steps[0], steps[1], steps[2]))
    count = (stack.shape[2] - 1) * parts + 1
    result = np.empty((*stack.shape[:2], count), np.float32)
    result[:, :, ::parts] = stack
    for k in range(stack.shape[2] - 1):
        for part in range(1, parts):
            result[:, :, k * parts + part] = _between(
                stack[:, :, k], stack[:, :, k + 1], between[:2, :, :, k], part / parts
            )
    new_spacing = list(old.spacing)
    new_spacing[axis] /= parts
    array = np.ascontiguousarray(np.moveaxis(result, 2, axis))
    geometry = Geometry(
        array.shape,
        (new_spacing[0], new_spacing[1], new_spacing[2]),
        old.origin,
        old.direction,
        old.nominal,
    )
    return Image(array, geometry)


def slice_displacements(stack: Array, spacing: tuple[float, float, float]) -> Array:
    """Where every point of a slice lies in the next one, for all slices at once.

    One smooth 3D registration of the stack with itself shifted by a slice; the through-plane
    component is held at zero, or the shift itself would be the best answer. Both directions are
    solved and averaged.

    Parameters
    ----------
    stack : ndarray of shape (I, J, K)
    spacing : tuple of float
        mm along I, J, K.

    Returns
    -------
    ndarray of shape (3, I, J, K - 1)
        In voxels; the third component is zero.
    """
    from scipy import ndimage

    scale = float(np.percentile(np.abs(stack), 99)) or 1.0
    shrink = [max(round(_VOXEL_MM / spacing[axis]), 1) for axis in (0, 1)]
    steps = (spacing[0] * shrink[0], spacing[1] * shrink[1], spacing[2])
    sigma = [0.4 * n if n > 1 else 0.0 for n in shrink]
    coarse = ndimage.gaussian_filter(stack / scale, (*sigma, 0.0))[:: shrink[0], :: shrink[1]]
    first, second = coarse[:, :, :-1], coarse[:, :, 1:]
    # Symmetric: the way back, turned round, is as good an estimate as the way there.
    field = (_register(first, second, steps) - _register(second, first, steps)) / 2
    place = np.indices(stack.shape[:2], dtype=np.float32)
    place /= np.array(shrink, np.float32)[:, None, None]
    fine = np.zeros((3, *stack.shape[:2], stack.shape[2] - 1), np.float32)
    for axis in (0, 1):
        for k in range(fine.shape[3]):
            fine[axis, :, :, k] = shrink[axis] * ndimage.map_coordinates(
                field[axis, :, :, k], place, order=1, mode="nearest"
            )
    return fine


def _register(fixed: Array, moving: Array, spacing: tuple[float, float, float]) -> Array:
    """Displacement in voxels that takes points of ``fixed`` to ``moving``, slice by slice.

    Gauss-Newton on the squared difference, with cubic B-splines as the field and a penalty on the
    differences of neighbouring coefficients; from blurred to sharp.
    """
    from scipy import ndimage

    size = fixed.shape
    extent = (size[0] * spacing[0], size[1] * spacing[1], size[2] * _STACK_MM)
    steps = (spacing[0], spacing[1], _STACK_MM)
    knots = (_KNOTS_MM, _KNOTS_MM, _SLICES_PER_KNOT * _STACK_MM)
    bases = [bspline_matrix(*axis) for axis in zip(extent, steps, knots, strict=True)]
    shape = (2, *(basis.shape[1] for basis in bases))
    coefficients = np.zeros(shape, np.float32)
    place = np.indices(size, dtype=np.float32)
    for blur in _BLURS_MM:
        sigma = (blur / spacing[0], blur / spacing[1], 0.0)
        target = ndimage.gaussian_filter(fixed, sigma)
        source = ndimage.gaussian_filter(moving, sigma)
        for _ in range(_ROUNDS):
            moved = place.copy()
            moved[:2] += _field(coefficients, bases)
            warped = ndimage.map_coordinates(source, moved, order=1, mode="nearest")
            # The mean of both images' gradients converges faster than either (ESM).
            slope = np.stack(np.gradient((warped + target) / 2, axis=(0, 1)))
            residual = target - warped
            stiffness = _STIFFNESS * float((slope**2).mean()) * warped.size / coefficients[0].size
            if not stiffness:
                break
            coefficients += _step(slope, residual, coefficients, bases, stiffness)
    field = np.zeros((3, *size), np.float32)
    field[:2] = _field(coefficients, bases)
    return field


def _step(
    slope: Array, residual: Array, coefficients: Array, bases: list[Array], stiffness: float
) -> Array:
    """Gauss-Newton step, by conjugate gradients."""
    from scipy.sparse.linalg import LinearOperator, cg

    shape = coefficients.shape

    def normal(vector: NDArray[np.float32]) -> NDArray[np.float32]:
        change = vector.reshape(shape).astype(np.float32)
        along = (slope * _field(change, bases)).sum(axis=0)
        return (_gather(slope * along, bases) + stiffness * _roughness(change)).ravel()

    wanted = _gather(slope * residual, bases) - stiffness * _roughness(coefficients)
    operator = LinearOperator((coefficients.size,) * 2, matvec=normal, dtype=np.float32)
    solution, _ = cg(operator, wanted.ravel(), rtol=0.05, maxiter=25)
    return solution.reshape(shape).astype(np.float32)


def _field(coefficients: Array, bases: list[Array]) -> Array:
    """Values of B-splines on the voxels, (C, knots...) -> (C, I, J, K)."""
    result = np.einsum("cxyz,kz->cxyk", coefficients, bases[2], optimize=True)
    result = np.einsum("cxyk,jy->cxjk", result, bases[1], optimize=True)
    return np.einsum("cxjk,ix->cijk", result, bases[0], optimize=True)


def _gather(values: Array, bases: list[Array]) -> Array:
    """Transpose of `_field`."""
    result = np.einsum("cijk,ix->cxjk", values, bases[0], optimize=True)
    result = np.einsum("cxjk,jy->cxyk", result, bases[1], optimize=True)
    return np.einsum("cxyk,kz->cxyz", result, bases[2], optimize=True)


def _roughness(coefficients: Array) -> Array:
    """Gradient of half the squared differences between neighbouring coefficients."""
    result = np.zeros_like(coefficients)
    for axis in (1, 2, 3):
        steps = np.diff(coefficients, axis=axis)
        pad = [(0, 0)] * 4
        pad[axis] = (1, 1)
        result -= np.diff(np.pad(steps, pad), axis=axis)
    return result


def _between(first: Array, second: Array, displacement: Array, fraction: float) -> Array:
    """The slice at a fraction of the way from one to the next."""
    from scipy import ndimage

    index = np.indices(first.shape, dtype=np.float32)
    a = ndimage.map_coordinates(
        first, index - fraction * displacement, order=1, mode="nearest", output=np.float32
    )
    b = ndimage.map_coordinates(
        second, index + (1 - fraction) * displacement, order=1, mode="nearest", output=np.float32
    )
    return (1 - fraction) * a + fraction * b
