"""A person's correction becomes m(x) of eq. 5.8, and moves nobody from the test to the training."""

import json

import numpy as np
import pytest
from AttribSegLib.case_matching import case_of_image
from AttribSegLib.cohort import read_cohort
from AttribSegLib.cohort_editing import add_case, cohort_rows, create_cohort, remove_case
from AttribSegLib.corrections import add_correction
from AttribSegLib.editable_table import EditableTable
from AttribSegLib.errors import CohortError, InputError, OutputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.preprocessing.mask_transfer import transfer_mask
from AttribSegLib.transform import Affine

GRID = Geometry((16, 14, 12), (2.0, 2.0, 2.0), (-15.0, 12.0, 4.0), np.diag([1.0, -1.0, 1.0]))


def scan(seed, grid=GRID):
    array = np.random.default_rng(seed).normal(100, 10, grid.size).astype(np.float32)
    return Image(array, grid)


def box(start, stop, grid=GRID):
    array = np.zeros(grid.size, bool)
    array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return Image(array, grid)


NOTHING = Image(np.zeros(GRID.size, bool), GRID)
DETECTED = box((4, 4, 4), (8, 7, 6))  # 24 voxels
CORRECTED = box((5, 4, 4), (9, 7, 6))  # one column of 6 removed, one added


def correct(table, case="new", patient="pn", picture=900, **more):
    arguments = {
        "channels": {"FLAIR": scan(picture)},
        "corrected": CORRECTED,
        "detected": DETECTED,
        "author": "A. Reader",
        "bundle": "",
        **more,
    }
    return add_correction(table, case=case, patient=patient, **arguments)


@pytest.fixture
def table(tmp_path):
    """Two healthy and two pathological cases, split by hand, without masks."""
    path = tmp_path / "study" / "cohort.csv"
    create_cohort(path, ["FLAIR"])
    for number, split in enumerate(["train", "validation", "test", "train"]):
        add_case(
            path,
            case=f"c{number}",
            patient=f"p{number}",
            label=number % 2,
            channels={"FLAIR": scan(number)},
            split=split,
        )
    return path


def record_of(row):
    return json.loads((row.lesions.parent / "correction.json").read_text(encoding="utf-8"))


def left_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_new_case_comes_with_its_image_mask_detection_and_record(table, tmp_path):
    bundle = tmp_path / "bundle"
    (bundle / "models").mkdir(parents=True)
    for name in ("config.json", "models/model.safetensors"):
        (bundle / name).write_text(name, encoding="utf-8")
    row = correct(table, bundle=str(bundle), record={"seed": 3}, brain=box((1, 1, 1), (15, 13, 11)))
    assert (row.case, row.patient, row.label, row.split) == ("new", "pn", 1, "train")
    assert row.state == "corrected"
    assert np.array_equal(read_image(row.channels["FLAIR"]).array, scan(900).array)
    assert np.array_equal(read_image(row.lesions).array, CORRECTED.array)
    detected = read_image(row.lesions.parent / "detected.nii.gz")
    assert np.array_equal(detected.array, DETECTED.array)
    assert detected.geometry.same_grid(GRID)
    assert row.brain.is_file()
    record = record_of(row)
    assert record["author"] == "A. Reader"
    assert record["case"] == "new"
    assert record["bundle"]["folder"] == str(bundle)
    assert len(record["bundle"]["sha256"]) == 64
    assert record["detection"] == {"seed": 3}
    assert record["created"].endswith("Z")
    assert record["replaces"] is None
    changes = record["changes"]
    assert (changes["added_voxels"], changes["removed_voxels"], changes["kept_voxels"]) == (
        6,
        6,
        18,
    )
    assert changes["added_ml"] == pytest.approx(6 * 0.008)
    (bundle / "config.json").write_text("another", encoding="utf-8")
    other = correct(table, "newer", "pm", 901, bundle=str(bundle))
    assert record_of(other)["bundle"]["sha256"] != record["bundle"]["sha256"]
    cohort = read_cohort(table)
    assert [case.lesions is not None for case in cohort.cases] == [False] * 4 + [True] * 2


def test_a_case_of_the_table_only_gets_a_mask(table):
    before = {row.case: row for row in cohort_rows(table)}
    row = correct(table, "c1", "p1", 1)
    assert row.state == "corrected"
    assert row.split == "validation"
    assert row.channels == before["c1"].channels
    after = {row.case: row for row in cohort_rows(table)}
    assert {name: after[name] for name in ("c0", "c2", "c3")} == {
        name: before[name] for name in ("c0", "c2", "c3")
    }


