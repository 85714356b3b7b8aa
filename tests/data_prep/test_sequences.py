"""Sequence files: places are times, further columns go on, bad lines are named; the real files are read."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tabular import put

from llmrec.data import Dataset
from llmrec.data_prep.raw.delimited import Layout
from llmrec.data_prep.raw.reading import Reading
from llmrec.data_prep.sequences import load_sequences
from llmrec.errors import DataError
from llmrec.testing import expect_error

SEQUENCES = "user\titems\n20\t7 3 7\n5\t9\n"
ITEMS = "item,title,year\n9,Heat,1995\n3,Babe,1995\n7,Up,2009\n8,Nobody,2021\n"


def histories(data: Dataset) -> dict:
    rows = data.queries(np.arange(len(data.users)), history=None).lists()
    return {user: data.items.decode(np.array(row)).to_list() for user, row in zip(data.users.ids, rows, strict=True)}


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (SEQUENCES, True),
        (gzip.compress(SEQUENCES.encode(), mtime=0), True),
        (SEQUENCES.replace("\n", "\r\n"), True),
        (SEQUENCES.rstrip("\n"), True),
        (SEQUENCES.split("\n", 1)[1], False),
        ("user_id:token\titem_id_list:token_seq\titem_id:token\n20\t7 3\t7\n5\t\t9\n", True),
        ("20\t7\t3\t7\n5\t9\t\t\n", False),
        ("20\t7  3 7 \n\n5\t 9\n", False),
    ],
    ids=["header", "gzip", "crlf", "no last newline", "headless", "RecBole", "headless, further columns", "blanks"],
)
def test_sequences_are_read_in_order(tmp_path, content, header):
    data = load_sequences(put(tmp_path, "seq.tsv", content), put(tmp_path, "items.csv", ITEMS), header=header)
    assert histories(data) == {5: [9], 20: [7, 3, 7]}
    assert data.interactions.times.tolist() == [0, 0, 1, 2]
    assert data.interactions.values.tolist() == [1, 1, 1, 1]
    assert not data.clock
    assert data.items.ids.to_list() == [9, 3, 7, 8]
    assert data.titles() == ["Heat", "Babe", "Up", "Nobody"]
    assert data.item_table["year"].to_list() == ["1995", "1995", "2009", "2021"]
    assert data.name == "seq"


def test_without_a_catalogue_the_items_are_those_of_the_sequences(tmp_path):
    data = load_sequences(put(tmp_path, "a.tsv", "u\ti\nx\tb 10 9\n"), name="mine", source="here", licence="none")
    assert histories(data) == {"x": ["b", "10", "9"]}
    assert data.items.ids.to_list() == ["10", "9", "b"]
    assert data.item_table.shape == (3, 0)
    assert (data.name, data.source, data.licence) == ("mine", "here", "none")


@settings(deadline=None)  # files are written and read
@given(st.dictionaries(st.integers(0, 99), st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=9))
def test_what_is_written_is_read(tmp_path_factory, sequences):
    text = "".join(f"{user}\t{' '.join(map(str, items))}\n" for user, items in sequences.items())
    data = load_sequences(put(tmp_path_factory.mktemp("s"), "a.tsv", text), header=False)
    assert histories(data) == sequences


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("6", ["seq.tsv line 4 ('6')", "1 fields", "2 fields (user, items)"]),
        ("6\t7\t9", ["seq.tsv line 4", "3 fields"]),
        (" \t7", ["seq.tsv line 4", "user = ' '", "an id"]),
        ("\t7", ["seq.tsv line 4", "no user"]),
        ("6\t", ["seq.tsv line 4", "no items", "items with spaces between"]),
        ("6\t  ", ["seq.tsv line 4", "items = ' '", "oldest first"]),
        ("6\t7 4 12", ["seq.tsv line 4 ('6\\t7 4 12')", "item '4'", "items of", "items.csv", "add it there"]),
        ("20\t9", ["seq.tsv line 4", "user = '20' stands on line 2 too", "each user once"]),
        ("20\t4", ["seq.tsv line 4", "user = '20' stands on line 2 too"]),
        (b"6\xff\t9", ["seq.tsv line 4", "byte 0xff is no UTF-8 text"]),
    ],
)
def test_bad_sequences(tmp_path, line, words):
    start, end = SEQUENCES.encode(), b"\n8\t3 9\n"
    path = put(tmp_path, "seq.tsv", start + (line if isinstance(line, bytes) else line.encode()) + end)
    items = put(tmp_path, "items.csv", ITEMS)
    expect_error(DataError, lambda: load_sequences(path, items), *words, "--skip-bad-rows")
    reading = Reading(skip_bad_rows=1)
    assert histories(load_sequences(path, items, reading=reading)) == {5: [9], 8: [3, 9], 20: [7, 3, 7]}
    assert [row.line for row in reading.rejected] == [4]


def test_one_more_bad_row_than_may_be(tmp_path):
    path = put(tmp_path, "seq.tsv", SEQUENCES + "8\t1\n\n6\n8\t7\n9\t9 2\n")
    items = put(tmp_path, "items.csv", ITEMS)
    reading = Reading(skip_bad_rows=4)
    assert histories(load_sequences(path, items, reading=reading)) == {5: [9], 20: [7, 3, 7]}
    assert [(row.line, row.reason) for row in reading.rejected] == [
        (6, "1 fields"),
        (7, "user = '8' stands on line 4 too"),
        (4, "item '1'"),
        (8, "item '2'"),
    ]
    expect_error(DataError, lambda: load_sequences(path, items, reading=Reading(3)), "line 8", "item '2', after 3 bad")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: f / "nowhere.tsv", ["nowhere.tsv", "is no readable file", "a file of sequences"]),
        (lambda f: put(f, "a.tsv", ""), ["a.tsv is empty"]),
        (lambda f: put(f, "a.tsv", "user\titems\n"), ["a.tsv is empty below its header"]),
        (lambda f: put(f, "a.tsv", "user items\n1 2 3\n"), ["a.tsv has one column", "a user, a tab and items"]),
        (lambda f: put(f, "a.tsv.gz", gzip.compress(SEQUENCES.encode() * 9)[:-9]), ["a.tsv.gz line", "unpacked"]),
    ],
)
def test_bad_sequence_files(tmp_path, make, words):
    expect_error(DataError, lambda: load_sequences(make(tmp_path)), *words)


def test_a_catalogue_that_is_missing_or_headless(tmp_path):
    path = put(tmp_path, "a.tsv", SEQUENCES)
    expect_error(DataError, lambda: load_sequences(path, tmp_path / "items.csv"), "items.csv", "no readable file")
    expect_error(
        DataError, lambda: load_sequences(put(tmp_path, "b.tsv", "1 2\n"), header=False), "one column", "header"
    )
    wrong = put(tmp_path, "wrong.csv", "item,name\n1,x\n")
    expect_error(DataError, lambda: load_sequences(path, wrong), "wrong.csv has no column 'title' (it has item, name)")


def test_a_file_whose_lines_are_all_bad(tmp_path):
    path = put(tmp_path, "a.tsv", "user\titems\n1\t\n")
    expect_error(DataError, lambda: load_sequences(path, reading=Reading(9)), "a.tsv has no good row")


@pytest.mark.data
def test_movielens_1m_holds_what_its_source_says(data_folder):
    folder = data_folder / "movielens-1m"
    layout = Layout(separator="::", header=["item", "title", "genres"], quoted=False, latin=True)
    data = load_sequences(folder / "sequences.tsv", folder / "movies.dat", item_layout=layout)
    assert data.counts() == {"users": 6040, "items": 3883, "interactions": 1_000_209, "impressions": 0}
    assert len(np.unique(data.interactions.items)) == 3706
    first = histories(data)[1]
    assert first[:4] == [3186, 1721, 1022, 1270]
    assert first[-1] == 48
    assert data.titles()[data.items.numbers([73])[0]] == "Misérables, Les (1995)"


@pytest.mark.data
def test_recbole_games_holds_what_its_source_says(data_folder):
    folder = data_folder / "llmrank" / "Games"
    columns = {"item_id": "item_id:token", "title": "title:token_seq"}
    data = load_sequences(folder / "Games.test.inter", folder / "Games.item", **columns)
    assert data.counts() == {"users": 50_546, "items": 16_859, "interactions": 440_264, "impressions": 0}
    assert histories(data)[0] == list(range(15))  # fourteen of the history and the next item


@pytest.mark.data
@pytest.mark.parametrize("part", ["ml-1m", "Games"])
@pytest.mark.parametrize(
    ("retriever", "length"),
    [
        *((name, 100) for name in ("random", "pop", "bpr", "gru4rec", "sasrec", "bm25", "bert")),
        ("rabmbepobpgrsa_3", 21),
    ],
)
def test_candidate_lists_are_of_two_hundred_users(data_folder, part, retriever, length):
    data = load_sequences(data_folder / "llmrank" / part / f"{part}.{retriever}", header=False)
    assert len(data.users) == 200
    assert {len(row) for row in histories(data).values()} == {length}
