"""Files come whole or not at all, and errors of reading name file and cure."""

import os

import numpy as np
import polars as pl
import pytest

from llmrec.data.files import (
    atomic_file,
    atomic_folder,
    cache_folder,
    read_json,
    read_parquet,
    require_columns,
    save_arrays,
    write_json,
)
from llmrec.errors import DataError
from llmrec.testing import expect_error


class Killed(BaseException):
    """Stands for an interrupt: no Exception, so that nothing catches it on the way."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    with atomic_file(path) as temporary:
        temporary.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_whose_writing_is_interrupted_stays_as_it_was(tmp_path, before):
    path = tmp_path / "a.txt"
    if before:
        path.write_text(before)

    def write_half():
        with atomic_file(path) as temporary:
            temporary.write_text("ha")
            raise Killed

    with pytest.raises(Killed):
        write_half()
    assert names(tmp_path) == (["a.txt"] if before else [])
    assert not before or path.read_text() == before


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "set"
    with atomic_folder(path) as temporary:
        (temporary / "dataset.json").write_text("one")
        (temporary / "a").write_text("one")
        assert not path.exists()
    with atomic_folder(path) as temporary:
        (temporary / "b").write_text("two")
        assert names(path) == ["a", "dataset.json"]
    assert names(path) == ["b"]
    assert names(tmp_path) == ["set"]


def test_what_somebody_else_keeps_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter-1.tex").write_text("years of work")
    (tmp_path / "file").write_text("kept")

    def replace(name):
        with atomic_folder(tmp_path / name):
            pass

    expect_error(DataError, lambda: replace("thesis"), "thesis", "holds something else", "name another folder")
    expect_error(DataError, lambda: replace("file"), "file", "holds something else")
    assert (tmp_path / "thesis" / "chapter-1.tex").read_text() == "years of work"
    assert names(tmp_path) == ["file", "thesis"]


@pytest.mark.parametrize("before", [False, True])
def test_a_folder_whose_writing_is_interrupted_stays_as_it_was(tmp_path, before):
    path = tmp_path / "set"
    if before:
        path.mkdir()
        (path / "dataset.json").write_text("old")

    def write_half():
        with atomic_folder(path) as temporary:
            (temporary / "b").write_text("half")
            raise Killed

    with pytest.raises(Killed):
        write_half()
    assert names(tmp_path) == (["set"] if before else [])
    assert not before or (path / "dataset.json").read_text() == "old"


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(tmp_path):
    path = tmp_path / "set"
    path.mkdir()
    (path / "dataset.json").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_folder(path) as temporary:
        temporary.rmdir()  # so that the last rename fails
    assert (path / "dataset.json").read_text() == "old"
    assert names(tmp_path) == ["set"]


def test_what_a_killed_process_left_does_not_disturb(tmp_path):
    left = tmp_path / f".set.{os.getpid()}.tmp"
    left.mkdir()
    (left / "half").write_text("")
    with atomic_folder(tmp_path / "set") as temporary:
        (temporary / "a").write_text("one")
    assert names(tmp_path) == ["set"]
    assert names(tmp_path / "set") == ["a"]


def test_json_goes_round_with_its_letters(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"title": "Amélie", "n": 3})
    assert "Amélie" in path.read_text(encoding="utf-8")
    assert read_json(path) == {"title": "Amélie", "n": 3}


def test_json_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["no file", "a.json"]),
        (b'{"a": 1', ["a.json", "readable JSON"]),
        (b'{"a": "\xff"}', ["a.json", "readable JSON"]),
        (b"[1, 2]", ["a.json", "holds a list", "a JSON object"]),
    ],
)
def test_json_errors(tmp_path, content, words):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    expect_error(DataError, lambda: read_json(tmp_path / "a.json"), *words)


def test_parquet_errors(tmp_path):
    path = tmp_path / "a.parquet"
    expect_error(DataError, lambda: read_parquet(path), "no file", "a.parquet")
    pl.DataFrame({"a": range(1000), "b": range(1000)}).write_parquet(path)
    assert read_parquet(path, ["b"]).height == 1000
    expect_error(DataError, lambda: read_parquet(path, ["b", "c"]), "no column 'c'", "(it has a, b)", "rename or add")
    path.write_bytes(path.read_bytes()[:-50])
    expect_error(DataError, lambda: read_parquet(path), "a.parquet", "cannot be read", "truncated")
    path.write_bytes(b"")
    expect_error(DataError, lambda: read_parquet(path), "a.parquet", "cannot be read")


def test_all_missing_columns_are_named():
    frame = pl.DataFrame({"a": [1]})
    expect_error(DataError, lambda: require_columns(frame, ["b", "a", "c"], where="it"), "it has no column 'b', 'c'")


def test_arrays_go_round_and_objects_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, one=np.arange(3), two=np.array(["a", "bc"]))
    with np.load(path, allow_pickle=False) as stored:
        assert set(stored.files) == {"one", "two"}
        assert stored["one"].tolist() == [0, 1, 2]
        assert stored["two"].tolist() == ["a", "bc"]
    bad = np.array([{}], dtype=object)
    expect_error(DataError, lambda: save_arrays(tmp_path / "b.npz", bad=bad), "array 'bad'", "Python objects")
    assert names(tmp_path) == ["a.npz"]


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c"
    monkeypatch.setenv("LLMREC_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "llmrec"
    assert names(tmp_path) == []  # asking makes no folder
