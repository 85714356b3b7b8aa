"""Fusion: by hand, against ``ranx``, and what holds for any lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranx import Run, fuse

from llmrec.classic.recall.fuse import reciprocal_rank_fusion, weighted_fusion
from llmrec.data import Candidates
from llmrec.errors import DataError
from llmrec.testing import assert_same, expect_error

NAN = float("nan")
ONE = Candidates([[4, 2, 7], [1, -1, -1]], [[9.0, 5.0, 1.0], [3.0, NAN, NAN]])
TWO = Candidates([[2, 9], [3, 1]], [[0.8, 0.4], [0.5, 0.1]])


def test_reciprocal_ranks_by_hand():
    fused = reciprocal_rank_fusion([ONE, TWO], 4)
    assert fused.items.tolist() == [[2, 4, 9, 7], [1, 3, -1, -1]]
    by_hand = [[1 / 62 + 1 / 61, 1 / 61, 1 / 62, 1 / 63], [1 / 61 + 1 / 62, 1 / 61, NAN, NAN]]
    np.testing.assert_allclose(fused.scores, by_hand, rtol=1e-6)


def test_weighted_reciprocal_ranks_by_hand():
    fused = reciprocal_rank_fusion([ONE, TWO], 2, weights=[1, 4], constant=1)
    assert fused.items.tolist() == [[2, 9], [3, 1]]
    np.testing.assert_allclose(fused.scores, [[1 / 3 + 4 / 2, 4 / 3], [4 / 2, 1 / 2 + 4 / 3]], rtol=1e-6)


def test_ties_keep_the_order_of_the_first_list_then_the_item_number():
    first = Candidates([[8, 5]], [[2.0, 1.0]])
    second = Candidates([[5, 8]], [[2.0, 1.0]])
    third, fourth = Candidates([[3, 9]], [[2.0, 1.0]]), Candidates([[0, 7]], [[2.0, 1.0]])
    assert reciprocal_rank_fusion([first, second], 2).items.tolist() == [[8, 5]]
    assert reciprocal_rank_fusion([second, first], 2).items.tolist() == [[5, 8]]
    assert reciprocal_rank_fusion([second, third, fourth], 6).items.tolist() == [[5, 0, 3, 8, 7, 9]]


def test_ties_survive_the_order_of_addition():
    """Ranks 1, 2, 3 and 3, 1, 2 add up to numbers that differ in the last bit of a float64."""
    lists = [Candidates([[5, 6, 0]], [[3.0, 2, 1]]), Candidates([[0, 5, 6]], [[3.0, 2, 1]])]
    lists.append(Candidates([[6, 0, 5]], [[3.0, 2, 1]]))
    assert reciprocal_rank_fusion(lists, 3).items.tolist() == [[5, 6, 0]]


def test_minmax_by_hand():
    """Row 0: 4 -> 1, 2 -> 1/2, 7 -> 0 in one; 2 -> 1, 9 -> 0 in two. Row 1: one holds item 1 only, which gets 1."""
    fused = weighted_fusion([ONE, TWO], [1, 2], 4)
    assert fused.items.tolist() == [[2, 4, 7, 9], [3, 1, -1, -1]]
    np.testing.assert_allclose(fused.scores, [[2.5, 1, 0, 0], [2, 1, NAN, NAN]], rtol=1e-6)


def test_zscore_by_hand():
    """Row 0 of one: mean 5, deviation sqrt(32 / 3); of two: mean 0.6, deviation 0.2; an absent item gets the least."""
    fused = weighted_fusion([ONE, TWO], [1, 1], 4, normalise="zscore")
    z = 4 / np.sqrt(32 / 3)
    assert fused.items.tolist() == [[2, 4, 7, 9], [3, 1, -1, -1]]
    np.testing.assert_allclose(fused.scores, [[0 + 1, z - 1, -z - 1, -z - 1], [1, -1, NAN, NAN]], rtol=1e-5)


def test_raw_scores_by_hand():
    fused = weighted_fusion([ONE, TWO], [1, 20], 4, normalise="none")
    assert fused.items.tolist() == [[2, 4, 7, 9], [3, 1, -1, -1]]
    np.testing.assert_allclose(fused.scores, [[5 + 16, 9 + 8, 1 + 8, 1 + 8], [3 + 10, 3 + 2, NAN, NAN]], rtol=1e-6)


def test_an_unscored_item_gets_the_least_and_an_unscored_row_nothing():
    one = Candidates([[1, 2, 3], [1, 2, -1]], [[4.0, NAN, 2.0], [NAN, NAN, NAN]])
    two = Candidates([[2], [2]], [[7.0], [7.0]])
    fused = weighted_fusion([one, two], [1, 1], 3)
    assert fused.items.tolist() == [[1, 2, 3], [2, 1, -1]]
    np.testing.assert_allclose(fused.scores, [[1, 1, 0], [1, 0, NAN]], rtol=1e-6)


@pytest.mark.parametrize("how", ["minmax", "zscore", "none"])
def test_a_row_of_equal_scores_stays_finite_and_in_order(how):
    flat = Candidates([[3, 1, 2]], np.full((1, 3), 0.1))
    fused = weighted_fusion([flat, TWO.select(slice(0, 1))], [1, 0], 4, normalise=how)
    assert fused.items.tolist() == [[3, 1, 2, 9]]
    np.testing.assert_allclose(fused.scores, [{"minmax": [1, 1, 1, 0], "zscore": [0] * 4, "none": [0.1] * 4}[how]])


def random_lists(seed: int, n: int = 3) -> list[Candidates]:
    rng = np.random.default_rng(seed)
    lists = []
    for _ in range(n):
        items = np.array([rng.permutation(30)[:12] for _ in range(20)])
        lists.append(Candidates(items, -np.sort(-rng.normal(size=items.shape), axis=1)))
    return lists


def as_run(one: Candidates) -> Run:
    return Run(
        {
            f"q{row}": {f"i{item}": float(score) for item, score in zip(items, scores, strict=True) if item >= 0}
            for row, (items, scores) in enumerate(zip(one.items.tolist(), one.scores.tolist(), strict=True))
        }
    )


@pytest.mark.slow  # ranx compiles itself at its first call
@pytest.mark.filterwarnings("ignore")  # of numba, while it does
@pytest.mark.parametrize("method", ["rrf", "wsum"])
def test_it_equals_ranx(method):
    lists = random_lists(seed=3)
    runs = [as_run(one) for one in lists]
    if method == "rrf":
        ours = reciprocal_rank_fusion(lists, 30)
        theirs = fuse(runs=runs, norm=None, method="rrf", params={"k": 60}).to_dict()
    else:
        ours = weighted_fusion(lists, [0.5, 0.2, 0.3], 30)
        theirs = fuse(runs=runs, norm="min-max", method="wsum", params={"weights": [0.5, 0.2, 0.3]}).to_dict()
    for row, found in as_run(ours).to_dict().items():
        assert found.keys() == theirs[row].keys()
        np.testing.assert_allclose([found[item] for item in found], [theirs[row][item] for item in found], atol=1e-6)


def test_reciprocal_ranks_equal_a_plain_loop():
    lists = random_lists(seed=5)
    fused = reciprocal_rank_fusion(lists, 10, weights=[0.5, 2, 1])
    for row in range(len(fused)):
        sums = dict.fromkeys(range(30), 0.0)
        for one, weight in zip(lists, [0.5, 2, 1], strict=True):
            for rank, item in enumerate(one.items[row].tolist(), start=1):
                sums[item] += weight / (60 + rank)
        np.testing.assert_allclose(fused.scores[row], sorted(sums.values(), reverse=True)[:10], rtol=1e-6)
        np.testing.assert_allclose(fused.scores[row], [sums[item] for item in fused.items[row].tolist()], rtol=1e-6)


@st.composite
def candidates(draw, rows: int = 2) -> Candidates:
    width = draw(st.integers(0, 5))
    items = np.full((rows, width), -1)
    scores = np.full((rows, width), NAN)
    for row in range(rows):
        chosen = draw(st.lists(st.integers(0, 8), unique=True, max_size=width))
        values = draw(st.lists(st.integers(-3, 3), min_size=len(chosen), max_size=len(chosen)))
        items[row, : len(chosen)], scores[row, : len(chosen)] = chosen, sorted(values, reverse=True)
    return Candidates(items, scores)


def fusions(lists: list[Candidates], k: int) -> list[Candidates]:
    weights = [1.0] * len(lists)
    by_score = [weighted_fusion(lists, weights, k, normalise=how) for how in ("minmax", "zscore", "none")]
    return [reciprocal_rank_fusion(lists, k), *by_score]


@given(st.lists(candidates(), min_size=1, max_size=4), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_a_fusion_is_the_best_of_the_union(lists, k):
    for fused in fusions(lists, k):
        assert fused.items.shape == (2, k)
        for row in range(2):
            union = {int(item) for one in lists for item in one.items[row]} - {-1}
            found = fused.items[row][fused.items[row] >= 0].tolist()
            assert set(found) <= union
            assert len(found) == min(k, len(union)) == len(set(found))
            assert (fused.items[row, len(found) :] == -1).all()
            assert np.isfinite(fused.scores[row, : len(found)]).all()
            assert np.isnan(fused.scores[row, len(found) :]).all()
            assert (np.diff(fused.scores[row, : len(found)]) <= 0).all()


@given(st.lists(candidates(), min_size=1, max_size=3), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_padding_and_company_change_nothing(lists, width):
    gap = ((0, 0), (0, width))
    padded = [
        Candidates(
            np.pad(one.items, gap, constant_values=-1), np.pad(one.scores, gap, constant_values=np.float32(np.nan))
        )
        for one in lists
    ]
    alone = [one.select(slice(0, 1)) for one in lists]
    for plain, other, single in zip(fusions(lists, 6), fusions(padded, 6), fusions(alone, 6), strict=True):
        assert_same(plain, other)
        assert_same(plain.select(slice(0, 1)), single)


@given(candidates())
@settings(max_examples=60, deadline=None)
def test_a_list_fused_with_itself_keeps_its_order(one):
    for fused in fusions([one, one], max(1, one.items.shape[1])):
        np.testing.assert_array_equal(fused.items[:, : one.items.shape[1]], one.items)


def test_what_cannot_be_fused_is_refused():
    expect_error(DataError, lambda: reciprocal_rank_fusion([], 1), "lists of [] queries", "at least one")
    expect_error(
        DataError, lambda: weighted_fusion([ONE, TWO.select(slice(0, 1))], [1, 1], 1), "[2, 1]", "same queries"
    )
    expect_error(DataError, lambda: weighted_fusion([ONE, TWO], [1], 1), "weights [1]", "2 finite numbers")
    expect_error(
        DataError, lambda: reciprocal_rank_fusion([ONE], 1, weights=[NAN]), "weights [nan]", "1 finite numbers"
    )
    expect_error(DataError, lambda: reciprocal_rank_fusion([ONE, TWO], 0), "k = 0", "1 or more")
    expect_error(DataError, lambda: reciprocal_rank_fusion([ONE], 1, constant=-1), "constant = -1", "0 or more", "60")
