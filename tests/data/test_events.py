"""Interactions and impressions: sorted, of one length, read-only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data import Impressions, Interactions
from llmrec.errors import DataError
from llmrec.testing import expect_error


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=50))
def test_sort_keeps_ties_in_input_order(rows):
    users, times = ([row[column] for row in rows] for column in (0, 1))
    events = Interactions.sort(users, np.arange(len(rows)), times)
    expected = sorted(range(len(rows)), key=lambda place: times[place])  # Python's sort is stable
    assert events.items.tolist() == expected
    assert events.users.tolist() == [users[place] for place in expected]
    assert events.times.tolist() == sorted(times)


def test_sort_moves_values_along_and_fills_in_ones():
    assert Interactions.sort([0, 1], [5, 6], [20, 10], [4.5, 1.0]).values.tolist() == [1.0, 4.5]
    assert Interactions.sort([0, 1], [5, 6], [20, 10]).values.tolist() == [1.0, 1.0]


def test_types_are_those_of_the_contract():
    events = Interactions.sort([0], [1], [2**40])
    assert [array.dtype for array in (events.users, events.items, events.times, events.values)] == [
        np.int32,
        np.int32,
        np.int64,
        np.float32,
    ]
    assert events.times[0] == 2**40


def test_arrays_are_read_only_and_the_callers_stay_writable():
    mine = np.array([1, 2], np.int32)
    events = Interactions(mine, mine, np.array([1, 2]), np.ones(2))
    with pytest.raises(ValueError, match="read-only"):
        events.users[0] = 9
    mine[0] = 1


def test_select_takes_a_mask_or_row_numbers():
    events = Interactions.sort([0, 1, 2], [5, 6, 7], [1, 2, 3])
    assert events.select(np.array([True, False, True])).items.tolist() == [5, 7]
    assert events.select(np.array([1, 2])).items.tolist() == [6, 7]


def test_unequal_lengths_are_an_error():
    expect_error(DataError, lambda: Interactions([0, 1], [0], [1, 2], [1, 1]), "lengths [1, 2]", "one length")


def test_times_out_of_order_are_an_error():
    expect_error(
        DataError, lambda: Interactions([0, 0], [0, 1], [2, 1], [1, 1]), "out of time order", "Interactions.sort"
    )


def impressions(**changes):
    given_ = {"users": [0, 1], "times": [5, 6], "offsets": [0, 2, 3], "items": [4, 3, 2], "clicked": [1, 0, 1]}
    return Impressions(**(given_ | changes))


def test_impressions_hold_ragged_lists():
    shown = impressions()
    assert len(shown) == 2
    assert shown.items[shown.offsets[0] : shown.offsets[1]].tolist() == [4, 3]
    assert shown.clicked.tolist() == [True, False, True]


@pytest.mark.parametrize(
    "changes",
    [{"users": [0]}, {"offsets": [0, 2]}, {"offsets": [0, 2, 4]}, {"offsets": [0, 4, 3]}, {"clicked": [1, 0]}],
)
def test_inconsistent_impressions_are_an_error(changes):
    expect_error(DataError, lambda: impressions(**changes), "impressions of", "offsets", "list lengths")


def shown():
    return Impressions(
        users=[0, 1, 0], times=[5, 6, 7], offsets=[0, 2, 2, 5], items=[1, 2, 3, 4, 5], clicked=[0, 1, 0, 0, 1]
    )


def test_selected_impressions_keep_their_lists():
    some = shown().select(np.array([2, 1, 0]))
    assert some.users.tolist() == [0, 1, 0]
    assert some.offsets.tolist() == [0, 3, 3, 5]
    assert some.items.tolist() == [3, 4, 5, 1, 2]
    assert some.clicked.tolist() == [False, False, True, False, True]
    assert shown().select(np.array([False, False, True])).items.tolist() == [3, 4, 5]
    assert len(shown().select(np.array([False, False, False]))) == 0


def test_impressions_are_labelled_unless_said_otherwise():
    assert shown().labelled.all()
    expect_error(
        DataError,
        lambda: Impressions([0], [1], [0, 1], [3], [True], labelled=[True, False]),
        "impressions of 1 users",
        "m users and times",
    )
