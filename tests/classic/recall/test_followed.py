"""Followed values: turns counted by hand on the toy films, and against a plain loop on random data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from llmrec.classic.recall.followed import Followed, FollowedConfig
from llmrec.classic.recall.popular import Popular
from llmrec.classic.recall.rules import DAY
from llmrec.data import Dataset, Interactions, Queries
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import DataError, ModelError
from llmrec.eval.metrics import compute
from llmrec.testing import RecommenderContract, expect_error, toy

GENRES = [["Space", "Horror"], ["Space"], ["Drama"], ["Space"], ["Crime"], ["Crime", "Drama", " "], ["Space", "Space"]]


def genres(values=GENRES) -> Dataset:
    return replace(toy(), item_table=pl.DataFrame({"categories": values}))


def answer(items: tuple[int, ...], k: int, data: Dataset | None = None, **settings) -> tuple[list[int], list[float]]:
    model = Followed(FollowedConfig(**settings)).fit(genres() if data is None else data)
    found = model.recommend(Queries.from_histories([items]), k)
    return found.items[0].tolist(), found.scores[0].tolist()


class TestFollowed(RecommenderContract):
    def make(self) -> Followed:
        return Followed()

    def fitted(self) -> Followed:
        return self.make().fit(genres(), seed=0)


def test_three_values_of_one_film_each():
    """Alien and Casablanca: Space, Horror and Drama, a third each. New in Space are Brazil, Dune and Gattaca, in Drama
    Fargo, in Horror nothing; Heat, which nothing speaks for, had three users where the most had four."""
    items, scores = answer((0, 2), 5)
    assert items == [1, 5, 3, 6, 4]
    assert scores == pytest.approx([1 / 3, 1 / 3, 1 / 6, 1 / 9, 3 / 5 - 1])


def test_a_value_that_occurs_twice_has_two_turns():
    """Alien, Dune and Heat: Space twice, Horror and Crime once; Fargo ties with the second new film of Space."""
    items, scores = answer((0, 3, 4), 4)
    assert items == [1, 5, 6, 2]
    assert scores == pytest.approx([2 / 4, 1 / 4, 1 / 4, 4 / 5 - 1])


@pytest.mark.parametrize(
    ("history", "follows", "followed"),
    [
        ((0, 3, 4), 1, {1: 1, 6: 1 / 2}),  # Space alone
        ((0, 2), 2, {1: 1 / 2, 3: 1 / 4, 6: 1 / 6, 5: 1 / 2}),  # Space (8 users) and Drama (5), not Horror (3)
    ],
)
def test_only_the_most_frequent_values_are_followed(history, follows, followed):
    items, scores = answer(history, 7 - len(history), follows=follows)
    assert {item: score for item, score in zip(items, scores, strict=True) if score > 0} == pytest.approx(followed)


def test_an_item_of_several_followed_values_scores_its_best():
    """Four of Drama, two of Crime; a film of both is third in Drama and first in Crime."""
    values = [["Drama"], ["Drama"], ["Drama", "Crime"], ["Drama", "Crime"], ["Drama"], ["Drama"], ["Drama", "Crime"]]
    items, scores = answer((2, 3), 5, genres(values))
    assert items == [0, 6, 1, 4, 5]
    assert scores == pytest.approx([1 / 2, 1 / 2, 1 / 4, 1 / 6, 1 / 8])  # Gattaca: 1/2 in Crime, 1/10 in Drama


def test_only_the_newest_items_are_read_and_a_repeat_counts_once():
    assert answer((4, 4, 2, 0), 4, history=1) == answer((4, 2, 0), 4, history=1)
    items, scores = answer((4, 0), 1, history=1)
    assert (items, scores) == ([1], pytest.approx([1 / 2]))
    assert answer((2, 0, 0), 5) == answer((2, 0), 5)


def test_a_seen_item_scores_as_the_next_new_one():
    model = Followed().fit(genres())
    found = model.recommend(Queries.from_histories([(1,)]), 4, exclude_seen=False)
    assert found.items.tolist() == [[0, 1, 3, 6]]
    assert found.scores[0].tolist() == pytest.approx([1, 1 / 2, 1 / 2, 1 / 3])


def test_a_history_without_values_gets_popularity():
    assert answer((0,), 6, genres([None, *GENRES[1:]])) == ([2, 1, 4, 3, 5, 6], [4, 3, 3, 2, 1, 0])


def test_scalars_are_values_too():
    items, scores = answer((0,), 3, genres([1979, 1985, None, 1979, None, None, 1979]))
    assert (items, scores) == ([3, 6, 2], pytest.approx([1, 1 / 2, 4 / 5 - 1]))


def test_popularity_may_be_that_of_a_window():
    """All time: Alien 3 users, Brazil 3, Dune 2. In the last three seconds: u3 had Heat, u4 Fargo, and u0 Dune."""
    items, scores = answer((6,), 3, days=6.5 / DAY)
    assert (items, scores) == ([3, 0, 1], pytest.approx([1, 1 / 2, 1 / 3]))
    assert answer((6,), 3)[0] == [0, 1, 3]


def naive(data: Dataset, history: list[int], follows: int) -> dict[int, float]:
    """Return the scores above 0 of unseen items, one by one."""
    values, users = data.item_table["categories"].to_list(), Popular().fit(data).popularity
    items = {
        name: [item for item, row in enumerate(values) if name in row]
        for name in sorted({name for row in values for name in row})
    }
    counts = {name: len({*history} & {*items[name]}) for name in items}
    order = sorted(items, key=lambda name: (-counts[name], -sum(users[items[name]]), name))
    followed = [name for name in order if counts[name]][:follows]
    scores: dict[int, float] = {}
    for name in followed:
        share = counts[name] / sum(counts[each] for each in followed)
        new = sorted((item for item in items[name] if item not in history), key=lambda item: (-users[item], item))
        for place, item in enumerate(new, 1):
            scores[item] = max(scores.get(item, 0), share / place)
    return scores


@pytest.mark.parametrize("follows", [1, 3, 8])
def test_it_equals_a_plain_loop_on_random_data(follows, random_data):
    rng = np.random.default_rng(5)
    values = [[f"v{value}" for value in rng.choice(8, rng.integers(0, 4), replace=False)] for _ in range(40)]
    data = replace(random_data, item_table=pl.DataFrame({"categories": values}))
    queries = data.queries(np.arange(60), history=None)
    model = Followed(FollowedConfig(follows=follows, history=100)).fit(data)
    found = model.recommend(queries, 40)
    for items, scores, history in zip(found.items, found.scores, queries.lists(), strict=True):
        above = {item: score for item, score in zip(items.tolist(), scores.tolist(), strict=True) if score > 0}
        assert above == pytest.approx(naive(data, history, follows))
        assert (np.sort(items[items >= 0]) == np.setdiff1d(np.arange(40), history)).all()


def test_what_is_missing_is_named(tmp_path):
    expect_error(DataError, lambda: Followed().fit(toy()), "'toy' has no column 'categories'", "it has title")
    blank = genres([None, [], [" "], None, None, None, None])
    expect_error(DataError, lambda: Followed().fit(blank), "'categories'", "blank throughout", "name another column")
    odd = genres([{"a": [1]}] * 7)
    expect_error(DataError, lambda: Followed().fit(odd), "'categories'", "Struct", "turn it into texts")
    windowed = Followed(FollowedConfig(days=30))
    expect_error(DataError, lambda: windowed.fit(replace(genres(), clock=False)), "clock is False", "days=null")
    folder = Followed().fit(genres()).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "weights.npz", **{**arrays, "items": arrays["items"] + 2})
    expect_error(ModelError, lambda: Followed.load(folder), "does not fit its config.json", "7 items")


def test_events_of_the_toy_window():
    """What the test of windows rests on: the last event is u4's Fargo at 34 seconds."""
    events: Interactions = toy().interactions
    late = events.times >= 34 - 6.5
    assert sorted(events.items[late].tolist()) == [2, 2, 3, 4, 4, 5]


@pytest.mark.data
def test_as_a_channel_genres_find_more_films_than_popularity(data_folder):
    split = leave_last_out(load_movielens(data_folder / "movielens-latest-small"), ties="order")
    models = [kind().fit(split.train) for kind in (Popular, Followed)]
    for part in (split.valid, split.test):
        popular, followed = (
            compute(model.recommend(part.queries, 100), part, ("hr@100",))["hr@100"].mean() for model in models
        )
        assert followed > 1.05 * popular > 0.1
