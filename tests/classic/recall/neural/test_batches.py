"""Training rows, by hand on the toy data and as properties of random timelines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.classic.recall.neural.batches import Pairs, Timelines, Windows
from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.errors import DataError
from llmrec.testing import TOY_HISTORIES, expect_error, toy


def test_timelines_are_users_one_after_another():
    lines = Timelines.of(toy())
    assert lines.items.tolist() == [item for row in TOY_HISTORIES for item in row]
    assert lines.starts.tolist() == [0, 4, 7, 10, 13, 16]
    assert lines.users.tolist() == [0] * 4 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert lines.times[:5].tolist() == [10, 20, 30, 40, 11]
    assert not Timelines.of(replace(toy(), clock=False)).times.any()


def test_windows_by_hand():
    """u0 has 0 1 2 3 at 10 20 30 40, u1 0 1 2 at 11 21 31: each item's target is the next."""
    batch = Windows(toy(), length=10, batch_size=2).batch(np.array([0, 1]))
    assert batch["history"].tolist() == [[0, 1, 2], [-1, 0, 1]]
    assert batch["target"].tolist() == [[1, 2, 3], [-1, 1, 2]]
    assert batch["times"].tolist() == [[10, 20, 30], [0, 11, 21]]


def test_a_window_keeps_the_newest_places():
    batch = Windows(toy(), length=2, batch_size=2).batch(np.array([0, 1]))
    assert batch["history"].tolist() == [[1, 2], [0, 1]]
    assert batch["target"].tolist() == [[2, 3], [1, 2]]


def test_pairs_by_hand():
    """Of u0 three targets, of the others two each: 3 + 4 * 2 = 11 rows."""
    pairs = Pairs(toy(), history=2, batch_size=4)
    assert pairs.steps == 3
    batch = pairs.batch(np.array([1, 3, 9]))
    assert batch["history"].tolist() == [[-1, 0], [1, 2], [1, 2]]
    assert batch["target"].tolist() == [1, 3, 4]
    assert batch["times"].tolist() == [[0, 10], [20, 30], [12, 22]]
    assert batch["time"].tolist() == [20, 40, 32]


def test_users_are_drawn_equally_often():
    pairs = Pairs(toy(), history=2, batch_size=4, per_user=1)
    assert pairs.steps == 2
    rng, seen = np.random.default_rng(0), set()
    for _ in range(20):
        rows = np.concatenate([batch["row"] for batch in pairs.epoch(rng)])
        assert sorted(pairs.timelines.users[rows].tolist()) == [0, 1, 2, 3, 4]
        seen |= set(rows.tolist())
    assert seen == set(pairs.targets.tolist())  # each target has its turn


def test_an_epoch_of_windows_has_every_user_once():
    windows = Windows(toy(), length=3, batch_size=2)
    assert windows.steps == 3
    rows = [row for batch in windows.epoch(np.random.default_rng(0)) for row in batch["target"][:, -1].tolist()]
    assert sorted(rows) == [2, 3, 4, 4, 5]


def test_windows_of_like_length_come_together(make_data):
    """Half of the users have 2 events, half 9: no batch but the one between mixes them."""
    data = make_data([list(range(9 if user % 2 else 2)) for user in range(64)], 9)
    widths = [batch["history"].shape[1] for batch in Windows(data, 50, 8).epoch(np.random.default_rng(0))]
    assert sorted(widths) == [1] * 4 + [8] * 4


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_rows_hold_what_was_before_and_nothing_of_others(seed, width, size):
    rng = np.random.default_rng(seed)
    histories = [rng.integers(0, 30, rng.integers(0, 9)).tolist() for _ in range(8)] + [[1, 2]]
    data = _data(histories, 30)
    pairs = Pairs(data, width, size)
    rows = 0
    for batch in pairs.epoch(rng):
        for history, target, row in zip(batch["history"], batch["target"], batch["row"], strict=True):
            user = int(pairs.timelines.users[row])
            place = int(row - pairs.timelines.starts[user])
            before = histories[user][max(0, place - width) : place]
            assert history.tolist() == [-1] * (width - len(before)) + before
            assert target == histories[user][place]
            rows += 1
    assert rows == sum(max(0, len(row) - 1) for row in histories)


def _data(histories, n_items):
    users = np.repeat(np.arange(len(histories)), [len(row) for row in histories])
    items = np.array([item for row in histories for item in row])
    titles = pl.DataFrame({"title": [str(item) for item in range(n_items)]})
    events = Interactions.sort(users, items, np.arange(len(items)))
    return Dataset("made", events, Vocabulary(range(len(histories))), Vocabulary(range(n_items)), titles)


@pytest.mark.parametrize("kind", [Windows, Pairs])
def test_users_with_one_event_teach_nothing(kind, make_data):
    expect_error(DataError, lambda: kind(make_data([[0], [1]], 2), 5, 2), "no user of 'made'", "two training events")
