"""Cohort tables: all faults at once, splits by patient."""

from collections import Counter

import numpy as np
import pytest
from AttribSegLib.cohort import Case, Cohort, assign_splits, make_cohort, read_cohort, write_cohort
from AttribSegLib.errors import CohortError, InputError, OutputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import write_image
from hypothesis import assume, given, settings
from hypothesis import strategies as st

GRID = Geometry((6, 5, 4), (1, 1, 2))


def write(path, values=None, geometry=GRID, seed=0):
    if values is None:
        values = np.random.default_rng(seed).random(geometry.size).astype("f4")
    write_image(Image(np.asarray(values), geometry), path)
    return path.name


@pytest.fixture
def folder(tmp_path):
    """Four good images, and masks to go with them."""
    for index in range(4):
        write(tmp_path / f"i{index}.nii.gz", seed=index)
        write(tmp_path / f"t{index}.nii.gz", seed=10 + index)
    mask = np.zeros(GRID.size, np.uint8)
    write(tmp_path / "none.nii.gz", mask)
    mask[2:4, 2:4, 1:3] = 1
    write(tmp_path / "some.nii.gz", mask)
    write(tmp_path / "all.nii.gz", np.ones(GRID.size, np.uint8))
    return tmp_path


GOOD = [
    "case,patient,label,FLAIR",
    "a,p1,0,i0.nii.gz",
    "b,p2,1,i1.nii.gz",
    "c,p3,0,i2.nii.gz",
    "d,p4,1,i3.nii.gz",
]


def read(folder, *lines, encoding="utf-8", **options):
    path = folder / "cohort.csv"
    path.write_text("\n".join(lines), encoding=encoding)
    return read_cohort(path, **options)


def faults(folder, *lines):
    with pytest.raises(CohortError) as caught:
        read(folder, *lines)
    assert caught.value.source.endswith("cohort.csv")
    return caught.value.faults


def only_fault(folder, *lines):
    found = faults(folder, *lines)
    assert len(found) == 1, found
    return found[0]


def test_a_good_table(folder):
    cohort = read(
        folder,
        "case,patient,label,split,T1,FLAIR,brain,lesions,slice,nominal_spacing",
        "a,p1,0,train,t0.nii.gz,i0.nii.gz,all.nii.gz,none.nii.gz,,",
        "",
        "b,p2,1.0,train,t1.nii.gz,i1.nii.gz,,some.nii.gz,2,0",
        "c,p3,0,test,t2.nii.gz,i2.nii.gz,,,3.0,true",
        "d,p3,1,test,t2.nii.gz,i2.nii.gz,,some.nii.gz,1,1",
    )
    first, second, third, _ = cohort.cases
    assert cohort.channels == ("T1", "FLAIR")
    assert first.channels == {"T1": folder / "t0.nii.gz", "FLAIR": folder / "i0.nii.gz"}
    assert (first.brain, first.lesions) == (folder / "all.nii.gz", folder / "none.nii.gz")
    assert (first.row, second.row) == (2, 4)
    assert (first.slice, second.slice, third.slice) == (None, 2, 3)
    assert (second.label, second.nominal_spacing, third.nominal_spacing) == (1, False, True)
    assert cohort.nominal_spacing
    assert not cohort.select(lambda case: case.split == "train").nominal_spacing
    assert [case.case for case in cohort.in_split("test")] == ["c", "d"]
    assert cohort.summary()["splits"]["test"] == {"healthy": 1, "pathological": 1, "patients": 1}
    assert cohort.summary()["with_lesions"] == 3
    with pytest.raises(InputError, match="validation"):
        cohort.in_split("val")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_dialects(folder, delimiter, encoding, end):
    lines = [line.replace(",", delimiter) + delimiter + end.strip("\n") for line in GOOD]
    cohort = read(folder, *lines, encoding=encoding)
    assert [case.case for case in cohort.cases] == list("abcd")


def test_quotes_may_hold_the_delimiter(folder):
    (folder / "i0.nii.gz").rename(folder / "i,0.nii.gz")
    cohort = read(folder, GOOD[0], 'a,p1,0,"i,0.nii.gz"', *GOOD[2:])
    assert cohort.cases[0].channels["FLAIR"].name == "i,0.nii.gz"


