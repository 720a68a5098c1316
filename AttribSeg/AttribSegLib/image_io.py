"""Images on disk: NIfTI, NRRD, MHA and DICOM series folders, through SimpleITK."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .files import atomic_folder, atomic_path, full_suffix
from .image import Image

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
        raise InputError(
            f"{path}: {count} voxels are NaN or infinite; replace them before using the image"
        )
    return result


def write_image(image: Image, path: str | Path) -> None:
    """Write a volume; the format follows the suffix, and a name without suffix is a DICOM folder.

    Raises
    ------
    InputError
        If the format is unknown.
    OutputError
        If the file cannot be written; nothing is left behind.
    """
    import SimpleITK as sitk

    path = Path(path)
    suffix = full_suffix(path)
    if suffix == "":
        _write_dicom_series(image, path)
        return
    if suffix not in _WRITABLE:
        raise InputError(f"{path}: cannot write this format; expected {', '.join(_WRITABLE)}")
    with atomic_path(path) as temporary:
        sitk.WriteImage(image.to_sitk(), str(temporary), useCompression=True)


def _read_file(path: Path, nominal: bool) -> sitk.Image:
    import SimpleITK as sitk

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
        header = _text_header(path).lower()
        keys = {
            ".nrrd": ("space directions:", "space origin:"),
            ".nhdr": ("space directions:", "space origin:"),
        }.get(suffix, ("elementspacing", "transformmatrix"))
        absent = [key.rstrip(":") for key in keys if key not in header]
        if absent:
            missing = f"no {' and no '.join(absent)}"
    if missing:
        raise InputError(
            f"{path}: no geometry in the header ({missing}); export the image again with its "
            "geometry, or declare its spacing nominal (column nominal_spacing of the cohort)"
        )


def _text_header(path: Path, limit: int = 20_000) -> str:
    """Text header of a NRRD or MetaImage file."""
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rb") as stream:
        head = stream.read(limit)
    end = head.find(b"ElementDataFile")
    if end < 0:
        end = head.find(b"\n\n")
    return head[: end if end > 0 else limit].decode("latin-1")


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
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series[0]))
    try:
        return reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"{folder}: the DICOM series cannot be read ({reason})") from error


def _write_dicom_series(image: Image, folder: Path) -> None:
    """One file per slice along K, 16-bit with a rescale slope (DICOM PS3.3 C.7.6.3, C.11.1)."""
    import SimpleITK as sitk

    image.geometry.require_spacing("a DICOM series")
    values = image.array.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    integral = np.array_equal(values, np.round(values)) and low >= -32768 and high <= 32767
    slope, offset = (1.0, 0.0) if integral else ((high - low) / 65000.0, (high + low) / 2)
    stored = Image(np.round((values - offset) / slope).astype(np.int16), image.geometry).to_sitk()
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
        "0020|0037": "\\".join(f"{x:.12g}" for x in (*direction[:, 0], *direction[:, 1])),
        "0018|0050": f"{image.geometry.spacing[2]:.12g}",
        "0028|1052": f"{offset:.12g}",
        "0028|1053": f"{slope:.12g}",
    }
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    with atomic_folder(folder) as temporary:
        for k in range(image.geometry.size[2]):
            piece = stored[:, :, k]
            for key, value in common.items():
                piece.SetMetaData(key, value)
            position = image.geometry.to_lps((0, 0, k))
            piece.SetMetaData("0020|0032", "\\".join(f"{x:.12g}" for x in position))
            piece.SetMetaData("0020|0013", str(k + 1))
            piece.SetMetaData("0008|0018", f"{uid}.3.{k + 1}")
            writer.SetFileName(str(temporary / f"{k:04d}.dcm"))
            writer.Execute(piece)