def test_an_empty_correction_is_a_healthy_case(table):
    row = correct(table, corrected=NOTHING)
    assert row.label == 0
    assert record_of(row)["changes"]["removed_voxels"] == 24
    read_cohort(table)
    assert correct(table, "c0", "p0", 0, corrected=NOTHING).label == 0


def test_a_person_may_draw_all_of_it(table):
    row = correct(table, detected=None)
    assert record_of(row)["changes"]["added_voxels"] == 24
    assert record_of(row)["detected"] is None
    assert record_of(row)["bundle"] is None
    assert not (row.lesions.parent / "detected.nii.gz").exists()


def test_earlier_corrections_stay(table):
    first = correct(table, "c1", "p1", 1)
    second = correct(table, "c1", "p1", 1, corrected=DETECTED, author="B. Reader")
    assert first.lesions != second.lesions
    assert np.array_equal(read_image(first.lesions).array, CORRECTED.array)
    assert record_of(first)["author"] == "A. Reader"
    assert np.array_equal(read_image(second.lesions).array, DETECTED.array)
    replaced = table.parent / record_of(second)["replaces"]
    assert replaced == first.lesions
    assert next(row for row in cohort_rows(table) if row.case == "c1") == second
    remove_case(table, "c1")
    third = correct(table, "c1", "p1", 1)
    assert len({first.lesions, second.lesions, third.lesions}) == 3
    assert all(row.lesions.is_file() for row in (first, second, third))


def test_a_correction_of_a_raw_scan_goes_to_the_grid_of_the_cohort(table):
    turn = np.radians(12)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    matrix[:3, 3] = (6, -9, 3)
    to_cohort = Affine(matrix @ np.diag([1.1, 1.1, 1.1, 1]))
    centre = to_cohort.inverse()(GRID.to_lps((8, 7, 6)))
    native = Geometry((40, 40, 9), (0.9, 0.9, 3.0), tuple(centre - (18, 18, 12)))
    corrected = box((16, 16, 3), (26, 25, 6), native)
    detected = box((14, 16, 3), (24, 25, 6), native)
    row = correct(table, corrected=corrected, detected=detected, to_cohort=to_cohort, grid=GRID)
    lesions = read_image(row.lesions)
    assert lesions.geometry.same_grid(GRID)
    assert np.array_equal(lesions.array, transfer_mask(corrected, GRID, to_cohort).array)
    volume = corrected.array.sum() * native.voxel_volume_ml * to_cohort.determinant
    assert lesions.array.sum() * GRID.voxel_volume_ml == pytest.approx(volume, abs=0.005)
    centre = GRID.to_lps(np.argwhere(lesions.array).mean(axis=0))
    expected = to_cohort(native.to_lps(np.argwhere(corrected.array).mean(axis=0)))
    assert np.linalg.norm(centre - expected) < 0.5
    changes = record_of(row)["changes"]
    assert changes["added_voxels"] == 2 * 9 * 3
    assert changes["added_ml"] == pytest.approx(54 * native.voxel_volume_ml)
    assert np.allclose(record_of(row)["transform"], to_cohort.matrix)
    for name, mask in (("lesions_native", corrected), ("detected_native", detected)):
        kept = read_image(row.lesions.parent / f"{name}.nii.gz")
        assert np.array_equal(kept.array, mask.array)
        assert kept.geometry.same_grid(native)
    moved = read_image(row.lesions.parent / "detected.nii.gz")
    assert np.array_equal(moved.array, transfer_mask(detected, GRID, to_cohort).array)


