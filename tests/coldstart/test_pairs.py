"""Who is asked about what: rules by hand, and what holds for any number of pairs."""

import numpy as np
import pytest
from cold import numbers, pair_rows, world
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.coldstart.pairs import Pairs, draw_pairs
from llmrec.errors import DataError
from llmrec.testing import expect_error

WORLD = world()
NEAR = np.array([[0, 2], [1, -1], [-1, -1], [2, 0], [0, -1]])  # of the cold items 4, 5, 6, 7, 9
RULES = st.sampled_from(["random", "active", "content"])


def draw(n, rule, **more):
    return draw_pairs(WORLD, n, rule=rule, near=NEAR if rule == "content" else None, **more)


@settings(max_examples=60)
@given(st.integers(0, 40), st.integers(0, 40), RULES, st.integers(1, 4), st.integers(0, 99))
def test_fewer_pairs_are_the_first_of_more(fewer, more, rule, per_user, seed):
    fewer, more = sorted([fewer, more])
    rows = pair_rows(draw(more, rule, per_user=per_user, seed=seed))
    assert pair_rows(draw(fewer, rule, per_user=per_user, seed=seed)) == rows[:fewer]
    assert len({(user, frozenset(pair)) for user, *pair in rows}) == len(rows)
    for user, first, second in rows:
        assert user in WORLD.users
        assert first != second
        assert {first, second} <= set(WORLD.items.tolist())


@pytest.mark.parametrize("rule", ["random", "active"])
def test_all_that_there_are_are_found_and_no_more(rule):
    assert len(draw(1000, rule)) == 3 * 10  # three users, five cold items


def test_the_most_active_are_asked_first_each_in_a_row():
    for seed in range(10):
        assert list(dict.fromkeys(draw(6, "active", per_user=2, seed=seed).users.tolist())) == [0, 1, 2]
    many = world(titles=[f"T{number}" for number in range(400)], about=[None] * 400)
    assert draw_pairs(many, 7, rule="active", per_user=2).users.tolist() == [0, 0, 1, 1, 2, 2, 0]


def test_random_users_come_in_an_order_of_the_seed():
    orders = {tuple(dict.fromkeys(draw(12, "random", seed=seed).users.tolist())) for seed in range(40)}
    assert len(orders) == 6


def test_near_users_are_asked_about_what_they_are_near_to():
    near = {4: {0, 2}, 5: {1}, 7: {2, 0}, 9: {0}}
    rows = pair_rows(draw(22, "content", seed=1))
    assert all(user in near.get(first, ()) or user in near.get(second, ()) for user, first, second in rows)
    # Every pair of a user that holds an item which the user is near to: of 0 those with 4, 7 or 9, and so on.
    assert len(draw(10_000, "content")) == 9 + 4 + 7
    assert {user for user, *_ in rows} == {0, 1, 2}


def test_the_item_that_brought_a_user_stands_in_either_place():
    near = np.full((5, 1), -1)
    near[0] = 1
    drawn = [draw_pairs(WORLD, 1, rule="content", near=near, seed=seed) for seed in range(30)]
    assert {int(pair.first[0]) == 4 for pair in drawn} == {True, False}
    assert all(4 in (pair.first[0], pair.second[0]) and pair.users.tolist() == [1] for pair in drawn)


def test_items_and_places_are_drawn_evenly():
    pairs = draw_pairs(world(titles=[f"T{n}" for n in range(10)]), 45, seed=3)
    counts = np.bincount(np.concatenate([pairs.first, pairs.second]), minlength=10)[4:]
    assert counts.sum() == 90
    assert counts.tolist() == [15] * 6  # all 15 pairs of six items, of each of three users
    many = [draw(1, "random", seed=seed) for seed in range(600)]
    first = np.mean([pair.first[0] < pair.second[0] for pair in many])
    assert 0.43 < first < 0.57  # a coin would leave this once in a thousand
    assert np.bincount([int(pair.first[0]) for pair in many])[[4, 5, 6, 7, 9]].min() > 80  # 120 are expected


def test_one_cold_item_is_not_enough():
    one = world(titles=("a", "b", "c", "d", "e"), about=[None] * 5, later=[(0, 4, 1), (1, 4, 1), (2, 4, 1)])
    expect_error(DataError, lambda: draw_pairs(one, 1), "one cold item", "two to choose between")


@pytest.mark.parametrize(("near", "word"), [(None, "nothing known"), (np.full((5, 2), -1), "nobody near")])
def test_near_users_must_be_known(near, word):
    expect_error(DataError, lambda: draw_pairs(WORLD, 1, rule="content", near=near), word, "nearest_users")


def test_arrays_of_different_lengths_are_refused():
    expect_error(DataError, lambda: Pairs(numbers(0), numbers(1, 2), numbers(3)), "(1,), (2,), (1,)")
