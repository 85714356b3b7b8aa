"""Tables: what is read, and what is said of each kind of bad row, at its line."""

import codecs
import csv
import gzip
import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data_prep.raw import rows
from llmrec.data_prep.raw.delimited import TSV, Layout, read_table
from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.reading import Reading, between, not_blank, present, unix_milliseconds, unix_seconds
from llmrec.errors import DataError
from llmrec.testing import expect_error

COLUMNS = {"user": pl.String, "item": pl.Int64, "rating": pl.Float32, "time": pl.Int64}
CHECKS = [not_blank("user"), present("item"), between("rating", 1, 5), *unix_seconds("time")]
HEADER = "user,item,rating,time\n"
GOOD = "ann,7,4.5,100\nbob,8,1,200\n"
ROWS = [("ann", 7, 4.5, 100), ("bob", 8, 1.0, 200)]


def write(tmp_path, content):
    path = tmp_path / "ratings.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return RawFile(path)


def table(tmp_path, content, reading=None, **more):
    return read_table(write(tmp_path, content), COLUMNS, reading or Reading(), checks=CHECKS, **more)


@pytest.mark.parametrize(
    "content",
    [
        HEADER + GOOD,
        HEADER + GOOD.rstrip("\n"),
        (HEADER + GOOD).replace("\n", "\r\n"),
        codecs.BOM_UTF8.decode() + HEADER + GOOD,
        HEADER + "\nann,7,4.5,100\n  \nbob,8,1,200\n\n",
        "note,time,item,rating,user\nx,100,7,4.5,ann\n,200,8,1,bob\n",
        '"user",item,rating,time\n"ann","7",4.5,100\nbob,8,1,200\n',
        gzip.compress((HEADER + GOOD).encode(), mtime=0),
    ],
)
def test_good_rows_are_read_however_they_are_written(tmp_path, content):
    assert table(tmp_path, content).rows() == ROWS


BAD = [
    ("cid,8,2\n", "3 fields", "4 fields (user, item, rating, time)"),
    ("cid,8,2,100,1\n", "5 fields", "4 fields"),
    ("cid,x,2,100\n", "item = 'x'", "a whole number"),
    ("cid,1.5,2,100\n", "item = '1.5'", "a whole number"),
    ("cid,,2,100\n", "no item", "an id"),
    ("cid,8,two,100\n", "rating = 'two'", "a number"),
    ("cid,8,nan,100\n", "rating = nan", "a number from 1 to 5"),
    ("cid,8,5.5,100\n", "rating = 5.5", "a number from 1 to 5"),
    ("cid,8,,100\n", "no rating", "a number from 1 to 5"),
    ("cid,8,2,-1\n", "time = -1", "Unix seconds, 0 or later"),
    ("cid,8,2,1700000000000\n", "time = 1700000000000", "this looks like milliseconds"),
    ("cid,8,2,\n", "no time", "Unix seconds"),
    (",8,2,100\n", "no user", "an id"),
    (" ,8,2,100\n", "user = ' '", "an id"),
    (b"c\xedd,8,2,100\n", "byte 0xed is no UTF-8 text", "text in that encoding"),
    ('ci"d,8,2,100\n', "a quote that does not close", "quotes in pairs"),
]


@pytest.mark.parametrize(("row", "reason", "expected"), BAD)
def test_a_bad_row_stops_with_its_line_and_text(tmp_path, row, reason, expected):
    row = row if isinstance(row, bytes) else row.encode()
    content = HEADER.encode() + GOOD.encode() + row
    words = ["ratings.csv line 4", reason, expected, "--skip-bad-rows N"]
    if b"\xed" not in row:
        words.append(row.decode().strip())
    expect_error(DataError, lambda: table(tmp_path, content), *words)


def test_as_many_bad_rows_as_allowed_are_left_out_and_kept_for_the_record(tmp_path):
    bad = [row if isinstance(row, bytes) else row.encode() for row, _, _ in BAD[:-1]]  # an open quote joins lines
    content = HEADER.encode() + b"".join([*bad, b"ann,7,4.5,100\n", *bad, b"bob,8,1,200\n"])
    reading = Reading(skip_bad_rows=2 * len(bad))
    assert table(tmp_path, content, reading).rows() == ROWS
    lines = [*range(2, 2 + len(bad)), *range(3 + len(bad), 3 + 2 * len(bad))]
    assert [row.line for row in reading.rejected] == lines
    reasons = [reason for _, reason, _ in BAD[:-1]]
    assert [row.reason for row in reading.rejected] == 2 * reasons
    expect_error(
        DataError,
        lambda: table(tmp_path, content, Reading(skip_bad_rows=2 * len(bad) - 1)),
        f"line {lines[-1]}",
        f"after {2 * len(bad) - 1} bad rows that were left out",
    )


def test_quoted_fields_hold_separators_and_line_breaks(tmp_path):
    content = 'id,text\n1,"a, b\nc ""d"""\n2,plain\n3,"x\n\n\ny"\nz,bad\n'
    columns = {"id": pl.Int64, "text": pl.String}
    reading = Reading(1)
    found = read_table(write(tmp_path, content), columns, reading, checks=[present("id")])
    assert found.rows() == [(1, 'a, b\nc "d"'), (2, "plain"), (3, "x\n\n\ny")]
    assert [(row.line, row.reason) for row in reading.rejected] == [(9, "id = 'z'")]


field = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=6).filter(str.strip)


