"""Images on disk: what is written comes back in place; what is damaged is refused."""

import os
import shutil
import struct
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from AttribSegLib.errors import InputError, OutputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_geometry, read_image, write_image
from scipy.spatial.transform import Rotation

FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha")
OBLIQUE = Rotation.from_euler("xyz", (12, -20, 33), degrees=True).as_matrix()
DIRECTIONS = {
    "LPS": np.eye(3),
    "RAS": np.diag([-1.0, -1.0, 1.0]),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "sagittal": np.eye(3)[:, [1, 2, 0]],
    "oblique": OBLIQUE,
    "oblique left-handed": OBLIQUE @ np.diag([1.0, -1.0, 1.0]),
}


def volume(direction=None, size=(7, 6, 5), dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).normal(100, 50, size)
    grid = Geometry(
        size, (0.9, 1.1, 2.5), (-31, 12.5, 44), np.eye(3) if direction is None else direction
    )
    return Image(values.astype(dtype), grid)


def assert_in_place(result, expected, atol=0.0):
    """The same values at the same physical points, whatever the order of the axes."""
    onto = result.reorient(expected.geometry.orientation())
    assert onto.geometry.same_grid(expected.geometry)
    np.testing.assert_allclose(onto.array, expected.array, rtol=0, atol=atol)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_round_trip(tmp_path, suffix, direction):
    image = volume(DIRECTIONS[direction])
    path = tmp_path / f"a{suffix}"
    write_image(image, path)
    result = read_image(path)
    np.testing.assert_array_equal(result.array, image.array)
    assert result.geometry == image.geometry
    assert read_geometry(path) == image.geometry
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_dicom_round_trip(tmp_path, direction, dtype):
    image = volume(DIRECTIONS[direction], dtype=dtype)
    write_image(image, tmp_path / "series")
    step = 0 if dtype == np.int16 else np.ptp(image.array) / 65000
    result = read_image(tmp_path / "series")
    assert_in_place(result, image, atol=0.51 * step)
    assert read_geometry(tmp_path / "series") == result.geometry
    # DICOM stacks slices along the cross product of rows and columns: right-handed always.
    assert np.linalg.det(result.geometry.direction) > 0


@pytest.mark.parametrize(
    "values",
    [
        np.full((4, 3, 3), 0.5),
        np.linspace(0, 65535, 36).round().reshape(4, 3, 3),
        np.linspace(-1e-6, 1e-6, 36).reshape(4, 3, 3),
        np.zeros((4, 3, 3), bool),
        np.full((4, 3, 3), 70000.0),
        np.linspace(-65000, 65000, 36).reshape(4, 3, 3),
        np.linspace(-5, 64000, 36).round().reshape(4, 3, 3),
    ],
    ids=["constant", "unsigned", "tiny", "mask", "constant integer", "wide", "signed"],
)
def test_dicom_holds_any_range(tmp_path, values):
    write_image(Image(values, Geometry((4, 3, 3))), tmp_path / "series")
    result = read_image(tmp_path / "series")
    np.testing.assert_allclose(result.array, values, atol=np.ptp(values * 1.0) / 120000)


KEEPS_LOCALE = """
import locale, sys
import numpy as np
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import write_image

try:
    before = locale.setlocale(locale.LC_ALL, "C.UTF-8")
except locale.Error:
    sys.exit("no such locale")
array = np.arange(24.0).reshape(2, 3, 4) + float(sys.argv[1])
write_image(Image(array, Geometry((2, 3, 4))), sys.argv[2])
print(locale.setlocale(locale.LC_ALL) == before)
"""


