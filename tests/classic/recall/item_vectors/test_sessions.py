"""Sessions: where timelines are cut, and which items can be learned from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.classic.recall.item_vectors.sessions import cut_sessions
from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.errors import DataError
from llmrec.testing import expect_error


def dataset(rows: list[tuple[int, int, int]], *, clock: bool = True, n_users: int = 4, n_items: int = 9) -> Dataset:
    """Return events of user, item, time."""
    users, items, times = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return Dataset(
        "made",
        Interactions.sort(users, items, times),
        Vocabulary(range(n_users)),
        Vocabulary(range(n_items)),
        pl.DataFrame(height=n_items),
        clock=clock,
    )


# User 0: two items, a break of 101 s, one item. User 2: one session, though users 0 and 2 take turns.
ROWS = [(0, 5, 0), (2, 1, 10), (0, 6, 100), (2, 2, 60), (0, 7, 201), (2, 2, 160)]


def lists(data: Dataset, gap: float | None) -> list[list[int]]:
    sessions = cut_sessions(data, gap)
    return [part.tolist() for part in np.split(sessions.items, sessions.starts[1:-1])]


def test_a_session_ends_after_more_than_the_gap_and_with_its_user():
    assert lists(dataset(ROWS), 100) == [[5, 6], [7], [1, 2, 2]]
    assert lists(dataset(ROWS), 101) == [[5, 6, 7], [1, 2, 2]]
    assert lists(dataset(ROWS), 60) == [[5], [6], [7], [1, 2], [2]]


@pytest.mark.parametrize(("clock", "gap"), [(False, 1.0), (True, None)])
def test_without_a_clock_or_a_gap_a_timeline_is_one_session(clock, gap):
    assert lists(dataset(ROWS, clock=clock), gap) == [[5, 6, 7], [1, 2, 2]]


def test_numbers_ends_and_joints():
    sessions = cut_sessions(dataset(ROWS), 100)
    assert len(sessions) == 3
    assert sessions.numbers.tolist() == [0, 0, 1, 2, 2, 2]
    assert sessions.ends.tolist() == [False, True, True, False, False, True]
    assert sessions.joined.tolist() == [True, False, False, True, False]  # the last two are one item


def test_only_items_beside_another_one_teach_something():
    """Item 7 stood alone, item 2 once alone and twice beside item 1: events of sessions with one item do not count."""
    rows = [*ROWS, (3, 2, 0), (3, 2, 5), (1, 8, 0)]
    assert cut_sessions(dataset(rows), 100).frequency(9).tolist() == [0, 1, 2, 0, 0, 1, 1, 0, 0]


def test_values_go_with_their_events():
    data = dataset(ROWS)
    events = data.interactions
    valued = Interactions(events.users, events.items, events.times, events.items * 10.0)
    sessions = cut_sessions(replace(data, interactions=valued), 100)
    np.testing.assert_array_equal(sessions.values, sessions.items * 10)


@pytest.mark.parametrize("rows", [[], [(0, 1, 0), (0, 2, 200)], [(0, 1, 0), (0, 1, 1)]], ids=["none", "apart", "same"])
def test_nothing_beside_anything_is_an_error(rows):
    expect_error(DataError, lambda: cut_sessions(dataset(rows), 100), "no session of 'made'", "gap = 100", "longer gap")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8), st.integers(0, 50)), min_size=1, max_size=40))
def test_it_cuts_as_a_loop_does(rows):
    data = dataset(rows)
    expected = []
    for user in range(4):
        mine = [
            (time, item)
            for time, _, item, one in sorted((t, n, i, u) for n, (u, i, t) in enumerate(rows))
            if one == user
        ]
        for place, (time, item) in enumerate(mine):
            if place and time - mine[place - 1][0] <= 7:
                expected[-1].append(item)
            else:
                expected.append([item])
    several = [session for session in expected if len(set(session)) > 1]
    if not several:
        expect_error(DataError, lambda: cut_sessions(data, 7), "two items")
        return
    assert lists(data, 7) == expected
    counts = np.bincount([item for session in several for item in session], minlength=9)
    assert cut_sessions(data, 7).frequency(9).tolist() == counts.tolist()
