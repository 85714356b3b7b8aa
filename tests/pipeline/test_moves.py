"""What was moved, counted by hand and by a slow count of its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data import Candidates
from llmrec.pipeline.moves import moves, places


def listed(*rows):
    width = max(map(len, rows))
    items = np.array([[*row, *[-1] * (width - len(row))] for row in rows], np.int32).reshape(len(rows), width)
    return Candidates(items, np.where(items < 0, np.nan, 0))


def test_three_lists_by_hand():
    before = listed([5, 6, 7, 8], [1, 2, 3], [4])
    # 7 moved from place 2 to 0, 5 from 0 to 1; 1 stayed and 3 went from 2 to 1; 4 stayed.
    after = listed([7, 5], [1, 3], [4])
    # Among the first two before: 5, not 7; 1, not 3; 4.
    assert moves(before, after) == (2 + 1 + 0 + 1 + 0, 3, 1)


def test_the_same_lists_moved_nothing():
    lists = listed([3, 1, 2], [9])
    assert moves(lists, lists) == (0, 4, 0)
    assert moves(lists, lists.top(1)) == (0, 2, 0)


def test_what_was_not_there_before_has_not_moved_but_is_another_first():
    assert moves(listed([1, 2]), listed([7, 1])) == (1, 1, 1)


@pytest.mark.parametrize("width", [0, 2])
def test_no_queries_and_no_candidates_are_nothing(width):
    none = Candidates(np.zeros((0, width)), np.zeros((0, width)))
    assert moves(none, none) == (0, 0, 0)
    empty = Candidates(np.full((3, width), -1), np.full((3, width), np.nan))
    assert moves(empty, empty) == (0, 0, 0)
    assert places(empty.items, np.array([[4], [-1], [0]])).tolist() == [[-1]] * 3


rows = st.lists(st.integers(0, 12), unique=True, max_size=6)


@given(st.lists(st.tuples(rows, rows), min_size=1, max_size=5))
def test_places_are_those_of_a_plain_search(pairs):
    one, two = listed(*(pair[0] for pair in pairs)), listed(*(pair[1] for pair in pairs))
    expected = [
        [row.index(item) if item in row else -1 for item in asked] + [-1] * (two.items.shape[1] - len(asked))
        for row, asked in pairs
    ]
    assert places(one.items, two.items).tolist() == expected
    moved = sum(abs(row.index(item) - place) for row, asked in pairs for place, item in enumerate(asked) if item in row)
    stayed = sum(item in row[: len(asked)] for row, asked in pairs for item in asked)
    firsts = sum(asked[0] != (row or [None])[0] for row, asked in pairs if asked)
    assert moves(one, two) == (moved, stayed, firsts)
