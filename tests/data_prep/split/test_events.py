"""Both splits by hand: on the toy data and on small tables with ties, repeats and short users."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from made import asked, dataset, shown, train_events

from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import (
    cold_items,
    cold_users,
    global_time_cut,
    impression_time_cut,
    leave_last_out,
    per_user_ratio,
)
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error, toy


def test_leave_last_out_on_the_toy_data():
    split = leave_last_out(toy())
    assert asked(split.valid) == {
        0: ([0, 1], [2]),
        1: ([0], [1]),
        2: ([1], [2]),
        3: ([0], [3]),
        4: ([2], [4]),
    }
    assert asked(split.test) == {
        0: ([0, 1, 2], [3]),
        1: ([0, 1], [2]),
        2: ([1, 2], [4]),
        3: ([0, 3], [4]),
        4: ([2, 4], [5]),
    }
    train = split.train.interactions
    assert list(zip(train.users.tolist(), train.items.tolist(), train.times.tolist(), strict=True)) == [
        (0, 0, 10),
        (1, 0, 11),
        (2, 1, 12),
        (3, 0, 13),
        (4, 2, 14),
        (0, 1, 20),
    ]
    assert split.rule == {
        "name": "leave-last-out",
        "ties": "strict",
        "when_short": "error",
        "history": "all",
        "users": 5,
        "short_users": 0,
        "dropped_ties": 0,
        "repeated_targets": 0,
    }
    assert cold_items(split).tolist() == [3, 4, 5]
    assert cold_items(split).dtype == np.int32
    assert split.train.users is toy().users or split.train.users == toy().users


def test_history_keeps_the_newest_items():
    split = leave_last_out(toy(), history=1)
    assert asked(split.test)[0] == ([2], [3])
    assert split.test.queries.history.shape == (5, 1)
    assert split.rule["history"] == 1


TIED = [(0, 0, 1), (0, 1, 1), (0, 2, 2), (0, 3, 2), (0, 4, 3), (0, 5, 3)]


def test_events_in_the_second_of_a_later_target_are_left_out():
    split = leave_last_out(dataset(TIED))
    assert asked(split.test) == {0: ([0, 1, 3], [5])}
    assert asked(split.valid) == {0: ([0, 1], [3])}
    assert train_events(split) == [0, 1]
    assert split.rule["dropped_ties"] == 2  # items 2 and 4


def test_ties_in_input_order_keep_every_event():
    split = leave_last_out(dataset(TIED), ties="order")
    assert asked(split.test) == {0: ([0, 1, 2, 3, 4], [5])}
    assert asked(split.valid) == {0: ([0, 1, 2, 3], [4])}
    assert train_events(split) == [0, 1, 2, 3]
    assert split.rule["dropped_ties"] == 0


def test_an_item_met_before_stays_a_target_and_is_counted():
    split = leave_last_out(dataset([(0, 7, 1), (0, 6, 2), (0, 7, 3), (0, 7, 4), (1, 1, 1), (1, 2, 2), (1, 1, 3)]))
    assert asked(split.valid) == {0: ([7, 6], [7]), 1: ([1], [2])}
    assert asked(split.test) == {0: ([7, 6, 7], [7]), 1: ([1, 2], [1])}
    assert split.rule["repeated_targets"] == 3


SHORT = [(0, 0, 1), (0, 1, 2), (0, 2, 3), (2, 3, 1), (2, 4, 2), (3, 5, 4), (3, 6, 4), (3, 7, 5)]


def test_a_short_user_is_an_error_that_names_the_cure():
    expect_error(
        DataError,
        lambda: leave_last_out(dataset(SHORT)),
        "user 'u2' has 2 events at 2 different times (2 of 6 users have too few)",
        "short_users='train'",
        "ties='order'",
    )
    expect_error(
        DataError,
        lambda: leave_last_out(dataset(SHORT), ties="order"),
        "user 'u2' has 2 events (1 of 6",
        "at least three:",
        "short_users='train'",
    )


def test_short_users_can_stay_for_training_with_all_their_events():
    split = leave_last_out(dataset(SHORT), short_users="train")
    assert asked(split.test) == {0: ([0, 1], [2])}
    assert train_events(split) == [0, 3, 4, 5, 6, 7]
    assert split.rule["short_users"] == 2  # users 1, 4 and 5 have no events at all: they are not short
    assert split.rule["dropped_ties"] == 0


@pytest.mark.parametrize("rows", [[], [(0, 0, 1), (0, 1, 2)]])
def test_no_user_with_targets_is_an_error(rows):
    expect_error(
        DataError,
        lambda: leave_last_out(dataset(rows), short_users="train"),
        "no user of 'made' has targets",
        f"({len(rows)} events)",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ties": "strickt"}, ["ties = 'strickt'", "'strict' or 'order'", "did you mean 'strict'"]),
        ({"short_users": "drop"}, ["short_users = 'drop'", "'error' or 'train'"]),
        ({"history": 0}, ["history = 0", "at least 1"]),
    ],
)
def test_unknown_arguments_are_errors(arguments, words):
    expect_error(ConfigError, lambda: leave_last_out(toy(), **arguments), *words)


def test_global_time_cut_on_the_toy_data():
    # 16 events; the twelfth (place 11 = 16 * 0.7) is at 31, the fourteenth (place 13 = 16 * 0.8) at 33.
    split = global_time_cut(toy())
    assert split.train.interactions.times.tolist() == [10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 30]
    assert asked(split.valid) == {1: ([0, 1], [2]), 2: ([1, 2], [4])}
    assert asked(split.test) == {0: ([0, 1, 2], [3]), 3: ([0, 3], [4]), 4: ([2, 4], [5])}
    assert cold_items(split).tolist() == [5]
    assert split.rule == {
        "name": "global-time-cut",
        "train": 0.7,
        "valid": 0.1,
        "history": "all",
        "valid_from": 31,
        "test_from": 33,
        "cold_users": 0,
        "cold_items": 1,
        "repeated_events": 0,
    }


def test_global_time_cut_keeps_cold_users_and_leaves_known_items_out():
    rows = [
        *[(0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 0, 4)],
        *[(0, 1, 5), (0, 2, 6), (0, 2, 6), (2, 6, 6)],  # item 1 was met; item 2 comes twice; user 2 is new
        *[(0, 2, 7), (0, 4, 8), (0, 3, 8), (2, 6, 8), (3, 7, 9)],  # items 2 and 6 were met in validation
    ]
    split = global_time_cut(dataset(rows), train=4 / 13, valid=4 / 13, history=3)
    assert train_events(split) == [0, 1, 2, 3]
    assert asked(split.valid) == {0: ([0, 1], [2]), 2: ([], [6])}
    assert asked(split.test) == {0: ([1, 2, 2], [4, 3]), 3: ([], [7])}
    assert cold_items(split).tolist() == [2, 3, 4, 6, 7]
    assert cold_users(split).tolist() == [2, 3]
    assert cold_users(split).dtype == np.int32
    assert {name: split.rule[name] for name in ("valid_from", "test_from", "cold_users", "cold_items")} == {
        "valid_from": 5,
        "test_from": 7,
        "cold_users": 2,
        "cold_items": 5,
    }
    assert split.rule["repeated_events"] == 4


@pytest.mark.parametrize(
    ("train", "valid"), [(0.0, 0.1), (0.9, 0.1), (0.5, 0.0), (-1.0, 0.1), (0.7, 0.4), (float("nan"), 0.1)]
)
def test_fractions_out_of_range_are_errors(train, valid):
    expect_error(
        ConfigError,
        lambda: global_time_cut(toy(), train=train, valid=valid),
        f"train = {train}, valid = {valid}",
        "sum below 1",
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], ["the train part of 'made' has 0 of 0 events"]),
        (
            [(user, user, 5) for user in range(6)],
            ["the train part of 'made' has 0 of 6 events", "change the fractions"],
        ),
        ([(0, 0, 1), *[(0, item, 2) for item in range(1, 8)]], ["the valid part", "has 0 of 8 events"]),
        (
            [*[(0, item, item) for item in range(8)], (0, 0, 9), (0, 1, 10)],
            ["the test part", "has 2 of 10 events, all with items that their users had met"],
        ),
    ],
)
def test_a_part_without_targets_is_an_error(rows, words):
    fractions = {"train": 0.5, "valid": 0.3} if len(rows) == 10 else {}
    expect_error(DataError, lambda: global_time_cut(dataset(rows), **fractions), *words)


@pytest.mark.parametrize("rule", [global_time_cut, impression_time_cut])
def test_times_that_only_order_each_users_events_cannot_be_cut_at_once(rule):
    data = replace(shown([(0, 1, [1], [1])]), clock=False)
    expect_error(DataError, lambda: rule(data), "the times of 'made'", "clock is False", "per_user_ratio")


@pytest.mark.parametrize("rule", [leave_last_out, per_user_ratio])
def test_times_that_only_order_each_users_events_can_be_cut_by_user(rule):
    assert asked(rule(replace(toy(), clock=False)).test) == asked(rule(toy()).test)


@pytest.mark.data
def test_the_rules_on_latest_small(data_folder):
    """Counted from the CSV by polars: 610 users have at least three seconds; 610 events share one with a target."""
    ratings = pl.read_csv(data_folder / "movielens-latest-small" / "ratings.csv")
    seconds = ratings.group_by("userId", "timestamp").len().sort("userId", "timestamp")
    last_two = seconds.group_by("userId").tail(2)
    split = leave_last_out(load_movielens(data_folder / "movielens-latest-small"))
    assert split.rule["users"] == 610
    assert split.rule["dropped_ties"] == last_two["len"].sum() - 2 * 610
    assert split.rule["repeated_targets"] == 0


@pytest.mark.data
def test_the_time_cut_on_latest_small(data_folder):
    """Counted from the CSV by polars; a film is rated once by a user, so every later rating is a target."""
    ratings = pl.read_csv(data_folder / "movielens-latest-small" / "ratings.csv").sort("timestamp")
    first, second = (ratings["timestamp"][round(ratings.height * share)] for share in (0.7, 0.8))
    early, late = ratings.filter(pl.col("timestamp") < first), ratings.filter(pl.col("timestamp") >= first)
    split = global_time_cut(load_movielens(data_folder / "movielens-latest-small"), history=50)
    assert (split.rule["valid_from"], split.rule["test_from"]) == (first, second)
    assert len(split.train.interactions) == early.height
    assert (split.valid.relevant >= 0).sum() + (split.test.relevant >= 0).sum() == late.height
    for cold, vocabulary, column in (
        (cold_items(split), split.train.items, "movieId"),
        (cold_users(split), split.train.users, "userId"),
    ):
        expected = set(late[column]) - set(early[column])
        assert set(vocabulary.decode(cold)) == expected
        assert len(cold) == len(expected)
