"""JSON lines: what is read, and what is said of each kind of bad row, at its line."""

import codecs
import gzip
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.jsonlines import read_json_lines, read_literals
from llmrec.data_prep.raw.reading import Reading, between, not_blank, unix_seconds
from llmrec.errors import DataError
from llmrec.testing import expect_error

COLUMNS = {"user": pl.String, "rating": pl.Float64, "time": pl.Int64}
CHECKS = [not_blank("user"), between("rating", 1, 5), *unix_seconds("time")]
GOOD = (
    '{"user": "ann", "rating": 4.5, "time": 100, "more": {"a": [1, "}"]}}\n'
    '{"time": 200, "rating": 1, "user": "b\\u00e9"}\n'
)
ROWS = [("ann", 4.5, 100), ("bé", 1.0, 200)]


def write(tmp_path, content, name="reviews.json"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return RawFile(path)


def read(tmp_path, content, reading=None, **more):
    return read_json_lines(write(tmp_path, content, **more), COLUMNS, reading or Reading(), checks=CHECKS)


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.rstrip("\n"),
        GOOD.replace("\n", "\r\n"),
        "\n" + GOOD.replace("\n", "\n\n  \n"),
        codecs.BOM_UTF8.decode() + GOOD,
        gzip.compress(GOOD.encode(), mtime=0),
        gzip.compress(GOOD.splitlines(keepends=True)[0].encode(), mtime=0)
        + gzip.compress(GOOD.splitlines()[1].encode(), mtime=0),
    ],
)
def test_good_rows_are_read_however_they_are_written(tmp_path, content):
    assert read(tmp_path, content).rows() == ROWS


def test_a_name_that_polars_would_take_for_a_pattern(tmp_path):
    write(tmp_path, '{"user": "other", "rating": 1, "time": 1}\n', name="reviews1.json")
    assert read(tmp_path, GOOD, name="reviews[1-9]*.json").rows() == ROWS


BAD = [
    ('{"user": "cid", "rating": 4', "broken JSON (Expecting ',' delimiter", "one JSON object a line"),
    ('{"user": "cid", "ra', "broken JSON (Unterminated string", "one JSON object a line"),
    ('{"user": "c", "rating": 4, "time": 1} {"user": "d"}', "broken JSON (Extra data", "one JSON object a line"),
    ("{'user': 'cid'}", "broken JSON (Expecting property name", "one JSON object a line"),
    ("[1, 2]", "JSON of type list", "one JSON object a line"),
    ('"text"', "JSON of type str", "one JSON object a line"),
    ('{"user": "cid", "rating": "five", "time": 1}', "rating = 'five'", "a number"),
    ('{"user": "cid", "rating": 4, "time": 1.5}', "time = 1.5", "a whole number"),
    ('{"user": "cid", "rating": 4, "time": "1"}', "time = '1'", "a whole number"),
    ('{"user": "cid", "rating": NaN, "time": 1}', "JSON that is not strict", "RFC 8259"),
    ('{"user": "cid", "rating": 4}', "no time", "Unix seconds"),
    ('{"user": "cid", "rating": 6, "time": 1}', "rating = 6.0", "a number from 1 to 5"),
    ('{"user": "cid", "rating": 4, "time": -5}', "time = -5", "Unix seconds, 0 or later"),
    ('{"user": "cid", "rating": 4, "time": 1529193600000}', "time = 1529193600000", "looks like milliseconds"),
    ('{"user": " ", "rating": 4, "time": 1}', "user = ' '", "an id"),
    ('{"user": null, "rating": 4, "time": 1}', "no user", "an id"),
    ('{"rating": 4, "time": 1}', "no user", "an id"),
    (b'{"user": "c\xe9", "rating": 4, "time": 1}', "byte 0xe9 is no UTF-8 text", "text in that encoding"),
]


@pytest.mark.parametrize(("row", "reason", "expected"), BAD)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_bad_row_stops_with_its_line(tmp_path, row, reason, expected, pack):
    row = row if isinstance(row, bytes) else row.encode()
    content = pack(GOOD.encode() + b"\n" + row + b"\n" + GOOD.encode())
    words = ["reviews.json line 4", reason, expected, "--skip-bad-rows N"]
    expect_error(DataError, lambda: read(tmp_path, content), *words)


