"""Files appear whole or not at all."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.errors import InputError, OutputError
from AttribSegLib.files import (
    atomic_folder,
    atomic_path,
    full_suffix,
    make_folder,
    output_error,
    read_json,
    stem,
    write_json,
    write_text,
)


@pytest.mark.parametrize(
    ("name", "suffix", "stem_"),
    [
        ("a.nii.gz", ".nii.gz", "a"),
        ("a.b.NII.GZ", ".nii.gz", "a.b"),
        ("a.seg.nrrd", ".seg.nrrd", "a"),
        ("a.nrrd", ".nrrd", "a"),
        ("a", "", "a"),
        ("a.tar.gz", ".gz", "a.tar"),
    ],
)
def test_suffix_and_stem(name, suffix, stem_):
    assert full_suffix(Path("x") / name) == suffix
    assert stem(Path("x") / name) == stem_


def fail_halfway(writing, error):
    with writing as temporary:
        assert full_suffix(temporary) in (".nii.gz", ".txt", ".partial")
        (temporary / "half" if temporary.is_dir() else temporary).write_text(
            "half", encoding="utf-8"
        )
        raise error


def test_atomic_path_keeps_the_old_file_when_writing_fails(tmp_path):
    target = tmp_path / "a.nii.gz"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        fail_halfway(atomic_path(target), ZeroDivisionError())
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_path_replaces(tmp_path):
    target = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        write_text(target, text)
        assert target.read_text(encoding="utf-8") == text
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "no permission"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_errors_of_the_system_are_told_in_words(tmp_path, code, words):
    target = tmp_path / "a.txt"
    with pytest.raises(OutputError, match=words):
        fail_halfway(atomic_path(target), OSError(code, "reason"))
    assert list(tmp_path.iterdir()) == []
    assert words in str(output_error(target, OSError(code, "reason")))


def test_errors_of_writers_that_hide_the_system_are_told(tmp_path):
    with pytest.raises(OutputError, match="of the writer"), atomic_path(tmp_path / "a") as _:
        raise RuntimeError("first line\nreason of the writer")
    with pytest.raises(OutputError, match="disk is full"), atomic_folder(tmp_path / "a") as _:
        raise RuntimeError("ITK ERROR: No space left on device")


def test_a_full_device(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")

    def write() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("text", encoding="utf-8")

    with pytest.raises(OutputError, match="disk is full"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for write in (
        lambda: write_text(tmp_path / "file" / "a.txt", "text"),
        lambda: make_folder(tmp_path / "file"),
        lambda: make_folder(tmp_path / "file" / "a"),
        lambda: atomic_folder(tmp_path / "file").__enter__(),
        lambda: atomic_folder(tmp_path / "file" / "a").__enter__(),
    ):
        with pytest.raises(OutputError):
            write()
    with pytest.raises(OutputError):
        write_text(tmp_path, "text")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_make_folder(tmp_path):
    folder = make_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_atomic_folder_replaces_whole(tmp_path):
    target = tmp_path / "out"
    for name in ("one", "two"):
        with atomic_folder(target) as temporary:
            (temporary / name).write_text(name, encoding="utf-8")
    assert [p.name for p in target.iterdir()] == ["two"]
    with pytest.raises(ZeroDivisionError):
        fail_halfway(atomic_folder(target), ZeroDivisionError())
    assert [p.name for p in target.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [target]


def test_json_round_trip(tmp_path):
    path = tmp_path / "a.json"
    write_json(
        path,
        {1: np.float32(0.5), "n": np.arange(2), "bad": [np.nan, float("inf")], "p": tmp_path},
    )
    assert read_json(path) == {"1": 0.5, "n": [0, 1], "bad": [None, None], "p": str(tmp_path)}
    assert json.loads(path.read_text(encoding="utf-8"))


def test_read_json_names_the_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"b\.json: not readable"):
        read_json(tmp_path / "b.json")
