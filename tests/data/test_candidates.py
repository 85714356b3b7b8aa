"""Candidates: exact order with ties, new scores, and tables that do not fit."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llmrec.data import Candidates, Queries
from llmrec.errors import DataError
from llmrec.testing import TOY_HISTORIES, expect_error, toy

NAN = float("nan")

few_values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 3.4e38, NAN, np.inf, -np.inf])
any_values = st.floats(width=32, allow_nan=True, allow_infinity=True)
matrices = arrays(
    np.float32, st.tuples(st.integers(0, 4), st.integers(1, 12)), elements=st.one_of(few_values, any_values)
)


@given(matrices, st.data())
def test_best_agrees_with_a_sort_by_score_and_item(scores, data):
    k = data.draw(st.integers(1, scores.shape[1]))
    found = Candidates.best(scores, k)
    for row, items, kept in zip(scores, found.items, found.scores, strict=True):
        numbers = np.arange(len(row))
        usable = np.isfinite(row) | (row == np.inf)
        order = np.lexsort((numbers[usable], -row[usable].astype(np.float64)))[:k]
        expected = numbers[usable][order]
        assert items[: len(expected)].tolist() == expected.tolist()
        assert (items[len(expected) :] == -1).all()
        np.testing.assert_array_equal(kept[: len(expected)], row[expected])
        assert np.isnan(kept[len(expected) :]).all()


def test_best_by_hand():
    found = Candidates.best(np.array([[0.5, 2.0, NAN, 2.0, -np.inf], [NAN, NAN, 1.0, NAN, NAN]], np.float32), 4)
    assert found.items.tolist() == [[1, 3, 0, -1], [2, -1, -1, -1]]
    assert found.scores[0, :3].tolist() == [2.0, 2.0, 0.5]
    assert found.items.dtype == np.int32
    assert found.scores.dtype == np.float32


@pytest.mark.parametrize("k", [0, -1, 6])
def test_best_refuses_a_k_outside_the_catalogue(k):
    expect_error(DataError, lambda: Candidates.best(np.zeros((2, 5), np.float32), k), f"k = {k}", "1 to 5")


def test_with_scores_orders_anew_and_keeps_ties_and_unscored_in_incoming_order():
    one = Candidates(np.array([[4, 1, 3, 2], [5, 0, -1, -1]]), np.array([[4, 3, 2, 1], [2, 1, NAN, NAN]]))
    two = one.with_scores(np.array([[1.0, NAN, 7.0, 1.0], [NAN, -np.inf, 9.0, 9.0]]))
    assert two.items.tolist() == [[3, 4, 2, 1], [0, 5, -1, -1]]
    np.testing.assert_array_equal(two.scores, np.array([[7, 1, 1, NAN], [-np.inf, NAN, NAN, NAN]], np.float32))
    assert one.items.tolist()[0] == [4, 1, 3, 2]


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, NAN]), min_size=1, max_size=8))
def test_with_scores_is_a_permutation(scores):
    items = np.arange(len(scores))[None, ::-1]
    found = Candidates(items, np.zeros(items.shape)).with_scores(np.array([scores]))
    assert sorted(found.items[0].tolist()) == sorted(items[0].tolist())
    order = sorted(range(len(scores)), key=lambda place: (np.isnan(scores[place]), -np.nan_to_num(scores[place])))
    assert found.items[0].tolist() == [items[0, place] for place in order]


def test_top_and_select():
    one = Candidates(np.array([[4, 1, 3], [5, 0, -1]]), np.array([[3, 2, 1], [2, 1, NAN]]))
    assert one.top(2).items.tolist() == [[4, 1], [5, 0]]
    assert one.top(9).items.shape == (2, 3)
    assert one.select(np.array([1])).items.tolist() == [[5, 0, -1]]
    assert len(one) == 2


def test_arrays_that_do_not_fit_are_errors():
    expect_error(DataError, lambda: Candidates(np.zeros((2, 3)), np.zeros((2, 2))), "(2, 3)", "(2, 2)", "one shape")
    expect_error(DataError, lambda: Candidates(np.zeros(3), np.zeros(3)), "(3,)", "(q, k)")
    expect_error(
        DataError,
        lambda: Candidates(np.array([[0, 1, 2], [4, 5, 4]]), np.zeros((2, 3))),
        "item number 4 occurs twice in candidate row 1",
    )


def test_padding_may_repeat_but_a_row_of_nothing_else_is_named():
    empty = Candidates(np.array([[3, -1, -1], [-1, -1, -1]]), np.full((2, 3), NAN))
    expect_error(DataError, empty.require_filled, "candidate row 1 is empty (1 of 2 rows are)")


def queries() -> Queries:
    return Queries.from_histories([TOY_HISTORIES[1], TOY_HISTORIES[4], (0,)], [1, 4, -1])


def table() -> pl.DataFrame:
    one = Candidates(np.array([[3, 4], [0, -1], [6, 5]]), np.array([[2.0, 1.0], [0.5, NAN], [NAN, NAN]]))
    return one.to_frame(toy(), queries())


def test_to_frame_writes_ids():
    assert table().to_dict(as_series=False) == {
        "query": [0, 0, 1, 2, 2],
        "user": ["u1", "u1", "u4", None, None],
        "rank": [1, 2, 1, 1, 2],
        "item": [103, 104, 100, 106, 105],
        "score": [2.0, 1.0, 0.5, pytest.approx(NAN, nan_ok=True), pytest.approx(NAN, nan_ok=True)],
    }


def test_a_table_goes_round_whatever_the_order_of_its_rows():
    found = Candidates.from_frame(table().sample(fraction=1.0, shuffle=True, seed=1), toy(), queries())
    assert found.items.tolist() == [[3, 4], [0, -1], [6, 5]]
    np.testing.assert_array_equal(found.scores, np.array([[2, 1], [0.5, NAN], [NAN, NAN]], np.float32))


def change(**columns: object) -> pl.DataFrame:
    """Return the table with the last row changed."""
    frame = table()
    last = {name: [columns.get(name, frame[name][-1])] for name in frame.columns}
    return pl.concat([frame[:-1], pl.DataFrame(last, schema=frame.schema)])


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (table().drop("score", "rank"), ["here has no column 'rank', 'score'"]),
        (change(item=999), ["here has item 999", "items of data set 'toy'"]),
        (change(item=None), ["here has item None"]),
        (change(user="u0"), ["here has user 'u0' at query 2", "expected user None"]),
        (table().with_columns(user=pl.lit("u1")), ["here has user 'u1' at query 1", "expected user 'u4'"]),
        (change(query=3), ["here has query 3", "0 to 2"]),
        (change(query=-1), ["here has query -1", "0 to 2"]),
        (change(item=106), ["item 106 twice at query 2"]),
        (table().filter(pl.col("query") != 1), ["candidate row 1 is empty (1 of 3"]),
        (table().clear(), ["candidate row 0 is empty (3 of 3"]),
    ],
)
def test_tables_that_do_not_fit_are_errors(frame, words):
    expect_error(DataError, lambda: Candidates.from_frame(frame, toy(), queries(), where="here"), *words)