def without_splits(folder, patients, rng):
    """A table of many patients without a split column; no image of it exists."""
    path = folder / "cohort.csv"
    lines = ["case,patient,label,FLAIR"]
    for number in range(patients):
        for scan_number in range(int(rng.integers(1, 3))):
            name = f"c{number}_{scan_number}"
            lines.append(f"{name},p{number},{int(rng.integers(0, 2))},{name}.nii")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def splits_of(path, seed):
    cohort = read_cohort(path, seed=seed, check_images=False, both_classes=False)
    return {case.patient: case.split for case in cohort.cases}


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("corrected", [CORRECTED, NOTHING])
def test_nobody_leaves_the_test_split_of_a_table_without_splits(tmp_path, seed, corrected):
    path = without_splits(tmp_path, 18, np.random.default_rng(seed))
    before = splits_of(path, seed)
    patients = [f"p{number}" for number in range(18)]
    corrected_ones = np.random.default_rng(seed).permutation([*patients[:8], "new1", "new2"])
    for number, patient in enumerate(corrected_ones.tolist()):
        row = correct(path, f"n{number}", patient, 50 + number, corrected=corrected, seed=seed)
        after = splits_of(path, seed)
        assert {name: after[name] for name in patients} == before
        assert after[patient] == before.get(patient, "train")
        assert row.split in ("", after[patient])
    # Written down, they no longer depend on the seed.
    assert splits_of(path, seed + 100) == after


