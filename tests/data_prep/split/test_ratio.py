"""The per-user ratio: by hand, against one user at a time in exact fractions, and by what must hold for any data."""

from collections import defaultdict
from fractions import Fraction
from math import floor

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from made import Event, asked, dataset, train_events

from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import cold_items, cold_users, leave_last_out, per_user_ratio
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error, toy


def test_each_user_is_cut_at_the_fractions_of_their_own_events():
    rows = [
        *[(0, item, 10 + item) for item in range(10)],  # 10 events: 5 and 7
        *[(1, item, 90 + item) for item in range(5)],  # 5 events: 2.5 and 3.5, rounded up to 3 and 4
        *[(2, item, 50 + item) for item in range(3)],  # 3 events: 1.5 and 2.1, rounded to 2 and 2, moved to 1 and 2
    ]
    split = per_user_ratio(dataset(rows, n_items=12), train=0.5, valid=0.2)
    assert asked(split.valid) == {0: ([0, 1, 2, 3, 4], [5, 6]), 1: ([0, 1, 2], [3]), 2: ([0], [1])}
    assert asked(split.test) == {0: ([0, 1, 2, 3, 4, 5, 6], [7, 8, 9]), 1: ([0, 1, 2, 3], [4]), 2: ([0, 1], [2])}
    assert train_events(split) == [0, 1, 2, 3, 4, 10, 11, 12, 15]
    assert split.rule == {
        "name": "per-user-ratio",
        "train": 0.5,
        "valid": 0.2,
        "ties": "strict",
        "when_short": "error",
        "history": "all",
        "users": 3,
        "short_users": 0,
        "moved_ties": 0,
        "repeated_events": 0,
    }


@pytest.mark.parametrize(
    ("n", "train", "valid", "sizes"),
    [
        (10, 0.8, 0.1, (8, 1, 1)),
        (10, 0.25, 0.2, (3, 2, 5)),  # 2.5 and 4.5: half up
        (50, 0.29, 0.2, (15, 10, 25)),  # 14.5, where the product of the floats falls short of the half
        (20, 0.8, 0.1, (16, 2, 2)),
        (4, 0.9, 0.05, (2, 1, 1)),  # 3.6 and 3.8 leave nothing to validate and to test
        (4, 0.01, 0.01, (1, 1, 2)),  # nothing to train and to validate
    ],
)
def test_rounding(n, train, valid, sizes):
    split = per_user_ratio(
        dataset([(0, item, item) for item in range(n)], n_users=1, n_items=n), train=train, valid=valid
    )
    assert (len(split.train.interactions), len(asked(split.valid)[0][1]), len(asked(split.test)[0][1])) == sizes


def test_a_second_is_never_cut_and_belongs_to_the_later_part():
    # Places 2 and 4 of six events: items 1 and 2 share a second, items 3 and 4 another one.
    rows = [(0, 0, 1), (0, 1, 2), (0, 2, 2), (0, 3, 3), (0, 4, 3), (0, 5, 4)]
    split = per_user_ratio(dataset(rows), train=2 / 6, valid=2 / 6)
    assert asked(split.valid) == {0: ([0], [1, 2])}
    assert asked(split.test) == {0: ([0, 1, 2], [3, 4, 5])}
    assert split.rule["moved_ties"] == 2  # items 1 and 3
    split = per_user_ratio(dataset(rows), train=2 / 6, valid=2 / 6, ties="order")
    assert asked(split.valid) == {0: ([0, 1], [2, 3])}
    assert asked(split.test) == {0: ([0, 1, 2, 3], [4, 5])}
    assert split.rule["moved_ties"] == 0


def test_a_second_goes_to_the_earlier_part_where_that_would_be_empty():
    rows = [(0, 0, 1), (0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 2), (0, 5, 3)]
    split = per_user_ratio(dataset(rows), train=0.2, valid=0.2)  # places 1 and 2, both in the first second
    assert asked(split.valid) == {0: ([0, 1, 2, 3], [4])}
    assert asked(split.test) == {0: ([0, 1, 2, 3, 4], [5])}
    assert split.rule["moved_ties"] == 4  # items 1 (from validation), 2 and 3 to training, 4 from the test


def test_items_met_before_are_no_targets_but_stay_in_histories():
    rows = [(0, 0, 1), (0, 1, 2), (0, 0, 3), (0, 2, 4), (0, 2, 5), (0, 3, 6), (1, 4, 1), (1, 5, 2), (1, 4, 3)]
    split = per_user_ratio(dataset(rows), train=1 / 3, valid=1 / 3)
    assert asked(split.valid) == {0: ([0, 1], [2]), 1: ([4], [5])}
    assert asked(split.test) == {0: ([0, 1, 0, 2], [3])}  # user 1 has nothing new in the test
    assert split.rule["repeated_events"] == 3
    assert split.rule["users"] == 1
    assert cold_items(split).tolist() == [2, 3, 5]
    assert cold_users(split).tolist() == []


