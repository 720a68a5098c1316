import csv

import numpy as np
import pytest
from AttribSegLib.cases import load_cases
from AttribSegLib.cohort import read_cohort
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.slice_protocol import central_slices

SIZE = (30, 36, 24)


def volumes(folder, *, direction=None, masks=True):
    """Three patients with a lesion in some of their slices, and a healthy subject."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    grid = Geometry(
        SIZE, (2.0, 2.0, 3.0), (5.0, 6.0, 7.0), np.eye(3) if direction is None else direction
    )
    places = np.meshgrid(*[np.linspace(-1, 1, n) for n in SIZE], indexing="ij")
    brain = sum(p**2 for p in places) < 0.9
    lines = ["case,patient,label,split,FLAIR,lesions"]
    splits = ("train", "validation", "test", "train")
    for number, split in enumerate(splits):
        label = int(number < 3)
        scale = 1.0 + number  # every scanner has its own
        array = np.where(brain, scale * (100 + 10 * rng.standard_normal(SIZE)), 0.0)
        mask = np.zeros(SIZE, dtype=np.uint8)
        if label:
            mask[12:18, 14:20, 10:13] = 1
            mask[12, 14, 13] = 1  # one voxel: neither healthy nor pathological
            array[mask > 0] *= 1.5
        write_image(Image(array.astype(np.float32), grid), folder / f"c{number}.nii.gz")
        write_image(Image(mask, grid), folder / f"m{number}.nii.gz")
        cell = f"m{number}.nii.gz" if label and masks else ""
        lines.append(f"c{number},p{number},{label},{split},c{number}.nii.gz,{cell}")
    table = folder / "cohort.csv"
    table.write_text("\n".join(lines) + "\n")
    return read_cohort(table)


def test_classes_come_from_the_masks(tmp_path):
    cohort = volumes(tmp_path / "in")
    table = central_slices(cohort, tmp_path / "out", size=48)
    rows = list(csv.DictReader(table.open()))
    by_case = {}
    for row in rows:
        by_case.setdefault(row["patient"], []).append(row)
    assert {len(found) for found in by_case.values()} == {9, 10}
    assert len(by_case["p3"]) == 10
    for patient in ("p0", "p1", "p2"):
        assert [row["label"] for row in by_case[patient]].count("1") == 3
    assert {row["split"] for row in by_case["p1"]} == {"validation"}
    made = read_cohort(table)
    for case in load_cases(made.cases):
        assert case.array.shape == (1, 48, 48, 1)
        assert bool(case.lesions.any()) == bool(case.case.label)


def test_lesions_stay_on_their_image(tmp_path):
    """Resampled image and mask agree, also where the axes of the file run elsewhere."""
    turned = np.diag([-1.0, -1.0, 1.0])
    found = {}
    for name, direction in (("plain", None), ("turned", turned)):
        cohort = volumes(tmp_path / f"in-{name}", direction=direction)
        table = central_slices(cohort, tmp_path / f"out-{name}", size=60)
        cases = load_cases(read_cohort(table).in_split("test"))
        found[name] = [case for case in cases if case.case.label]
        for case in found[name]:
            inside = case.array[0][case.lesions].mean()
            outside = case.array[0][case.brain & ~case.lesions].mean()
            assert inside > outside + 1.5
    # The same voxels with the axes turned round are the same slices turned round.
    for one, other in zip(found["plain"], found["turned"], strict=True):
        np.testing.assert_array_equal(one.lesions, other.lesions[::-1, ::-1])


def test_intensities_are_matched_to_one_healthy_slice(tmp_path):
    cohort = volumes(tmp_path / "in")
    table = central_slices(cohort, tmp_path / "out", size=48)
    before, after = [], []
    for case in cohort.cases:
        raw = read_image(case.channels["FLAIR"])
        before.append(np.median(raw.array[raw.array > 0]))
        made = read_image(table.parent / "images" / f"{case.case}_FLAIR.nii.gz")
        brain = read_image(table.parent / "masks" / f"{case.case}_brain.nii.gz").array > 0
        after.append(np.median(made.array[brain]))
    assert max(before) / min(before) > 3
    assert max(after) / min(after) < 1.02


def test_pixels_keep_their_proportions(tmp_path):
    table = central_slices(volumes(tmp_path / "in"), tmp_path / "out", size=48)
    grid = read_image(table.parent / "images" / "c0_FLAIR.nii.gz").geometry
    assert grid.size == (48, 48, 10)
    # 36 voxels of 2 mm fill 48 pixels.
    np.testing.assert_allclose(grid.spacing, (1.5, 1.5, 3.0))


def test_a_finished_protocol_is_used_again(tmp_path):
    cohort = volumes(tmp_path / "in")
    events = []
    table = central_slices(cohort, tmp_path / "out", size=48, on_event=events.append)
    assert events[-1] == {"event": "slices", "done": 4, "total": 4}
    before = table.stat().st_mtime_ns
    central_slices(cohort, tmp_path / "out", size=48)
    assert table.stat().st_mtime_ns == before
    central_slices(cohort, tmp_path / "out", size=40)
    assert table.stat().st_mtime_ns != before


def test_refusals(tmp_path, small_cohort):
    with pytest.raises(InputError, match="no lesion mask"):
        central_slices(volumes(tmp_path / "in", masks=False), tmp_path / "out")
    with pytest.raises(InputError, match="a slice already"):
        central_slices(small_cohort(slices=True), tmp_path / "out")
    cohort = volumes(tmp_path / "more")
    only = cohort.select(lambda case: case.split != "train")
    with pytest.raises(InputError, match="no training slice"):
        central_slices(only, tmp_path / "out2", size=48)
    assert not (tmp_path / "out2" / "cohort.csv").exists()
