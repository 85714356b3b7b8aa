"""Tables with bad rows: each is named with file, line and cure, or left out and the rest read right."""

import gzip

import polars as pl
import pytest
from tabular import (
    BY_TIME,
    EVENT_KEYS,
    EVENTS,
    ITEM_KEYS,
    ITEMS,
    events,
    json_lines,
    lines,
    put,
)

from llmrec.data_prep.raw.reading import Reading
from llmrec.data_prep.table import load_table
from llmrec.errors import DataError
from llmrec.testing import expect_error

GOOD = {"a.csv": lines(EVENT_KEYS, EVENTS), "b.csv": lines(ITEM_KEYS, ITEMS)}
ROLES = {"time": "time", "value": "value"}


def edit(name, old, new):
    return {**GOOD, name: GOOD[name].replace(old.encode(), new if isinstance(new, bytes) else new.encode())}


BAD_ROWS = [
    ("columns", edit("a.csv", "20,9,100,1.0", "20,9,100"), ["a.csv line 3 ('20,9,100')", "3 fields", "4 fields"]),
    ("time text", edit("a.csv", "20,9,100,", "20,9,noon,"), ["a.csv line 3", "time = 'noon'", "a number"]),
    ("negative", edit("a.csv", "20,9,100,", "20,9,-5,"), ["a.csv line 3", "time = -5", "Unix seconds, 0 or later"]),
    (
        "ms",
        edit("a.csv", "20,9,100,", "20,9,1700000000000,"),
        ["a.csv line 3", "looks like milliseconds", "time_unit='ms'"],
    ),
    ("nan time", edit("a.csv", "20,9,100,", "20,9,NaN,"), ["a.csv line 3", "time = nan", "a time"]),
    ("nan", edit("a.csv", "20,9,100,1.0", "20,9,100,NaN"), ["a.csv line 3", "value = nan", "a finite number"]),
    ("too large", edit("a.csv", "20,9,100,1.0", "20,9,100,1e39"), ["a.csv line 3", "value = 1e+39", "a finite number"]),
    ("no value", edit("a.csv", "20,9,100,1.0", "20,9,100,"), ["a.csv line 3", "no value", "a finite number"]),
    ("user", edit("a.csv", "20,9,100,", " ,9,100,"), ["a.csv line 3", "user = ' '", "an id"]),
    ("item", edit("a.csv", "20,9,100,", "20,,100,"), ["a.csv line 3", "no item", "an id"]),
    (
        "stranger",
        edit("a.csv", "20,9,100,", "20,8,100,"),
        ["a.csv line 3", "item = '8'", "an id of", "b.csv", "add it there"],
    ),
    ("bytes", edit("a.csv", "20,9,100,", b"\xff,9,100,"), ["a.csv line 3", "byte 0xff is no UTF-8 text"]),
]


@pytest.mark.parametrize(("content", "words"), [row[1:] for row in BAD_ROWS], ids=[row[0] for row in BAD_ROWS])
def test_bad_table(tmp_path, content, words):
    table, about = (put(tmp_path, name, content[name]) for name in GOOD)
    expect_error(DataError, lambda: load_table(table, about, **ROLES), *words, "--skip-bad-rows")
    reading = Reading(skip_bad_rows=1)
    data = load_table(table, about, **ROLES, reading=reading)
    assert events(data) == [row for row in BY_TIME if row != (20, 9, 100, 1.0)]
    assert [row.line for row in reading.rejected] == [3]


def test_bad_items(tmp_path):
    table = put(tmp_path, "a.csv", "user,item\n1,7\n1,9\n")
    about = put(tmp_path, "b.csv", "item,title\n7,Babe\n,Nobody\n9,Heat\n7,Again\nx,y,z\n7,Third\n,None\n")
    expect_error(DataError, lambda: load_table(table, about), "b.csv line 3 (',Nobody')", "no item", "an id")
    reading = Reading(skip_bad_rows=5)
    data = load_table(table, about, reading=reading)
    assert data.titles() == ["Babe", "Heat"]
    assert [(row.line, row.reason) for row in reading.rejected] == [
        (3, "no item"),
        (6, "3 fields"),
        (8, "no item"),
        (5, "item = '7' stands on line 2 too"),
        (7, "item = '7' stands on line 2 too"),
    ]
    words = ["b.csv line 7 ('7,Third')", "item = '7' stands on line 2 too, after 4 bad rows", "each item once"]
    expect_error(DataError, lambda: load_table(table, about, reading=Reading(skip_bad_rows=4)), *words)


