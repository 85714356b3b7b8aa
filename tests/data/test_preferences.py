"""Preferences: what they hold, what they refuse, and their file."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.data.preferences import Preferences
from llmrec.errors import DataError
from llmrec.testing import expect_error, toy


def some() -> Preferences:
    return Preferences([0, 2, 2], [5, 6, 6], [6, 5, 4], [0.5, 0.0, 2.25])


def test_they_are_read_only_numbers_of_fixed_types():
    pairs = some()
    assert len(pairs) == 3
    assert [each.dtype for each in (pairs.users, pairs.chosen, pairs.rejected)] == [np.int32] * 3
    assert pairs.weights.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        pairs.weights[0] = 1


@pytest.mark.parametrize("rows", [np.array([2, 0]), np.array([True, False, True]), slice(1, 3), slice(0, 0)])
def test_some_of_them_are_taken_together(rows):
    pairs = some().select(rows)
    table = np.array([[0, 5, 6, 0.5], [2, 6, 5, 0], [2, 6, 4, 2.25]])[rows]
    np.testing.assert_array_equal(
        np.column_stack([pairs.users, pairs.chosen, pairs.rejected, pairs.weights]).reshape(-1, 4), table
    )


@pytest.mark.parametrize(
    ("weights", "scaled"),
    [
        ([0.5, 0, 2.5], [0.5, 0, 2.5]),
        ([1, 0, 8], [1 / 3, 0, 8 / 3]),
        ([1e38, 2e38, 3e38], [0.5, 1, 1.5]),
        ([0] * 3, [0] * 3),
    ],
)
def test_weights_are_scaled_to_mean_1(weights, scaled):
    pairs = Preferences([0, 2, 2], [5, 6, 6], [6, 5, 4], weights)
    found = pairs.scaled()
    np.testing.assert_allclose(found.weights, scaled, rtol=1e-6)
    for name in ("users", "chosen", "rejected"):
        np.testing.assert_array_equal(getattr(found, name), getattr(pairs, name))


def test_no_pair_has_no_mean():
    assert len(some().select(slice(0, 0)).scaled()) == 0


@pytest.mark.parametrize("rows", [slice(None), slice(0, 0)])
def test_a_file_gives_back_what_was_written(tmp_path, rows):
    pairs = some().select(rows)
    back = Preferences.load(pairs.save(tmp_path / "new" / "pairs.parquet"))
    for name in ("users", "chosen", "rejected", "weights"):
        np.testing.assert_array_equal(getattr(back, name), getattr(pairs, name))
        assert getattr(back, name).dtype == getattr(pairs, name).dtype
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["pairs.parquet"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (([0, 1], [1, 2], [2, 3], [1.0]), ("(2,), (2,), (2,), (1,)", "four arrays (n,)")),
        (([[0]], [[1]], [[2]], [[1.0]]), ("(1, 1)", "four arrays (n,)")),
        (([0, 1], [1, 2], [2, 3], [1, np.nan]), ("pair 1", "weight nan", "1 pairs", "finite")),
        (([0, 1], [1, 2], [2, 3], [np.inf, 1]), ("pair 0", "weight inf", "finite")),
        (([0, 1], [1, 2], [2, 3], [-0.5, -1]), ("pair 0", "weight -0.5", "2 pairs", "0 or more")),
        (([0, -1], [1, 2], [2, 3], [1, 1]), ("pair 1", "below 0", "unknown")),
        (([0, 0], [1, -1], [2, 3], [1, 1]), ("pair 1", "below 0")),
        (([0, 0], [1, 1], [-1, 3], [1, 1]), ("pair 0", "below 0")),
        (([0, 1], [1, 3], [2, 3], [1, 1]), ("pair 1", "item number 3 twice", "two items")),
    ],
)
def test_what_does_not_fit_is_refused(arrays, words):
    expect_error(DataError, lambda: Preferences(*arrays), *words)


def test_users_and_items_of_another_data_set_are_refused():
    some().require_known(toy())  # five users, seven items
    Preferences([], [], [], []).require_known(toy())
    for users, chosen, rejected, words in (
        (5, 0, 1, ("user number 5", "0 to 4", "'toy'")),
        (0, 7, 1, ("item number 7", "0 to 6")),
        (0, 1, 9, ("item number 9", "0 to 6")),
    ):
        pairs = Preferences([0, users], [0, chosen], [1, rejected], [1, 1])
        expect_error(DataError, lambda pairs=pairs: pairs.require_known(toy()), *words)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "pairs.parquet"
    expect_error(DataError, lambda: Preferences.load(path), "no file")
    good = {"user": [0], "chosen": [1], "rejected": [2], "weight": [0.5]}
    types = {"user": pl.Int32, "chosen": pl.Int32, "rejected": pl.Int32, "weight": pl.Float32}
    pl.DataFrame(good).drop("weight").write_parquet(path)
    expect_error(DataError, lambda: Preferences.load(path), "'weight'")
    pl.DataFrame({**good, "user": ["u0"]}).write_parquet(path)
    expect_error(DataError, lambda: Preferences.load(path), "String", "Int32 user")
    pl.DataFrame({**good, "weight": [None]}, schema=types).write_parquet(path)
    expect_error(DataError, lambda: Preferences.load(path), "null")
    pl.DataFrame({**good, "weight": [np.nan]}, schema=types).write_parquet(path)
    expect_error(DataError, lambda: Preferences.load(path), "weight nan")
    pl.DataFrame(good, schema=types).write_parquet(path)
    assert len(Preferences.load(path)) == 1
    path.write_bytes(path.read_bytes()[:50])
    expect_error(DataError, lambda: Preferences.load(path), "cannot be read")
