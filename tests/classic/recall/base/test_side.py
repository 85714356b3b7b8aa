"""Side information read from the item table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from llmrec.classic.recall.base.side import Side, read_side, single_values
from llmrec.data import Dataset
from llmrec.errors import DataError
from llmrec.testing import expect_error, toy

TABLE = pl.DataFrame(
    {
        "title": ["a", "b", "c", "d", "e", "f", "g"],
        "categories": [["War", "Drama"], ["Drama"], [], None, ["War", "War", " "], ["Comedy"], ["Drama"]],
        "year": [1990, 1991, None, 1990, 1990, 1991, 1992],
        "brand": ["x", "", None, " ", "y", "x", "x"],
        "nothing": pl.Series([None] * 7, dtype=pl.String),
    }
)


@pytest.fixture
def data() -> Dataset:
    return replace(toy(), item_table=TABLE)


def said(side: Side) -> list[list[list[int]]]:
    """Return the members of each item's columns."""
    return [
        [side.members[start : start + count].tolist() for start, count in zip(*item, strict=True)]
        for item in zip(side.starts.tolist(), side.counts.tolist(), strict=True)
    ]


def test_lists_and_single_values_are_categories_of_their_own_column(data):
    """Comedy, Drama, War are 0 to 2, the years 3 to 5; a repeated value counts once, blank and null are nothing."""
    side = read_side(data, ["categories", "year"])
    assert side.values == 6
    assert [[sorted(cell) for cell in item] for item in said(side)] == [
        [[1, 2], [3]],
        [[1], [4]],
        [[], []],
        [[], [3]],
        [[2], [3]],
        [[0], [4]],
        [[1], [5]],
    ]


def test_by_default_it_takes_the_usual_columns_that_are_there(data):
    usual, named = read_side(data, None), read_side(data, ["categories", "brand"])
    assert said(usual) == said(named)
    assert read_side(toy(), None).counts.shape == (7, 0)


def test_no_column_says_nothing(data):
    side = read_side(data, ())
    assert side.counts.shape == side.starts.shape == (7, 0)
    assert not side.members.size


def test_the_number_of_each_items_only_value(data):
    assert single_values(data, "brand").tolist() == [1, 0, 0, 0, 2, 1, 1]
    assert single_values(data, "year").tolist() == [1, 2, 0, 1, 1, 2, 3]


def test_columns_that_cannot_serve_are_named(data):
    expect_error(DataError, lambda: read_side(data, ["genre"]), "'genre'", "item table of 'toy'", "categories")
    expect_error(DataError, lambda: read_side(data, ["nothing"]), "'nothing'", "says nothing", "another column")
    expect_error(DataError, lambda: single_values(data, "categories"), "'categories'", "one value")


def test_the_parts_are_arrays_of_numbers(data):
    side = read_side(data, ["categories"])
    assert {array.dtype for array in (side.members, side.starts, side.counts)} == {np.dtype(np.int64)}
