"""Lesions come out where the image is, in files that are whole or absent."""

import csv
import errno
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from AttribSegLib.cases import prepare_channels
from AttribSegLib.detection import detect, write_detection
from AttribSegLib.errors import InputError, OutputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_image
from AttribSegLib.lesions import label_lesions
from AttribSegLib.recipes.options import TrainingOptions
from AttribSegLib.segmentation_file import read_segmentation
from AttribSegLib.thresholds import USER, Threshold

FILES = {
    "attribution": "c_attribution.nii.gz",
    "mask": "c_lesions.nii.gz",
    "segmentation": "c_lesions.seg.nrrd",
    "lesions": "c_lesions.csv",
    "overlay": "c_overlay.png",
    "summary": "detection.json",
}


class BrightRecipe(TrainingOptions):
    """A stand-in whose map is the first channel itself: lesions are what is bright."""

    def explain(self, network, x):
        return x[:, :1].flatten(1).amax(1), x[:, :1]


@pytest.fixture
def bright_bundle(tiny_bundle):
    def make(threshold=2.5, **options):
        recipe = BrightRecipe(background=0.0, clip=0.0)
        return replace(tiny_bundle(threshold=threshold, **options), recipe=recipe)

    return make


def over_the_brain(grid, tiny_geometry, size=(40, 42, 38), spacing=(4.5, 4.2, 4.4)):
    """A grid with the directions of another one, centred on the tiny brain."""
    result = Geometry(size, spacing, (0, 0, 0), grid.direction)
    middles = [g.to_lps((np.array(g.size) - 1) / 2) for g in (tiny_geometry, result)]
    return replace(result, origin=tuple(middles[0] - middles[1]))


def test_results_lie_on_the_image(bright_bundle, tiny_brain, tiny_geometry, geometry):
    """Whatever the orientation: the same grid, and the lesion where it was planted."""
    grid = over_the_brain(geometry, tiny_geometry)
    image, lesion = tiny_brain(grid, 5)
    found = detect(bright_bundle(), {"FLAIR": image})
    assert found.image is image
    for result in (found.attribution, found.mask):
        assert result.geometry == grid
        assert result.array.shape == image.array.shape
    assert found.mask.array.dtype == bool
    centre = grid.to_lps(np.argwhere(lesion.array)).mean(axis=0)
    where = grid.to_lps(np.argwhere(found.mask.array)).mean(axis=0)
    assert np.linalg.norm(where - centre) < 2.0
    overlap = 2 * (found.mask.array & lesion.array).sum()
    assert overlap / (found.mask.array.sum() + lesion.array.sum()) > 0.75
    ras = np.array(found.lesions[0].centre_ras_mm)
    np.testing.assert_allclose(ras * (-1, -1, 1), centre, atol=3.0)


@pytest.mark.parametrize("name", ["axial", "sagittal", "coronal", "flipped", "left-handed oblique"])
def test_slices_lie_on_the_image(bright_bundle, tiny_brain, tiny_geometry, geometries, name):
    """A bundle of slices reads a volume of any axis order and comes back to it."""
    flat = Geometry((34, 36, 1), (5.0, 5.0, 5.0))
    bundle = bright_bundle(dimensions=2, geometry=flat)
    grid = over_the_brain(geometries[name], tiny_geometry)
    image, lesion = tiny_brain(grid, 5)
    found = detect(bundle, {"FLAIR": image})
    assert found.mask.geometry == grid
    assert found.attribution.geometry == grid
    centre = grid.to_lps(np.argwhere(lesion.array)).mean(axis=0)
    where = grid.to_lps(np.argwhere(found.mask.array)).mean(axis=0)
    assert np.linalg.norm(where - centre) < 2.0
    assert found.logit == max(row["logit"] for row in found.slices)
    assert found.label == 1
    axis = grid.axis_towards("S")
    assert {int(row["slice"]) for row in found.slices} <= set(range(grid.size[axis]))
    assert len(found.slices) > grid.size[axis] / 2


