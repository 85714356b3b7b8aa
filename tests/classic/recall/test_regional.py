"""Popularity by region: users of two zip codes counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from llmrec.classic.recall.popular import Popular
from llmrec.classic.recall.regional import Regional, RegionalConfig
from llmrec.data import Dataset, Queries
from llmrec.errors import DataError, ModelError
from llmrec.testing import RecommenderContract, assert_same, expect_error, toy

ZIPS = ["10001", " 19104", "20001", "2", None]


def living(**columns) -> Dataset:
    return replace(toy(), user_table=pl.DataFrame(columns))


def asked(*users: int) -> Queries:
    return Queries.from_histories([()] * len(users), users)


class TestRegional(RecommenderContract):
    """The three users whom the contract compares with unseen ones have no region, so they get what those get."""

    def make(self) -> Regional:
        return Regional()

    def fitted(self) -> Regional:
        return self.make().fit(living(zip=[None, " ", "", "1", "1"]), seed=0)


def test_counts_by_hand():
    """With five users and smoothing 5, the number of all users who had an item is added to the region's.

    In region 1 Alien, Brazil and Casablanca had two users, Dune one; in region 2 Heat two, Alien to Dune one.
    """
    model = Regional(RegionalConfig(prefix=1, smoothing=5)).fit(living(zip=ZIPS))
    found = model.recommend(asked(0, 1, 2, 3), 7)
    north, south = [2 + 3, 2 + 3, 2 + 4, 1 + 2, 0 + 3, 0 + 1, 0], [1 + 3, 1 + 3, 1 + 4, 1 + 2, 2 + 3, 0 + 1, 0]
    for row, by_hand in enumerate((north, north, south, south)):
        assert dict(zip(found.items[row].tolist(), found.scores[row].tolist(), strict=True)) == pytest.approx(
            dict(enumerate(by_hand))
        )
    assert found.items[0].tolist() == [2, 0, 1, 3, 4, 5, 6]
    assert found.items[2].tolist() == [2, 4, 0, 1, 3, 5, 6]


def test_with_little_smoothing_a_region_goes_its_own_way():
    model = Regional(RegionalConfig(prefix=1, smoothing=0.5)).fit(living(zip=ZIPS))
    found = model.recommend(asked(2), 2)
    assert found.items.tolist() == [[4, 2]]
    np.testing.assert_allclose(found.scores, [[2 + 0.5 * 3 / 5, 1 + 0.5 * 4 / 5]], rtol=1e-6)


def test_unseen_users_and_those_without_a_region_get_popularity():
    model = Regional().fit(living(zip=ZIPS))
    popular = Popular().fit(toy()).recommend(asked(-1, -1), 7)
    assert_same(model.recommend(asked(-1, 4), 7), popular)


def test_a_whole_value_or_its_beginning_is_a_region():
    def top(**settings) -> list[int]:
        model = Regional(RegionalConfig(smoothing=0.01, **settings)).fit(living(zip=ZIPS, age=[1, 1, 25, 18, 25]))
        return model.recommend(asked(2), 3).items[0].tolist()

    assert top(prefix=1) == [
        4,
        2,
        0,
    ]  # with u3: Heat two, Casablanca, Alien, Brazil, Dune one each, by all-time popularity
    assert top() == [2, 1, 4]  # alone: Brazil, Casablanca, Heat
    assert top(column="age") == [2, 4, 1]  # with u4: Casablanca and Heat two, Brazil and Fargo one


def test_a_user_number_beyond_the_training_data_is_an_error():
    model = Regional().fit(living(zip=ZIPS))
    expect_error(DataError, lambda: model.recommend(asked(0, 5), 2), "user number 5", "0 to 4", "-1", "fitted on")
    expect_error(DataError, lambda: model.recommend(asked(-2), 2), "user number -2", "0 to 4")


def test_what_is_missing_is_named(tmp_path):
    expect_error(DataError, lambda: Regional().fit(toy()), "'toy' has no user table", "'zip'", "MovieLens 100K")
    expect_error(
        DataError, lambda: Regional().fit(living(age=[1] * 5, sex=["F"] * 5)), "no column 'zip'", "it has age, sex"
    )
    expect_error(DataError, lambda: Regional().fit(living(zip=[None, " ", "", None, None])), "blank throughout")
    expect_error(DataError, lambda: Regional().fit(living(zip=[["1"]] * 5)), "List(String)", "one value a row")
    folder = Regional(RegionalConfig(prefix=1)).fit(living(zip=ZIPS)).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "weights.npz", **{**arrays, "regions": arrays["regions"] + 1})
    expect_error(ModelError, lambda: Regional.load(folder), "region 2 of 2", "7 items")
