"""Popular in a window, and new items: days, half-lives and dates counted by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from llmrec.classic.recall.popular import Popular
from llmrec.classic.recall.rules import DAY, NewItems, NewItemsConfig, PopularWindow, PopularWindowConfig
from llmrec.data import Dataset, Interactions, Queries
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import global_time_cut
from llmrec.errors import DataError, ModelError
from llmrec.eval.metrics import compute
from llmrec.testing import RecommenderContract, assert_same, expect_error, toy

NOBODY = Queries.from_histories([()])
NO_EVENTS = 6  # Gattaca
EVENTS = ((0, 0, 0), (1, 0, 0), (2, 0, 1), (0, 1, 10), (1, 1, 20), (1, 1, 30), (0, 2, 30))
"""User, item, day: item 0 had three users, item 1 two (one of them twice), item 2 one, the others none."""


def days() -> Dataset:
    users, items, times = (np.array(column) for column in zip(*EVENTS, strict=True))
    return toy().with_interactions(Interactions.sort(users, items, 1_000_000_000 + DAY * times))


def ranked(model, data: Dataset, k: int = 7) -> tuple[list[int], list[float]]:
    found = model.fit(data).recommend(NOBODY, k)
    return found.items[0].tolist(), found.scores[0].tolist()


class TestPopularWindow(RecommenderContract):
    def make(self) -> PopularWindow:
        return PopularWindow(PopularWindowConfig(days=10 / DAY))


class TestPopularWindowWithHalfLife(RecommenderContract):
    def make(self) -> PopularWindow:
        return PopularWindow(PopularWindowConfig(half_life=10 / DAY))


class TestNewItems(RecommenderContract):
    def make(self) -> NewItems:
        return NewItems()


@pytest.mark.parametrize(
    ("length", "recent"),
    [
        (1, {1: 1, 2: 1}),
        (10, {1: 1, 2: 1}),  # the day 20 is in, its user counts once
        (19.9, {1: 1, 2: 1}),
        (20, {1: 2, 2: 1}),
        (29, {1: 2, 0: 1, 2: 1}),
        (30, {0: 3, 1: 2, 2: 1}),
    ],
)
def test_a_window_reaches_so_many_days_back(length, recent):
    items, scores = ranked(PopularWindow(PopularWindowConfig(days=length)), days())
    counts = [3, 2, 1, 0, 0, 0, 0]
    others = [item for item in range(7) if item not in recent]  # most popular first: by number, as it happens
    tops = sorted(recent, key=lambda item: (-recent[item], item))
    assert items == [*tops, *others]
    by_hand = [recent[item] if item in recent else counts[item] / 4 - 1 for item in items]
    assert scores == pytest.approx(by_hand)


def test_a_half_life_of_ten_days():
    """Item 0: ages 30, 30 and 29 days; item 1: 20 days, and 0 days for the user who came back."""
    items, scores = ranked(PopularWindow(PopularWindowConfig(days=30, half_life=10)), days(), 4)
    assert items == [1, 2, 0, 3]
    assert scores == pytest.approx([1 + 1 / 4, 1, 2 / 8 + 2**-2.9, -1])


def test_a_window_over_everything_is_popularity_but_for_items_without_events():
    window = PopularWindow(PopularWindowConfig(days=1)).fit(toy())
    queries = Queries.from_histories([(), (2,)])
    assert_same(window.recommend(queries, 5), Popular().fit(toy()).recommend(queries, 5))


def test_the_newest_item_is_the_one_whose_first_event_is_last():
    """Alien 10, Brazil 12, Casablanca 14, Dune 23, Heat 24, Fargo 34; Gattaca has none."""
    assert ranked(NewItems(), toy()) == ([5, 4, 3, 2, 1, 0, 6], [6, 5, 4, 3, 2, 1, -1])


@pytest.mark.parametrize(
    "released",
    [
        [1979, 1979, 1942, 1984, 1995, 1995, 1997],
        [1979.5, 1979.5, 1942.0, 1984.0, 1995.0, 1995.0, 1997.0],
        [*[date(1979, 5, 25)] * 2, date(1942, 1, 23), date(1984, 1, 1), *[date(1995, 12, 15)] * 2, date(1997, 1, 1)],
        [datetime(year, 1, 1 + (item == NO_EVENTS)) for item, year in enumerate([1979, 1979, 1942, 1984, *[1995] * 3])],
    ],
)
def test_dates_of_a_column_with_ties_by_popularity(released):
    """Heat (3 users) and Fargo (1) are of one date, so are Alien and Brazil (3 each); nobody has touched Gattaca."""
    data = replace(toy(), item_table=pl.DataFrame({"released": released}))
    items, scores = ranked(NewItems(NewItemsConfig(column="released")), data)
    assert items == [6, 4, 5, 3, 0, 1, 2]
    assert scores == [6, 5, 4, 3, 2, 2, 1]


def test_items_without_a_date_follow_by_popularity():
    data = replace(toy(), item_table=pl.DataFrame({"year": [None, float("nan"), None, 1984.0, 1995.0, None, None]}))
    items, scores = ranked(NewItems(NewItemsConfig(column="year")), data)
    assert items == [4, 3, 2, 0, 1, 5, 6]
    assert scores == pytest.approx([2, 1, 4 / 5 - 1, 3 / 5 - 1, 3 / 5 - 1, 1 / 5 - 1, -1])


@pytest.mark.parametrize("model", [PopularWindow(), NewItems()])
def test_times_that_are_no_clock_times_are_refused(model):
    data = replace(toy(), clock=False)
    expect_error(DataError, lambda: model.fit(data), "'toy'", "clock is False", "Unix seconds")
    assert ranked(
        NewItems(NewItemsConfig(column="released")), replace(data, item_table=pl.DataFrame({"released": range(7)}))
    )


def test_a_column_that_is_not_there_or_holds_no_dates_is_refused():
    for column, words in (("released", ("no column 'released'", "it has title")), ("title", ("String", "str.to_date"))):
        expect_error(DataError, lambda name=column: NewItems(NewItemsConfig(column=name)).fit(toy()), *words)


@pytest.mark.parametrize(("model", "array"), [(PopularWindow(), "recent"), (NewItems(), "newness")])
def test_counts_of_another_catalogue_are_refused(model, array, tmp_path):
    folder = model.fit(toy()).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "weights.npz", **{**arrays, array: arrays[array][:5]})
    expect_error(ModelError, lambda: type(model).load(folder), f"{array} of shape (5,)", "7 items")


@pytest.mark.data
def test_the_last_year_says_more_than_all_time_after_a_cut_in_time(data_folder):
    split = global_time_cut(load_movielens(data_folder / "movielens-latest-small"))
    models = [kind().fit(split.train) for kind in (Popular, PopularWindow)]
    for part in (split.valid, split.test):
        popular, window = (
            compute(model.recommend(part.queries, 10), part, ("ndcg@10",))["ndcg@10"].mean() for model in models
        )
        assert window > 1.1 * popular > 0.2
