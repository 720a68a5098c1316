"""Images on disk: NIfTI, NRRD, MHA and DICOM series folders, through SimpleITK."""

from __future__ import annotations

import locale
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .files import atomic_folder, atomic_path, full_suffix
from .image import Geometry, Image
from .image_integrity import check_whole, not_finite, text_fields

if TYPE_CHECKING:
    import SimpleITK as sitk

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_WRITABLE = (".nii", ".nii.gz", ".nrrd", ".mha")


def read_image(path: str | Path, *, nominal: bool = False) -> Image:
    """Read a volume.

    Parameters
    ----------
    path : path
        A NIfTI, NRRD or MetaImage file, or a folder with one DICOM series.
    nominal : bool
        The voxel size is unknown and the header is not to be believed; images without geometry
        are then accepted.

    Raises
    ------
    InputError
        If the file is missing, unreadable, truncated, not a 3D scalar volume, without geometry,
        or holds voxels that are not finite.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_dir():
        image = _read_dicom_series(path)
    else:
        if full_suffix(path) not in SUFFIXES:
            raise InputError(
                f"{path}: unknown image format; expected {', '.join(SUFFIXES)} or a DICOM folder"
            )
        image = _read_file(path, nominal)
    try:
        result = Image.from_sitk(image, nominal=nominal)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if np.issubdtype(result.array.dtype, np.floating) and not np.isfinite(result.array).all():
        count = int((~np.isfinite(result.array)).sum())
        raise InputError(not_finite(path, count))
    return result


def read_geometry(path: str | Path, *, nominal: bool = False) -> Geometry:
    """Geometry of a volume; reads only the header of a file (a DICOM series is read whole).

    Raises
    ------
    InputError
        As :func:`read_image`, for what the header tells.
    """
    import SimpleITK as sitk

    path = Path(path)
    if not path.is_file() or full_suffix(path) not in SUFFIXES:
        return read_image(path, nominal=nominal).geometry
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return read_image(path, nominal=nominal).geometry  # which says what is wrong
    if reader.GetDimension() != 3:
        return read_image(path, nominal=nominal).geometry
    if not nominal:
        _require_geometry(path, reader)
    direction = np.reshape(reader.GetDirection(), (3, 3))
    return Geometry(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), direction, nominal)


def write_image(image: Image, path: str | Path) -> None:
    """Write a volume; the format follows the suffix, and a name without suffix is a DICOM folder.

    Raises
    ------
    InputError
        If the format is unknown or a voxel is NaN or infinite (such a file could not be read
        again).
    OutputError
        If the file cannot be written; nothing is left behind.
    """
    import SimpleITK as sitk

    path = Path(path)
    suffix = full_suffix(path)
    finite = np.isfinite(image.array)
    if not finite.all():
        raise InputError(not_finite(path, int((~finite).sum())))
    if suffix == "":
        _write_dicom_series(image, path)
        return
    if suffix not in _WRITABLE:
        raise InputError(f"{path}: cannot write this format; expected {', '.join(_WRITABLE)}")
    with atomic_path(path) as temporary:
        sitk.WriteImage(image.to_sitk(), str(temporary), useCompression=True)
        try:
            # SimpleITK does not tell when a NIfTI did not fit on the disk.
            check_whole(temporary)
        except InputError as error:
            raise RuntimeError("written incompletely") from error


def _read_file(path: Path, nominal: bool) -> sitk.Image:
    import SimpleITK as sitk

    check_whole(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        dimension, size = reader.GetDimension(), reader.GetSize()
        if dimension == 4 and size[3] > 1:
            raise InputError(
                f"{path}: a 4D image ({size[3]} volumes); a 3D volume was expected, extract one"
            )
        if not nominal:
            _require_geometry(path, reader)
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].split(": ", 1)[-1]
        raise InputError(
            f"{path}: cannot be read ({reason}); it may be truncated, damaged or another format"
        ) from error
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    return image


def _require_geometry(path: Path, reader: sitk.ImageFileReader) -> None:
    """Refuse a header that does not say where its voxels are."""
    suffix, missing = full_suffix(path), ""
    if suffix in (".nii", ".nii.gz"):
        codes = [
            reader.GetMetaData(key) if reader.HasMetaDataKey(key) else "0"
            for key in ("qform_code", "sform_code")
        ]
        if all(code.strip() in ("0", "NIFTI_XFORM_UNKNOWN") for code in codes):
            missing = "neither a qform nor an sform"
    else:
        fields = text_fields(path)
        wanted = (
            (("space directions",), ("space origin",))
            if suffix in (".nrrd", ".nhdr")
            else (("elementspacing",), ("transformmatrix", "orientation", "rotation"))
        )
        absent = [keys[0] for keys in wanted if not any(key in fields for key in keys)]
        if absent:
            missing = f"no {' and no '.join(absent)}"
    if missing:
        raise InputError(
            f"{path}: no geometry in the header ({missing}); export the image again with its "
            "geometry, or declare its spacing nominal (column nominal_spacing of the cohort)"
        )


def _read_dicom_series(folder: Path) -> sitk.Image:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise InputError(f"{folder}: no DICOM series in this folder")
    if len(series) > 1:
        raise InputError(
            f"{folder}: {len(series)} DICOM series; one was expected, keep each in its own folder"
        )
    names = reader.GetGDCMSeriesFileNames(str(folder), series[0])
    reader.SetFileNames(names)
    try:
        _require_even_slices(folder, names)
        return reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"{folder}: the DICOM series cannot be read ({reason}); copy or export it again"
        ) from error


def _require_even_slices(folder: Path, names: Sequence[str]) -> None:
    """Refuse a series whose slices are not parallel and evenly spaced along their normal.

    SimpleITK would stack them as if they were, and place the voxels wrongly.
    """
    import SimpleITK as sitk

    if len(names) < 2:
        return
    reader = sitk.ImageFileReader()
    positions: list[list[float]] = []
    planes: list[list[float]] = []
    for name in names:
        reader.SetFileName(name)
        reader.ReadImageInformation()
        for key, found in (("0020|0032", positions), ("0020|0037", planes)):
            if not reader.HasMetaDataKey(key):
                raise InputError(
                    f"{folder}: {Path(name).name} has no position or orientation (DICOM tag {key});"
                    " export the series again with its geometry"
                )
            found.append([float(x) for x in reader.GetMetaData(key).split("\\")])
    steps = np.diff(np.array(positions), axis=0)
    normal = np.cross(planes[0][:3], planes[0][3:])
    mean = steps.mean(axis=0)
    tolerance = max(0.01, 0.01 * float(np.linalg.norm(mean)))
    if np.ptp(np.array(planes), axis=0).max() > 1e-3:
        reason = "its slices are not parallel"
    elif np.abs(steps @ normal).min() < 1e-4:
        reason = "several slices lie at one place; a series with one volume was expected"
    elif np.abs(steps - mean).max() > tolerance:
        reason = "its slices are not evenly spaced; some may be missing"
    elif np.linalg.norm(mean - (mean @ normal) * normal) > tolerance:
        reason = "its slices are sheared (tilted gantry); resample the series first"
    else:
        return
    raise InputError(f"{folder}: the DICOM series is no regular volume: {reason}")


def _decimal(value: float) -> str:
    """A DICOM decimal string, which has at most 16 characters."""
    return next(t for t in (f"{value:.{n}g}" for n in range(14, 0, -1)) if len(t) <= 16)


def _write_dicom_series(image: Image, folder: Path) -> None:
    """One file per slice along K, 16-bit with a rescale slope (DICOM PS3.3 C.7.6.3, C.11.1)."""
    import SimpleITK as sitk

    image.geometry.require_spacing("a DICOM series")
    values = image.array.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    kinds = [t for t in (np.int16, np.uint16) if np.iinfo(t).min <= low and high <= np.iinfo(t).max]
    rescaled = not kinds or not np.array_equal(values, np.round(values))
    slope, offset = 1.0, 0.0
    if rescaled:
        slope, offset = (high - low) / 65000.0 or 0.5, (high + low) / 2
        if slope.is_integer():  # GDCM then looks for integers and finds none wide enough
            slope *= 1.0001
    # Given floats, the writer applies slope and offset itself.
    stored = image.with_array(values.astype(np.float64 if rescaled else kinds[0])).to_sitk()
    direction = image.geometry.direction
    now = time.gmtime()
    uid = f"1.2.826.0.1.3680043.2.1125.{time.time_ns()}"
    common = {
        "0008|0008": "DERIVED\\SECONDARY",
        "0008|0060": "MR",
        "0008|103e": "AttribSeg",
        "0008|0020": time.strftime("%Y%m%d", now),
        "0008|0030": time.strftime("%H%M%S", now),
        "0020|000d": f"{uid}.1",
        "0020|000e": f"{uid}.2",
        "0020|0037": "\\".join(map(_decimal, (*direction[:, 0], *direction[:, 1]))),
        "0018|0050": _decimal(image.geometry.spacing[2]),
        "0028|1052": _decimal(offset),
        "0028|1053": _decimal(slope),
    }
    if rescaled:  # what the floats are stored as: signed, 16 bits
        common |= {"0028|0100": "16", "0028|0101": "16", "0028|0102": "15", "0028|0103": "1"}
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    with atomic_folder(folder) as temporary, _locale_kept():
        if rescaled:
            _allow_rescaled_mr(temporary)
        for k in range(image.geometry.size[2]):
            piece = stored[:, :, k]
            for key, value in common.items():
                piece.SetMetaData(key, value)
            position = image.geometry.to_lps((0, 0, k))
            piece.SetMetaData("0020|0032", "\\".join(map(_decimal, position)))
            piece.SetMetaData("0020|0013", str(k + 1))
            piece.SetMetaData("0008|0018", f"{uid}.3.{k + 1}")
            writer.SetFileName(str(temporary / f"{k:04d}.dcm"))
            writer.Execute(piece)


@contextmanager
def _locale_kept() -> Iterator[None]:
    """Undo what GDCM does to the process: writing DICOM sets its locale to "C".

    All text that others write without naming an encoding would then be ASCII.
    """
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _allow_rescaled_mr(folder: Path) -> None:
    """Let GDCM write MR slices with a rescale slope, which it does once it has read a slice.

    Before that (ForceRescaleInterceptSlope is off) it turns them into Enhanced MR files without
    a position.
    """
    import SimpleITK as sitk

    probe = folder / "probe.dcm"
    sitk.WriteImage(sitk.Image(2, 2, sitk.sitkInt16), str(probe))
    sitk.ReadImage(str(probe))
    probe.unlink()