def test_splits_are_written_down_only_where_they_would_change(table, tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    path = folder / "cohort.csv"
    lines = ["case,patient,label,FLAIR"]
    for number in range(12):
        write_image(scan(number), folder / f"c{number}.nii")
        lines.append(f"c{number},p{number},{number % 2},c{number}.nii")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    before = splits_of(path, 0)
    correct(path, "c1", "p1", 1)  # a case that is there
    correct(path, "c1b", "p1", 70)  # another one of the patient, with the same label
    assert "split" not in EditableTable(path).columns
    assert splits_of(path, 0) == before
    correct(path, "c0b", "p0", 71)  # a healthy patient is now both
    assert EditableTable(path).has_splits
    assert splits_of(path, 0) == before


def test_a_table_too_small_to_have_been_trained_on_has_no_split_to_keep(tmp_path):
    path = tmp_path / "cohort.csv"
    create_cohort(path, ["FLAIR"])
    for number in range(4):
        row = correct(path, f"n{number}", f"p{number}", number)
        assert row.split == ""
    assert len(cohort_rows(path)) == 4


def test_splits_cannot_be_kept_where_rows_are_faulty(tmp_path):
    path = without_splits(tmp_path, 12, np.random.default_rng(0))
    path.write_text(path.read_text(encoding="utf-8") + "x,,1,x.nii\n", encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(CohortError, match="patient is empty"):
        correct(path)
    assert path.read_bytes() == before
    assert left_in(tmp_path) == ["cohort.csv"]


def test_a_slice_is_corrected_in_the_mask_of_its_volume(tmp_path):
    path = tmp_path / "cohort.csv"
    write_image(scan(1), tmp_path / "v.nii")
    path.write_text(
        "case,patient,label,FLAIR,slice\nlow,p,0,v.nii,1\nhigh,p,1,v.nii,5\n", encoding="utf-8"
    )
    row = correct(path, "high", "p", 1)  # its lesion is in slices 4 and 5
    assert row.state == "corrected"
    with pytest.raises(InputError, match="has label 0"):
        correct(path, "low", "p", 1, corrected=box((3, 3, 0), (6, 6, 3)))
    cohort = read_cohort(path)
    assert [case.lesions is not None for case in cohort.cases] == [False, True]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patient": "p3"}, "is of patient p1"),
        ({"picture": 2}, "is another image"),
        ({"channels": {"FLAIR": scan(1, Geometry((3, 3, 3)))}}, "another grid"),
        ({"channels": {"T1": scan(1)}}, "FLAIR is missing"),
        ({"corrected": NOTHING}, "has label 1 .* is empty"),
        ({"case": "c0", "patient": "p0", "picture": 0}, "has label 0 .* holds lesions"),
        ({"detected": box((0, 0, 0), (1, 1, 1), Geometry((3, 3, 3)))}, "different grids"),
        ({"corrected": box((0, 0, 0), (1, 1, 1), Geometry((3, 3, 3))), "detected": None},
         "give the transform"),
        ({"corrected": scan(4), "detected": None}, "only 0 and 1"),
        ({"to_cohort": Affine(np.array([[1.0, 0, 0, 900], [0, 1, 0, 0], [0, 0, 1, 0],
                                        [0, 0, 0, 1]]))}, "check the transform"),
        ({"grid": Geometry((5, 5, 5))}, "send the prepared image"),
        ({"case": "x/y", "patient": "q"}, "cannot be a file name"),
        ({"case": "C1", "patient": "q"}, "already used"),
        ({"case": "n", "patient": ""}, "need a name"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_leaves_nothing(table, change, words):
    text, before = table.read_bytes(), left_in(table.parent)
    with pytest.raises(InputError, match=words) as error:
        correct(table, **{"case": "c1", "patient": "p1", "picture": 1, **change})
    assert "\n" not in str(error.value)
    assert table.read_bytes() == text
    assert left_in(table.parent) == before


def test_a_case_of_another_grid_than_all_the_others_is_refused(table):
    other = Geometry((9, 9, 9), (3.0, 3.0, 3.0))
    more = {"channels": {"FLAIR": scan(5, other)}, "detected": None}
    with pytest.raises(InputError, match="send the prepared image"):
        correct(table, corrected=box((2, 2, 2), (4, 4, 4), other), **more)
    assert "new" not in {row.case for row in cohort_rows(table)}


def test_axes_that_a_program_turned_over_do_not_matter(table):
    over = CORRECTED.geometry.orientation()[:2] + "I"
    assert over != GRID.orientation()
    masks = {"corrected": CORRECTED.reorient(over), "detected": DETECTED.reorient(over)}
    for case, patient, picture in (("c1", "p1", 1), ("new", "pn", 900)):
        image = scan(picture).reorient(over)
        brain = box((1, 1, 1), (15, 13, 11)).reorient(over)
        row = correct(table, case, patient, channels={"FLAIR": image}, brain=brain, **masks)
        assert read_image(row.lesions).geometry.same_grid(GRID)
        assert np.array_equal(read_image(row.lesions).array, CORRECTED.array)
        assert record_of(row)["changes"]["added_voxels"] == 6
        assert np.array_equal(read_image(row.channels["FLAIR"]).array, scan(picture).array)
    read_cohort(table)  # all on one grid


def test_a_prepared_image_is_refused_among_raw_scans(tmp_path):
    path = tmp_path / "cohort.csv"
    create_cohort(path, ["FLAIR"])
    native = Geometry((9, 9, 9), (3.0, 3.0, 3.0), (-12.0, -12.0, -12.0))
    drawn = {"corrected": box((2, 2, 6), (4, 4, 8), native), "detected": None}
    for number, size in enumerate([(16, 14, 12), (10, 9, 8)]):
        grid = Geometry(size, (1.0, 1.0, 2.0), (3.0 * number, 0.0, 0.0))
        add_case(path, case=f"c{number}", patient=f"p{number}", label=1,
                 channels={"FLAIR": scan(number, grid)})  # fmt: skip
        before = path.read_bytes()
        with pytest.raises(InputError, match="prepare all cases of the cohort first"):
            correct(path, to_cohort=Affine(), grid=GRID, **drawn)
        assert path.read_bytes() == before


def test_an_image_is_recognised_by_its_file_or_its_voxels(table):
    row = next(row for row in cohort_rows(table) if row.case == "c2")
    known = case_of_image(table, {"FLAIR": scan(2).reorient("LPI")})
    assert (known.case, known.patient) == ("c2", "p2")
    assert case_of_image(table, {"FLAIR": scan(77)}) is None
    assert case_of_image(table, {"T1": scan(2)}) is None
    other = case_of_image(table, {"FLAIR": scan(77)}, source=str(row.channels["FLAIR"]))
    assert other.case == "c2"
    changed = scan(2)
    changed.array[3, 3, 3] += 20
    assert case_of_image(table, {"FLAIR": changed}, name="c2") is None
    row.channels["FLAIR"].write_bytes(b"no image")
    assert case_of_image(table, {"FLAIR": scan(2)}) is None


def test_folders_that_cannot_be_written_leave_the_table_as_it_was(table):
    folder = table.parent / "cases" / "c1" / "corrections"
    folder.write_text("in the way", encoding="utf-8")
    text, before = table.read_bytes(), left_in(table.parent)
    with pytest.raises(OutputError, match="corrections"):
        correct(table, "c1", "p1", 1)
    assert table.read_bytes() == text
    assert left_in(table.parent) == before


def test_a_table_that_cannot_be_written_leaves_no_files(table, monkeypatch):
    def full(self):
        raise OutputError(f"{self.path}: the disk is full")

    before = left_in(table.parent)
    monkeypatch.setattr(EditableTable, "write", full)
    for case, patient, picture in (("c1", "p1", 1), ("new", "pn", 900)):
        with pytest.raises(OutputError, match="disk is full"):
            correct(table, case, patient, picture)
        assert left_in(table.parent) == before