def test_every_fault_is_listed_at_once(folder):
    write(folder / "constant.nii.gz", np.ones(GRID.size, np.float32))
    (folder / "cut.nii.gz").write_bytes((folder / "i0.nii.gz").read_bytes()[:100])
    found = faults(
        folder,
        "case,patient,label,lesion,split,FLAIR,slice",
        "a,p1,2,,train,i0.nii.gz,",
        "a,p2,1,,training,missing.nii.gz,",
        ",p3,0,,train,constant.nii.gz,",
        "d,p1,0,,test,cut.nii.gz,9",
        "e,,1,,train,,-1",
    )
    expected = [
        "row 1 (header): unknown column 'lesion' (did you mean lesions?)",
        "row 2 (case a): label '2'",
        "row 3 (case a): split 'training': expected train, validation, test (did you mean train?)",
        "row 3 (case a): case name already used in row 2",
        f"row 3 (case a): FLAIR {folder / 'missing.nii.gz'}: no such file",
        "row 4: case is empty",
        f"row 4: FLAIR {folder / 'constant.nii.gz'}: constant",
        "row 5 (case d): patient p1 is in test and, in row 2, in train",
        f"row 5 (case d): FLAIR {folder / 'cut.nii.gz'}: the compressed voxels are incomplete",
        "row 6 (case e): patient is empty",
        "row 6 (case e): FLAIR is empty",
        "row 6 (case e): slice '-1'",
    ]
    assert len(found) == len(expected), found
    for text, start in zip(found, expected, strict=True):
        assert text.startswith(start)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("patient,label,FLAIR", "column case is missing"),
        ("case,patient,FLAIR", "column label is missing"),
        ("case,patient,label", "no channel"),
        ("case,patient,label,label,FLAIR", "label is given twice"),
        ("case,patient,label,FLAIR,flair", "'flair' (did you mean FLAIR?)"),
        ("case,patient,label,FLAIR,Lesion", "'Lesion' (did you mean lesions?)"),
        ("case,patient,label,FLAIR,slices", "(did you mean slice?)"),
        ("case,patient,label,FLAIR,remark", "'remark'; known columns"),
        ("Case,patient,label,FLAIR", "'Case' (did you mean case?)"),
    ],
)
def test_headers(folder, header, words):
    cells = {"case": "a", "patient": "p", "label": "0", "FLAIR": "i0.nii.gz"}
    row = ",".join(cells.get(name, "") for name in header.split(","))
    assert any(words in fault for fault in faults(folder, header, row))


def test_a_column_without_a_name(folder):
    found = only_fault(
        folder, ",case,patient,label,FLAIR", *[f"{i},{x}" for i, x in enumerate(GOOD[1:])]
    )
    assert "column 1 has no name" in found


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("e,p5,,i0.nii.gz", "label is empty"),
        ("e,p5,x,i0.nii.gz", "label 'x'"),
        ("e,p5,0.5,i0.nii.gz", "label '0.5'"),
        ("e,p5,0", "3 values for 4 columns"),
        ("e,p5,0,i0.nii.gz,x", "5 values for 4 columns"),
        ("A,p5,0,t0.nii.gz", "already used in row 2"),
        ("e/f,p5,0,t0.nii.gz", "cannot be a file name"),
        ("e,p5,0,i0.nii.gz", "also the image of patient p1 (row 2)"),
        ("e,p5,0,i0.png", "no such file"),
        ("e,p5,0,cohort.csv", "unknown image format"),
    ],
)
def test_rows(folder, row, words):
    found = faults(folder, *GOOD, row)
    assert any(words in fault and fault.startswith("row 6 (case ") for fault in found)


def test_nominal_spacing_and_partly_given_splits(folder):
    found = faults(
        folder,
        "case,patient,label,FLAIR,split,nominal_spacing",
        "a,p1,0,i0.nii.gz,train,maybe",
        "b,p2,1,i1.nii.gz,,",
    )
    assert "nominal_spacing 'maybe'" in found[0]
    assert "split is empty (fill it for every case or for none)" in found[1]


def test_one_class(folder):
    found = only_fault(folder, GOOD[0], GOOD[1], GOOD[3])
    assert "the cohort has healthy cases only" in found
    rows = [line + (",train" if index % 2 else ",test") for index, line in enumerate(GOOD[1:])]
    found = only_fault(folder, GOOD[0] + ",split", *rows)
    assert "the training split has pathological cases only" in found
    test_only = [f"{line},test" for line in GOOD[1:]]
    assert len(read(folder, GOOD[0] + ",split", *test_only).in_split("test")) == 4


