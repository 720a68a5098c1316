"""`Image`: an array that knows where its voxels are.

Axes are I, J, K throughout (SimpleITK's and NumPy's views of the same memory differ: SimpleITK
arrays are K, J, I). Physical coordinates are LPS, in mm, as in SimpleITK and DICOM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk
    import torch

    from .transform import Affine

#: Half a millimetre is far below what a reader sees; headers are often rounded to float32.
_GRID_TOLERANCE_MM = 1e-2


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a volume lie.

    Parameters
    ----------
    size : tuple of int
        Voxels along I, J, K.
    spacing : tuple of float
        Voxel size along I, J, K, in mm.
    origin : tuple of float
        LPS coordinates of the centre of voxel (0, 0, 0), in mm.
    direction : ndarray of shape (3, 3)
        Columns are the unit vectors of I, J, K in LPS. Either handedness is valid.
    nominal : bool
        The spacing is not known; nothing in mm or mL may be derived from it.

    Raises
    ------
    InputError
        If a spacing is not positive or the directions are not orthonormal.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    nominal: bool = False

    def __post_init__(self) -> None:
        direction = np.array(self.direction, dtype=np.float64).reshape(3, 3)
        object.__setattr__(self, "direction", direction)
        object.__setattr__(self, "size", tuple(int(n) for n in self.size))
        object.__setattr__(self, "spacing", tuple(float(s) for s in self.spacing))
        object.__setattr__(self, "origin", tuple(float(o) for o in self.origin))
        if len(self.size) != 3 or min(self.size) < 1:
            raise InputError(f"image size {self.size}: three positive numbers were expected")
        if not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise InputError(f"voxel spacing {self.spacing}: three positive numbers were expected")
        if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
            raise InputError(
                f"image directions {direction.round(3).tolist()}: orthonormal axes were expected; "
                "resample the image onto a grid without shear"
            )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Geometry) and self.same_grid(other) and self.nominal == other.nominal
        )

    __hash__ = None  # type: ignore[assignment]  # holds an array

    @property
    def affine(self) -> NDArray[np.float64]:
        """IJK -> LPS matrix, shape (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel in mL.

        Raises
        ------
        InputError
            If the spacing is nominal.
        """
        self.require_spacing("a volume in mL")
        return float(np.prod(self.spacing)) / 1000.0

    def require_spacing(self, what: str) -> None:
        """Refuse what needs a known voxel size."""
        if self.nominal:
            raise InputError(f"the voxel spacing is nominal (unknown): {what} cannot be given")

    def to_lps(self, ijk: NDArray[Any] | Sequence[float]) -> NDArray[np.float64]:
        """LPS coordinates (mm) of voxel indices, shape (..., 3) -> (..., 3)."""
        return np.asarray(ijk, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_ras(self, ijk: NDArray[Any] | Sequence[float]) -> NDArray[np.float64]:
        """RAS coordinates (mm) of voxel indices, as Slicer's panels show them."""
        return self.to_lps(ijk) * np.array([-1.0, -1.0, 1.0])

    def to_ijk(self, lps: NDArray[Any] | Sequence[float]) -> NDArray[np.float64]:
        """Continuous voxel indices of LPS points, shape (..., 3) -> (..., 3)."""
        shifted = np.asarray(lps, dtype=np.float64) - self.affine[:3, 3]
        return shifted @ np.linalg.inv(self.affine[:3, :3]).T

    def same_grid(self, other: Geometry, *, tolerance: float = _GRID_TOLERANCE_MM) -> bool:
        """Whether two grids coincide: same size, and corners within ``tolerance`` mm."""
        if self.size != other.size:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.size])).reshape(3, -1).T
        return bool(np.abs(self.to_lps(corners) - other.to_lps(corners)).max() <= tolerance)

    def orientation(self) -> str:
        """Anatomical letters the I, J, K axes point towards, such as ``"LPS"``."""
        return "".join(code for code, _ in self._axis_codes())

    def _axis_codes(self) -> list[tuple[str, int]]:
        """Letter and LPS axis per image axis; oblique axes are assigned without repetition.

        The assignment depends on the lines the axes run along, not on their order or sense, so
        that it survives :meth:`Image.reorient` even for axes at 45 degrees.
        """

        def fit(axes: tuple[int, ...]) -> tuple[Any, ...]:
            """Alignment of the image axes given to L, P, S; ties are decided by their lines."""
            columns = [self.direction[:, axis] for axis in axes]
            lines = [tuple(c * np.sign(c[np.flatnonzero(c)[0]])) for c in columns]
            return sum(abs(column[world]) for world, column in enumerate(columns)), lines

        best = max(permutations(range(3)), key=fit)
        result = [("", 0)] * 3
        for world, image_axis in enumerate(best):
            towards = self.direction[world, image_axis] >= 0
            result[image_axis] = (("LR", "PA", "SI")[world][0 if towards else 1], world)
        return result

    def axis_towards(self, anatomical: str) -> int:
        """Index (0, 1, 2) of the axis that runs along an anatomical direction, such as ``"S"``."""
        pairs = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}
        worlds = [world for _, world in self._axis_codes()]
        return worlds.index(pairs[anatomical])

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {
            "size": list(self.size),
            "spacing": list(self.spacing),
            "origin": list(self.origin),
            "direction": self.direction.ravel().tolist(),
            "nominal": self.nominal,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Geometry:
        """Inverse of :meth:`to_dict`."""
        return cls(
            size=tuple(content["size"]),
            spacing=tuple(content["spacing"]),
            origin=tuple(content["origin"]),
            direction=np.reshape(content["direction"], (3, 3)),
            nominal=bool(content.get("nominal", False)),
        )


def mni152_geometry(spacing: float) -> Geometry:
    """The MNI152 grid: 182 x 218 x 182 at 1 mm or 91 x 109 x 91 at 2 mm (METHODS 1.2)."""
    sizes = {1.0: (182, 218, 182), 2.0: (91, 109, 91)}
    if float(spacing) not in sizes:
        raise InputError(f"spacing {spacing}: the MNI152 grid exists at 1 and 2 mm")
    return Geometry(
        size=sizes[float(spacing)],
        spacing=(float(spacing),) * 3,
        origin=(-90.0, 126.0, -72.0),
        direction=np.diag([1.0, -1.0, 1.0]),
    )


@dataclass(frozen=True)
class Image:
    """A scalar volume: array of shape (I, J, K) and its geometry.

    A single slice of a volume is an image whose size is one along the slice axis.
    """

    array: NDArray[Any]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.size:
            raise InputError(
                f"array of shape {self.array.shape} does not fit the grid {self.geometry.size}"
            )

    def with_array(self, array: NDArray[Any]) -> Image:
        """The same grid with other values."""
        return Image(np.asarray(array), self.geometry)

    def with_nominal(self, nominal: bool) -> Image:
        """The same image, its spacing declared nominal or known."""
        return Image(self.array, replace(self.geometry, nominal=nominal))

    def to_sitk(self) -> sitk.Image:
        """SimpleITK image; booleans become uint8, float16 becomes float32."""
        import SimpleITK as sitk

        array = self.array
        if array.dtype == bool:
            array = array.astype(np.uint8)
        elif array.dtype == np.float16:
            array = array.astype(np.float32)
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        image.SetSpacing(self.geometry.spacing)
        image.SetOrigin(self.geometry.origin)
        image.SetDirection(self.geometry.direction.ravel().tolist())
        return image

    @classmethod
    def from_sitk(cls, image: sitk.Image, *, nominal: bool = False) -> Image:
        """From a 3D scalar SimpleITK image (the array is copied)."""
        import SimpleITK as sitk

        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
            raise InputError(
                f"image of dimension {image.GetDimension()} with "
                f"{image.GetNumberOfComponentsPerPixel()} components: a 3D scalar volume was "
                "expected; extract one volume first"
            )
        if "complex" in image.GetPixelIDTypeAsString():
            raise InputError("complex voxels: a real volume was expected; export the magnitude")
        geometry = Geometry(
            image.GetSize(),
            image.GetSpacing(),
            image.GetOrigin(),
            np.reshape(image.GetDirection(), (3, 3)),
            nominal,
        )
        return cls(sitk.GetArrayFromImage(image).transpose(2, 1, 0), geometry)

    def resample(
        self,
        onto: Geometry,
        *,
        transform: Affine | None = None,
        interpolation: str = "linear",
        background: float = 0.0,
    ) -> Image:
        """Resample onto another grid through physical coordinates.

        Parameters
        ----------
        onto : Geometry
            Target grid.
        transform : Affine, optional
            From this image's physical space to the target's; both are one space without it.
        interpolation : {"linear", "nearest", "bspline"}
            Use nearest for masks; a boolean mask interpolated otherwise is cut at one half.
        background : float
            Value outside the field of view.

        Returns
        -------
        Image
            On ``onto``; its spacing is nominal when either grid's is. Values are float32 when
            integers were interpolated.

        Raises
        ------
        InputError
            If there is no such interpolation.
        """
        import SimpleITK as sitk

        kinds = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}
        kinds["bspline"] = sitk.sitkBSpline
        if interpolation not in kinds:
            raise InputError(f"interpolation {interpolation!r}: expected one of {', '.join(kinds)}")
        onto = replace(onto, nominal=onto.nominal or self.geometry.nominal)
        if transform is None and self.geometry.same_grid(onto):
            return Image(self.array, onto)
        moving = self.to_sitk()
        if interpolation != "nearest" and not np.issubdtype(self.array.dtype, np.floating):
            moving = sitk.Cast(moving, sitk.sitkFloat32)
        resampler = sitk.ResampleImageFilter()
        resampler.SetSize(onto.size)
        resampler.SetOutputSpacing(onto.spacing)
        resampler.SetOutputOrigin(onto.origin)
        resampler.SetOutputDirection(onto.direction.ravel().tolist())
        resampler.SetInterpolator(kinds[interpolation])
        if transform is not None:
            resampler.SetTransform(transform.inverse().to_sitk())
        resampler.SetDefaultPixelValue(float(background))
        result = Image.from_sitk(resampler.Execute(moving), nominal=onto.nominal)
        array = result.array >= 0.5 if self.array.dtype == bool else result.array
        return Image(array, onto)

    def reorient(self, orientation: str) -> Image:
        """Permute and flip the axes so that they point towards the given letters.

        No voxel value changes: ``image.reorient("LPS").reorient(image.geometry.orientation())``
        is the image again.
        """
        letters = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}
        code = orientation.upper()
        if len(code) != 3 or sorted(letters.get(c, -1) for c in code) != [0, 1, 2]:
            raise InputError(f"orientation {orientation!r}: three letters such as LPS or RAS")
        current = self.geometry.orientation()
        worlds = [letters[c] for c in current]
        axes = [worlds.index(letters[c]) for c in code]
        flips = [current[axis] != wanted for axis, wanted in zip(axes, code, strict=True)]
        array = self.array.transpose(axes)
        corner = [0.0, 0.0, 0.0]
        spacing = self.geometry.spacing
        direction = self.geometry.direction[:, axes].copy()
        for new_axis, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
            if flip:
                array = np.flip(array, new_axis)
                corner[axis] = self.geometry.size[axis] - 1
                direction[:, new_axis] *= -1
        geometry = Geometry(
            array.shape,
            (spacing[axes[0]], spacing[axes[1]], spacing[axes[2]]),
            tuple(self.geometry.to_lps(corner)),
            direction,
            self.geometry.nominal,
        )
        return Image(array, geometry)

    def axial_slice(self, index: int) -> Image:
        """One slice across the axis that runs from inferior to superior, as an image.

        Raises
        ------
        InputError
            If there is no such slice.
        """
        axis = self.geometry.axis_towards("S")
        count = self.geometry.size[axis]
        if not 0 <= index < count:
            raise InputError(f"slice {index}: the volume has axial slices 0 to {count - 1}")
        window = [slice(None)] * 3
        window[axis] = slice(index, index + 1)
        start = [0, 0, 0]
        start[axis] = index
        array = self.array[tuple(window)]
        origin = tuple(self.geometry.to_lps(start))
        return Image(array, replace(self.geometry, size=array.shape, origin=origin))

    def to_tensor(self) -> torch.Tensor:
        """Tensor of shape (1, 1, I, J, K), float32; a copy, free to be changed."""
        import torch

        array = np.array(self.array, dtype=np.float32, order="C")
        return torch.from_numpy(array)[None, None]

    @classmethod
    def from_tensor(cls, tensor: torch.Tensor, geometry: Geometry) -> Image:
        """From a tensor of shape (1, 1, I, J, K) or (I, J, K) on a known grid.

        Raises
        ------
        InputError
            If the tensor holds more than one volume or does not fit the grid.
        """
        import torch

        if tensor.ndim < 3 or tensor.numel() != int(np.prod(tensor.shape[-3:])):
            raise InputError(f"tensor of shape {tuple(tensor.shape)}: one volume was expected")
        # NumPy has no bfloat16.
        tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        array = tensor.detach().cpu().numpy()
        return cls(array.reshape(array.shape[-3:]), geometry)