def test_bad_json_items(tmp_path):
    table = put(tmp_path, "a.csv", "user,item\n1,7\n1,9\n")
    rows = ['{"item": 7, "title": "Babe", "tags": ["a"]}', '{"item": 8, "title": "B', "3", '{"item": 9, "year": 1995}']
    about = put(tmp_path, "b.jsonl", "\n".join(rows))
    expect_error(DataError, lambda: load_table(table, about), "b.jsonl line 2", "broken JSON")
    reading = Reading(skip_bad_rows=2)
    data = load_table(table, about, reading=reading)
    assert [row.line for row in reading.rejected] == [2, 3]
    assert data.item_table.to_dict(as_series=False) == {
        "title": ["Babe", None],
        "tags": [["a"], None],
        "year": [None, 1995],
    }
    expect_error(DataError, lambda: load_table(table, about, reading=Reading(1)), "line 3 ('3')", "JSON of type int")


def test_a_broken_first_line_does_not_make_a_document(tmp_path):
    about = put(tmp_path, "b.json", '{"item": 8, "title": "B\n{"item": 9, "title": "Heat"}\n')
    table = put(tmp_path, "a.csv", "user,item\n1,9\n")
    expect_error(DataError, lambda: load_table(table, about), "b.json line 1", "broken JSON", "--skip-bad-rows")
    reading = Reading(skip_bad_rows=1)
    assert load_table(table, about, reading=reading).titles() == ["Heat"]
    assert [row.line for row in reading.rejected] == [1]


def test_bad_rows_of_a_json_document_have_the_lines_where_they_begin(tmp_path):
    document = (
        '[\n {"item": "7",\n  "title": "Babe"},\n\n {"title": "Nobody"},\n 4, {"item": "9", "title": "Heat"}\n]\n'
    )
    about = put(tmp_path, "b.json", document)
    table = put(tmp_path, "a.csv", "user,item\n1,7\n1,9\n")
    expect_error(DataError, lambda: load_table(table, about), "b.json line 5", "Nobody", "no item")
    reading = Reading(skip_bad_rows=2)
    assert load_table(table, about, reading=reading).titles() == ["Babe", "Heat"]
    assert [(row.line, row.reason) for row in reading.rejected] == [(5, "no item"), (6, "JSON of type int")]
    keyed = put(tmp_path, "c.json", '{\n "7": {"title": "Babe"},\n "8": "Heat",\n "9": {"title": "Up"}\n}')
    expect_error(DataError, lambda: load_table(table, keyed, item_id="id"), "c.json line 3", "JSON of type str")
    reading = Reading(skip_bad_rows=1)
    assert load_table(table, keyed, item_id="id", reading=reading).titles() == ["Babe", "Up"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[\n{"item": 1},\n{"item": ]', ["b.json line 3", "broken JSON (Expecting value)"]),
        ('[{"item": 1}\n{"item": 2}]', ["b.json line 2", "no ','"]),
        ('[{"item": 1},\n]', ["b.json line 2", "a comma before the end"]),
        ('[{"item": 1}]\n]', ["b.json line 2", "something behind the end"]),
        ('[{"item": 1},\n', ["b.json line 2", "broken JSON"]),
        ("[", ["b.json line 1", "broken JSON"]),
        ('{\n"a" {"item": 1}}', ["b.json line 2", "no ':'"]),
        (b'[\n{"item": "\xff"}]', ["b.json line 2", "byte 0xff is no UTF-8 text"]),
        ("[" * 100_000, ["b.json line 1", "nested too deeply"]),
        ("[]", ["b.json is empty"]),
        ("", ["b.json is empty"]),
        ('[{"id": 1, "title": "x"}]', ["b.json has no column 'item' (it has id, title)", "rename or add it"]),
    ],
)
def test_bad_json_document(tmp_path, content, words):
    table, about = put(tmp_path, "a.csv", "user,item\n1,1\n"), put(tmp_path, "b.json", content)
    expect_error(DataError, lambda: load_table(table, about, title=None), *words)


def test_a_message_does_not_repeat_a_long_field(tmp_path):
    table = put(tmp_path, "a.csv", "user,item\n1," + "x" * 5000 + "\n")
    about = put(tmp_path, "b.csv", "item,title\n1,Babe\n")
    with pytest.raises(DataError) as caught:
        load_table(table, about)
    assert len(str(caught.value)) < 700