def test_history_keeps_the_newest_items():
    split = per_user_ratio(dataset([(0, item, item) for item in range(5)]), train=0.6, valid=0.2, history=2)
    assert asked(split.test) == {0: ([2, 3], [4])}
    assert split.rule["history"] == 2


SHORT = [(0, 0, 1), (0, 1, 2), (0, 2, 3), (2, 3, 1), (2, 4, 2), (3, 5, 4), (3, 6, 4), (3, 7, 5)]


def test_a_short_user_is_an_error_or_stays_for_training():
    expect_error(
        DataError,
        lambda: per_user_ratio(dataset(SHORT)),
        "user 'u2' has 2 events at 2 different times (2 of 6 users have too few)",
        "short_users='train'",
    )
    expect_error(DataError, lambda: per_user_ratio(dataset(SHORT), ties="order"), "user 'u2' has 2 events (1 of 6")
    split = per_user_ratio(dataset(SHORT), short_users="train")
    assert asked(split.test) == {0: ([0, 1], [2])}
    assert train_events(split) == [0, 3, 4, 5, 6, 7]
    assert split.rule["short_users"] == 2
    assert split.rule["moved_ties"] == 0


@pytest.mark.parametrize("rows", [[], [(0, 0, 1), (0, 1, 2)], [(0, 0, 1), (0, 1, 2), (0, 1, 3)]])
def test_no_targets_are_an_error(rows):
    expect_error(DataError, lambda: per_user_ratio(dataset(rows), short_users="train"), "no user of 'made' has targets")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ties": "strickt"}, ["ties = 'strickt'", "did you mean 'strict'"]),
        ({"short_users": "drop"}, ["short_users = 'drop'", "'error' or 'train'"]),
        ({"history": 0}, ["history = 0", "at least 1"]),
        ({"train": 0.9, "valid": 0.1}, ["train = 0.9, valid = 0.1", "sum below 1", "train=0.8 valid=0.1"]),
        ({"train": 0.0}, ["train = 0.0, valid = 0.1", "above 0"]),
    ],
)
def test_arguments_out_of_range_are_errors(arguments, words):
    expect_error(ConfigError, lambda: per_user_ratio(toy(), **arguments), *words)


many_ties = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 9)), min_size=10, max_size=60)
shares = st.tuples(st.integers(1, 70), st.integers(1, 29))  # hundredths


def oracle(rows: list[Event], train: int, valid: int, ties: str):
    """Return training event numbers, validation and test targets: one user at a time, in exact fractions."""
    by_user = defaultdict(list)
    for number, (user, item, time) in sorted(enumerate(rows), key=lambda pair: pair[1][2]):
        by_user[user].append((time, item, number))
    trained, targets = [], ({}, {})
    for user, events in by_user.items():
        steps = [time if ties == "strict" else place for place, (time, _, _) in enumerate(events)]
        different = sorted(set(steps))
        if len(different) < 3:
            trained += [number for _, _, number in events]
            continue
        places = [floor(Fraction(len(events) * share, 100) + Fraction(1, 2)) for share in (train, train + valid)]
        first, second = (different.index(steps[min(place, len(events) - 1)]) for place in places)
        first = min(max(first, 1), len(different) - 2)
        second = min(max(second, first + 1), len(different) - 1)
        parts = [[], [], []]
        for step, (_, item, number) in zip(steps, events, strict=True):
            parts[(step >= different[first]) + (step >= different[second])].append((item, number))
        trained += [number for _, number in parts[0]]
        met = [item for item, _ in parts[0]]
        for found, part in zip(targets, parts[1:], strict=True):
            if new := [item for item in dict.fromkeys(item for item, _ in part) if item not in met]:
                found[user] = (met, new)
            met = met + [item for item, _ in part]
    return sorted(trained), *targets


@given(many_ties, shares, st.sampled_from(["strict", "order"]))
def test_it_agrees_with_one_user_at_a_time(rows, fractions, ties):
    trained, valid, test = oracle(rows, *fractions, ties)
    assume(valid and test)
    train_share, valid_share = (share / 100 for share in fractions)
    split = per_user_ratio(dataset(rows), train=train_share, valid=valid_share, short_users="train", ties=ties)
    assert train_events(split) == trained
    assert asked(split.valid) == valid
    assert asked(split.test) == test
    n_targets = sum(len(new) for part in (valid, test) for _, new in part.values())
    assert len(trained) + n_targets + split.rule["repeated_events"] == len(rows)


