"""Position and popularity bias, by hand on a few candidates and against scipy."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from llmrec.data import Candidates, Dataset, Interactions, Queries, Targets, Vocabulary
from llmrec.errors import DataError
from llmrec.eval.bias import popularity_bias, popularity_percentiles, position_bias
from llmrec.eval.evaluate import history_groups
from llmrec.testing import expect_error

# Item 4 came first and got rank 2, 5 second and 3, 6 third and 1; in the other row 0 and 3 changed places.
BEFORE = Candidates(np.array([[4, 5, 6], [0, 3, -1]]), np.array([[9.0, 8, 7], [9, 8, np.nan]]))
AFTER = Candidates(np.array([[6, 4, 5], [3, 0, -1]]), np.array([[3.0, 2, 1], [0.5, np.nan, np.nan]]))


def targets(relevant, histories=None):
    return Targets(Queries.from_histories(histories or [()] * len(relevant)), np.array(relevant, np.int32))


def test_ranks_scores_and_quality_by_incoming_place():
    found = position_bias(BEFORE, AFTER, targets([[4], [3]]))
    assert found.by_place.to_dict(as_series=False) == {
        "place": [1, 2, 3],
        "candidates": [2, 2, 1],
        "mean_rank": [2.0, 2.0, 1.0],
        "mean_score": [0.0, -0.5, 1.0],  # 2 1 3 less 2; 0.5 less itself, the other one has none
        "relevant": [1, 1, 0],
        "relevant_rank": [2.0, 1.0, None],
        "relevant_ndcg": [pytest.approx(0.6309297535714575), 1.0, None],
    }


def test_how_much_of_the_incoming_order_is_kept():
    # Squared differences 1 + 1 + 4 of three: 1 - 6 * 6 / 24; 1 + 1 of two: 1 - 6 * 2 / 6.
    np.testing.assert_allclose(position_bias(BEFORE, AFTER, targets([[4], [3]])).kept, [-0.5, -1.0])
    np.testing.assert_allclose(position_bias(BEFORE, BEFORE, targets([[4], [3]])).kept, [1.0, 1.0])
    one = Candidates(np.array([[4, -1]]), np.zeros((1, 2)))
    assert np.isnan(position_bias(one, one, targets([[4]])).kept).all()


@given(st.permutations(range(7)))
def test_it_is_spearman_s_correlation(order):
    before = Candidates(np.arange(7)[None], np.zeros((1, 7)))
    after = Candidates(np.array([order]), np.zeros((1, 7)))
    places = [order.index(item) for item in range(7)]
    assert position_bias(before, after, targets([[0]])).kept[0] == pytest.approx(spearmanr(range(7), places).statistic)


def test_other_candidates_are_an_error():
    other = Candidates(np.array([[6, 4, 1], [3, 0, -1]]), AFTER.scores)
    expect_error(DataError, lambda: position_bias(BEFORE, other, targets([[4], [3]])), "same candidates")
    expect_error(DataError, lambda: position_bias(BEFORE, AFTER, targets([[4]])), "2 rows", "1 targets")


def train():
    """Four items with 3, 1, 1 and no event: ranks 4, 2.5, 2.5 and 1, so percentiles 87.5, 50, 50 and 12.5."""
    return Dataset(
        "four",
        Interactions.sort([0, 1, 2, 0, 1], [0, 0, 0, 1, 2], [1, 2, 3, 4, 5]),
        Vocabulary(["a", "b", "c"]),
        Vocabulary([1, 2, 3, 4]),
        pl.DataFrame({"title": ["A", "B", "C", "D"]}),
    )


def test_equal_counts_share_a_percentile():
    np.testing.assert_allclose(popularity_percentiles(train()), [87.5, 50, 50, 12.5])


def test_the_first_items_against_all_candidates():
    before = Candidates(np.array([[1, 0, 3], [3, 2, -1]]), np.zeros((2, 3)))
    after = Candidates(np.array([[0, 1, 3], [2, 3, -1]]), np.zeros((2, 3)))
    found = popularity_bias(train(), before, after, targets([[3, -1], [0, 1]]), k=1)
    np.testing.assert_allclose(found.top, [87.5, 50])
    np.testing.assert_allclose(found.candidates, [50, 31.25])
    np.testing.assert_allclose(found.shift, [37.5, 18.75])
    np.testing.assert_allclose(found.relevant, [12.5, np.nan])
    both = popularity_bias(train(), before, after, targets([[3, -1], [0, 1]]), k=2)
    np.testing.assert_allclose(both.top, [68.75, 31.25])


def test_histories_are_cut_where_lengths_occur():
    asked = targets([[1]] * 6, [(), (0,), (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)])
    found = history_groups(asked)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in found.items()} == {
        "history 0 to 1": [0, 1, 2],
        "history 2": [3],
        "history 3 to 4": [4, 5],
    }
    assert history_groups(targets([[1]] * 3, [(0,)] * 3)) == {}
    assert history_groups(asked.select(slice(0, 0))) == {}


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40))
def test_each_query_is_in_one_history_group(lengths):
    found = history_groups(targets([[1]] * len(lengths), [(0,) * n for n in lengths]))
    if found:
        np.testing.assert_array_equal(sum(mask.astype(int) for mask in found.values()), 1)
        assert all(mask.any() for mask in found.values())
    else:
        assert len({*lengths}) < 3
