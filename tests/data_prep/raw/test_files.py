"""Where raw bytes come from: folders, zips, gzips; damaged ones are named with the line where they break."""

import gzip
import zipfile

import numpy as np
import pytest

from llmrec.data_prep.raw.files import RawFile, find, look_for, single
from llmrec.errors import DataError
from llmrec.testing import expect_error

WHAT = "the ratings"


def read(file):
    with file.open() as (stream, position):
        content = stream.read()
        assert position() <= file.size()
    return content


def zipped(path, **files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def test_a_file_reads_the_same_plain_gzipped_and_zipped(tmp_path):
    content = b"a,b\n1,2\n" * 1000
    (tmp_path / "x.csv").write_bytes(content)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "x.csv.gz").write_bytes(gzip.compress(content))
    archive = zipped(tmp_path / "all.zip", ml__deep__x=content)
    files = [
        find(tmp_path, "x.csv", what=WHAT),
        find(tmp_path / "packed", "x.csv", what=WHAT),
        find(archive, "x", what=WHAT),
        single(tmp_path / "packed" / "x.csv.gz", what=WHAT),
    ]
    assert [read(file) for file in files] == [content] * 4
    assert [file.compressed for file in files] == [False, True, True, True]
    assert files[2].name == "all.zip/ml/deep/x"
    assert files[1].name == "packed/x.csv.gz"


def test_gzip_is_told_by_content_not_by_name(tmp_path):
    (tmp_path / "reviews.json").write_bytes(gzip.compress(b"{}\n"))
    assert read(single(tmp_path / "reviews.json", what=WHAT)) == b"{}\n"
    (tmp_path / "plain.gz").write_bytes(b"{}\n")
    assert read(single(tmp_path / "plain.gz", what=WHAT)) == b"{}\n"


def test_what_is_not_there_is_named(tmp_path):
    expect_error(DataError, lambda: find(tmp_path / "no", "x", what=WHAT), "no file or folder", "no'", WHAT)
    expect_error(DataError, lambda: find(tmp_path, "x.csv", "y", what=WHAT), "does not hold x.csv or y", WHAT)
    expect_error(DataError, lambda: single(tmp_path, what=WHAT), "is a folder", WHAT)
    expect_error(DataError, lambda: single(tmp_path / "x", what=WHAT), "no readable file", WHAT)
    assert look_for(tmp_path, "x.csv", what=WHAT) is None


def test_two_files_of_one_kind_are_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"1")
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"1"))
    expect_error(DataError, lambda: find(tmp_path, "x.csv", what=WHAT), "holds x.csv and x.csv.gz", "one of them")
    archive = zipped(tmp_path / "two.zip", a__x="1", b__x="2")
    expect_error(DataError, lambda: find(archive, "x", what=WHAT), "holds a/x and b/x")


def test_a_zip_where_one_file_is_due_is_refused(tmp_path):
    expect_error(DataError, lambda: single(zipped(tmp_path / "a.zip", x="1"), what=WHAT), "is a zip", "unpack it")


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_gzip_is_named(tmp_path, damage):
    noise = np.random.default_rng(0).bytes(100_000).hex().encode()
    packed = bytearray(gzip.compress(noise))
    if damage == "cut":
        packed = packed[:-1000]
    else:
        packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "x.gz").write_bytes(packed)
    expect_error(DataError, lambda: read(RawFile(tmp_path / "x.gz")), "x.gz", "cannot be unpacked", "fetch it again")


def test_a_damaged_zip_is_named(tmp_path):
    path = zipped(tmp_path / "a.zip", x=np.random.default_rng(0).bytes(10_000))
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    path.write_bytes(content)
    expect_error(DataError, lambda: read(find(path, "x", what=WHAT)), "a.zip/x", "cannot be unpacked")
    path.write_bytes(content[:-30])
    expect_error(DataError, lambda: find(path, "x", what=WHAT), "a.zip", "cannot be unpacked")