@given(many_ties, shares, st.randoms(use_true_random=False))
def test_strict_targets_depend_neither_on_the_file_nor_on_the_users_numbers(rows, fractions, random):
    assume(all(oracle(rows, *fractions, "strict")[1:]))
    arguments = {"train": fractions[0] / 100, "valid": fractions[1] / 100, "short_users": "train"}
    renamed, shuffled = list(range(6)), list(rows)
    random.shuffle(renamed)
    random.shuffle(shuffled)
    one = per_user_ratio(dataset(rows), **arguments)
    two = per_user_ratio(dataset([(renamed[user], item, time) for user, item, time in shuffled]), **arguments)
    for part in ("valid", "test"):
        expected = {renamed[user]: (sorted(past), set(new)) for user, (past, new) in asked(one.part(part)).items()}
        assert {user: (sorted(past), set(new)) for user, (past, new) in asked(two.part(part)).items()} == expected
    counted = {"moved_ties"}  # counts against the order of the file
    assert {k: v for k, v in one.rule.items() if k not in counted} == {
        k: v for k, v in two.rule.items() if k not in counted
    }


@given(many_ties, shares)
def test_strict_parts_follow_each_other_in_time(rows, fractions):
    rows = [(user, number, time) for number, (user, _, time) in enumerate(rows)]  # item = event number
    assume(all(oracle(rows, *fractions, "strict")[1:]))
    split = per_user_ratio(
        dataset(rows, n_items=60), train=fractions[0] / 100, valid=fractions[1] / 100, short_users="train"
    )
    trained, valid, test = train_events(split), asked(split.valid), asked(split.test)
    assert valid.keys() == test.keys()
    for user, (_, targets) in valid.items():
        past = [rows[number][2] for number in trained if rows[number][0] == user]
        middle, late = ([rows[number][2] for number in part] for part in (targets, test[user][1]))
        assert max(past) < min(middle) <= max(middle) < min(late)
        if len({*past, *middle, *late}) == len(past) + len(middle) + len(late):  # without ties: within one event
            n = len(past) + len(middle) + len(late)
            assert abs(len(past) - n * fractions[0] / 100) <= 2
            assert abs(len(late) - n * (100 - sum(fractions)) / 100) <= 2


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=9, max_size=20))
def test_users_of_three_events_are_cut_as_by_leave_last_out(pairs):
    """Three new items each: both rules have one target a part."""
    rows = [(user, 2 * user % 3 + place, 3 * place + jitter % 3) for user, jitter in pairs for place in range(3)]
    rows = list({row[:2]: row for row in rows}.values())
    one, two = per_user_ratio(dataset(rows)), leave_last_out(dataset(rows))
    assert asked(one.valid) == asked(two.valid)
    assert asked(one.test) == asked(two.test)


@pytest.mark.data
def test_the_ratio_on_latest_small(data_folder):
    """Counted from the CSV by polars: the cuts at 80 and 90 % of each user, moved back to the start of their second."""
    ratings = pl.read_csv(data_folder / "movielens-latest-small" / "ratings.csv").sort("timestamp", maintain_order=True)
    user = ratings.group_by("userId").agg("timestamp", pl.len().alias("n"), seconds=pl.col("timestamp").n_unique())
    cuts = user.select(
        "userId",
        *(
            pl.col("timestamp").list.get(((pl.col("n") * tenths + 5) // 10).clip(0, pl.col("n") - 1)).alias(name)
            for name, tenths in (("first", 8), ("second", 9))
        ),
        oldest=pl.col("timestamp").list.min(),
    )
    split = per_user_ratio(load_movielens(data_folder / "movielens-latest-small"), short_users="train")
    assert split.rule["repeated_events"] == 0  # a film is rated once
    # Users whose two cuts fall into different seconds, after their first one, are cut exactly there.
    plain = cuts.filter((pl.col("first") < pl.col("second")) & (pl.col("first") > pl.col("oldest")))
    assert plain.height > 500
    counts = (
        ratings.join(plain, on="userId")
        .group_by("userId")
        .agg(
            trained=(pl.col("timestamp") < pl.col("first")).sum(),
            tested=(pl.col("timestamp") >= pl.col("second")).sum(),
        )
        .sort("userId")
    )
    numbers = split.train.users.numbers(counts["userId"])
    trained = pl.Series(split.train.interactions.users).value_counts().sort("")
    assert trained.filter(pl.col("").is_in(numbers))["count"].to_list() == counts["trained"].to_list()
    tested = {user: len(new) for user, (_, new) in asked(split.test).items()}
    assert [tested[number] for number in numbers] == counts["tested"].to_list()
