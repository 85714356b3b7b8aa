"""Quotas and turns: by hand, against plain loops, and what holds for any lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.classic.recall.fuse import reciprocal_rank_fusion
from llmrec.classic.recall.interleave import quota_fusion, snake_merge
from llmrec.data import Candidates
from llmrec.errors import DataError
from llmrec.testing import assert_same, expect_error

NAN = float("nan")


def ranked(*rows: list[int]) -> Candidates:
    width = max(map(len, rows))
    items = np.array([row + [-1] * (width - len(row)) for row in rows]).reshape(len(rows), width)
    return Candidates(items, np.where(items < 0, np.nan, -np.arange(width)))


def test_turns_by_hand():
    """1 2 3, 3 2 1, 1 2 3: A gives 1, B 2, C 3; C 4, B 5 (2 and 4 are gone), A 6 (2 is); A 7, B 8, and C has ended."""
    one, two, three = ranked([1, 2, 6, 7, 9]), ranked([2, 4, 5, 8]), ranked([3, 4])
    merged = snake_merge([one, two, three], 9)
    assert merged.items.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9]]
    np.testing.assert_allclose(merged.scores, [1 / np.arange(1, 10)], rtol=1e-6)
    assert snake_merge([three, one, two], 4).items.tolist() == [[3, 1, 2, 4]]
    assert snake_merge([three, one, two], 5).items.tolist() == [[3, 1, 2, 4, 6]]


def test_turns_of_each_query_are_its_own():
    merged = snake_merge([ranked([5], [8, 7, 5], []), ranked([5, 6, 7], [1], [])], 4)
    assert merged.items.tolist() == [[5, 6, 7, -1], [8, 1, 7, 5], [-1] * 4]
    assert np.isnan(merged.scores[2]).all()


def test_quotas_by_hand():
    """One chooses 1 and 2; two, which has 2 as well, 3; three 9. The last of five places is 4's, the best of the rest.

    Reciprocal ranks with constant 1: 1 has 1/2; 2 has 1/3 + 1/2; 3 has 1/3; 4 has 1/4 + 1/4; 9 has 1/2; 8 has 1/3.
    1 and 9 tie: 1 is in the first list.
    """
    lists = [ranked([1, 2, 4]), ranked([2, 3, 4]), ranked([9, 8])]
    fused = quota_fusion(lists, [2, 1, 1], 5, constant=1)
    assert fused.items.tolist() == [[2, 1, 4, 9, 3]]
    np.testing.assert_allclose(fused.scores, [[5 / 6, 1 / 2, 1 / 2, 1 / 2, 1 / 3]], rtol=1e-6)
    assert quota_fusion(lists, [2, 1, 1], 4, constant=1).items.tolist() == [[2, 1, 9, 3]]
    assert quota_fusion(lists, [0, 0, 2], 2, constant=1).items.tolist() == [[9, 8]]
    assert quota_fusion(lists, [0, 0, 2], 9, constant=1).items.tolist() == [[2, 1, 4, 9, 3, 8, -1, -1, -1]]


def test_weights_order_what_quotas_chose():
    lists = [ranked([1, 2]), ranked([3, 4])]
    assert quota_fusion(lists, [1, 1], 2, weights=[1, 5]).items.tolist() == [[3, 1]]
    assert quota_fusion(lists, [1, 0], 2, weights=[1, 5]).items.tolist() == [[3, 1]]
    assert quota_fusion(lists, [2, 0], 2, weights=[1, 5]).items.tolist() == [[1, 2]]


def test_no_quotas_are_reciprocal_ranks():
    rng = np.random.default_rng(2)
    lists = [ranked(*(rng.permutation(20)[:8].tolist() for _ in range(30))) for _ in range(3)]
    assert_same(quota_fusion(lists, [0, 0, 0], 12), reciprocal_rank_fusion(lists, 12))


@st.composite
def several(draw) -> list[Candidates]:
    rows = draw(st.integers(1, 3))
    row = st.lists(st.integers(0, 9), unique=True, max_size=6)
    return [ranked(*draw(st.lists(row, min_size=rows, max_size=rows))) for _ in range(draw(st.integers(1, 4)))]


def filled(fused: Candidates, lists: list[Candidates], k: int) -> None:
    """Assert that each row has k distinct items of the lists, or all that they have, and then padding."""
    assert fused.items.shape == (len(lists[0]), k)
    for row, items in enumerate(fused.items.tolist()):
        held = {item for one in lists for item in one.items[row].tolist()} - {-1}
        found = [item for item in items if item >= 0]
        assert len(set(found)) == len(found) == min(k, len(held))
        assert set(found) <= held
        assert items[len(found) :] == [-1] * (k - len(found))
    assert (np.isnan(fused.scores) == (fused.items < 0)).all()
    assert (np.diff(np.nan_to_num(fused.scores, nan=-1), axis=1) <= 0).all()


@given(several(), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_turns_equal_a_plain_loop(lists, k):
    merged = snake_merge(lists, k)
    filled(merged, lists, k)
    m = len(lists)
    for row in range(len(merged)):
        queues = [[item for item in one.items[row].tolist() if item >= 0] for one in lists]
        given_out: list[int] = []
        for turn in range(2 * m * 20):
            number = turn % (2 * m)
            queue = queues[number if number < m else 2 * m - 1 - number]
            free = [item for item in queue if item not in given_out]
            given_out += free[:1]
        assert merged.items[row].tolist() == (given_out + [-1] * k)[:k]


@given(several(), st.data())
@settings(max_examples=100, deadline=None)
def test_each_list_has_chosen_its_quota(lists, data):
    quotas = data.draw(st.lists(st.integers(0, 3), min_size=len(lists), max_size=len(lists)))
    k = data.draw(st.integers(max(1, sum(quotas)), 13))
    fused = quota_fusion(lists, quotas, k)
    filled(fused, lists, k)
    for row, items in enumerate(fused.items.tolist()):
        chosen: list[int] = []
        for one, quota in zip(lists, quotas, strict=True):
            chosen += [item for item in one.items[row].tolist() if item >= 0 and item not in chosen][:quota]
        assert set(chosen) <= set(items)
        others = [item for item in reciprocal_rank_fusion(lists, 40).items[row].tolist() if item not in {*chosen, -1}]
        assert set(items) - {-1} == {*chosen, *others[: k - len(chosen)]}


@given(several())
@settings(max_examples=50, deadline=None)
def test_a_query_alone_gets_what_it_gets_in_company(lists):
    last = [one.select(slice(-1, None)) for one in lists]
    assert_same(snake_merge(last, 7), snake_merge(lists, 7).select(slice(-1, None)))
    quotas = [1] * len(lists)
    assert_same(quota_fusion(last, quotas, 7), quota_fusion(lists, quotas, 7).select(slice(-1, None)))


def test_no_query_is_no_error():
    none = [ranked([1, 2]).select(slice(0, 0))] * 2
    assert snake_merge(none, 3).items.shape == (0, 3)
    assert quota_fusion(none, [1, 1], 3).items.shape == (0, 3)


def test_what_cannot_be_merged_is_refused():
    one, two = ranked([1, 2]), ranked([3], [4])
    expect_error(DataError, lambda: snake_merge([], 1), "lists of [] queries", "at least one")
    expect_error(DataError, lambda: snake_merge([one, two], 1), "[1, 2]", "same queries")
    expect_error(DataError, lambda: snake_merge([one], 0), "k = 0", "1 or more")
    expect_error(DataError, lambda: quota_fusion([], [], 1), "lists of [] queries")
    expect_error(DataError, lambda: quota_fusion([one], [1], 0), "k = 0", "1 or more")
    for quotas in ([1], [-1, 2], [2, 2]):
        expect_error(DataError, lambda q=quotas: quota_fusion([one, one], q, 3), f"quotas {quotas}", "2 numbers", "3")
    expect_error(DataError, lambda: quota_fusion([one], [1], 1, weights=[NAN]), "weights [nan]")
    expect_error(DataError, lambda: quota_fusion([one], [1], 1, constant=-1), "constant = -1")
