"""Ids to numbers and back."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data import Vocabulary
from llmrec.errors import DataError
from llmrec.testing import expect_error

integers = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=30)
texts = st.lists(st.text(max_size=5), unique=True, max_size=30)


@given(st.one_of(integers, texts), st.data())
def test_numbers_and_ids_are_two_ways_of_one_map(ids, data):
    vocabulary = Vocabulary(ids)
    numbers = np.array(data.draw(st.lists(st.integers(0, len(ids) - 1)) if ids else st.just([])), np.int32)
    asked = [ids[number] for number in numbers]
    assert vocabulary.decode(numbers).to_list() == asked
    found = vocabulary.numbers(asked)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, numbers)
    assert len(vocabulary) == len(ids)


@given(st.one_of(st.tuples(integers, integers), st.tuples(texts, texts)))
def test_unknown_ids_are_minus_one(pair):
    ids, asked = pair
    expected = [ids.index(one) if one in ids else -1 for one in asked]
    assert Vocabulary(ids).numbers(asked).tolist() == expected


def test_ids_keep_the_order_in_which_they_came():
    vocabulary = Vocabulary(["b", "c", "a"])
    assert vocabulary.numbers(["a", "b", "c", "d"]).tolist() == [2, 0, 1, -1]
    assert vocabulary.decode(np.array([[2, -1], [0, 1]])).to_list() == ["a", None, "b", "c"]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        (["10", "30", "x", "", " 10", "10.0"], [0, 2, -1, -1, -1, -1]),
        ([10.0, 10.5, 30.0, float("nan"), float("inf")], [0, -1, 2, -1, -1]),
        ([10, None, 30], [0, -1, 2]),
        ([10, "30", "x"], [0, 2, -1]),
        ([None, None], [-1, -1]),
        ([2**40, -1], [-1, -1]),
        (pl.Series([20, 10], dtype=pl.UInt8), [1, 0]),
        ([], []),
    ],
)
def test_a_vocabulary_of_integers_reads_other_types_by_value(asked, numbers):
    assert Vocabulary([10, 20, 30]).numbers(asked).tolist() == numbers


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ([10, 11], [0, -1]),
        (["10", 10, None], [0, 0, -1]),
        (["A", "a", ""], [1, -1, 2]),
        ([None], [-1]),
        (pl.Series(["A", None, "x"], dtype=pl.Categorical), [1, -1, -1]),
    ],
)
def test_a_vocabulary_of_texts_reads_other_types_by_value(asked, numbers):
    assert Vocabulary(["10", "A", ""]).numbers(asked).tolist() == numbers


def test_an_empty_vocabulary_knows_nothing():
    assert Vocabulary([]).numbers([1, 2]).tolist() == [-1, -1]
    assert Vocabulary([]).numbers(["a"]).tolist() == [-1]
    assert Vocabulary([]).decode(np.array([-1])).to_list() == [None]
    assert len(Vocabulary([])) == 0


@pytest.mark.parametrize(("ids", "word"), [([3, 1, 3], "duplicate id 3"), (["a", "b", "a"], "duplicate id 'a'")])
def test_a_repeated_id_is_an_error(ids, word):
    expect_error(DataError, lambda: Vocabulary(ids), word, "every id once")


def test_a_missing_id_is_an_error():
    expect_error(DataError, lambda: Vocabulary(pl.Series(["a", None, "c"])), "id number 1 is missing", "drop or fill")


def test_of_sorts_the_distinct_values():
    assert Vocabulary.of(pl.Series([5, 1, 5, None, 3])).ids.to_list() == [1, 3, 5]
    assert Vocabulary.of(pl.Series(["b", "a", "b"])).ids.to_list() == ["a", "b"]


def test_equality_is_by_ids_and_their_order():
    assert Vocabulary([1, 2]) == Vocabulary(pl.Series([1, 2], dtype=pl.Int32))
    assert Vocabulary([1, 2]) != Vocabulary([2, 1])
    assert Vocabulary([1, 2]) != Vocabulary(["1", "2"])
    assert Vocabulary([1, 2]) != [1, 2]
    assert repr(Vocabulary(range(12000))) == "Vocabulary(12,000 ids)"


@given(st.lists(st.text(max_size=4), max_size=30) | st.lists(st.integers(-(2**40), 2**40), max_size=30))
def test_encoding_numbers_every_event_as_a_lookup_does(ids):
    series = pl.Series("x", ids, dtype=pl.Int64 if not ids or isinstance(ids[0], int) else pl.String)
    vocabulary, numbers = Vocabulary.encode(series)
    assert vocabulary.ids.to_list() == sorted(set(ids))
    assert numbers.dtype == np.int32
    assert numbers.tolist() == [vocabulary.ids.to_list().index(each) for each in ids]


def test_encoding_needs_an_id_for_every_event():
    expect_error(DataError, lambda: Vocabulary.encode(pl.Series(["a", None])), "id number 1 is missing")