def test_mask_is_the_map_above_the_threshold_inside_the_brain(tiny_bundle, tiny_brain, rng):
    """With a network's real map, on its own grid."""
    bundle = tiny_bundle()
    image, _ = tiny_brain(bundle.geometry, 1)
    array, inside, _ = prepare_channels({"FLAIR": image}, None)
    logits, maps = bundle.recipe.explain(bundle.network, torch.from_numpy(array[None]))
    expected = np.where(inside, maps[0, 0].numpy(), 0)
    value = float(np.quantile(expected[inside], 0.97))
    bundle.thresholds["attribution"] = Threshold(value, USER)
    found = detect(bundle, {"FLAIR": image})
    assert found.logit == float(logits[0])
    assert found.probability == pytest.approx(1 / (1 + np.exp(-found.logit)))
    assert found.label == int(found.logit > 0)
    np.testing.assert_array_equal(found.attribution.array, expected)
    np.testing.assert_array_equal(found.mask.array, (expected > value) & inside)
    assert found.threshold.value == value
    # A negative threshold selects the brain, never the zeros around it.
    lowest = Threshold(float(expected.min()) - 1, USER)
    np.testing.assert_array_equal(
        detect(bundle, {"FLAIR": image}, threshold=lowest).mask.array, inside
    )


