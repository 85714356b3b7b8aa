"""Repeats and the k-core against their definitions, spelt out."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data import Interactions
from llmrec.data_prep.core import k_core, stable_order, without_repeats
from llmrec.errors import ConfigError
from llmrec.testing import expect_error

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=9)
EVENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3), st.integers(1, 2)), max_size=20)


def is_core(pairs: list[tuple[int, int]], k: int) -> bool:
    users, items = [user for user, _ in pairs], [item for _, item in pairs]
    return all(users.count(user) >= k and items.count(item) >= k for user, item in pairs)


def numbers(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([user for user, _ in pairs], np.int32), np.array([item for _, item in pairs], np.int32)


@given(pairs=PAIRS, k=st.integers(1, 3))
def test_the_k_core_is_the_largest_set_of_events_that_is_one(pairs, k):
    rows = range(len(pairs))
    subsets = (chosen for size in range(len(pairs), -1, -1) for chosen in combinations(rows, size))
    largest = next(chosen for chosen in subsets if is_core([pairs[row] for row in chosen], k))
    assert np.flatnonzero(k_core(*numbers(pairs), k)).tolist() == list(largest)


def test_a_fall_goes_on_to_the_end():
    # A chain u0-i0-u1-i1-u2 hangs on a square of u3, u4, i2, i3; only the square has two events everywhere.
    chain = [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)]
    square = [(3, 2), (3, 3), (4, 2), (4, 3)]
    assert k_core(*numbers(chain + square), 2).tolist() == [False] * 5 + [True] * 4
    assert not k_core(*numbers(chain + square), 3).any()


@given(rows=EVENTS, rule=st.sampled_from(["last", "first", "max"]))
def test_of_each_pair_the_event_that_the_rule_names_stays(rows, rule):
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 4
    events = Interactions.sort(*columns)
    kept: dict[tuple[int, int], int] = {}
    for row in range(len(events)):  # in time order
        pair = (int(events.users[row]), int(events.items[row]))
        if pair not in kept or rule == "last" or (rule == "max" and events.values[row] >= events.values[kept[pair]]):
            kept[pair] = row
    expected = events.select(np.array(sorted(kept.values()), np.int64))
    found = without_repeats(events, rule)
    for name in ("users", "items", "times", "values"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@given(st.lists(st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)), max_size=40))
def test_the_order_is_that_of_a_stable_sort(keys):
    numbers = np.array(keys, np.int64)
    before = numbers.copy()
    np.testing.assert_array_equal(stable_order(numbers), np.argsort(numbers, kind="stable"))
    np.testing.assert_array_equal(numbers, before)


@pytest.mark.parametrize("span", [2**57 - 1, 2**57, 2**62])
def test_the_order_holds_where_keys_just_fit_and_where_they_do_not(span):
    keys = np.array([span, 0, span, 0] * 10, np.int64)
    np.testing.assert_array_equal(stable_order(keys), np.argsort(keys, kind="stable"))


def test_all_keeps_everything():
    events = Interactions.sort([0, 0, 0], [1, 1, 1], [5, 5, 5], [1, 1, 1])
    assert without_repeats(events, "all") is events
    assert len(without_repeats(events, "last")) == 1  # exact copies are repeats


def test_pairs_beyond_32_bits_do_not_meet():
    # Among 70,000 items, 61,356 * 70,000 + 47,296 is 2 ** 32: in 32 bits, the first two pairs would be one.
    users, items = np.array([0, 61_356, 0]), np.array([0, 47_296, 69_999])
    assert len(without_repeats(Interactions.sort(users, items, [1, 2, 3]), "last")) == 3


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k):
    expect_error(ConfigError, lambda: k_core(*numbers([(0, 0)]), k), f"k_core = {k}", "1 or more")


def test_an_unknown_rule_is_refused():
    events = Interactions.sort([0], [0], [0])
    expect_error(ConfigError, lambda: without_repeats(events, "lst"), "repeats = 'lst'", "did you mean 'last'")
