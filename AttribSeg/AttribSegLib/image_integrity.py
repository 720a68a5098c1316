"""Whether an image file is whole.

SimpleITK reads a truncated NIfTI as if the missing voxels were zero, turns NaN into zero there,
and takes no notice of a compressed stream that does not decompress; so does it when the disk
fills up while it writes. What it hides is looked for here.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from .errors import InputError
from .files import full_suffix

_NIFTI_FLOATS = {16: "f4", 64: "f8", 32: "c8", 1792: "c16"}


def check_whole(path: str | Path) -> None:
    """Refuse an image file that lacks some of its voxels.

    Raises
    ------
    InputError
        If the file is truncated or damaged, or is a NIfTI whose voxels are not all finite or
        whose voxel size is not positive. Files of other kinds pass.
    """
    path = Path(path)
    suffix = full_suffix(path)
    try:
        if suffix in (".nii", ".nii.gz"):
            _check_nifti(path)
        elif suffix in (".nrrd", ".nhdr"):
            _check_nrrd(path)
        elif suffix in (".mha", ".mhd"):
            _check_metaimage(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: the compressed voxels are incomplete or damaged ({error}); copy or export "
            "the file again"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def text_header(path: Path, limit: int = 20_000) -> str:
    """Text header of a NRRD or MetaImage file; ends before the voxels."""
    with path.open("rb") as stream:
        head = stream.read(limit)
    return head[: _data_start(path, head) or len(head)].decode("latin-1")


def text_fields(path: Path) -> dict[str, str]:
    """Fields of a NRRD or MetaImage header, names in lower case."""
    fields = {}
    for line in text_header(path).splitlines():
        name, found, value = line.partition("=" if full_suffix(path) in (".mha", ".mhd") else ":")
        if found and not line.startswith("#"):
            fields[name.strip().lower()] = value.strip().removeprefix("=")
    return fields


def _data_start(path: Path, head: bytes) -> int:
    """Where the voxels start, 0 when they do not start in ``head``."""
    if full_suffix(path) in (".mha", ".mhd"):
        key = head.find(b"ElementDataFile")
        return head.find(b"\n", key) + 1 if key >= 0 else 0
    ends = [head.find(mark) + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if mark in head]
    return min(ends, default=0)


def _check_nifti(path: Path) -> None:
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    for order in "<>":
        size = struct.unpack_from(f"{order}i", raw)[0] if len(raw) >= 4 else 0
        if size in (348, 540):
            break
    else:
        return  # not a NIfTI: the reader says so
    if size == 540:
        raise InputError(f"{path}: a NIfTI-2 file; save it as NIfTI-1, which SimpleITK can read")
    if len(raw) < size:
        raise InputError(f"{path}: truncated inside its header; copy or export the file again")
    dim = struct.unpack_from(f"{order}8h", raw, 40)
    datatype, bits = struct.unpack_from(f"{order}2h", raw, 70)
    pixdim = struct.unpack_from(f"{order}8f", raw, 76)[1:4]
    offset = int(struct.unpack_from(f"{order}f", raw, 108)[0])
    count = int(np.prod([max(n, 1) for n in dim[1 : 1 + dim[0]]], dtype=object))
    expected = offset + count * bits // 8
    if len(raw) < expected:
        raise InputError(
            f"{path}: truncated ({len(raw)} of {expected} bytes); copy or export the file again"
        )
    if not all(np.isfinite(step) and step != 0 for step in pixdim[: dim[0]]):
        raise InputError(f"{path}: voxel size {pixdim} in the header; export the image again")
    if datatype in _NIFTI_FLOATS:
        kind = np.dtype(order + _NIFTI_FLOATS[datatype])
        voxels = np.frombuffer(raw, kind, count, offset)
        bad = voxels.size - int(np.isfinite(voxels).sum())
        if bad:
            raise InputError(not_finite(path, bad))


def not_finite(path: Path, count: int) -> str:
    """The message about voxels that are not numbers."""
    voxels = "voxel is" if count == 1 else "voxels are"
    return f"{path}: {count} {voxels} NaN or infinite; replace them first"


def _check_nrrd(path: Path) -> None:
    fields = text_fields(path)
    if fields.get("encoding", "").lower() not in ("gz", "gzip"):
        return
    detached = fields.get("data file", fields.get("datafile", ""))
    if detached:
        data = path.parent / detached
        if data.is_file():  # else a list of files, or missing: the reader says so
            gzip.decompress(data.read_bytes())
        return
    raw = path.read_bytes()
    gzip.decompress(raw[_data_start(path, raw[:20_000]) :])


def _check_metaimage(path: Path) -> None:
    fields = text_fields(path)
    if fields.get("compresseddata", "").lower() not in ("true", "t", "1"):
        return
    name = fields.get("elementdatafile", "")
    if name.upper() == "LOCAL":
        raw = path.read_bytes()
        raw = raw[_data_start(path, raw[:20_000]) :]
    elif (path.parent / name).is_file():
        raw = (path.parent / name).read_bytes()
    else:
        return
    zlib.decompress(raw)
