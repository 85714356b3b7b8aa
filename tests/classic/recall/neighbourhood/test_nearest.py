"""What neighbourhood models share, against sorting in plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.classic.recall.neighbourhood.nearest import best_of_rows, nearest_matrix, popularity_tail, put_tail, ranges


def test_ranges_by_hand():
    assert ranges(np.array([5, 2, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert ranges(np.array([], int), np.array([], int)).tolist() == []


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 4), st.integers(0, 6)), st.sampled_from([0.25, 0.5, 1.0, 1e-30, 3e30]), max_size=30
    ),
    st.integers(1, 8),
)
def test_the_best_of_each_row(entries, k):
    rows = np.array([row for row, _ in entries], int)
    columns = np.array([column for _, column in entries], int)
    values = np.array(list(entries.values()), np.float32)
    expected = []
    for row in range(5):
        ordered = sorted((-value, column) for (one, column), value in entries.items() if one == row)
        expected += [(row, column) for _, column in ordered[:k]]
    kept = best_of_rows(rows, columns, values, k)
    assert list(zip(rows[kept].tolist(), columns[kept].tolist(), strict=True)) == expected
    matrix = nearest_matrix(rows, columns, values, (5, 7), k)
    assert matrix.nnz == len(expected)
    for row, column in expected:
        assert matrix[row, column] == np.float32(entries[row, column])


def test_the_tail_lies_between_neighbours_and_what_speaks_against_an_item():
    tail = popularity_tail(np.array([3.0, 0.0, 1.0, 2.0]))
    np.testing.assert_allclose(tail, [-1 / 4, -1, -3 / 4, -1 / 2])
    scores = put_tail(np.array([[0.5, 0, 0, -0.1], [0, 0, 0, 0]], np.float32), tail)
    np.testing.assert_allclose(scores, [[0.5, -1, -3 / 4, -1.1], [0, 0, 0, 0]])
