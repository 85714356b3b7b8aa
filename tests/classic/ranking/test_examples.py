"""Rows with labels: what is positive, what is negative, and which history each row sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.classic.ranking.base.examples import ExamplesConfig, Negatives, event_rows, target_rows
from llmrec.classic.ranking.base.rows import candidate_rows
from llmrec.data import Candidates, Dataset, Impressions, Interactions, Queries, Targets
from llmrec.errors import DataError
from llmrec.testing import TOY_HISTORIES, expect_error, toy

COUNTS = np.array([3, 3, 4, 2, 3, 1, 0])


def rng():
    return np.random.default_rng(0)


def rated(values) -> Dataset:
    events = toy().interactions
    return toy().with_interactions(Interactions(events.users, events.items, events.times, values))


def test_each_event_is_followed_by_items_that_its_user_never_had():
    rows = event_rows(toy(), ExamplesConfig(negatives=3), rng())
    assert len(rows) == 16 * 4
    assert rows.labels.reshape(16, 4).tolist() == [[1, 0, 0, 0]] * 16
    assert rows.lists.tolist() == np.repeat(np.arange(16), 4).tolist()
    for user, item, label in zip(rows.users, rows.items, rows.labels, strict=True):
        assert (item in TOY_HISTORIES[user]) == bool(label)
        assert item != 6  # nobody had it
    positive = rows.select(np.flatnonzero(rows.labels))
    events = toy().interactions
    assert positive.items.tolist() == events.items.tolist()
    for row, history in enumerate(positive.history(2).tolist()):
        user, time = events.users[row], events.times[row]
        mine = events.items[(events.users == user) & (events.times < time)].tolist()
        assert [item for item in history if item >= 0] == mine[-2:]


def test_events_of_one_second_do_not_see_each_other():
    events = toy().interactions
    data = toy().with_interactions(Interactions(events.users, events.items, events.times // 20, events.values))
    rows = event_rows(data, ExamplesConfig(negatives=1), rng())
    first = rows.select(np.flatnonzero((rows.users == 0) & (rows.labels > 0)))  # at 10, 20, 30 and 40
    assert first.history(3).tolist() == [[-1] * 3, [-1, -1, 0], [-1, -1, 0], [0, 1, 2]]


def test_negatives_are_drawn_by_a_power_of_popularity():
    sampler = Negatives(np.array([1, 4, 16, 0]), 0.5)
    drawn = sampler.draw(np.zeros(70_000, np.int64), np.zeros(0, np.int64), rng())
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 70_000, np.array([1, 2, 4, 0]) / 7, atol=0.01)
    even = Negatives(np.array([1, 4, 16, 0]), 0.0).draw(np.zeros(30_000, np.int64), np.zeros(0, np.int64), rng())
    np.testing.assert_allclose(np.bincount(even, minlength=4) / 30_000, np.array([1, 1, 1, 0]) / 3, atol=0.01)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True), st.integers(0, 99))
def test_what_was_had_is_never_drawn_and_who_had_everything_gets_none(had, seed):
    owners = np.repeat([0, 1], 20)
    drawn = Negatives(np.ones(5, int), 1.0).draw(owners, np.sort(5 + np.array(had)), np.random.default_rng(seed))
    assert (drawn[:20] >= 0).all()
    assert not set(drawn[20:].tolist()) & set(had)
    assert (drawn[20:] == -1).all() == (len(had) == 5)


def test_ratings_are_labels_by_their_threshold():
    values = np.tile([1.0, 3.0, 3.5, 5.0], 4).astype(np.float32)
    data = rated(values)
    rows = event_rows(data, ExamplesConfig(labels="ratings"), rng())
    order, _ = data.by_user
    assert rows.labels.tolist() == (values[order] > 3).astype(float).tolist()
    assert rows.lists.tolist() == rows.users.tolist() == sorted(rows.users.tolist())
    assert rows.timeline.likes.tolist() == (values[order] > 3).tolist()


def test_values_of_rows():
    data, config = rated(np.resize([1.0, 3.5, 5.0], 16).astype(np.float32)), ExamplesConfig(negatives=2)
    rows = event_rows(data, config, rng())
    assert np.isnan(rows.values.reshape(16, 3)[:, 1:]).all()
    np.testing.assert_array_equal(rows.values[::3], data.interactions.values)
    np.testing.assert_array_equal(rows.select(slice(0, 4)).values, rows.values[:4])
    assert event_rows(toy(), config, rng()).values is None
    queries = Queries.from_histories([(0,), (1, 2)])
    targets = Targets(queries, np.array([[1, 2], [4, -1]]), values=np.array([[5, 2], [3, 0]]))
    asked = target_rows(targets, "negatives", config, np.ones(7), rng())
    assert asked.lists.tolist() == [0] * 6 + [1] * 3
    assert asked.values[::3].tolist() == [5, 2, 3]
    assert np.isnan(asked.values.reshape(3, 3)[:, 1:]).all()
    assert not set(asked.items[asked.lists == 0][asked.labels[:6] == 0]) & {0, 1, 2}


def test_impressions_are_clicked_or_only_shown_and_unlabelled_ones_say_nothing():
    data = toy()
    shown = Impressions([0, 2, 1], [25, 33, 99], [0, 2, 4, 6], [4, 5, 6, 0, 1, 2], [1, 0, 0, 1, 0, 0], [1, 1, 0])
    data = Dataset("shown", data.interactions, data.users, data.items, data.item_table, impressions=shown)
    rows = event_rows(data, ExamplesConfig(), rng())
    assert rows.items.tolist() == [4, 5, 6, 0]
    assert rows.labels.tolist() == [1, 0, 0, 1]
    assert rows.history(3).tolist() == [[-1, 0, 1], [-1, 0, 1], [1, 2, 4], [1, 2, 4]]
    assert event_rows(data, ExamplesConfig(labels="negatives", negatives=1), rng()).labels.sum() == 16


def targets(**more) -> Targets:
    return Targets(Queries.from_histories([(0, 1), (5,)], [0, -1]), np.array([[2, 3], [4, -1]]), **more)


def test_targets_become_rows_of_the_same_kind():
    config = ExamplesConfig(negatives=2)
    rows = target_rows(targets(), "negatives", config, COUNTS, rng())
    assert rows.labels.tolist() == [1, 0, 0] * 3
    assert rows.items[::3].tolist() == [2, 3, 4]
    assert rows.lists.tolist() == [0] * 6 + [1] * 3
    assert not set(rows.items[:6][rows.labels[:6] == 0].tolist()) & {0, 1, 2, 3, 6}
    assert rows.history(2)[[0, 8]].tolist() == [[0, 1], [-1, 5]]
    given_values = np.array([[5.0, 3.0], [1.0, 0.0]])
    rows = target_rows(targets(values=given_values), "ratings", config, COUNTS, rng())
    assert (rows.items.tolist(), rows.labels.tolist()) == ([2, 3, 4], [1, 0, 0])
    rows = target_rows(targets(shown=np.array([[3, 6, -1], [0, 4, 1]])), "impressions", config, COUNTS, rng())
    assert (rows.items.tolist(), rows.labels.tolist()) == ([3, 6, 0, 4, 1], [1, 0, 0, 1, 0])


def test_candidates_become_rows_without_padding():
    queries = Queries(np.array([1, -1]), np.array([[-1, 3], [4, 5]]), np.array([[0.0, 5.0], [1.0, 4.0]]))
    rows = candidate_rows(queries, Candidates(np.array([[2, -1], [0, 1]]), np.zeros((2, 2))), like_above=3)
    assert rows.items.tolist() == [2, 0, 1]
    assert rows.users.tolist() == [1, -1, -1]
    assert rows.history(2).tolist() == [[-1, 3], [4, 5], [4, 5]]
    assert rows.timeline.likes.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("data", "config", "words"),
    [
        (toy(), {"labels": "ratings"}, ("values that differ", "negatives")),
        (toy(), {"labels": "impressions"}, ("impressions", "negatives")),
        (rated(np.tile([4.0, 5.0], 8)), {"labels": "ratings"}, ("only label 1", "both labels", "like_above")),
        (rated(np.tile([1.0, 2.0], 8)), {"labels": "ratings"}, ("only label 0",)),
    ],
)
def test_labels_that_are_not_there_or_all_alike_are_named(data, config, words):
    expect_error(DataError, lambda: event_rows(data, ExamplesConfig(**config), rng()), *words)


def test_validation_that_cannot_be_judged_is_named():
    config = ExamplesConfig()
    expect_error(DataError, lambda: target_rows(targets(), "ratings", config, COUNTS, rng()), "without values")
    expect_error(DataError, lambda: target_rows(targets(), "impressions", config, COUNTS, rng()), "without shown")
    alike = targets(values=np.full((2, 2), 5.0))
    expect_error(DataError, lambda: target_rows(alike, "ratings", config, COUNTS, rng()), "validation", "only label 1")
