"""`Affine`: a map between two physical spaces, such as from a scan to the atlas."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .files import atomic_path

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclass(frozen=True)
class Affine:
    """An affine map of LPS points, in mm.

    Parameters
    ----------
    matrix : ndarray of shape (4, 4)
        Homogeneous matrix; maps a point of the source space to the target space.

    Raises
    ------
    InputError
        If the matrix is not affine and invertible.
    """

    matrix: NDArray[np.floating[Any]] = field(default_factory=lambda: np.eye(4))

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        object.__setattr__(self, "matrix", matrix)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise InputError(f"transform of shape {matrix.shape}: a finite 4 x 4 matrix expected")
        if not np.allclose(matrix[3], (0, 0, 0, 1)) or abs(np.linalg.det(matrix)) < 1e-9:
            raise InputError("transform: an invertible affine matrix was expected")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Affine) and np.allclose(self.matrix, other.matrix, atol=1e-9)

    __hash__ = None  # type: ignore[assignment]  # holds an array

    def __matmul__(self, first: Affine) -> Affine:
        """``(second @ first)(x) == second(first(x))``."""
        return Affine(self.matrix @ first.matrix)

    def __call__(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Map points of shape (..., 3)."""
        return np.asarray(points, dtype=np.float64) @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def inverse(self) -> Affine:
        """The map back."""
        return Affine(np.linalg.inv(self.matrix))

    @property
    def determinant(self) -> float:
        """Factor by which volumes grow; negative for a reflection."""
        return float(np.linalg.det(self.matrix[:3, :3]))

    @property
    def anisotropy(self) -> float:
        """Largest over smallest stretch (ratio of singular values), 1 for a similarity."""
        stretches = np.linalg.svd(self.matrix[:3, :3], compute_uv=False)
        return float(stretches[0] / stretches[-1])

    @property
    def rotation_degrees(self) -> float:
        """Angle of the rotation nearest to the linear part."""
        left, _, right = np.linalg.svd(self.matrix[:3, :3])
        rotation = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
        return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))

    def to_sitk(self) -> sitk.AffineTransform:
        """SimpleITK transform that maps points as this one does."""
        import SimpleITK as sitk

        transform = sitk.AffineTransform(3)
        transform.SetMatrix(self.matrix[:3, :3].ravel().tolist())
        transform.SetTranslation(self.matrix[:3, 3].tolist())
        return transform

    @classmethod
    def from_sitk(cls, transform: sitk.Transform) -> Affine:
        """From any linear SimpleITK transform (rigid, similarity, affine, or several of them).

        Raises
        ------
        InputError
            If the transform is not linear.
        """
        origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
        columns = [np.array(transform.TransformPoint(tuple(e))) - origin for e in np.eye(3) * 100]
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack(columns, axis=1) / 100
        matrix[:3, 3] = origin
        probe = (37.0, -59.0, 83.0)
        if not np.allclose(
            cls(matrix)(np.array(probe)), transform.TransformPoint(probe), atol=1e-3
        ):
            raise InputError(f"{transform.GetName()}: a linear transform was expected")
        return cls(matrix)

    def to_list(self) -> list[list[float]]:
        """Plain form for JSON."""
        return [[float(value) for value in row] for row in self.matrix]


def write_transform(transform: Affine, path: str | Path) -> None:
    """Write ITK's text form (``.tfm``, ``.txt``), as Slicer, ANTs and SimpleITK read it.

    ITK's files hold what a resampling needs, the map from the target to the source: after
    ``write_transform(native_to_atlas, "a.tfm")``, the call
    ``sitk.Resample(native, atlas, sitk.ReadTransform("a.tfm"))`` brings the native image onto the
    atlas, and Slicer moves a native volume placed under the loaded transform onto the atlas.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import SimpleITK as sitk

    with atomic_path(path) as temporary:
        sitk.WriteTransform(transform.inverse().to_sitk(), str(temporary))


def read_transform(path: str | Path) -> Affine:
    """Read a file of :func:`write_transform`; the map from source to target.

    Raises
    ------
    InputError
        If the file is missing, unreadable or holds no linear transform.
    """
    import SimpleITK as sitk

    if not Path(path).is_file():
        raise InputError(f"{path}: no such transform file")
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: not an ITK transform file; expected .tfm or .txt") from error
    if transform.GetDimension() != 3:
        raise InputError(f"{path}: a transform of three dimensions was expected")
    try:
        return Affine.from_sitk(transform).inverse()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
