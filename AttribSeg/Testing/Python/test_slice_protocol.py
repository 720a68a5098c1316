import csv
import gc
import os
import weakref
from dataclasses import replace

import numpy as np
import pytest
from AttribSegLib.cases import load_cases
from AttribSegLib.cohort import read_cohort
from AttribSegLib.errors import InputError
from AttribSegLib.files import write_json
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.slice_protocol import _stack, central_slices

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
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_cohort(table)


def test_classes_come_from_the_masks(tmp_path):
    cohort = volumes(tmp_path / "in")
    table = central_slices(cohort, tmp_path / "out", size=48)
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
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


def patients_by_split(table):
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    return {row["patient"]: row["split"] for row in rows}


def test_other_splits_of_the_same_counts_make_another_table(tmp_path):
    cohort = volumes(tmp_path / "in")
    table = central_slices(cohort, tmp_path / "out", size=48)
    assert patients_by_split(table)["p0"] == "train"
    swapped = {"p0": "test", "p2": "train"}
    other = replace(
        cohort,
        cases=tuple(
            replace(case, split=swapped.get(case.patient, case.split)) for case in cohort.cases
        ),
    )
    assert other.summary() == cohort.summary()
    assert central_slices(other, tmp_path / "out", size=48) == table
    found = patients_by_split(table)
    assert (found["p0"], found["p2"]) == ("test", "train")


def test_a_corrected_mask_makes_another_table(tmp_path):
    cohort = volumes(tmp_path / "in")
    table = central_slices(cohort, tmp_path / "out", size=48)
    path = cohort.cases[1].lesions
    mask = read_image(path)
    write_image(mask.with_array(np.zeros_like(mask.array)), path)
    central_slices(cohort, tmp_path / "out", size=48)
    labels = [
        row["label"]
        for row in csv.DictReader(table.open(encoding="utf-8"))
        if row["patient"] == "p1"
    ]
    assert labels == ["0"] * 10


def test_a_table_of_an_older_version_is_made_again(tmp_path):
    cohort = volumes(tmp_path / "in")
    table = central_slices(cohort, tmp_path / "out", size=48)
    options = {"count": 10, "size": 48, "least_lesion": 0.001, "seed": 0}
    write_json(tmp_path / "out" / "protocol.json", {**options, "cohort": cohort.summary()})
    os.utime(table, ns=(0, 0))
    central_slices(cohort, tmp_path / "out", size=48)
    assert table.stat().st_mtime_ns > 0


def test_one_volume_is_held_at_a_time(tmp_path, monkeypatch):
    cohort = volumes(tmp_path / "in")
    alive = weakref.WeakSet()
    most = []

    class Stack(dict):
        __hash__ = object.__hash__

    def counted(*args):
        stack = Stack(_stack(*args))
        alive.add(stack)
        gc.collect()
        most.append(len(alive))
        return stack

    monkeypatch.setattr("AttribSegLib.slice_protocol._stack", counted)
    central_slices(cohort, tmp_path / "out", size=48)
    # The one just made, and the last one until its name is given to it.
    assert max(most) <= 2


def test_no_table_is_left_by_a_failure(tmp_path, monkeypatch):
    cohort = volumes(tmp_path / "in")
    table = central_slices(cohort, tmp_path / "out", size=48)

    def fails(*args):
        raise InputError("cannot be matched")

    with monkeypatch.context() as patch:
        patch.setattr("AttribSegLib.slice_protocol.match_histogram", fails)
        with pytest.raises(InputError, match="cannot be matched"):
            central_slices(cohort, tmp_path / "out", size=40)
    assert not table.exists()
    # The images that were left are not mistaken for matched ones.
    central_slices(cohort, tmp_path / "out", size=48)
    image = read_image(tmp_path / "out" / "images" / "c0_FLAIR.nii.gz")
    assert image.geometry.size == (48, 48, 10)


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
