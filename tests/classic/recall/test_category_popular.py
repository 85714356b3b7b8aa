"""Popularity by category: counted by hand, new items like the others of their category."""

from dataclasses import replace

import polars as pl
import pytest

from llmrec.classic.recall.followed import CategoryPopular, CategoryPopularConfig
from llmrec.data import Queries
from llmrec.errors import DataError
from llmrec.testing import RecommenderContract, expect_error, toy

VALUES = [["space"], ["odd", "space"], ["old"], ["space"], ["crime"], ["crime", "odd"], ["space", "crime"]]
"""Of Alien, Brazil, Casablanca, Dune, Heat, Fargo and Gattaca, which had 3, 3, 4, 2, 3, 1 and no users."""


def data():
    return replace(toy(), item_table=toy().item_table.with_columns(categories=pl.Series(VALUES)))


class TestCategoryPopular(RecommenderContract):
    def make(self) -> CategoryPopular:
        return CategoryPopular(CategoryPopularConfig(column="title"))


def test_by_hand():
    """Space has a mean of 8/3 users an item, crime of 2: Gattaca is expected to have their mean."""
    model = CategoryPopular().fit(data())
    expected = (8 / 3 + 2) / 2
    assert model.expected.tolist() == pytest.approx([3, 3, 4, 2, 3, 1, expected])
    # Of Alien and Heat one half is space, one half crime.
    found = model.recommend(Queries.from_histories([(0, 4)]), 5)
    assert found.items[0].tolist() == [6, 3, 1, 5, 2]
    odd_space = (0 + 0.5) / 2 * 3
    crime_odd = (0.5 + 0) / 2 * 1
    scores = [expected * (0.5 + 0.5) / 2, 2 * 0.5, odd_space, crime_odd, 4 / 5 - 1]
    assert found.scores[0].tolist() == pytest.approx(scores)


def test_a_missing_or_blank_column_is_said():
    expect_error(DataError, lambda: CategoryPopular().fit(toy()), "no column 'categories'")
    blank = replace(toy(), item_table=toy().item_table.with_columns(categories=pl.lit("")))
    expect_error(DataError, lambda: CategoryPopular().fit(blank), "blank throughout")
