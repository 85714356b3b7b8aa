"""Targets and splits: what they refuse, and folders that go round."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from llmrec.data import Queries, Split, Targets
from llmrec.errors import DataError
from llmrec.testing import expect_error, toy


def split() -> Split:
    """Return a split of the toy data made by hand; one history is empty, one query has two relevant items."""
    events = toy().interactions
    return Split(
        train=toy().with_interactions(events.select(events.times < 30)),
        valid=Targets(Queries.from_histories([[0, 1], []], [0, -1]), np.array([[2, -1], [5, 6]])),
        test=Targets(Queries.from_histories([[0, 1, 2]], [0]), np.array([[3]])),
        rule={"name": "by hand", "cut": 30, "share": 0.5},
    )


def assert_equal(one: Targets, two: Targets) -> None:
    np.testing.assert_array_equal(one.queries.users, two.queries.users)
    np.testing.assert_array_equal(one.queries.history, two.queries.history)
    assert [set(row[row >= 0]) for row in one.relevant] == [set(row[row >= 0]) for row in two.relevant]


def test_a_folder_goes_round(tmp_path):
    assert split().save(tmp_path / "cut") == tmp_path / "cut"
    found = Split.load(tmp_path / "cut")
    assert found.rule == split().rule
    assert_equal(found.valid, split().valid)
    assert_equal(found.test, split().test)
    np.testing.assert_array_equal(found.train.interactions.times, split().train.interactions.times)
    assert found.train.items == split().train.items
    assert found.train.titles() == toy().titles()


@pytest.mark.parametrize("name", ["split.json", "valid.parquet", "test.parquet", "train/items.parquet"])
def test_a_missing_or_truncated_file_is_named(tmp_path, name):
    path = split().save(tmp_path / "cut") / name
    path.write_bytes(path.read_bytes()[:-10])
    expect_error(DataError, lambda: Split.load(tmp_path / "cut"), path.name)
    path.unlink()
    expect_error(DataError, lambda: Split.load(tmp_path / "cut"), "no file", path.name)


def test_a_missing_column_is_named(tmp_path):
    path = split().save(tmp_path / "cut") / "test.parquet"
    pl.read_parquet(path).drop("relevant").write_parquet(path)
    expect_error(DataError, lambda: Split.load(tmp_path / "cut"), "test.parquet", "no column 'relevant'")


def test_a_split_that_cannot_be_written_leaves_the_old_one(tmp_path):
    split().save(tmp_path / "cut")
    bad = Split(split().train, split().valid, split().test, {"what": {1, 2}})  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        bad.save(tmp_path / "cut")
    assert Split.load(tmp_path / "cut").rule["name"] == "by hand"
    assert [path.name for path in tmp_path.iterdir()] == ["cut"]


def test_parts_go_by_name():
    one = split()
    assert one.part("valid") is one.valid
    assert one.part("test") is one.test
    expect_error(DataError, lambda: one.part("train"), "part 'train'", "'valid' or 'test'")


def test_targets_without_a_relevant_item_are_refused():
    queries = Queries.from_histories([[0], [1]], [0, 1])
    expect_error(DataError, lambda: Targets(queries, np.array([[1], [-1]])), "query 1 has no relevant item")
    expect_error(DataError, lambda: Targets(queries, np.array([[1]])), "shape (1, 1) for 2 queries")
    expect_error(DataError, lambda: Targets(queries, np.array([1, 2])), "shape (2,) for 2 queries", "(q, r)")


def test_a_sample_is_drawn_without_replacement_and_in_order():
    many = Targets(Queries.from_histories([[0]] * 50, list(range(50))), np.arange(50)[:, None])
    some = many.sample(10, seed=3)
    users = some.queries.users.tolist()
    assert len(set(users)) == 10
    assert users == sorted(users)
    assert some.relevant[:, 0].tolist() == users
    assert many.sample(10, seed=3).queries.users.tolist() == users
    assert many.sample(10, seed=4).queries.users.tolist() != users
    assert many.sample(50) is many


def shown() -> Targets:
    queries = Queries.from_histories([[0, 1], []], [0, -1])
    return Targets(queries, np.array([[2], [5]]), np.array([[4, 2, -1, -1], [5, 0, 5, 3]]))


def test_shown_items_become_candidates_in_their_order_each_once():
    found = shown().candidates()
    assert found.items.tolist() == [[4, 2, -1, -1], [5, 0, 3, -1]]
    assert np.isnan(found.scores).all()
    assert shown().select([1]).candidates().items.tolist() == [[5, 0, 3, -1]]
    expect_error(DataError, split().test.candidates, "without shown items", "impressions")


def test_shown_items_and_targets_without_labels_go_round(tmp_path):
    hidden = Targets(shown().queries, np.zeros((2, 0), np.int32), shown().shown)
    assert not hidden.labelled
    assert shown().labelled
    dataclasses.replace(split(), valid=shown(), test=hidden).save(tmp_path / "cut")
    found = Split.load(tmp_path / "cut")
    np.testing.assert_array_equal(found.valid.shown, shown().shown)
    assert_equal(found.valid, shown())
    assert found.test.relevant.shape == (2, 0)
    np.testing.assert_array_equal(found.test.shown, shown().shown)
    np.testing.assert_array_equal(found.test.queries.history, shown().queries.history)


def test_shown_items_need_a_row_for_each_query():
    expect_error(
        DataError,
        lambda: Targets(shown().queries, shown().relevant, np.array([[1]])),
        "shown items of shape (1, 1) for 2 queries",
    )
