"""Cohorts made row by row are what `read_cohort` reads, and other people's rows are left alone."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from AttribSegLib.cohort import read_cohort
from AttribSegLib.cohort_editing import add_case, cohort_rows, create_cohort, remove_case
from AttribSegLib.editable_table import EditableTable
from AttribSegLib.errors import CohortError, InputError, OutputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_image, write_image

GRID = Geometry((7, 6, 5), (2.0, 2.0, 3.0), (-3.0, 8.0, 1.0), np.diag([1.0, -1.0, 1.0]))


def scan(seed, grid=GRID):
    array = np.random.default_rng(seed).normal(100, 10, grid.size).astype(np.float32)
    return Image(array, grid)


def box(grid=GRID, filled=True):
    array = np.zeros(grid.size, bool)
    array[2:4, 2:4, 2:4] = filled
    return Image(array, grid)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "study" / "cohort.csv"
    create_cohort(path, ["FLAIR", "T1"])
    return path


def add(path, case="a", patient="p", label=1, seed=0, **more):
    channels = {"FLAIR": scan(seed), "T1": scan(seed + 1000)}
    more.setdefault("lesions", box() if label else None)
    arguments = {"channels": channels, **more}
    return add_case(path, case=case, patient=patient, label=label, **arguments)


def left_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_cohort_made_case_by_case_can_be_read(table):
    assert cohort_rows(table) == []
    for number in range(6):
        row = add(table, f"c{number}", f"p{number}", number % 2, number, brain=box())
        assert row.state == "ready"
        assert row.message == ""
    cohort = read_cohort(table)
    assert cohort.channels == ("FLAIR", "T1")
    assert [case.label for case in cohort.cases] == [0, 1, 0, 1, 0, 1]
    for number, case in enumerate(cohort.cases):
        for name, seed in (("FLAIR", number), ("T1", number + 1000)):
            image = read_image(case.channels[name])
            assert image.geometry.same_grid(GRID)
            assert np.array_equal(image.array, scan(seed).array)
        assert np.array_equal(read_image(case.brain).array, box().array)
        assert (case.lesions is None) == (number % 2 == 0)
        folder = table.parent / "cases" / case.case
        assert {path.parent for path in case.channels.values()} == {folder}
    assert [row.channels for row in cohort_rows(table)] == [c.channels for c in cohort.cases]


def test_axes_are_turned_to_those_of_the_cohort_and_other_grids_refused(table):
    add(table, "a", "p", 1, brain=box())
    over = "RPI"
    channels = {"FLAIR": scan(3).reorient(over), "T1": scan(4).reorient(over)}
    masks = {"brain": box().reorient(over), "lesions": box().reorient(over)}
    row = add(table, "b", "q", 1, channels=channels, **masks)
    for path, image in (
        (row.channels["FLAIR"], scan(3)),
        (row.channels["T1"], scan(4)),
        (row.brain, box()),
        (row.lesions, box()),
    ):
        assert read_image(path).geometry.same_grid(GRID)
        assert np.array_equal(read_image(path).array, image.array)
    before = table.read_bytes()
    other = Geometry((7, 6, 5), (2.0, 2.0, 3.0), (30.0, 8.0, 1.0), GRID.direction)
    with pytest.raises(InputError, match=r"case c: its grid .* is not that of"):
        add(table, "c", "r", 0, channels={"FLAIR": scan(5, other), "T1": scan(6, other)})
    assert table.read_bytes() == before


def test_raw_scans_of_any_grid_are_added(table):
    for number, shift in enumerate((0.0, 5.0, 9.0)):
        grid = Geometry((7, 6, 5), (2.0, 2.0, 3.0), (shift, 8.0, 1.0), GRID.direction)
        channels = {"FLAIR": scan(number, grid), "T1": scan(number + 10, grid)}
        assert add(table, f"c{number}", f"p{number}", 0, channels=channels).state == "ready"


@pytest.mark.skipif(
    sys.getfilesystemencoding() != "utf-8", reason="this system's file names have no accents"
)
def test_names_with_separators_and_accents_are_kept(table):
    row = add(table, "Müller; T2, left", 'p "1",2', split=None)
    assert (row.case, row.patient) == ("Müller; T2, left", 'p "1",2')
    assert row.channels["FLAIR"].is_file()


def test_a_nominal_spacing_is_declared(table):
    grid = Geometry(GRID.size, nominal=True)
    channels = {"FLAIR": scan(1, grid), "T1": scan(2, grid)}
    add(table, "n", channels=channels, lesions=box(grid))
    add(table, "k", "q", 0)
    cohort = read_cohort(table)
    assert [case.nominal_spacing for case in cohort.cases] == [True, False]


OTHERS = (
    "\ufeffcase;patient;label;FLAIR;T1\r\n"
    '"old 1" ;p1;0;  "a b.nii.gz";t1.nii.gz\r\n'
    "\r\n"
    "old2;p2;1.0;'x'.nii;\"t;1.nii\"\r\n"
)


def test_rows_of_others_are_left_byte_for_byte(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_bytes(OTHERS.encode("utf-8"))
    add(path, "new", "p3", 0)
    expected = OTHERS + "new;p3;0;cases/new/FLAIR.nii.gz;cases/new/T1.nii.gz\r\n"
    assert path.read_bytes().decode("utf-8") == expected
    remove_case(path, "new")
    assert path.read_bytes().decode("utf-8") == OTHERS
    remove_case(path, "old 1")
    lines = OTHERS.split("\r\n")
    assert path.read_bytes().decode("utf-8") == "\r\n".join([lines[0], *lines[2:]])


def test_a_last_line_without_an_end_and_trailing_separators(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text("case,patient,label,FLAIR,T1,,\nold,p,0,f.nii,t.nii,,", encoding="utf-8")
    add(path, "new", "q", 1)
    rows = cohort_rows(path)
    assert [row.case for row in rows] == ["old", "new"]
    assert rows[0].channels["T1"].name == "t.nii"
    assert rows[1].state == "ready"
    assert rows[1].lesions is not None


def test_a_column_that_comes_later_keeps_all_values_of_others(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text(
        'case\tpatient\tlabel\tFLAIR\tT1\na\t"p\t1"\t0\tf.nii\tt.nii\nc\tp2\n', encoding="utf-8"
    )
    before = EditableTable(path).rows
    add(path, "new", "q", 1)
    after = EditableTable(path).rows
    for old, now in zip(before, after[:2], strict=True):
        assert {name: now.get(name, "") for name in old} == old
    assert after[2]["lesions"] == "cases/new/lesions.nii.gz"
    assert [row.state for row in cohort_rows(path)] == ["missing file", "faulty", "ready"]


def test_states_of_rows(table):
    for number, case in enumerate(["good", "gone", "short", "other grid", "no image"]):
        add(table, case, f"p{number}", 1, number)
    folder = table.parent / "cases"
    (folder / "gone" / "T1.nii.gz").unlink()
    (folder / "gone" / "lesions.nii.gz").unlink()
    write_image(box(Geometry((4, 4, 4))), folder / "other grid" / "lesions.nii.gz")
    (folder / "no image" / "FLAIR.nii.gz").write_bytes(b"no image at all")
    text = table.read_text(encoding="utf-8").replace("short,p2,1", "short,p2,2")
    table.write_text(text + "good,p9,1,,,\n", encoding="utf-8")
    rows = {}
    for row in cohort_rows(table):
        rows.setdefault(row.case, row)
    assert rows["good"].state == "ready"
    assert rows["gone"].state == "missing file"
    assert "T1.nii.gz" in rows["gone"].message
    assert "lesions.nii.gz" in rows["gone"].message
    assert rows["short"].state == "faulty"
    assert rows["short"].label == -1
    assert "expected 0 (healthy) or 1" in rows["short"].message
    assert "another grid" in rows["other grid"].message
    assert rows["no image"].state == "faulty"
    assert "cannot be read" in rows["no image"].message
    quick = {row.state for row in cohort_rows(table, check_images=False)[:5]}
    assert quick == {"ready", "missing file", "faulty"}
    last = cohort_rows(table)[-1]
    assert last.state == "faulty"
    assert last.message.startswith("row 7 (case good)")
    assert all("\n" not in row.message for row in rows.values())


def test_a_state_follows_its_files(table):
    row = add(table, "a", "p")
    assert [row.state for row in cohort_rows(table)] == ["ready"]
    write_image(box(Geometry((4, 4, 4))), row.lesions)
    assert [row.state for row in cohort_rows(table)] == ["faulty"]
    row.lesions.write_bytes(b"nothing")
    assert "cannot be read" in cohort_rows(table)[0].message
    write_image(box(), row.lesions)
    assert [row.state for row in cohort_rows(table)] == ["ready"]


def test_one_patient_in_two_splits_is_a_faulty_row(table):
    add(table, "a", "p", split="train")
    add(table, "b", "q", split="test", seed=5)
    text = table.read_text(encoding="utf-8").replace("b,q,", "b,p,")
    table.write_text(text, encoding="utf-8")
    states = {row.case: row.state for row in cohort_rows(table)}
    assert states == {"a": "ready", "b": "faulty"}


def test_splits_follow_the_patient(table):
    add(table, "a", "p", split="test")
    assert add(table, "b", "p", seed=5).split == "test"
    assert add(table, "c", "q", seed=6).split == "train"
    assert add(table, "d", "r", seed=7, split="validation").split == "validation"
    with pytest.raises(InputError, match="in test already"):
        add(table, "e", "p", seed=8, split="train")
    with pytest.raises(InputError, match="expected one of train"):
        add(table, "e", "s", seed=8, split="Train")


def test_a_table_without_splits_stays_without(table):
    add(table, "a", "p")
    add(table, "b", "q", seed=5)
    assert "split" not in EditableTable(table).columns
    with pytest.raises(InputError, match="split at random"):
        add(table, "c", "r", seed=6, split="train")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"case": "A"}, "already used in row 2"),
        ({"case": "a/b"}, "cannot be a file name"),
        ({"case": ".."}, "cannot be a file name"),
        ({"case": ""}, "need a name"),
        ({"patient": ""}, "need a name"),
        ({"label": 2}, "expected 0"),
        ({"label": 0, "lesions": box()}, "give label 1"),
        ({"channels": {"FLAIR": scan(3)}}, "T1 is missing"),
        ({"channels": {"FLAIR": scan(3), "T1": scan(4), "T2": scan(5)}}, "channel T2"),
        ({"channels": {"FLAIR": scan(3), "T1": scan(3, Geometry((3, 3, 3)))}}, "another grid"),
        ({"channels": {"FLAIR": scan(3), "T1": box(filled=False)}}, "constant"),
        ({"channels": {"FLAIR": scan(3), "T1": scan(4).with_array(np.full(GRID.size, np.nan))}},
         "NaN"),
        ({"lesions": box(Geometry((5, 5, 5)))}, "another grid"),
        ({"lesions": scan(9)}, "only 0 and 1"),
        ({"brain": box(filled=False)}, "brain mask is empty"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_leaves_nothing(table, change, words):
    add(table, "a", "first")
    text, before = table.read_bytes(), left_in(table.parent)
    with pytest.raises(InputError, match=words) as error:
        add(table, **{"case": "b", "patient": "q", "seed": 50, **change})
    assert "\n" not in str(error.value)
    assert table.read_bytes() == text
    assert left_in(table.parent) == before


def test_removed_cases_leave_their_files_which_a_namesake_does_not_touch(table):
    first = add(table, "a", "p", seed=1)
    remove_case(table, "a")
    assert cohort_rows(table) == []
    again = add(table, "a", "p", seed=2)
    assert np.array_equal(read_image(first.channels["FLAIR"]).array, scan(1).array)
    assert np.array_equal(read_image(again.channels["FLAIR"]).array, scan(2).array)
    with pytest.raises(InputError, match="no case 'b'"):
        remove_case(table, "b")


@pytest.mark.parametrize("channels", [[], ["flair"], ["FLAIR", "FLAIR"], ["Lesions"]])
def test_names_that_are_no_channels(tmp_path, channels):
    with pytest.raises(InputError, match="channel"):
        create_cohort(tmp_path / "c.csv", channels)
    assert left_in(tmp_path) == []


def test_a_table_is_not_made_over_another(table):
    with pytest.raises(InputError, match="exists already"):
        create_cohort(table, ["FLAIR"])


def test_tables_that_are_none(tmp_path):
    path = tmp_path / "c.csv"
    with pytest.raises(InputError, match="no such file"):
        cohort_rows(path)
    path.write_text("case,patient,FLAIR\na,p,f.nii\n", encoding="utf-8")
    for use in (cohort_rows, EditableTable):
        with pytest.raises(CohortError, match="column label is missing"):
            use(path)


def test_images_that_cannot_be_written_leave_the_table_as_it_was(table):
    (table.parent / "cases").write_text("in the way", encoding="utf-8")
    before = table.read_bytes()
    with pytest.raises(OutputError, match="cases"):
        add(table)
    assert table.read_bytes() == before


def test_a_table_that_cannot_be_written_leaves_no_images(table, monkeypatch):
    def full(self):
        raise OutputError(f"{self.path}: the disk is full")

    monkeypatch.setattr(EditableTable, "write", full)
    before = left_in(table.parent)
    with pytest.raises(OutputError, match="disk is full"):
        add(table)
    assert [name for name in left_in(table.parent) if name != "cases"] == before


def test_readers_meanwhile_see_whole_rows_only(table):
    add(table, "first", "p0")
    done = threading.Event()
    seen, faults = set(), []

    def read():
        while not done.is_set():
            rows = cohort_rows(table)
            seen.add(len(rows))
            faults.extend(row.message for row in rows if row.state != "ready")

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(8):
        add(table, f"c{number}", f"p{number + 1}", seed=number)
    done.set()
    reader.join()
    assert faults == []
    assert max(seen) > 1


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, AttribSegLib.corrections, AttribSegLib.cohort_editing; "
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    assert not set(done.stdout.split()) & {"torch", "monai", "SimpleITK", "scipy", "matplotlib"}