def test_a_patient_in_two_splits(folder):
    rows = ["a,p1,0,i0.nii.gz,train", "b,p2,1,i1.nii.gz,train", "c,p1,0,i2.nii.gz,test"]
    found = only_fault(folder, GOOD[0] + ",split", *rows)
    assert found.startswith("row 4 (case c): patient p1 is in test and, in row 2, in train")


def test_images_that_cannot_be_used(folder):
    values = np.random.default_rng(0).random(GRID.size)
    write(folder / "shifted.nii.gz", values, Geometry(GRID.size, GRID.spacing, (3, 0, 0)))
    write(folder / "probability.nii.gz", values)
    write(folder / "two.nii.gz", (values * 3).astype(np.uint8))
    import SimpleITK as sitk

    bad = values.copy()
    bad[0, 0, 0] = np.nan
    sitk.WriteImage(Image(bad, GRID).to_sitk(), str(folder / "nan.nii.gz"))
    sitk.WriteImage(sitk.Image((3, 3, 3, 2), sitk.sitkUInt8), str(folder / "4d.nii.gz"))
    header = "case,patient,label,FLAIR,T1,brain,lesions,slice"
    rows = {
        "a,p1,0,i0.nii.gz,t0.nii.gz,all.nii.gz,some.nii.gz,": "healthy (label 0) but",
        "b,p2,1,i1.nii.gz,shifted.nii.gz,,,": "another grid",
        "c,p3,0,i2.nii.gz,t2.nii.gz,none.nii.gz,,": "brain",
        "d,p4,1,i3.nii.gz,t3.nii.gz,,probability.nii.gz,": "not a mask",
        "e,p5,1,nan.nii.gz,t3.nii.gz,,two.nii.gz,": "NaN or infinite",
        "f,p4,1,i3.nii.gz,t3.nii.gz,,,4": "axial slices 0 to 3",
        "g,p4,1,4d.nii.gz,t3.nii.gz,,,0": "4D image",
        "h,p3,0,i2.nii.gz,t2.nii.gz,some.nii.gz,,0": "empty in slice 0",
    }
    text = "\n".join(faults(folder, header, *rows))
    for row, words in rows.items():
        assert any(words in line for line in text.splitlines() if f"(case {row[0]})" in line), words
    # In a slice without lesion, the mask of the volume is no contradiction.
    cohort = read(
        folder, header, "a,p1,0,i0.nii.gz,t0.nii.gz,,some.nii.gz,0", "b,p2,1,i1.nii.gz,t1.nii.gz,,,"
    )
    assert len(cohort.cases) == 2


def test_grids_may_differ_between_cases(folder):
    write(folder / "large.nii.gz", geometry=Geometry((9, 9, 9)))
    read(folder, *GOOD, "e,p5,0,large.nii.gz")


def test_masks_of_255(folder):
    write(
        folder / "m.nii.gz", np.r_[np.zeros(60), np.full(60, 255)].reshape(GRID.size).astype("u1")
    )
    read(folder, GOOD[0] + ",lesions", GOOD[1] + ",", "b,p2,1,i1.nii.gz,m.nii.gz")


def test_missing_geometry_unless_nominal(folder):
    import nibabel as nib

    nib.save(nib.Nifti1Image(np.random.rand(6, 5, 4).astype("f4"), None), folder / "n.nii.gz")  # noqa: NPY002
    header = GOOD[0] + ",nominal_spacing"
    assert "no geometry" in only_fault(folder, header, GOOD[1] + ",0", "b,p2,1,n.nii.gz,0")
    assert read(folder, header, GOOD[1] + ",0", "b,p2,1,n.nii.gz,1").nominal_spacing


def test_images_may_go_unchecked(tmp_path):
    assert len(read(tmp_path, *GOOD, check_images=False).cases) == 4