@pytest.mark.parametrize("offset", ["0", "0.25"])
def test_writing_dicom_keeps_the_locale(tmp_path, offset):
    command = [sys.executable, "-c", KEEPS_LOCALE, offset, str(tmp_path / "dicom")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if "no such locale" in done.stderr:
        pytest.skip("this system has no locale C.UTF-8")
    assert done.stdout.split() == ["True"], done.stderr


def test_first_dicom_of_a_process_has_positions(tmp_path):
    """GDCM writes other files before it has read one than after."""
    code = (
        "import sys, numpy as np; from AttribSegLib.image import *; "
        "from AttribSegLib.image_io import *; "
        "write_image(Image(np.random.rand(4, 3, 3), Geometry((4, 3, 3), (1, 1, 2))), sys.argv[1]); "
        "assert read_image(sys.argv[1]).geometry.spacing == (1, 1, 2)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "series")], check=True)


def test_one_slice(tmp_path):
    image = volume().axial_slice(2)
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        write_image(image, tmp_path / name)
        assert read_image(tmp_path / name).geometry == image.geometry
    whole = Image(image.array.astype(np.int16), image.geometry)
    write_image(whole, tmp_path / "dicom")
    np.testing.assert_array_equal(read_image(tmp_path / "dicom").array, whole.array)


def test_masks_are_bytes(tmp_path):
    write_image(volume().with_array(volume().array > 100), tmp_path / "m.nii.gz")
    result = read_image(tmp_path / "m.nii.gz")
    assert result.array.dtype == np.uint8
    np.testing.assert_array_equal(result.array, volume().array > 100)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
def test_truncated(tmp_path, suffix, share):
    path = tmp_path / f"a{suffix}"
    write_image(volume(size=(20, 20, 20)), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=f"a{suffix}"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_voxels_in_a_file_of_their_own(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(volume(size=(20, 20, 20)).to_sitk(), str(path), useCompression=True)
    np.testing.assert_array_equal(read_image(path).array, volume(size=(20, 20, 20)).array)
    voxels = next(other for other in tmp_path.iterdir() if other != path)
    voxels.write_bytes(voxels.read_bytes()[:-50])
    with pytest.raises(InputError, match="incomplete"):
        read_image(path)
    voxels.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_damaged_inside(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(volume(size=(20, 20, 20)), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha"])
def test_not_an_image(tmp_path, name):
    (tmp_path / name).write_text("hello, this is no image", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / name)


def test_missing_unknown_and_empty(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "a.nii")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="unknown image format"):
        read_image(tmp_path / "a.png")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="no DICOM series"):
        read_image(tmp_path / "folder")
    with pytest.raises(InputError, match="cannot write this format"):
        write_image(volume(), tmp_path / "a.png")


def test_4d_is_refused_and_a_single_volume_is_taken(tmp_path):
    values = np.random.default_rng(0).random((5, 6, 7, 3)).astype("f4")
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="4D image"):
        read_image(tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(values[..., :1], np.eye(4)), tmp_path / "b.nii.gz")
    image = read_image(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(image.array, values[..., 0])
    assert read_geometry(tmp_path / "b.nii.gz") == image.geometry


def test_rgb_complex_and_2d_are_refused(tmp_path):
    rgb = sitk.GetImageFromArray(np.zeros((5, 6, 7, 3), np.uint8), isVector=True)
    sitk.WriteImage(rgb, str(tmp_path / "rgb.nii.gz"))
    nib.save(
        nib.Nifti1Image(np.ones((5, 6, 7), np.complex64), np.eye(4)), tmp_path / "complex.nii.gz"
    )
    nib.save(nib.Nifti1Image(np.ones((5, 6), np.float32), np.eye(4)), tmp_path / "2d.nii.gz")
    for name, words in (("rgb", "components"), ("complex", "complex"), ("2d", "dimension 2")):
        with pytest.raises(InputError, match=words):
            read_image(tmp_path / f"{name}.nii.gz")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_finite(tmp_path, suffix, value):
    image = volume()
    image.array[1, 2, 3] = value
    path = tmp_path / f"a{suffix}"
    with pytest.raises(InputError, match="1 voxel is NaN"):
        write_image(image, path)
    assert not path.exists()
    sitk.WriteImage(image.to_sitk(), str(path))
    with pytest.raises(InputError, match="1 voxel is NaN"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_without_geometry(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    nib.save(nib.Nifti1Image(volume().array, None), path)
    with pytest.raises(InputError, match="no geometry"):
        read_image(path)
    with pytest.raises(InputError, match="no geometry"):
        read_geometry(path)
    assert read_image(path, nominal=True).geometry.nominal


@pytest.mark.parametrize(
    ("suffix", "lines"),
    [
        (".nrrd", (b"space directions:", b"space origin:", b"space:")),
        (".mha", (b"ElementSpacing", b"TransformMatrix")),
    ],
)
def test_text_headers_without_geometry(tmp_path, suffix, lines):
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(volume().to_sitk(), str(path))
    kept = [x for x in path.read_bytes().split(b"\n") if not x.startswith(lines)]
    path.write_bytes(b"\n".join(kept))
    with pytest.raises(InputError, match="no geometry"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, nominal=True).array, volume().array)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_nifti_with_a_voxel_size_of_zero(tmp_path, value):
    path = tmp_path / "a.nii"
    write_image(volume(), path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 76 + 4, value)
    path.write_bytes(content)
    with pytest.raises(InputError, match="voxel size"):
        read_image(path)


def test_big_endian_and_scaled_nifti(tmp_path):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(values, np.diag([-1, -1, 1, 1.0]), header)
    nib.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz").array, values)
    image.header.set_slope_inter(0.5, 3)
    nib.save(image, tmp_path / "b.nii.gz")
    stored = nib.load(tmp_path / "b.nii.gz").get_fdata()
    assert stored.min() == 3
    np.testing.assert_allclose(read_image(tmp_path / "b.nii.gz").array, stored)


def test_nifti2_is_refused_by_name(tmp_path):
    nib.save(nib.Nifti2Image(np.ones((3, 4, 5), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="NIfTI-2"):
        read_image(tmp_path / "a.nii.gz")


def test_sheared_nifti_is_refused(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.3
    nib.save(nib.Nifti1Image(volume().array, affine), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="orthonormal"):
        read_image(tmp_path / "a.nii.gz")


def test_dicom_with_a_missing_slice_or_two_series(tmp_path):
    write_image(volume(), tmp_path / "a")
    (tmp_path / "a" / "0002.dcm").unlink()
    with pytest.raises(InputError, match="evenly spaced"):
        read_image(tmp_path / "a")
    write_image(volume(), tmp_path / "b")
    write_image(volume(seed=1), tmp_path / "c")
    for path in (tmp_path / "c").iterdir():
        shutil.copy(path, tmp_path / "b" / f"c{path.name}")
    with pytest.raises(InputError, match="2 DICOM series"):
        read_image(tmp_path / "b")


def test_truncated_dicom(tmp_path):
    write_image(volume(size=(30, 30, 4)), tmp_path / "a")
    path = tmp_path / "a" / "0001.dcm"
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(InputError, match="DICOM"):
        read_image(tmp_path / "a")


def test_dicom_needs_a_known_spacing(tmp_path):
    with pytest.raises(InputError, match="nominal"):
        write_image(volume().with_nominal(True), tmp_path / "a")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "series"])
def test_unwritable_folder(tmp_path, name, monkeypatch):
    """A writer that is refused by the system; nothing is left behind."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError):
        write_image(volume(), tmp_path / "file" / name)
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):  # the administrator may write anywhere
        return
    with pytest.raises(OutputError):
        write_image(volume(), folder / name)
    assert list(folder.iterdir()) == []


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KiB, where the system lets one be made."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by the administrator of Linux only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "series"])
def test_full_disk(tiny_disk, name):
    with pytest.raises(OutputError, match="disk is full"):
        write_image(volume(size=(40, 40, 40)), tiny_disk / name)
    assert list(tiny_disk.iterdir()) == []


def test_nifti_written_short_is_noticed(tmp_path, monkeypatch):
    """SimpleITK says nothing when a NIfTI does not fit on the disk."""
    write = sitk.WriteImage

    def write_short(image, name, **options):
        write(image, name, **options)
        with open(name, "r+b") as stream:  # noqa: PTH123
            stream.truncate(2000)

    monkeypatch.setattr(sitk, "WriteImage", write_short)
    for name in ("a.nii.gz", "a.nii"):
        with pytest.raises(OutputError, match="written incompletely"):
            write_image(volume(size=(20, 20, 20)), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