def test_a_brain_mask_replaces_the_background(bright_bundle, tiny_brain, tiny_geometry):
    image, _ = tiny_brain(tiny_geometry, 5)
    half = image.array != 0
    half[:17] = False
    found = detect(
        bright_bundle(-9.0), {"FLAIR": image}, brain=Image(half.astype(np.uint8), tiny_geometry)
    )
    np.testing.assert_array_equal(found.mask.array, half)
    moved = replace(tiny_geometry, origin=(0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="brain mask and channel FLAIR lie on different grids"):
        detect(bright_bundle(), {"FLAIR": image}, brain=Image(half, moved))


def planted(geometry, *sizes):
    """A noisy brain with bright cubes of the edges given, far from each other."""
    array = np.zeros(geometry.size, np.float32)
    array[6:28, 6:30, 6:26] = np.random.default_rng(0).normal(100, 3, (22, 24, 20))
    for number, edge in enumerate(sizes):
        start = 8 + 7 * number
        array[start : start + edge, start : start + edge, 10 : 10 + edge] = 200
    return Image(array, geometry)


def test_lesions_of_less_than_the_minimum_are_dropped(bright_bundle, tiny_geometry):
    image = planted(tiny_geometry, 1, 2, 3)
    voxel = tiny_geometry.voxel_volume_ml
    volumes = {27: 27 * voxel, 8: 8 * voxel, 1: voxel}
    for minimum, kept in ((0.0, [27, 8, 1]), (8 * voxel, [27, 8]), (8.1 * voxel, [27]), (9.0, [])):
        found = detect(bright_bundle(4.0), {"FLAIR": image}, minimum_ml=minimum)
        assert [lesion.voxels for lesion in found.lesions] == kept
        assert found.mask.array.sum() == sum(kept)
        for lesion, count in zip(found.lesions, kept, strict=True):
            assert lesion.volume_ml == pytest.approx(volumes[count])


def test_a_minimum_volume_needs_a_known_spacing(bright_bundle, tiny_geometry):
    nominal = replace(tiny_geometry, nominal=True)
    image = planted(nominal, 2)
    bundle = bright_bundle(4.0, geometry=nominal)
    with pytest.raises(InputError, match="nominal"):
        detect(bundle, {"FLAIR": image}, minimum_ml=0.1)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", ["sagittal", "flipped", "oblique"])
def test_files_agree_with_each_other(
    bright_bundle, tiny_brain, tiny_geometry, geometries, tmp_path, name
):
    """Volumes of the table sum to the mask's; every file lies on the image."""
    grid = over_the_brain(geometries[name], tiny_geometry)
    image, _ = tiny_brain(grid, 5)
    image.array[tuple(np.argwhere(image.array)[-1])] = 1000  # a second lesion, at the brain's edge
    found = detect(bright_bundle(1.2), {"FLAIR": image})
    written = write_detection(found, tmp_path / "c", name="c", record={"seed": 1})
    assert {kind: path.name for kind, path in written.items()} == FILES
    assert {path.name for path in (tmp_path / "c").iterdir()} == set(FILES.values())
    mask = read_image(written["mask"])
    np.testing.assert_array_equal(mask.array != 0, found.mask.array)
    assert mask.geometry.same_grid(grid)
    assert np.isin(mask.array, (0, 1)).all()
    attribution = read_image(written["attribution"])
    assert attribution.geometry.same_grid(grid)
    np.testing.assert_array_equal(attribution.array, found.attribution.array)
    segment = read_segmentation(written["segmentation"])
    assert segment.geometry.same_grid(grid)
    np.testing.assert_array_equal(segment.array, found.mask.array)
    rows = rows_of(written["lesions"])
    total = found.mask.array.sum() * grid.voxel_volume_ml
    assert len(rows) == len(found.lesions) == label_lesions(found.mask)[1] > 1
    assert sum(float(row["volume_ml"]) for row in rows) == pytest.approx(total, rel=1e-4)
    assert sum(int(row["voxels"]) for row in rows) == found.mask.array.sum()
    summary = json.loads(written["summary"].read_text(encoding="utf-8"))
    assert summary["lesion_volume_ml"] == pytest.approx(total)
    assert summary["lesions"] == len(rows)
    assert summary["logit"] == found.logit
    assert summary["probability"] == found.probability
    assert summary["class"] == "pathological"
    assert summary["threshold"] == found.threshold.to_dict()
    assert summary["record"] == {"seed": 1}
    assert written["overlay"].read_bytes().startswith(b"\x89PNG")


def test_an_image_without_lesions(bright_bundle, tiny_brain, tiny_geometry, tmp_path):
    image, _ = tiny_brain(tiny_geometry, 5)
    found = detect(bright_bundle(1e9), {"FLAIR": image})
    written = write_detection(found, tmp_path / "c", name="c", record={})
    assert not found.mask.array.any()
    assert rows_of(written["lesions"]) == []
    assert "volume_ml" in written["lesions"].read_text(encoding="utf-8")
    assert json.loads(written["summary"].read_text(encoding="utf-8"))["lesion_volume_ml"] == 0
    assert not read_segmentation(written["segmentation"]).array.any()


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("threshold", [2.5, 1e9])
def test_nominal_spacing_gives_no_mm_and_no_ml(
    bright_bundle, tiny_brain, tiny_geometry, tmp_path, dimensions, threshold, monkeypatch
):
    """Neither in the tables, nor in the summary, nor in the picture."""
    import matplotlib.text

    words = []
    set_text = matplotlib.text.Text.set_text
    monkeypatch.setattr(
        matplotlib.text.Text, "set_text", lambda self, s: (words.append(str(s)), set_text(self, s))
    )
    nominal = replace(tiny_geometry, nominal=True)
    image, _ = tiny_brain(replace(nominal, nominal=False), 5)
    image = image.with_nominal(True)
    flat = replace(nominal, size=(*nominal.size[:2], 1)) if dimensions == 2 else nominal
    bundle = bright_bundle(threshold, dimensions=dimensions, geometry=flat)
    found = detect(bundle, {"FLAIR": image})
    assert found.mask.geometry.nominal
    assert found.attribution.geometry.nominal
    for lesion in found.lesions:
        assert lesion.volume_ml is None
        assert lesion.centre_ras_mm is None
    written = write_detection(found, tmp_path / "c", name="c", record={})
    for kind in ("lesions", "slices"):
        if kind in written:
            header = written[kind].read_text(encoding="utf-8").splitlines()[0]
            assert "mm" not in header
            assert "ml" not in header.lower()
    summary = json.loads(written["summary"].read_text(encoding="utf-8"))
    assert [key for key in summary if summary[key] is not None and "ml" in key.lower()] == []
    assert len(words) > 3
    assert not [word for word in words if "mm" in word or "mL" in word]


def test_slices_have_a_table(bright_bundle, tiny_brain, tiny_geometry, tmp_path):
    flat = replace(tiny_geometry, size=(34, 36, 1))
    image, _ = tiny_brain(tiny_geometry, 5)
    found = detect(bright_bundle(dimensions=2, geometry=flat), {"FLAIR": image})
    written = write_detection(found, tmp_path / "c", name="c", record={})
    rows = rows_of(written["slices"])
    assert [int(row["slice"]) for row in rows] == [row["slice"] for row in found.slices]
    assert max(float(row["logit"]) for row in rows) == found.logit
    assert {path.name for path in (tmp_path / "c").iterdir()} == {*FILES.values(), "c_slices.csv"}


def test_channels(bright_bundle, tiny_brain, tiny_geometry):
    """By name, not by order; a missing one is named, one too many is not used."""
    image, _ = tiny_brain(tiny_geometry, 5)
    other = image.with_array(image.array**2)
    bundle = bright_bundle(channels=("FLAIR", "T1"))
    expected = detect(bundle, {"FLAIR": image, "T1": other})
    swapped = detect(bundle, {"T2": image, "T1": other, "FLAIR": image})
    np.testing.assert_array_equal(swapped.attribution.array, expected.attribution.array)
    assert swapped.image is image
    with pytest.raises(InputError, match="channel T1 is missing: the bundle expects FLAIR, T1"):
        detect(bundle, {"FLAIR": image})
    moved = Image(other.array, replace(tiny_geometry, origin=(0.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="channels FLAIR and T1 lie on different grids"):
        detect(bundle, {"FLAIR": image, "T1": moved})


@pytest.mark.parametrize(
    "writer",
    [
        "detection.write_image",
        "segmentation_file.write_segmentation",
        "detection.write_lesion_table",
        "overlay.save_overlay",
        "detection.write_json",
    ],
)
def test_all_or_nothing(bright_bundle, tiny_brain, tiny_geometry, tmp_path, monkeypatch, writer):
    """Whichever file fails: nothing new is left, and an earlier result stays as it was."""
    image, _ = tiny_brain(tiny_geometry, 5)
    found = detect(bright_bundle(), {"FLAIR": image})
    # Drawing takes most of the time.
    monkeypatch.setattr("AttribSegLib.overlay.save_overlay", lambda path, *_, **__: path.touch())

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"AttribSegLib.{writer}", fail)
        with pytest.raises(OutputError, match=r"c: the disk is full"):
            write_detection(found, tmp_path / "c", name="c", record={})
        assert list(tmp_path.iterdir()) == []
    before = write_detection(found, tmp_path / "c", name="c", record={"run": 1})
    kept = {kind: path.read_bytes() for kind, path in before.items()}
    with monkeypatch.context() as patch:
        patch.setattr(f"AttribSegLib.{writer}", fail)
        with pytest.raises(OutputError):
            write_detection(found, tmp_path / "c", name="c", record={"run": 2})
    assert {kind: path.read_bytes() for kind, path in before.items()} == kept
    assert list(tmp_path.iterdir()) == [tmp_path / "c"]
    write_detection(found, tmp_path / "c", name="c", record={"run": 3})
    assert json.loads(before["summary"].read_text(encoding="utf-8"))["record"] == {"run": 3}


def test_a_message_names_the_file_as_it_would_be_called(
    bright_bundle, tiny_brain, tiny_geometry, tmp_path, monkeypatch
):
    image, _ = tiny_brain(tiny_geometry, 5)
    found = detect(bright_bundle(), {"FLAIR": image})

    def fail(path, text):
        raise OutputError(f"{path}: the disk is full")

    monkeypatch.setattr("AttribSegLib.detection.write_json", fail)
    with pytest.raises(OutputError) as caught:
        write_detection(found, tmp_path / "c", name="c", record={})
    assert str(caught.value) == f"{tmp_path / 'c' / 'detection.json'}: the disk is full"


def test_a_folder_with_something_else_is_not_replaced(
    bright_bundle, tiny_brain, tiny_geometry, tmp_path
):
    """Such as the folder that the image itself lies in."""
    image, _ = tiny_brain(tiny_geometry, 5)
    found = detect(bright_bundle(), {"FLAIR": image})
    (tmp_path / "c").mkdir()
    write_detection(found, tmp_path / "c", name="c", record={})  # an empty one is
    (tmp_path / "d").mkdir()
    precious = tmp_path / "d" / "image.dcm"
    precious.write_text("precious", encoding="utf-8")
    with pytest.raises(OutputError, match="d: holds other files, not an earlier detection"):
        write_detection(found, tmp_path / "d", name="d", record={})
    assert precious.read_text(encoding="utf-8") == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "d"]
