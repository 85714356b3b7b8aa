"""Impressions cut by time: by hand, with and without labels, and against one list at a time."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from made import dataset, shown

from llmrec.data import Split
from llmrec.data_prep.split import cold_items, cold_users, impression_time_cut
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error

OLDER = [(0, 7, 1), (0, 6, 2), (1, 5, 2)]
LISTS = [
    (0, 10, [1, 2, 3], [2]),
    (1, 12, [3, 4], [3]),
    (0, 20, [4, 1, 4], [4]),  # item 4 shown, and clicked, twice
    (2, 20, [1, 2], []),
    (0, 24, [3, 1], [3, 1]),
    (1, 30, [2, 5, 6], [6, 2]),
    (3, 31, [1], [1]),
    (0, 40, [2], []),
]


def read(split: Split, part: str):
    """Return (user, history, relevant, shown) of each query."""
    targets = split.part(part)
    relevant, lists = ([row[row >= 0].tolist() for row in array] for array in (targets.relevant, targets.shown))
    return list(zip(targets.queries.users.tolist(), targets.queries.lists(), relevant, lists, strict=True))


def test_each_later_list_with_a_click_is_one_query():
    split = impression_time_cut(shown(LISTS, OLDER), valid_from=20, test_from=30)
    assert split.train.interactions.times.tolist() == [1, 2, 2, 10, 12]
    assert split.train.interactions.items.tolist() == [7, 6, 5, 2, 3]
    assert split.train.impressions.times.tolist() == [10, 12]
    assert split.train.impressions.items.tolist() == [1, 2, 3, 3, 4]
    assert read(split, "valid") == [
        (0, [7, 6, 2], [4], [4, 1, 4]),
        (0, [7, 6, 2, 4, 4], [3, 1], [3, 1]),
    ]
    assert read(split, "test") == [(1, [5, 3], [2, 6], [2, 5, 6]), (3, [], [1], [1])]
    assert split.test.shown[1].tolist() == [1, -1, -1]
    assert cold_users(split).tolist() == [3]
    assert cold_users(split).dtype == np.int32
    assert cold_items(split).tolist() == [1, 4]
    assert split.rule == {
        "name": "impression-time",
        "valid_from": 20,
        "test_from": 30,
        "history": 50,
        "train_impressions": 2,
        "valid_impressions": 2,
        "test_impressions": 2,
        "without_click": 2,
        "unlabelled": 0,
        "cold_users": 1,
        "cold_items": 2,
    }


def test_moments_by_fractions_of_the_lists():
    # Eight lists: the newest two test from second 31; a quarter of eight before them validates from second 24.
    split = impression_time_cut(shown(LISTS, OLDER), valid=0.25, test=0.25, history=2)
    assert (split.rule["valid_from"], split.rule["test_from"]) == (24, 31)
    assert (split.rule["valid"], split.rule["test"]) == (0.25, 0.25)
    assert read(split, "valid") == [(0, [4, 4], [3, 1], [3, 1]), (1, [5, 3], [2, 6], [2, 5, 6])]
    assert split.rule["history"] == 2
    # Given one moment, the fraction makes the other one: three lists before 30 start at 20, a second of two lists.
    split = impression_time_cut(shown(LISTS, OLDER), test_from=30, valid=3 / 8)
    assert (split.rule["valid_from"], split.rule["test_from"]) == (20, 30)
    assert "test" not in split.rule


def test_lists_out_of_time_order_keep_their_order():
    order = [5, 6, 2, 0, 4, 3, 1, 7]
    split = impression_time_cut(shown([LISTS[place] for place in order], OLDER), valid_from=20, test_from=30)
    assert [user for user, *_ in read(split, "test")] == [1, 3]
    assert [relevant for _, _, relevant, _ in read(split, "valid")] == [[4], [3, 1]]
    assert split.train.impressions.times.tolist() == [10, 12]


def test_lists_without_labels_are_the_test():
    lists = [*LISTS[:6], (0, 33, [5, 1], None), (3, 32, [2], None)]
    split = impression_time_cut(shown(lists, OLDER), valid=0.2)
    # The newest of six labelled lists validates: 0.2 * 6 rounds to one.
    assert (split.rule["valid_from"], split.rule["test_from"]) == (30, 32)
    assert not split.test.labelled
    assert split.test.relevant.shape == (2, 0)
    assert read(split, "test") == [(0, [7, 6, 2, 4, 4, 3, 1], [], [5, 1]), (3, [], [], [2])]
    assert split.valid.labelled
    assert read(split, "valid") == [(1, [5, 3], [2, 6], [2, 5, 6])]
    assert split.rule["unlabelled"] == 2
    assert split.rule["without_click"] == 0  # the list of user 2 trains
    assert "test" not in split.rule


def test_a_split_of_impressions_comes_back_from_its_folder(tmp_path):
    split = impression_time_cut(shown(LISTS, OLDER), valid_from=20, test_from=30)
    again = Split.load(split.save(tmp_path / "split"))
    for part in ("valid", "test"):
        assert read(again, part) == read(split, part)
    assert again.rule == split.rule


MIXED = [*LISTS[:6], (0, 25, [5, 1], None), (3, 32, [2], None)]


@pytest.mark.parametrize(
    ("lists", "arguments", "words"),
    [
        (MIXED, {"valid_from": 20}, ["the test part of 'made' has 1 impressions with labels and 2 without"]),
        (
            MIXED,
            {"valid_from": 20, "test_from": 30},
            ["the valid part", "has 3 impressions with labels and 1 without", "Impressions.select"],
        ),
        ([*LISTS, (0, 11, [1], None)], {"valid_from": 20, "test_from": 30}, ["the train part", "leave test_from out"]),
        (
            [*LISTS[:2], (0, 25, [5], None), *LISTS[5:]],
            {"valid_from": 20, "test_from": 30},
            ["the valid part", "has 0 impressions with labels and 1 without"],
        ),
        (LISTS, {"valid_from": 20, "test_from": 40}, ["the test part of 'made' has 1 impressions, none with a click"]),
        (LISTS, {"valid_from": 13, "test_from": 19}, ["the valid part of 'made' has 0 impressions, none"]),
    ],
)
def test_a_part_without_an_answer_is_an_error(lists, arguments, words):
    expect_error(DataError, lambda: impression_time_cut(shown(lists, OLDER), **arguments), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"valid_from": 30, "test_from": 20}, ["valid_from = 30, test_from = 20", "from 10 to 40", "valid_from first"]),
        ({"valid_from": 10, "test_from": 20}, ["valid_from = 10"]),
        ({"valid_from": 20, "test_from": 41}, ["test_from = 41"]),
        ({"valid": 0.0}, ["valid = 0.0, test = 0.1", "above 0"]),
        ({"valid": 0.5, "test": 0.5}, ["sum below 1", "valid=0.1 test=0.1"]),
        ({"history": 0}, ["history = 0"]),
    ],
)
def test_moments_out_of_order_are_errors(arguments, words):
    expect_error(ConfigError, lambda: impression_time_cut(shown(LISTS, OLDER), **arguments), *words)


def test_data_without_impressions_is_an_error():
    expect_error(DataError, lambda: impression_time_cut(dataset(OLDER)), "'made' has no impressions", "leave_last_out")
    expect_error(DataError, lambda: impression_time_cut(shown([], OLDER)), "'made' has no impressions")


some_lists = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(0, 19),
        st.lists(st.tuples(st.integers(0, 7), st.booleans()), min_size=0, max_size=6),
    ),
    min_size=5,
    max_size=40,
)


@given(some_lists, st.integers(1, 18), st.integers(2, 19), st.integers(1, 5))
def test_it_agrees_with_one_list_at_a_time(drawn, valid_from, test_from, history):
    assume(valid_from < test_from)
    lists = [(u, t, [i for i, _ in pairs], [i for i, click in pairs if click]) for u, t, pairs in drawn]
    lists += [(0, 0, [1], [1]), (1, test_from, [2], [2]), (2, valid_from, [3], [3])]
    data = shown(lists)
    split = impression_time_cut(data, valid_from=valid_from, test_from=test_from, history=history)
    events = data.interactions
    log = list(zip(events.users.tolist(), events.items.tolist(), events.times.tolist(), strict=True))
    left_out = 0
    for part, begin, end in (("valid", valid_from, test_from), ("test", test_from, 99)):
        window = [(u, t, items, clicked) for u, t, items, clicked in lists if begin <= t < end]
        left_out += sum(not clicked for *_, clicked in window)
        assert sorted(
            (user, past, sorted(relevant), items) for user, past, relevant, items in read(split, part)
        ) == sorted(
            (u, [item for one, item, time in log if one == u and time < t][-history:], sorted(set(clicked)), items)
            for u, t, items, clicked in window
            if clicked
        )
    assert split.rule["without_click"] == left_out
    assert split.train.interactions.times.tolist() == [time for *_, time in log if time < valid_from]
    assert split.train.impressions.times.tolist() == [t for _, t, *_ in lists if t < valid_from]