def test_as_many_bad_rows_as_allowed_are_left_out(tmp_path):
    bad = [row if isinstance(row, bytes) else row.encode() for row, _, _ in BAD]
    first, second = GOOD.encode().splitlines()
    content = b"\n".join([*bad, first, *bad, second])
    reading = Reading(skip_bad_rows=2 * len(bad))
    assert read(tmp_path, content, reading).rows() == ROWS
    assert [row.line for row in reading.rejected] == [
        *range(1, 1 + len(bad)),
        *range(2 + len(bad), 2 + 2 * len(bad)),
    ]
    for row, (_, reason, _) in zip(reading.rejected, BAD, strict=False):
        assert row.reason.startswith(reason)
    reading.write(tmp_path)
    record = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(record) == 2 * len(bad)
    name = f"{tmp_path.name}/reviews.json"
    assert record[10] == {"file": name, "line": 11, "reason": "no time", "text": BAD[10][0]}
    expect_error(DataError, lambda: read(tmp_path, content, Reading(2 * len(bad) - 1)), f"line {1 + 2 * len(bad)}")


def test_nothing_is_written_where_nothing_was_rejected(tmp_path):
    Reading(3).write(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "\n \n", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_named(tmp_path, content):
    expect_error(DataError, lambda: read(tmp_path, content), "reviews.json is empty", "one object a line")


def test_a_truncated_gzip_is_named_even_where_bad_rows_may_go(tmp_path):
    packed = gzip.compress(GOOD.encode() * 1000)
    expect_error(
        DataError, lambda: read(tmp_path, packed[:-9], Reading(10**6)), "reviews.json line", "cannot be unpacked"
    )


def test_a_text_column_takes_any_value(tmp_path):
    file = write(tmp_path, '{"x": 12}\n{"x": ["a", "b"]}\n{"x": {"k": 1}}\n{"x": null}\n{"x": "t"}\n')
    found = read_json_lines(file, {"x": pl.String}, Reading())["x"].to_list()
    assert [found[0], found[3], found[4]] == ["12", None, "t"]
    assert [json.loads(each) for each in found[1:3]] == [["a", "b"], {"k": 1}]


values = st.fixed_dictionaries(
    {
        "user": st.text(min_size=1).filter(lambda text: max(text) > " "),
        "rating": st.floats(1, 5),
        "time": st.integers(0, 10**9),
    }
)


@given(rows=st.lists(values, min_size=1, max_size=20), bad=st.sets(st.integers(0, 19)))
def test_whatever_json_writes_is_read_back_around_bad_rows(tmp_path_factory, rows, bad):
    lines = [json.dumps(row)[: -1 if place in bad else None] for place, row in enumerate(rows)]
    path = tmp_path_factory.mktemp("json") / "any.json"
    path.write_text("\n".join(lines), encoding="utf-8")
    reading = Reading(len(rows))
    found = read_json_lines(RawFile(path), COLUMNS, reading, checks=CHECKS)
    assert found.rows() == [
        (row["user"], row["rating"], row["time"]) for place, row in enumerate(rows) if place not in bad
    ]
    assert [row.line for row in reading.rejected] == [place + 1 for place in range(len(rows)) if place in bad]


def titles(tmp_path, content, reading=None):
    def row(values):
        return {"title": str(values["title"]).upper()} if "title" in values else {"title": None}

    return pl.concat(list(read_literals(write(tmp_path, content), row, {"title": pl.String}, reading or Reading())))


def test_python_literals(tmp_path):
    content = "{'title': 'A \\'b\\'', 'x': [[1.5, u'y']]}\n\n{'asin': '1', \"title\": \"c\"}\n{}"
    assert titles(tmp_path, content)["title"].to_list() == ["A 'B'", "C", None]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{'title': 'x", "no Python literal"),
        ("['title']", "no Python literal (a Python list)"),
        ("{'title': open('x')}", "no Python literal"),
        ("(" * 500 + ")" * 500, "no Python literal"),
        (b"{'title': '\xff'}", "byte 0xff is no UTF-8 text"),
    ],
)
def test_a_bad_literal_stops_with_its_line(tmp_path, row, reason):
    row = row if isinstance(row, bytes) else row.encode()
    content = b"{'title': 'a'}\n" + row + b"\n{'title': 'b'}\n"
    expect_error(DataError, lambda: titles(tmp_path, content), "reviews.json line 2", reason)
    reading = Reading(1)
    assert titles(tmp_path, content, reading)["title"].to_list() == ["A", "B"]
    assert [each.line for each in reading.rejected] == [2]