@given(rows=st.lists(st.tuples(field, field), min_size=1, max_size=12), size=st.integers(1, 64))
def test_whatever_csv_writes_is_read_back_in_chunks_of_any_size(tmp_path_factory, rows, size):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([["number", "one", "two"], *[[place, *row] for place, row in enumerate(rows)]])
    lines = out.getvalue()
    path = tmp_path_factory.mktemp("csv") / "any.csv"
    path.write_text(lines + "bad,x,y\n", encoding="utf-8", newline="")
    columns = {"number": pl.Int64, "one": pl.String, "two": pl.String}
    reading = Reading(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmrec.data_prep.raw.rows.CHUNK", size)
        found = read_table(RawFile(path), columns, reading, checks=[present("number")])
    assert found.rows() == [(place, *row) for place, row in enumerate(rows)]
    assert [row.line for row in reading.rejected] == [lines.count("\n") + 1]


def test_a_quote_that_never_closes_does_not_swallow_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 10)
    monkeypatch.setattr(rows, "LONGEST", 100)
    content = HEADER + GOOD + '"open,1,2,3\n' + "x,1,2,3\n" * 100
    expect_error(DataError, lambda: table(tmp_path, content), "ratings.csv line 4", "a quote may be open")


def test_tabs_need_no_quotes(tmp_path):
    content = 'user\titem\trating\ttime\n"ann\t7\t4.5\t100\n'
    assert table(tmp_path, content, layout=TSV).rows() == [('"ann', 7, 4.5, 100)]


def test_a_separator_of_two_characters_and_a_header_given(tmp_path):
    layout = Layout(separator="::", header=tuple(COLUMNS), quoted=False)
    content = "ann::7::4.5::100\na:b::8::1::200\n"
    assert table(tmp_path, content, layout=layout).rows() == [ROWS[0], ("a:b", 8, 1.0, 200)]
    expect_error(
        DataError,
        lambda: table(tmp_path, content + "ann::7::4.5\n", layout=layout),
        "line 3",
        "'ann::7::4.5'",
        "3 fields",
    )


def test_latin_1_is_read_where_it_is_due(tmp_path):
    content = (HEADER + GOOD).replace("ann", "René")
    latin = Layout(latin=True)
    assert table(tmp_path, content.encode("latin-1"), layout=latin)["user"][0] == "René"
    assert table(tmp_path, content.encode(), layout=latin)["user"][0] == "René"  # copies are often re-encoded
    expect_error(DataError, lambda: table(tmp_path, content.encode("latin-1")), "line 2", "byte 0xe9 is no UTF-8 text")
    cyrillic = content.replace("René", "\u0420").encode("cp855")
    assert any(0x80 <= byte < 0xA0 or byte > 0xA0 for byte in cyrillic)
    control = content.encode("latin-1").replace(b"\xe9", b"\x85")
    expect_error(DataError, lambda: table(tmp_path, control, layout=latin), "line 2", "byte 0x85")


def test_headers(tmp_path):
    expect_error(DataError, lambda: table(tmp_path, ""), "ratings.csv is empty", "a header and rows")
    expect_error(DataError, lambda: table(tmp_path, HEADER), "is empty below its header", "at least one row")
    expect_error(
        DataError,
        lambda: table(tmp_path, HEADER.replace("time", "when") + GOOD),
        "has no column 'time' (it has user, item, rating, when)",
    )
    expect_error(DataError, lambda: table(tmp_path, "user,user\n1,2\n"), "the header user, user", "each name once")
    layout = Layout(header=tuple(COLUMNS))
    expect_error(DataError, lambda: table(tmp_path, "", layout=layout), "ratings.csv is empty:")


def test_milliseconds_where_they_are_due(tmp_path):
    columns, checks = {"time": pl.Int64}, unix_milliseconds("time", "take the other edition")
    good = read_table(write(tmp_path, "time\n1588687728923\n0\n"), columns, Reading(), checks=checks)
    assert good["time"].to_list() == [1588687728923, 0]
    for value, words in (("1588687728", ["this looks like seconds", "take the other edition"]), ("-1", ["0 or later"])):
        file = write(tmp_path, f"time\n{value}\n")
        expect_error(
            DataError, lambda file=file: read_table(file, columns, Reading(), checks=checks), "line 2", value, *words
        )


def test_a_long_row_is_shortened_in_the_message_and_kept_in_the_record(tmp_path):
    long = "x" * 500
    content = HEADER + f"{long},7,9,100\n"
    with pytest.raises(DataError, match=r"line 2 .'x{79}…'"):
        table(tmp_path, content)
    reading = Reading(1)
    table(tmp_path, content + GOOD, reading)
    assert reading.rejected[0].text == f"{long},7,9,100"


def test_progress_ends_at_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 10)
    seen = []
    table(tmp_path, HEADER + GOOD, Reading(progress=lambda done, total: seen.append((done, total))))
    size = len(HEADER + GOOD)
    assert seen[-1] == (size, size)
    assert len(seen) > 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_gzip_that_breaks_names_the_line(tmp_path):
    lines = "".join(f"ann,{place},{place % 5 + 1},{place * 7919 % 99991}\n" for place in range(20_000))
    packed = gzip.compress((HEADER + lines).encode())
    file = write(tmp_path, packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"ratings.csv line \d+ cannot be unpacked") as stopped:
        read_table(file, COLUMNS, Reading(99), checks=CHECKS)
    line = int(str(stopped.value).split(" line ")[1].split()[0])
    assert 5_000 < line < 15_000
