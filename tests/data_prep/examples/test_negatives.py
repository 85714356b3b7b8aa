"""Negatives are never what a row excludes, never twice, as many as there can be, and from the rule's own items."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.examples.negatives import Pool, draw_negatives
from llmrec.errors import ConfigError, DataError, UnknownNameError
from llmrec.testing import expect_error, toy

N_USERS, N_ITEMS = 4, 9
events = st.lists(
    st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1), st.sampled_from([1.0, 5.0])), min_size=1
)
asked_rows = st.lists(
    st.tuples(
        st.integers(-1, N_USERS - 1),
        st.lists(st.integers(-1, N_ITEMS - 1), min_size=3, max_size=3),
        st.integers(0, 6),
        st.lists(st.integers(0, N_ITEMS - 1), max_size=8),
    ),
    min_size=1,
    max_size=8,
)


def made(rows, n_items=N_ITEMS):
    users, items, values = zip(*rows, strict=True)
    return Dataset(
        name="made",
        interactions=Interactions.sort(users, items, range(len(rows)), values),
        users=Vocabulary(range(N_USERS)),
        items=Vocabulary(range(n_items)),
        item_table=pl.DataFrame({"title": [f"t{item}" for item in range(n_items)]}),
    )


def allowed(rule, rows, user, exclude, shown):
    """The items that a row may draw, one at a time."""
    own = {item for one, item, _ in rows if one == user}
    pools = {
        "random": set(range(N_ITEMS)) - own,
        "popular": {item for _, item, _ in rows} - own,
        "mismatched": {item for _, item, value in rows if value > 3} - own,
        "disliked": {item for one, item, value in rows if one == user and value <= 3},
        "shown": set(shown),
    }
    return pools[rule] - set(exclude)


@given(
    events, asked_rows, st.sampled_from(["random", "popular", "mismatched", "disliked", "shown"]), st.integers(0, 99)
)
def test_each_row_draws_only_what_it_may_and_all_it_can(rows, asked, rule, seed):
    data = made(rows)
    exclude = np.array([row[1] for row in asked], np.int32)
    wanted = np.array([row[2] for row in asked])
    flat = [(number, item) for number, row in enumerate(asked) for item in row[3]]
    shown = Pool(np.array([row for row, _ in flat], np.int64), np.array([item for _, item in flat], np.int32))

    def draw():
        return draw_negatives(
            data, [row[0] for row in asked], exclude=exclude, rule=rule, n=wanted, like_above=3, shown=shown, seed=seed
        )

    if rule == "mismatched" and not any(value > 3 for _, _, value in rows):
        expect_error(DataError, draw, "no event for negatives", "the rule 'random'")
        return
    drawn = draw()
    np.testing.assert_array_equal(drawn, draw())
    assert drawn.shape == (len(asked), wanted.max())
    for row, (user, excluded, n, seen) in zip(drawn.tolist(), asked, strict=True):
        real = [item for item in row if item >= 0]
        assert row == real + [-1] * (len(row) - len(real)), "padding stands on the right"
        assert len(set(real)) == len(real)
        may = allowed(rule, rows, user, excluded, seen)
        assert set(real) <= may
        assert len(real) == min(n, len(may))


def test_popular_items_are_drawn_as_often_as_they_occur():
    data = made([(0, 0, 1)] * 60 + [(0, 1, 1)] * 30 + [(1, 2, 1)] * 10)
    drawn = draw_negatives(data, np.full(20_000, -1), exclude=np.empty((20_000, 0), np.int32), rule="popular")
    share = np.bincount(drawn[:, 0], minlength=N_ITEMS) / 20_000
    np.testing.assert_allclose(share[:3], [0.6, 0.3, 0.1], atol=0.015)
    assert share[3:].sum() == 0


@pytest.mark.parametrize("n_items", [5, 3000])
def test_random_items_are_drawn_alike(n_items):
    data = made([(0, 0, 1)], n_items)
    drawn = draw_negatives(data, np.zeros(20_000), exclude=np.full((20_000, 1), 1, np.int32), n=2, seed=3)
    counts = np.bincount(drawn.ravel(), minlength=n_items)
    assert counts[:2].sum() == 0
    expected = 40_000 / (n_items - 2)
    assert abs(counts[2:] - expected).max() < 6 * np.sqrt(expected)


def test_rows_that_rejection_leaves_open_are_finished_with_the_right_shares():
    """Item 0 fills nearly all of the draws and is barred: what is left must still be drawn 2 to 1."""
    data = made([(0, 0, 1)] * 30_000 + [(0, 1, 1)] * 2 + [(0, 2, 1)])
    drawn = draw_negatives(data, np.full(9000, -1), exclude=np.zeros((9000, 1), np.int32), rule="popular", n=1)
    share = np.bincount(drawn[:, 0], minlength=3) / 9000
    np.testing.assert_allclose(share[:3], [0, 2 / 3, 1 / 3], atol=0.03)


def test_another_seed_draws_others():
    data = made([(0, 0, 1)], 1000)
    nothing = np.empty((50, 0), np.int32)
    one, two = (draw_negatives(data, np.zeros(50), exclude=nothing, n=3, seed=seed) for seed in (0, 1))
    assert (one != two).mean() > 0.9


def test_what_a_rule_lacks_is_one_line():
    data, nothing = toy(), np.empty((1, 0), np.int32)

    def draw(**options):
        return lambda: draw_negatives(data, [0], exclude=nothing, **options)

    expect_error(UnknownNameError, draw(rule="populr"), "'populr'", "did you mean 'popular'?")
    expect_error(ConfigError, draw(rule="shown"), "rule 'shown' without shown items")
    expect_error(ConfigError, draw(rule="disliked"), "rule 'disliked' without like_above")
    expect_error(ConfigError, draw(n=-1), "n = -1")
