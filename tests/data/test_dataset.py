"""Data sets: queries by hand, folders that go round, folders that are damaged."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data import Dataset, Impressions, Interactions, Queries, Vocabulary
from llmrec.data.queries import pad_ragged
from llmrec.errors import DataError
from llmrec.testing import TOY_HISTORIES, expect_error, toy


def rich() -> Dataset:
    """Return the toy data with everything optional in it."""
    return dataclasses.replace(
        toy(),
        item_table=toy().item_table.with_columns(
            year=pl.Series([1979, 1985, 1942, None, 1995, 1996, 1997], dtype=pl.Int32),
            categories=pl.Series([["Horror", "Sci-Fi"], ["Sci-Fi"], [], ["Sci-Fi"], ["Crime"], ["Crime"], []]),
        ),
        user_table=pl.DataFrame({"age": [20, 30, 40, 50, 60]}),
        impressions=Impressions(
            [0, 1, 4, 2], [5, 6, 7, 8], [0, 2, 2, 3, 5], [4, 3, 6, 1, 2], [1, 0, 1, 0, 0], [True, True, True, False]
        ),
        clock=False,
    )


def assert_equal(one: Dataset, two: Dataset) -> None:
    assert (one.name, one.source, one.licence, one.clock) == (two.name, two.source, two.licence, two.clock)
    assert one.users == two.users
    assert one.items == two.items
    for name in ("users", "items", "times", "values"):
        np.testing.assert_array_equal(getattr(one.interactions, name), getattr(two.interactions, name))
    assert one.item_table.equals(two.item_table)
    assert one.item_table.schema == two.item_table.schema
    assert (one.user_table is None) == (two.user_table is None)
    assert one.user_table is None or one.user_table.equals(two.user_table)
    assert (one.impressions is None) == (two.impressions is None)
    if one.impressions is not None:
        for name in ("users", "times", "offsets", "items", "clicked", "labelled"):
            np.testing.assert_array_equal(getattr(one.impressions, name), getattr(two.impressions, name))


@pytest.mark.parametrize("make", [toy, rich])
def test_a_folder_goes_round(tmp_path, make):
    assert make().save(tmp_path / "set") == tmp_path / "set"
    assert_equal(Dataset.load(tmp_path / "set"), make())
    assert_equal(Dataset.load(str(tmp_path / "set")), make())


def test_the_folder_says_what_is_in_it(tmp_path):
    rich().save(tmp_path)
    about = json.loads((tmp_path / "dataset.json").read_text())
    assert about["schema_version"] == 1
    assert about["licence"] == "CC0"
    assert about["counts"] == {"users": 5, "items": 7, "interactions": 16, "impressions": 4}


def test_saving_again_replaces_the_folder(tmp_path):
    rich().save(tmp_path / "set")
    toy().save(tmp_path / "set")
    assert_equal(Dataset.load(tmp_path / "set"), toy())


def test_an_empty_set_goes_round(tmp_path):
    empty = Dataset("none", Interactions.sort([], [], []), Vocabulary([]), Vocabulary([]), pl.DataFrame({"title": []}))
    empty.save(tmp_path / "set")
    assert Dataset.load(tmp_path / "set").counts() == {"users": 0, "items": 0, "interactions": 0, "impressions": 0}


def rewrite(name: str, change):
    """Return a damage that reads a Parquet file, changes it and writes it back."""

    def damage(folder):
        frame = change(pl.read_parquet(folder / name))
        frame.write_parquet(folder / name)

    return damage


def truncate(name: str):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40])


def of_version(version: int):
    return lambda folder: (folder / "dataset.json").write_text(json.dumps({"schema_version": version, "name": "toy"}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "dataset.json").unlink(), ["no file", "dataset.json"]),
        (lambda folder: (folder / "items.parquet").unlink(), ["no file", "items.parquet"]),
        (truncate("interactions.parquet"), ["interactions.parquet", "cannot be read", "truncated"]),
        (truncate("impressions.parquet"), ["impressions.parquet", "cannot be read"]),
        (rewrite("interactions.parquet", lambda frame: frame.drop("time")), ["no column 'time'"]),
        (rewrite("users.parquet", lambda frame: frame.rename({"id": "name"})), ["no column 'id'"]),
        (of_version(2), ["schema version 2", "expected version 1", "llmrec prepare"]),
        (rewrite("items.parquet", lambda frame: pl.concat([frame, frame[:1]])), ["duplicate id 100"]),
        (rewrite("items.parquet", lambda frame: frame[:-2]), ["item number 5", "item numbers from 0 to 4"]),
        (rewrite("users.parquet", lambda frame: frame[:-1]), ["user number 4", "user numbers from 0 to 3"]),
        (rewrite("interactions.parquet", lambda frame: frame[::-1]), ["out of time order"]),
    ],
)
def test_a_damaged_folder_is_named(tmp_path, damage, words):
    rich().save(tmp_path / "set")
    damage(tmp_path / "set")
    expect_error(DataError, lambda: Dataset.load(tmp_path / "set"), *words)


@pytest.mark.parametrize("blank", [None, "", "  \t"])
def test_a_blank_title_is_an_error(blank):
    table = toy().item_table.with_columns(title=pl.Series([*toy().titles()[:3], blank, *toy().titles()[4:]]))
    data = dataclasses.replace(toy(), item_table=table)
    expect_error(DataError, data.titles, "item 103 has no title (1 of 7 have none)", "fill the titles in")


def test_a_set_without_titles_says_so():
    data = dataclasses.replace(toy(), item_table=toy().item_table.rename({"title": "name"}))
    expect_error(DataError, data.titles, "item table of 'toy' has the columns name", "a column 'title'")


def test_tables_of_the_wrong_height_are_errors():
    expect_error(
        DataError, lambda: dataclasses.replace(toy(), item_table=toy().item_table[:3]), "item table of 3 rows for 7"
    )
    users = pl.DataFrame({"age": [1]})
    expect_error(DataError, lambda: dataclasses.replace(toy(), user_table=users), "user table of 1 rows for 5 users")


def test_queries_by_hand():
    asked = toy().queries([3, -1, 0], history=3)
    assert asked.users.tolist() == [3, -1, 0]
    assert asked.history.tolist() == [[0, 3, 4], [-1, -1, -1], [1, 2, 3]]
    assert toy().queries([0, 1], history=None).history.tolist() == [[0, 1, 2, 3], [-1, 0, 1, 2]]
    assert toy().queries([], history=None).history.shape == (0, 0)


@given(st.lists(st.integers(-1, 4), max_size=8), st.integers(1, 5))
def test_queries_are_the_end_of_each_history(users, history):
    asked = toy().queries(users, history=history)
    assert asked.lists() == [list(TOY_HISTORIES[user][-history:]) if user >= 0 else [] for user in users]


histories = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=6)


@given(histories)
def test_histories_are_padded_on_the_left_and_come_back(rows):
    asked = Queries.from_histories(rows)
    assert asked.lists() == rows
    assert asked.history.shape == (len(rows), max(map(len, rows), default=0))
    assert (np.diff((asked.history >= 0).astype(int), axis=1) >= 0).all()  # padding first, then items
    assert (asked.users == -1).all()
    for last in range(7):
        assert asked.last(last).lists() == [row[len(row) - min(last, len(row)) :] for row in rows]


@given(histories, st.randoms(use_true_random=False), st.one_of(st.none(), st.integers(0, 6)))
def test_pad_ragged_takes_rows_in_any_order(rows, random, last):
    places = [row for row, items in enumerate(rows) for _ in items]
    random.shuffle(places)
    taken = [0] * len(rows)
    values = []
    for row in places:
        values.append(rows[row][taken[row]])
        taken[row] += 1
    padded = pad_ragged(np.array(places, np.int64), np.array(values, np.int32), len(rows), last=last)
    keep = max(map(len, rows), default=0) if last is None else last
    assert [row[row >= 0].tolist() for row in padded] == [row[len(row) - min(keep, len(row)) :] for row in rows]


def test_queries_of_the_wrong_shape_are_errors():
    expect_error(DataError, lambda: Queries([0, 1], [[1, 2]]), "2 users with a history of shape (1, 2)")
    expect_error(DataError, lambda: Queries([0], [1]), "1 users with a history of shape (1,)", "(q, h)")


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(-1, 3), st.integers(-2, 9)), max_size=8),
)
def test_queries_before_a_moment_hold_strictly_earlier_events(rows, asked):
    users, items, times = zip(*rows, strict=True)
    data = dataclasses.replace(
        toy(), interactions=Interactions.sort(users, items, np.array(times) + 10), users=Vocabulary(range(4))
    )
    found = data.queries([user for user, _ in asked], history=3, before=[moment + 10 for _, moment in asked])
    in_time = sorted(rows, key=lambda row: row[2])
    expected = [[item for user, item, time in in_time if user == who and time < moment][-3:] for who, moment in asked]
    assert found.lists() == expected


def test_rows_too_wide_for_memory_are_refused_before_they_are_made():
    rows, values = np.zeros(4096, np.int64), np.zeros(4096, np.int32)
    words = ("1,048,576 rows as wide as the longest (4,096) take 16 GiB", "at most 8 GiB", "history=50")
    expect_error(DataError, lambda: pad_ragged(rows, values, 2**20), *words)
    assert pad_ragged(rows, values, 2**20, last=2).shape == (2**20, 2)


def test_no_impression_at_all_goes_round(tmp_path):
    none = dataclasses.replace(rich(), impressions=Impressions([], [], [0], [], []))
    assert_equal(Dataset.load(none.save(tmp_path / "set")), none)
