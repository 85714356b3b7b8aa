import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds import ranked

from llmrec.classic.reranking.choosing import Choice, counted_down, relevance
from llmrec.data import Candidates

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([5, 3, 1], [1, 0.5, 0]),
        ([-1, -2, -11], [1, 0.9, 0]),
        ([2, 2, 2], [1, 1, 1]),
        ([NAN, NAN, NAN], [1, 0.5, 0]),
        ([4, NAN, 0], [1, 1, 0]),
        ([4, 0, NAN], [1, 0, 0]),
        ([NAN, 4, 0], [1, 1, 0]),
        ([1, 3, 2], [0, 0, 0]),  # against the order: the order holds
        ([3, 1, 2], [1, 0, 0]),
        ([4, 0, -INF], [1, 0, 0]),
        ([INF, 4, 2], [1, 1, 0]),
    ],
)
def test_relevance_by_hand(scores, expected):
    np.testing.assert_allclose(relevance(ranked([0, 1, 2], scores=[scores])), [expected])


def test_relevance_is_of_each_list_alone_and_padding_has_none():
    found = relevance(ranked([0, 1, 2], [3], [4, 5], scores=[[5, 3, 1], [7], [200, 100]]))
    np.testing.assert_allclose(found, [[1, 0.5, 0], [1, 0, 0], [1, 0, 0]])


@given(st.lists(st.floats(allow_nan=True, width=32), min_size=1, max_size=8))
def test_relevance_never_rises_and_stays_within_0_and_1(scores):
    found = relevance(Candidates(np.arange(len(scores))[None], np.array([scores], np.float32)))
    assert (np.diff(found) <= 0).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_the_highest_is_chosen_of_equal_ones_the_first_and_the_rest_follows():
    choice = Choice(ranked([10, 11, 12, 13], [20]))
    assert choice.take(np.array([[1, 2, 2 + 1e-12, 0], [-5, 9, 9, 9]])).tolist() == [1, 0]
    assert choice.take(np.array([[1, 9, 2, 0], [0, 0, 0, 0]]))[0] == 2
    found = choice.ordered()
    assert found.items.tolist() == [[11, 12, 10, 13], [20, -1, -1, -1]]
    np.testing.assert_array_equal(found.scores, [[4, 3, 2, 1], [1, NAN, NAN, NAN]])


def test_scores_count_down():
    np.testing.assert_array_equal(counted_down(np.array([[5, 6, -1]])).scores, [[2, 1, NAN]])