def test_no_table(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_cohort(tmp_path / "cohort.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_cohort(tmp_path)
    path = tmp_path / "a.csv"
    for content, words in (
        (b"", "empty"),
        (b"\xef\xbb\xbf \n\n", "empty"),
        (b";;\n;;\n", "empty"),
        (b"PK\x03\x04\x00\xff\xfe", "not a text table"),
        (b"case\0,label", "not a text table"),
        ("case,patient\n".encode("utf-16"), "not a text table"),
        (b'case,"patient\n', "in the cohort table"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_cohort(path)
    with pytest.raises(CohortError, match="no row below the header"):
        read(tmp_path, GOOD[0])


WORDS = "case patient label split slice FLAIR T1 lesions a b 0 1 train test -1 1.0 nan x.nii . .. ~"
cells = st.sampled_from([*WORDS.split(), "", '"', "/", "\u2028", "\x1c", "é"])


@given(st.lists(st.lists(cells, max_size=8), max_size=6), st.sampled_from(",;\t"))
@settings(max_examples=300, deadline=None)
def test_no_table_escapes_without_a_reason(tmp_path_factory, rows, delimiter):
    """Any text is refused in words (its images do not exist)."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("\n".join(delimiter.join(row) for row in rows), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_cohort(path)
    assert str(caught.value).startswith(str(path))


def test_no_case_is_no_cohort():
    with pytest.raises(CohortError, match="there is no case"):
        make_cohort([], source="nothing")


patients = st.dictionaries(
    st.text("abcdefghij0123456789", min_size=1, max_size=4),
    st.lists(st.integers(0, 1), min_size=1, max_size=4),
    min_size=1,
    max_size=25,
)


def cases_of(patients):
    return [
        Case(f"{name}-{index}", name, label, "", {})
        for name, labels in patients.items()
        for index, label in enumerate(labels)
    ]


@given(patients, st.integers(0, 2**31), st.randoms())
def test_splits_keep_patients_whole_and_ignore_the_order(patients, seed, random):
    cases = cases_of(patients)
    result = assign_splits(cases, seed=seed)
    assert [case.case for case in result] == [case.case for case in cases]
    split_of = {}
    for case in result:
        assert case.split == split_of.setdefault(case.patient, case.split)
    shuffled = list(cases)
    random.shuffle(shuffled)
    again = {case.case: case.split for case in assign_splits(shuffled, seed=seed)}
    assert again == {case.case: case.split for case in result}


@given(patients)
@settings(max_examples=100)
def test_every_split_has_both_classes_where_possible(patients):
    pure = Counter(tuple(set(labels)) for labels in patients.values() if len(set(labels)) == 1)
    mixed = sum(len(set(labels)) == 2 for labels in patients.values())
    assume((pure[(0,)] >= 3 and pure[(1,)] >= 3) or mixed >= 3)
    result = assign_splits(cases_of(patients))
    for name in ("train", "validation", "test"):
        assert {case.label for case in result if case.split == name} == {0, 1}


def test_mixed_patients_complete_the_splits():
    """One patient per class goes to training; the two with both classes fill the rest."""
    result = assign_splits(cases_of({"h": [0], "p": [1], "m": [0, 1], "n": [1, 0]}))
    classes = {name: {c.label for c in result if c.split == name} for name in ("train", "test")}
    assert classes == {"train": {0, 1}, "test": {0, 1}}


def test_split_fractions():
    cases = cases_of({f"p{index:02}": [index % 2] for index in range(40)})
    counts = Counter((c.split, c.label) for c in assign_splits(cases))
    assert counts == {
        (split, label): n
        for split, n in (("train", 12), ("validation", 4), ("test", 4))
        for label in (0, 1)
    }
    assert {c.split for c in assign_splits(cases, fractions=(0.5, 0, 0.5))} == {"train", "test"}
    assert assign_splits(cases, seed=1) == assign_splits(cases, seed=1)
    assert assign_splits(cases, seed=1) != assign_splits(cases, seed=2)
    for bad in ((0.5, 0.5), (0.5, 0.5, 0.5), (1.2, -0.2, 0), (0, 0.5, 0.5)):
        with pytest.raises(InputError, match="fractions"):
            assign_splits(cases, fractions=bad)


def test_write_and_read_again(folder):
    cohort = read(
        folder,
        "case,patient,label,FLAIR,T1,lesions,slice",
        "a,p1,0,i0.nii.gz,t0.nii.gz,,",
        "b,p2,1,i1.nii.gz,t1.nii.gz,some.nii.gz,1",
    )
    path = folder / "tables" / "copy.csv"
    write_cohort(cohort, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "case,patient,label,split,FLAIR,T1,lesions,slice"
    assert lines[2].endswith(",train,../i1.nii.gz,../t1.nii.gz,../some.nii.gz,1")
    again = read_cohort(path)
    assert again.cases == cohort.cases
    (folder / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError):
        write_cohort(cohort, folder / "file" / "a.csv")


def test_a_case_is_hashable():
    case = Case("a", "p", 0, "train", {})
    assert {case: 1}[case] == 1
    assert Cohort((case,), (), "x").summary()["patients"] == 1