def test_bad_parquet(tmp_path):
    path, where = tmp_path / "a.parquet", f"{tmp_path.name}/a.parquet"
    good = pl.DataFrame({"user": ["1", "2", None, "4"], "item": [1, 2, 3, 4], "value": ["1", "x", "3", "4"]})
    good.write_parquet(path)
    expect_error(DataError, lambda: load_table(path, value="value"), f"{where} line 2", "value = 'x'", "a number")
    reading = Reading(skip_bad_rows=2)
    data = load_table(path, value="value", reading=reading)
    assert events(data) == [(1, 1, 0, 1.0), (4, 4, 1, 4.0)]
    assert [(row.line, row.reason) for row in reading.rejected] == [(2, "value = 'x'"), (3, "no user")]
    expect_error(DataError, lambda: load_table(path, value="value", reading=Reading(1)), "line 3", "no user")
    path.write_bytes(path.read_bytes()[:-9])
    expect_error(DataError, lambda: load_table(path), where, "cannot be read", "truncated")
    good.clear().write_parquet(path)
    expect_error(DataError, lambda: load_table(path), f"{where} is empty")
    good.drop("item").write_parquet(path)
    expect_error(DataError, lambda: load_table(path), where, "no column 'item'")
    pl.DataFrame({"user": [1], "item": [{"a": [1]}]}).write_parquet(path)
    expect_error(DataError, lambda: load_table(path), where, "lists or objects in column 'item'", "texts or numbers")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: f / "nowhere.csv", ["nowhere.csv", "is no readable file"]),
        (lambda f: f, ["is a folder"]),
        (lambda f: put(f, "a.csv", b""), ["a.csv is empty"]),
        (lambda f: put(f, "a.csv", b"user,item\n"), ["a.csv is empty below its header"]),
        (lambda f: put(f, "a.jsonl", b""), ["a.jsonl is empty"]),
        (lambda f: put(f, "a.jsonl", b'{"user": 1}\n'), ["a.jsonl line 1", "no item"]),
        (lambda f: put(f, "a.csv", b"user,film\n1,2\n"), ["a.csv has no column 'item' (it has user, film)"]),
        (
            lambda f: put(f, "a.csv", b"user,item,user\n1,2,3\n"),
            ["a.csv has the header user, item, user", "each name once"],
        ),
        (lambda f: put(f, "a.xlsx", b"x"), ["a.xlsx ends in '.xlsx'", ".csv", "give its layout"]),
        (
            lambda f: put(f, "a.csv.gz", gzip.compress(lines(EVENT_KEYS, EVENTS * 999))[:-20]),
            ["a.csv.gz line", "unpacked"],
        ),
        (
            lambda f: put(f, "a.jsonl.gz", gzip.compress(json_lines(EVENT_KEYS, EVENTS))[:-9]),
            ["a.jsonl.gz line", "unpacked"],
        ),
        (lambda f: put(f, "a.json.gz", gzip.compress(b"[]" * 99)[:-9]), ["a.json.gz' cannot be unpacked"]),
    ],
)
def test_bad_files(tmp_path, make, words):
    expect_error(DataError, lambda: load_table(make(tmp_path)), *words)


def test_a_file_whose_rows_are_all_bad(tmp_path):
    table = put(tmp_path, "a.csv", "user,item\n,1\n,2\n")
    expect_error(DataError, lambda: load_table(table, reading=Reading(9)), "a.csv has no good row", "mend")


@pytest.mark.parametrize(
    ("time", "unit", "words"),
    [
        ("1700000000", "ms", ["time = 1700000000.0", "looks like seconds", "time_unit='s'"]),
        ("2023-13-01", "iso", ["time = '2023-13-01'", "2024-05-31T18:30:00"]),
        ("1969-12-31", "iso", ["time = '1969-12-31'", "from 1970 on"]),
        ("1700000000", "iso", ["time = '1700000000'"]),
        ("", "iso", ["no time"]),
    ],
)
def test_bad_times(tmp_path, time, unit, words):
    table = put(tmp_path, "a.csv", f"user,item,time\n1,1,{time}\n")
    expect_error(DataError, lambda: load_table(table, time="time", time_unit=unit), "a.csv line 2", *words)
